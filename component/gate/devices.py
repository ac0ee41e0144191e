"""The device registry: which devices there are, under which JID, in which groups, with which credentials."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from sqlalchemy import Connection, delete, insert, update

from component.base.errors import Conflict, InputError, NotFound
from component.base.secrets import Vault
from component.gate import devices_import, devices_read, impact, rotation, rows
from component.gate.changes import Change, Plan
from component.gate.credentials import check_credentials, opened, sealed
from component.gate.devices_read import DeviceInfo, DevicePage
from component.gate.policy import Policy
from component.gate.registry import delete_outdated, delete_unpublished, device_table, newest_row
from component.gate.rules import TargetKind, counted, device_jid, device_key, group_name, shown
from component.gate.sessions import Sessions
from component.gate.table import DeviceRow, DeviceTable, joined, split

log = logging.getLogger(__name__)

CLEANED_TOGETHER = 1_000
"""So many leftover rows are deleted in one transaction."""


class Devices:
    """The devices of a deployment.

    :param policy: its index knows the devices; its changes and theirs happen one after the other.
    :param vault: seals their credentials.
    :ivar sessions: who is connected; the in-server plugin's messages end there.
    """

    def __init__(self, policy: Policy, vault: Vault) -> None:
        self.policy = policy
        self.vault = vault
        self.sessions = Sessions()
        self.journal: list[DeviceRow | str] | None = None
        """While an import is staged: devices that were put, and keys that were removed, meanwhile."""
        self._bulk = ""
        policy.chores.append(self.tidy)

    async def add(
        self,
        actor: str,
        device_id: str,
        jid: str,
        *,
        groups: Iterable[str] = (),
        cr_username: str = "",
        cr_password: str = "",
        dry_run: bool = False,
    ) -> Change:
        """Register a device.

        :param jid: its full JID.
        :raises InputError: when an argument is malformed.
        :raises Conflict: when its id or its bare JID is taken.
        """
        key, full = device_key(device_id), device_jid(jid)
        row = DeviceRow(key, device_id, full.bare, full.resource, joined(map(group_name, groups)))
        check_credentials(cr_username, cr_password)

        async def plan() -> Plan:
            table = self.policy.index.devices
            number = table.ids.find(key)
            if number >= 0:
                raise Conflict(f"There is a device {table.id(number)} already.", hint="Remove it, or change it.")
            self._refuse_taken(row)
            gains = impact.of_new_device(self.policy.index, device_id, split(row.groups))
            change = Change(f"Device {device_id} is registered as {full}.", (), gains, (device_id,), device=full.bare)
            return await self._putting(
                actor, row, change, "device.added", {"credentials": self.sealed(key, cr_username, cr_password)}
            )

        return await self.policy.changes.make(plan, dry_run=dry_run)

    async def update(
        self,
        actor: str,
        device: str,
        *,
        jid: str | None = None,
        groups: Iterable[str] | None = None,
        cr_username: str | None = None,
        cr_password: str | None = None,
        dry_run: bool = False,
    ) -> Change:
        """Change a device: what is None stays. Credentials are given both or not at all; both empty removes them.

        :raises NotFound: when there is no such device.
        :raises Conflict: when the JID belongs to another one.
        """
        full = None if jid is None else device_jid(jid)
        wanted = None if groups is None else joined(map(group_name, groups))
        if (cr_username is None) != (cr_password is None):
            raise InputError("Credentials are a user name and a password.", hint="Give both or none.")
        check_credentials(cr_username or "", cr_password or "")

        async def plan() -> Plan:
            number = self.number(device)
            old = self.row(number)
            row = replace(old, groups=old.groups if wanted is None else wanted)
            if full is not None:
                row = replace(row, bare=full.bare, resource=full.resource)
            self._refuse_taken(row)
            loses, gains = impact.of_device(self.policy.index, number, split(row.groups))
            values = {}
            if cr_username is not None and cr_password is not None:
                values["credentials"] = self.sealed(row.key, cr_username, cr_password)
            only = old.bare if old.bare == row.bare else ""
            change = Change(f"Device {row.id} is changed.", loses, gains, device=only)
            return await self._putting(actor, row, change, "device.changed", values)

        return await self.policy.changes.make(plan, dry_run=dry_run)

    async def remove(self, actor: str, device: str, *, dry_run: bool = False) -> Change:
        """Remove a device, and the rules that name it.

        :raises NotFound: when there is no such device.
        """

        async def plan() -> Plan:
            number = self.number(device)
            row = self.row(number)
            named = [
                rule.id
                for rule in self.policy.index.rules.values()
                if rule.target.kind is TargetKind.DEVICE and rule.target.name == row.key
            ]
            loses, _ = impact.of_device(self.policy.index, number, None)
            also = f" The rules that name it go with it: {', '.join(map(str, named))}." if named else ""
            change = Change(f"Device {row.id} is removed.{also}", loses, device=row.bare)
            generation = self.policy.changes.generation

            def write(connection: Connection) -> None:
                for rule in named:
                    rows.delete_rule(connection, self.policy.audit, actor, rule, self.policy.shown_target)
                columns = device_table.c
                connection.execute(
                    delete(device_table).where(columns.key == row.key, columns.generation <= generation)
                )
                self._record(connection, actor, "device.removed", row, {"rules": named})

            def apply(_: object) -> Change:
                for rule in named:
                    self.policy.index.drop_rule(rule)
                self.policy.index.devices.remove(row.key)
                if self.journal is not None:
                    self.journal.append(row.key)
                return change

            return Plan(change, write, apply)

        return await self.policy.changes.make(plan, dry_run=dry_run)

    async def show(self, device: str) -> DeviceInfo:
        """Everything about a device, except its credentials.

        :raises NotFound: when there is no such device.
        """
        return await devices_read.show(self, device)

    async def list(
        self, *, online: bool | None = None, group: str | None = None, after: str = "", limit: int = 100
    ) -> DevicePage:
        """A page of devices, ordered by their prepared ids.

        :param after: the page's `next` of the page before.
        """
        return await devices_read.page(self, online=online, group=group, after=after, limit=limit)

    def export(self, *, credentials: bool = False) -> AsyncIterator[str]:
        """All devices as CSV, in pieces of many lines, as `import_csv` reads it.

        :param credentials: include them in clear; without them, an import keeps those that are stored.
        """
        return devices_read.export(self, credentials)

    async def credentials(self, device_id: str) -> tuple[str, str] | None:
        """User name and password of a device, opened at the moment of use; None when it has none."""
        key = device_key(device_id)
        generation = self.policy.changes.generation
        row = await self.policy.changes.store.read(lambda connection: newest_row(connection, key, generation))
        if row is None or row[2] is None:
            return None
        return self.opened(key, row[2])

    async def import_csv(
        self,
        actor: str,
        stream: BinaryIO | Iterable[bytes] | AsyncIterable[bytes],
        *,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Change:
        """Register and replace devices from CSV: all or none; devices that are not named stay.

        A device with both credentials empty keeps those that it has. Nothing is seen of an import before all of
        it is, and other changes happen between its pieces.

        :param progress: called with the number of lines that were read.
        :raises InputError: names every bad line.
        :raises Conflict: when another import is under way.
        """
        with self.alone("import"):
            return await devices_import.run(self, actor, stream, dry_run=dry_run, progress=progress)

    async def rotate_key(self, actor: str, progress: Callable[[int], None] | None = None) -> int:
        """Seal all credentials with a new key, and forget the old one; goes on where it was interrupted.

        :param progress: called with the number of devices that were looked at.
        :returns: how many were sealed anew.
        """
        with self.alone("key rotation"):
            return await rotation.rotate(self, actor, progress)

    async def tidy(self) -> None:
        """Delete, piece by piece, what an interrupted import has left behind."""
        if self._bulk:
            return
        with self.alone("clean-up"):
            count = await self.delete_pieces(delete_unpublished) + await self.delete_pieces(delete_outdated)
        if count:
            log.info("%s of an interrupted import removed", counted(count, "row"))

    async def delete_pieces(self, piece: Callable[[Connection, int, int], int]) -> int:
        """Delete leftovers in short transactions; returns how many rows there were."""
        generation = self.policy.changes.generation
        total = 0
        while True:
            count = await self.policy.changes.store.write(
                lambda connection: piece(connection, generation, CLEANED_TOGETHER)
            )
            total += count
            if count < CLEANED_TOGETHER:
                return total

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Only one long piece of work at a time.

        :raises Conflict: when there is another one.
        """
        if self._bulk:
            raise Conflict(f"A device {self._bulk} is under way.", hint="Try again when it has ended.")
        self._bulk = what
        try:
            yield
        finally:
            self._bulk = ""

    def number(self, device: str) -> int:
        """The number of a device by id or JID.

        :raises NotFound: when there is none, or when it is registered with another resource.
        """
        number = self.policy.find_device(device)
        if number < 0:
            raise NotFound(f"There is no device {shown(device)}.", hint="See `stanzagate device list`.")
        return number

    def row(self, number: int) -> DeviceRow:
        """What the index knows of a device."""
        return self.row_in(self.policy.index.devices, number)

    @staticmethod
    def row_in(table: DeviceTable, number: int) -> DeviceRow:
        """What a table knows of a device."""
        ref = table.ref(number)
        return DeviceRow(table.ids.text(number), ref.id, ref.jid.bare, ref.jid.resource, joined(table.groups(number)))

    def sealed(self, key: str, username: str, password: str) -> bytes | None:
        """Credentials as they are stored; while others may rotate the key, hold the changes' lock."""
        return sealed(self.vault, key, username, password)

    def opened(self, key: str, stored: bytes) -> tuple[str, str]:
        """User name and password from their stored form."""
        return opened(self.vault, key, stored)

    def _refuse_taken(self, row: DeviceRow) -> None:
        table = self.policy.index.devices
        holder = table.jids.find(row.bare)
        if holder >= 0 and table.ids.text(holder) != row.key:
            raise Conflict(f"{row.bare} is the JID of device {table.id(holder)}.", hint="Give every device its own.")

    async def _putting(
        self, actor: str, row: DeviceRow, change: Change, action: str, values: dict[str, bytes | None]
    ) -> Plan:
        table, generation = self.policy.index.devices, self.policy.changes.generation
        for strings in (table.ids, table.jids):
            if strings.crowded:  # roomier slots are made aside, so that no decision waits for them
                strings.adopt(await asyncio.to_thread(strings.grown))
        columns = {"id": row.id, "bare": row.bare, "resource": row.resource, "groups": row.groups} | values

        def write(connection: Connection) -> None:
            old = newest_row(connection, row.key, generation)
            if old is None:
                connection.execute(insert(device_table).values(key=row.key, generation=generation, **columns))
            else:
                connection.execute(update(device_table).where(device_table.c.row == old[0]).values(**columns))
            self._record(connection, actor, action, row, {"credentials": "credentials" in values})

        def apply(_: object) -> Change:
            table.put(row)
            if self.journal is not None:
                self.journal.append(row)
            return change

        return Plan(change, write, apply)

    def _record(self, connection: Connection, actor: str, action: str, row: DeviceRow, more: dict[str, Any]) -> None:
        detail = {"jid": f"{row.bare}/{row.resource}", "groups": sorted(split(row.groups)), **more}
        self.policy.audit.append(connection, actor=actor, action=action, subject=row.id, detail=detail)
