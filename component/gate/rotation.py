"""Sealing all device credentials with a new key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, select, update

from component.gate.registry import device_table

if TYPE_CHECKING:
    from component.gate.devices import Devices

SEALED_TOGETHER = 500


async def rotate(devices: Devices, actor: str, progress: Callable[[int], None] | None) -> int:
    """See `Devices.rotate_key`.

    Rows are visited by number; what is added meanwhile has a higher one and the new key. The old key is forgotten
    last, so an interruption anywhere loses nothing.
    """
    vault = devices.vault
    store = devices.policy.changes.store
    async with devices.policy.changes.lock:  # a change seals and writes under it: none is left with the old key
        if not vault.rotating:
            await asyncio.to_thread(vault.begin_rotation)
    last = looked_at = changed = 0
    while True:
        rows = await store.read(lambda connection, last=last: _read(connection, last))  # type: ignore[misc]
        if not rows:
            break
        last = rows[-1][0]
        renewed = await asyncio.to_thread(_renewed, devices, rows)
        if renewed:
            await store.write(lambda connection, renewed=renewed: _write(connection, renewed))  # type: ignore[misc]
        changed += len(renewed)
        looked_at += len(rows)
        if progress is not None:
            progress(looked_at)
    async with devices.policy.changes.lock:
        await store.write(
            lambda connection: devices.policy.audit.append(
                connection, actor=actor, action="credentials.rotated", subject="devices", detail={"sealed": changed}
            )
        )
        await asyncio.to_thread(vault.finish_rotation)
    return changed


_Row = tuple[int, str, bytes]


def _read(connection: Connection, after: int) -> list[_Row]:
    columns = device_table.c
    query = (
        select(columns.row, columns.key, columns.credentials)
        .where(columns.row > after, columns.credentials.is_not(None))
        .order_by(columns.row)
        .limit(SEALED_TOGETHER)
    )
    return [(row.row, row.key, row.credentials) for row in connection.execute(query)]


def _renewed(devices: Devices, rows: list[_Row]) -> list[tuple[int, bytes, bytes]]:
    vault = devices.vault
    return [
        (row, sealed, vault.seal(vault.unseal(sealed, key), key))
        for row, key, sealed in rows
        if not vault.is_current(sealed)
    ]


def _write(connection: Connection, renewed: list[tuple[int, bytes, bytes]]) -> None:
    # Only where nobody has changed the credentials since they were read.
    columns = device_table.c
    connection.execute(
        update(device_table)
        .where(columns.row == bindparam("which"), columns.credentials == bindparam("old"))
        .values(credentials=bindparam("new")),
        [{"which": row, "old": old, "new": new} for row, old, new in renewed],
    )
