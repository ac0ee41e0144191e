"""Where devices are stored, and how the table of all of them is read.

Every row belongs to a generation. A device is described by its row of the highest published generation, so an
import can be written piece by piece, unseen, and published by raising one number.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    select,
)

from component.base.errors import StanzagateError
from component.base.store import metadata
from component.gate.rules import policy_state_table
from component.gate.table import DeviceTable, TableBuilder

READ_ROWS = 1_000

device_table = Table(
    "device",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("key", String(1023), nullable=False),  # the prepared id
    Column("generation", Integer, nullable=False),
    Column("id", String(1023), nullable=False),  # as it was registered
    Column("bare", String(2047), nullable=False),
    Column("resource", String(1023), nullable=False),
    Column("groups", Text, nullable=False),  # names joined by ';'
    Column("credentials", LargeBinary),  # user name and password, sealed for the key
    UniqueConstraint("key", "generation"),
    sqlite_autoincrement=True,
)

State = tuple[int, int]
"""Epoch and published generation."""


def ensured_state(connection: Connection) -> State:
    """Epoch and generation; a new database begins with epoch 1."""
    row = connection.execute(select(policy_state_table.c.epoch, policy_state_table.c.generation)).first()
    if row is None:
        connection.execute(insert(policy_state_table).values(id=1, epoch=1, generation=1))
        return 1, 1
    return row.epoch, row.generation


def read_table(connection: Connection, generation: int) -> DeviceTable:
    """All devices as of a generation.

    :raises StanzagateError: when the database contradicts itself.
    """
    columns = device_table.c
    builder = TableBuilder()
    result = connection.execution_options(stream_results=True).execute(
        select(columns.key, columns.id, columns.bare, columns.resource, columns.groups, columns.generation).where(
            columns.generation <= generation
        )
    )
    while rows := result.fetchmany(READ_ROWS):
        builder.add(rows)
    try:
        return builder.table()
    except ValueError as error:
        raise StanzagateError(
            f"The device registry is damaged: {error}.", hint="Restore the database from a backup."
        ) from None


def newest_row(connection: Connection, key: str, generation: int) -> tuple[int, str, bytes | None] | None:
    """Row number, id and sealed credentials of a device, or None."""
    columns = device_table.c
    row = connection.execute(
        select(columns.row, columns.id, columns.credentials)
        .where(columns.key == key, columns.generation <= generation)
        .order_by(columns.generation.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.row, row.id, row.credentials)


def delete_unpublished(connection: Connection, generation: int, limit: int) -> int:
    """Delete up to `limit` rows of imports that were never published; returns how many there were."""
    columns = device_table.c
    return _delete(connection, select(columns.row).where(columns.generation > generation).limit(limit))


def delete_outdated(connection: Connection, generation: int, limit: int) -> int:
    """Delete up to `limit` rows that a row of a higher published generation has replaced."""
    old, new = device_table.alias("old"), device_table.alias("new")
    outdated = (
        select(old.c.row)
        .join(new, (new.c.key == old.c.key) & (new.c.generation > old.c.generation))
        .where(new.c.generation <= generation)
        .distinct()
        .limit(limit)
    )
    return _delete(connection, outdated)


def _delete(connection: Connection, chosen: Select[tuple[int]]) -> int:
    rows = list(connection.scalars(chosen))
    for start in range(0, len(rows), 500):
        connection.execute(delete(device_table).where(device_table.c.row.in_(rows[start : start + 500])))
    return len(rows)
