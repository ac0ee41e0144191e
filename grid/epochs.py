"""One number for everything that the in-server plugin must obey: it grows with every change, and never shrinks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, insert, select, update

from component.base.store import Store, metadata

epoch_table = Table(
    "grid_epoch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
"""One row."""


class Epochs:
    """The counter.

    :ivar current: the number of the last change that is on disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.current = 0

    async def load(self) -> None:
        """Read the number; call it before anything else."""
        self.current = await self._store.read(_stored)

    def next(self, connection: Connection) -> int:
        """The number of the change that the transaction of `connection` makes."""
        epoch = _stored(connection) + 1
        if connection.execute(update(epoch_table).values(epoch=epoch)).rowcount == 0:
            connection.execute(insert(epoch_table).values(id=1, epoch=epoch))

        def landed() -> None:
            self.current = max(self.current, epoch)

        self._store.after_commit(connection, landed)
        return epoch


def _stored(connection: Connection) -> int:
    return int(connection.execute(select(epoch_table.c.epoch)).scalar() or 0)
