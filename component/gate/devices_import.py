"""A file of devices as one change, while everything else goes on.

The file is read piece by piece. Each piece is checked, prepared and sealed in a thread, into a copy of the table of
devices, and its rows are written, unseen, as a generation of their own, in a transaction of their own. When the
last piece is there, one short transaction publishes the generation, and the copy becomes the table.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from array import array
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import Connection, insert, select, update

from component.base.errors import Conflict, InputError, StanzagateError
from component.gate import impact
from component.gate.badlines import BadLines
from component.gate.changes import Change, Loss, Plan, unchanged
from component.gate.credentials import check_credentials
from component.gate.devices_read import COLUMNS
from component.gate.lines import CsvReader
from component.gate.registry import delete_outdated, delete_unpublished, device_table
from component.gate.rules import counted, device_jid, device_key, group_name, policy_state_table
from component.gate.table import GROUP_SEPARATOR, DeviceRow, DeviceTable, give_memory_back, joined

if TYPE_CHECKING:
    from component.gate.devices import Devices

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
"""About a thousand lines: so long at most does another change wait for the import."""

BREATH_LINES = 64
BREATH_SECONDS = 0.0001
"""After so many lines the thread lets go of the interpreter, so that a decision does not wait for its time slice."""

BREATH_REQUESTERS = 50
REMEMBERED_GROUPS = 10_000

Row = dict[str, Any]


class DeviceLines:
    """Checks the lines of a file and puts its devices into a copy of the table. One thread at a time uses it.

    :ivar table: the copy.
    :ivar common: so many numbers were in use when it was made.
    :ivar added: how many devices are new.
    :ivar replaced: how many were there before.
    :ivar changed: whether a device is another one afterwards, as far as the file has been compared.
    """

    def __init__(self, devices: Devices, table: DeviceTable) -> None:
        self.table = table
        self.bad = BadLines()
        self.added = self.replaced = 0
        self.changed = False
        self.common = len(table.ids)
        self._devices = devices
        self._reader = CsvReader(COLUMNS, self.bad)
        self._line_of = array("I", bytes(4 * self.common))  # which line has set a device; 0 for none
        self._taken: list[tuple[int, int, str]] = []  # line, number of the device that had its JID, that JID
        self._groups: dict[str, str] = {}
        self._digest = hashlib.sha256()

    @property
    def line(self) -> int:
        """The number of the line that was read last."""
        return self._reader.line

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was read, in hexadecimal."""
        return self._digest.hexdigest()

    def feed(self, data: bytes, last: bool) -> list[Row]:
        """The rows for the lines that are complete now; bad ones are noted."""
        self._digest.update(data)
        rows: list[Row] = []
        for count, (line, fields) in enumerate(self._reader.feed(data, last=last)):
            row = self._row(line, fields)
            if row is not None:
                rows.append(row)
            if count % BREATH_LINES == BREATH_LINES - 1:
                time.sleep(BREATH_SECONDS)
        return rows

    def finish(self) -> None:
        """Look at what only the whole file can tell."""
        for line, holder, bare in self._taken:
            if not self._line_of[holder]:
                reason = f"it is the JID of device {self.table.id(holder)}"
                self.bad.add(line, "jid", bare, reason, "it is the JID of another device")
        if not self.bad:
            for strings in (self.table.ids, self.table.jids):
                if strings.wasteful:
                    strings.compact()

    def has(self, key: str) -> bool:
        """Whether the file has a device with this prepared id."""
        number = self.table.ids.find(key)
        return number >= 0 and self._line_of[number] > 0

    def _row(self, line: int, fields: list[str]) -> Row | None:
        device_id, jid_text, username, password, groups_text = fields
        before = self.bad.problems
        device_id = device_id.strip()
        key = self._checked(line, "id", device_id, device_key)
        jid = self._checked(line, "jid", jid_text.strip(), device_jid)
        groups = self._groups.get(groups_text)
        if groups is None:
            groups = self._checked(line, "groups", groups_text, self._joined)
        if len(username) + len(password):
            self._checked(line, "", "", lambda _: check_credentials(username, password))
        if key is None or jid is None or groups is None or self.bad.problems > before:
            return None
        row = DeviceRow(key, device_id, jid.bare, jid.resource, groups)
        if not self._put(line, row):
            return None
        return {
            "key": key,
            "id": device_id,
            "bare": jid.bare,
            "resource": jid.resource,
            "groups": groups,
            "credentials": self._devices.sealed(key, username, password),
        }

    def _put(self, line: int, row: DeviceRow) -> bool:
        ids, jids, line_of = self.table.ids, self.table.jids, self._line_of
        number, holder = ids.find(row.key), jids.find(row.bare)
        known = number >= 0
        if known and line_of[number]:
            other = self.table.id(number)
            same = "" if other == row.id else f", which is {other} there"
            reason = f"line {line_of[number]} has the same id{same}"
            self.bad.add(line, "id", row.id, reason, "another line has the same id")
            return False
        if holder >= 0 and holder != number:
            if line_of[holder]:
                reason = f"line {line_of[holder]} has the same bare JID"
                self.bad.add(line, "jid", row.bare, reason, "another line has the same bare JID")
                return False
            self._taken.append((line, holder, row.bare))
        self.changed = self.changed or not known or self._devices.row_in(self.table, number) != row
        number = self.table.put(row, (number, holder))
        if known:
            self.replaced += 1
            line_of[number] = line
        else:
            self.added += 1
            line_of.append(line)
        return True

    def _checked(self, line: int, column: str, value: str, check: Callable[[str], Any]) -> Any:
        try:
            return check(value)
        except InputError as error:
            self.bad.add(line, column, value, str(error))
            return None

    def _joined(self, text: str) -> str:
        names = [part.strip() for part in text.split(GROUP_SEPARATOR)]
        groups = joined(group_name(name) for name in names) if names != [""] else ""
        if len(self._groups) < REMEMBERED_GROUPS:
            self._groups[text] = groups
        return groups


async def run(
    devices: Devices,
    actor: str,
    stream: BinaryIO | Iterable[bytes] | AsyncIterable[bytes],
    *,
    dry_run: bool,
    progress: Callable[[int], None] | None,
) -> Change:
    """See `Devices.import_csv`."""
    changes = devices.policy.changes
    async with changes.lock:
        await changes.ready()
        before = devices.policy.index.devices
        lines = DeviceLines(devices, await asyncio.to_thread(before.copy))
        devices.journal = []
        reloads = changes.reloads
    try:
        await devices.delete_pieces(delete_unpublished)
        generation = changes.generation
        await _staged(devices, lines, stream, dry_run, progress)
        loses, gains = await _impact(devices, lines)
        change = Change(_summary(lines), loses, gains)
        published = await changes.finish("device import", _publish(devices, actor, lines, change, dry_run, reloads))
    except BaseException:
        # What a crash or a cancellation leaves behind, the next start or import removes.
        devices.journal = None
        raise
    devices.journal = None
    if lines.replaced and not dry_run:
        await _forget(devices, delete_unpublished if changes.generation == generation else delete_outdated)
    del lines, before
    await asyncio.to_thread(give_memory_back)
    return published


def _summary(lines: DeviceLines) -> str:
    if lines.changed:
        return f"{counted(lines.added, 'device')} added, {counted(lines.replaced, 'device')} replaced."
    same = f"; {lines.replaced} were there already" if lines.replaced else ""
    return f"0 devices added, 0 devices replaced{same}."


async def _staged(
    devices: Devices,
    lines: DeviceLines,
    stream: BinaryIO | Iterable[bytes] | AsyncIterable[bytes],
    dry_run: bool,
    progress: Callable[[int], None] | None,
) -> None:
    changes = devices.policy.changes
    generation = changes.generation
    try:
        async for piece in _pieces(stream):
            rows = await asyncio.to_thread(lines.feed, piece, not piece)
            if rows and not lines.bad and not lines.changed:
                check = partial(_other_credentials, devices=devices, generation=generation, rows=rows)
                lines.changed = await changes.store.read(check)
            if rows and not lines.bad and not dry_run:
                await changes.store.write(partial(_write, generation=generation, rows=rows))
            if progress is not None:
                progress(lines.line)
        await asyncio.to_thread(lines.finish)
        lines.bad.check("The devices")
    except StanzagateError:
        await _forget(devices, delete_unpublished)
        raise


async def _pieces(stream: BinaryIO | Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The stream in pieces of about `PIECE_BYTES`, and an empty one at the end."""
    if isinstance(stream, AsyncIterable):
        async for chunk in stream:
            for start in range(0, len(chunk), PIECE_BYTES):
                yield chunk[start : start + PIECE_BYTES]
    elif hasattr(stream, "read"):
        while piece := await asyncio.to_thread(stream.read, PIECE_BYTES):
            yield piece
    else:
        chunks = iter(stream)
        while some := await asyncio.to_thread(lambda: b"".join(islice(chunks, 256))):
            for start in range(0, len(some), PIECE_BYTES):
                yield some[start : start + PIECE_BYTES]
    yield b""


def _stored_credentials(connection: Connection, generation: int, keys: list[str]) -> dict[str, bytes | None]:
    columns = device_table.c
    found: dict[str, bytes | None] = {}
    for start in range(0, len(keys), 500):
        stored = connection.execute(
            select(columns.key, columns.credentials)
            .where(columns.key.in_(keys[start : start + 500]), columns.generation <= generation)
            .order_by(columns.generation)
        )
        found.update((row.key, row.credentials) for row in stored)
    return found


def _other_credentials(connection: Connection, *, devices: Devices, generation: int, rows: list[Row]) -> bool:
    """Whether a row gives its device credentials that it has not."""
    given = {row["key"]: row["credentials"] for row in rows if row["credentials"] is not None}
    stored = _stored_credentials(connection, generation, list(given))
    try:
        for key, credentials in given.items():
            held = stored.get(key)
            if held is None or devices.opened(key, held) != devices.opened(key, credentials):
                return True
    except StanzagateError:  # what cannot be opened is replaced
        return True
    return False


def _write(connection: Connection, *, generation: int, rows: list[Row]) -> None:
    keep = {row["key"]: row for row in rows if row["credentials"] is None}
    for key, credentials in _stored_credentials(connection, generation, list(keep)).items():
        keep[key]["credentials"] = credentials
    connection.execute(insert(device_table), [row | {"generation": generation + 1} for row in rows])


async def _impact(devices: Devices, lines: DeviceLines) -> tuple[tuple[Loss, ...], tuple[Loss, ...]]:
    index = devices.policy.index
    moves = await asyncio.to_thread(impact.Moves, index.devices, lines.table, lines.common)
    loses: list[Loss] = []
    gains: list[Loss] = []
    for count, bare in enumerate(list(index.requesters())):
        lost, gained = moves.of(index, bare)
        loses += lost
        gains += gained
        if count % BREATH_REQUESTERS == BREATH_REQUESTERS - 1:
            await asyncio.sleep(0)
    return tuple(loses), tuple(gains)


async def _publish(
    devices: Devices, actor: str, lines: DeviceLines, change: Change, dry_run: bool, reloads: int
) -> Change:
    changes = devices.policy.changes
    async with changes.lock:
        await changes.ready()
        if changes.reloads != reloads:  # the journal may lack what the reading found
            raise Conflict("The devices were read anew while the file was read.", hint="Import it again.")
        # A device of the file that somebody has changed meanwhile becomes again what the file says.
        overtaken = any(lines.has(entry if isinstance(entry, str) else entry.key) for entry in devices.journal or ())
        _replay(devices, lines)
        generation = changes.generation + 1
        detail = {"added": lines.added, "replaced": lines.replaced, "sha256": lines.digest}

        def record(connection: Connection) -> None:
            devices.policy.audit.append(
                connection, actor=actor, action="device.imported", subject=f"generation {generation}", detail=detail
            )

        def write(connection: Connection) -> None:
            connection.execute(update(policy_state_table).values(generation=generation))
            record(connection)

        def apply(_: object) -> Change:
            devices.policy.index.use(lines.table)
            changes.generation = generation
            return change

        nothing = not lines.changed and not overtaken
        plan = unchanged(change, record) if nothing else Plan(change, write, apply)
        if dry_run:
            return changes.described(plan)
        published = await changes.commit(plan)
    if plan.advances:
        await changes.tell(published)
    return published


def _replay(devices: Devices, lines: DeviceLines) -> None:
    """Bring the copy up to date with the changes of single devices that happened meanwhile."""
    table = lines.table
    for entry in devices.journal or ():
        key = entry if isinstance(entry, str) else entry.key
        if lines.has(key):
            continue  # the file says what becomes of this device
        if isinstance(entry, str):
            table.remove(entry)
            continue
        holder = table.jids.find(entry.bare)
        if holder >= 0 and lines.has(table.ids.text(holder)):
            raise Conflict(
                f"While the file was read, device {entry.id} got the JID {entry.bare}, which the file gives to "
                f"{table.id(holder)}; nothing was imported.",
                hint="Mend the file and import it again.",
            )
        table.put(entry)


async def _forget(devices: Devices, piece: Callable[[Connection, int, int], int]) -> None:
    try:
        await devices.delete_pieces(piece)
    except StanzagateError as error:  # they are not seen; the next import or start tries again
        log.warning("leftovers of an import could not be removed: %s", error)
