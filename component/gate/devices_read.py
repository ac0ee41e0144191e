"""Looking at the registry: one device, a page of them, all of them as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from component.base.errors import InputError
from component.base.jid import Jid
from component.gate.lines import written
from component.gate.registry import device_table, newest_row
from component.gate.rules import Rule, TargetKind, device_key, group_name
from component.gate.sessions import Reporting
from component.gate.table import GROUP_SEPARATOR, Groups, split

if TYPE_CHECKING:
    from component.gate.devices import Devices

COLUMNS = ("id", "jid", "cr_username", "cr_password", "groups")
READ_TOGETHER = 2_000
LARGEST_PAGE = 10_000
FEW = 20_000
"""Groups up to this size are looked up in memory; larger ones are found while reading along."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device, as shown to people.

    :ivar online: whether the in-server plugin knows a session of it; false when `sessions` are not reported.
    :ivar since: Unix time in seconds at which that session began.
    :ivar sessions: whether anybody tells who is online.
    :ivar rules: those that reach it, by id; not looked up for lists.
    """

    id: str
    jid: Jid
    groups: tuple[str, ...]
    online: bool
    since: float | None
    has_credentials: bool
    sessions: Reporting
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Some devices.

    :ivar next: what to give as `after` for the next page; empty at the end.
    :ivar sessions: whether anybody tells who is online.
    """

    devices: tuple[DeviceInfo, ...]
    next: str
    sessions: Reporting


@dataclass(frozen=True, slots=True)
class Stored:
    """A device as it is stored."""

    key: str
    id: str
    jid: Jid
    groups: str
    credentials: bytes | None


async def show(devices: Devices, device: str) -> DeviceInfo:
    """See `Devices.show`."""
    number = devices.number(device)
    row = devices.row(number)
    generation = devices.policy.changes.generation
    stored = await devices.policy.changes.store.read(lambda connection: newest_row(connection, row.key, generation))
    jid = Jid(row.bare, row.resource)
    sealed = None if stored is None else stored[2]
    rules = rules_reaching(devices, row.key, split(row.groups))
    return _info(devices, Stored(row.key, row.id, jid, row.groups, sealed), rules)


def rules_reaching(devices: Devices, key: str, groups: Groups) -> tuple[Rule, ...]:
    """The rules that count for a device, by id."""
    policy = devices.policy
    policy.index.expire(policy.clock())
    return tuple(
        policy.shown_rule(rule)
        for _, rule in sorted(policy.index.rules.items())
        if rule.target.kind is TargetKind.ALL
        or (rule.target.kind is TargetKind.GROUP and rule.target.name in groups)
        or (rule.target.kind is TargetKind.DEVICE and rule.target.name == key)
    )


async def page(devices: Devices, *, online: bool | None, group: str | None, after: str, limit: int) -> DevicePage:
    """See `Devices.list`."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise InputError(f"A page has 1 to {LARGEST_PAGE} devices, not {limit}.")
    start = device_key(after) if after else ""
    name = None if group is None else group_name(group)

    def wanted(stored: Stored) -> bool:
        return (online is None or online == (devices.sessions.since(stored.jid) is not None)) and (
            name is None or name in stored.groups.split(GROUP_SEPARATOR)
        )

    keys: list[str] | None = None
    if name is not None:
        numbers = devices.policy.index.devices.in_group(name)
        if len(numbers) <= FEW:
            texts = (devices.policy.index.devices.ids.text(int(number)) for number in numbers)
            keys = sorted(key for key in texts if key > start)
    generation = devices.policy.changes.generation
    found = await devices.policy.changes.store.read(
        lambda connection: _chosen(connection, generation, start, keys, wanted, limit + 1)
    )
    more = found[limit - 1].id if len(found) > limit else ""
    return DevicePage(tuple(_info(devices, stored) for stored in found[:limit]), more, devices.sessions.reporting())


async def export(devices: Devices, credentials: bool) -> AsyncIterator[str]:
    """See `Devices.export`."""
    yield written(COLUMNS)
    after = ""
    while True:
        generation = devices.policy.changes.generation
        found = await devices.policy.changes.store.read(
            lambda connection, after=after, generation=generation: read_sorted(  # type: ignore[misc]
                connection, generation, after, READ_TOGETHER
            )
        )
        if not found:
            return
        after = found[-1].key
        lines = []
        for stored in found:
            secrets = ("", "")
            if credentials and stored.credentials is not None:
                secrets = devices.opened(stored.key, stored.credentials)
            lines.append(written((stored.id, stored.jid.full, *secrets, stored.groups)))
        yield "".join(lines)


def read_sorted(connection: Connection, generation: int, after: str, limit: int) -> list[Stored]:
    """The next devices by key, `limit` of them or a few more; an empty list at the end."""
    columns = device_table.c
    query = (
        select(device_table)
        .where(columns.key > after, columns.generation <= generation)
        .order_by(columns.key, columns.generation)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    found = {row.key: _stored(row) for row in rows}  # of a key, the highest generation comes last
    if len(rows) == limit:  # and may be beyond the limit
        key, _ = found.popitem()
        newest = _newest(connection, key, generation)
        if newest is not None:
            found[key] = newest
    return list(found.values())


def _newest(connection: Connection, key: str, generation: int) -> Stored | None:
    columns = device_table.c
    row = connection.execute(
        select(device_table)
        .where(columns.key == key, columns.generation <= generation)
        .order_by(columns.generation.desc())
        .limit(1)
    ).first()
    return None if row is None else _stored(row)


def _stored(row: Row[Any]) -> Stored:
    return Stored(row.key, row.id, Jid(row.bare, row.resource), row.groups, row.credentials)


def _chosen(
    connection: Connection,
    generation: int,
    after: str,
    keys: list[str] | None,
    wanted: Callable[[Stored], bool],
    limit: int,
) -> list[Stored]:
    chosen: list[Stored] = []
    if keys is not None:
        for key in keys:
            stored = _newest(connection, key, generation)
            if stored is not None and wanted(stored):
                chosen.append(stored)
            if len(chosen) >= limit:
                break
        return chosen
    while found := read_sorted(connection, generation, after, max(READ_TOGETHER, limit + 1)):
        after = found[-1].key
        chosen += filter(wanted, found)
        if len(chosen) >= limit:
            break
    return chosen[:limit]


def _info(devices: Devices, stored: Stored, rules: tuple[Rule, ...] = ()) -> DeviceInfo:
    since = devices.sessions.since(stored.jid)
    return DeviceInfo(
        id=stored.id,
        jid=stored.jid,
        groups=tuple(sorted(split(stored.groups))),
        online=since is not None,
        since=since,
        has_credentials=stored.credentials is not None,
        sessions=devices.sessions.reporting(stored.jid.domain),
        rules=rules,
    )
