"""A file of devices as one change, while everything else goes on.

The file is read piece by piece. Each piece is checked, prepared and sealed in a thread, into a copy of the table of
devices, and its rows are written, unseen, as a generation of their own, in a transaction of their own. When the
last piece is there, one short transaction publishes the generation, and the copy becomes the table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import Connection, insert, select, update

from component.base.errors import Conflict, StanzagateError
from component.gate import impact
from component.gate.changes import Change, Loss, Plan, unchanged
from component.gate.devices_lines import DeviceLines, Row
from component.gate.registry import delete_outdated, delete_unpublished, device_table
from component.gate.rules import counted, policy_state_table
from component.gate.table import give_memory_back

if TYPE_CHECKING:
    from component.gate.devices import Devices

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
"""About a thousand lines: so long at most does another change wait for the import."""

BREATH_REQUESTERS = 50


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
