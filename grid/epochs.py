"""One number for everything that the in-server plugin must obey: it grows with every change, and never shrinks."""

from __future__ import annotations

import threading

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, delete, insert, select, update

from component.base.store import Store, metadata

epoch_table = Table(
    "grid_epoch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
"""The number of the last change, and marks that say how far somebody else had come."""

_CURRENT = 1
FLOOR = 2
"""What the plugin can know at most; there while it has not been heard since the controller started."""
PROGRAMMED = 3
"""What the server has for certain."""


class Epochs:
    """The counter.

    :ivar current: the number of the last change that is on disk.
    :ivar marks: how far others had come when everything was read, by `FLOOR` and `PROGRAMMED`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # numbers are given out on the writer's thread
        self._open: set[int] = set()
        self.current = 0
        self.marks: dict[int, int] = {}

    async def load(self) -> None:
        """Read the number; call it before anything else."""
        rows = await self._store.read(lambda connection: connection.execute(select(epoch_table)).all())
        self.marks = {row.id: row.epoch for row in rows}
        self.current = self.marks.pop(_CURRENT, 0)

    def next(self, connection: Connection) -> int:
        """The number of the change that the transaction of `connection` makes; `applied` must follow."""
        epoch = (_stored(connection, _CURRENT) or 0) + 1
        _store(connection, _CURRENT, epoch)
        with self._lock:
            self._open.add(epoch)

        def landed() -> None:
            self.current = max(self.current, epoch)

        self._store.after_commit(connection, landed)
        return epoch

    def applied(self, epoch: int) -> None:
        """Memory has the change of that number, or it is certain that there is none. Any thread may say so."""
        with self._lock:
            self._open.discard(epoch)

    @property
    def settled(self) -> int:
        """Memory has every change up to this number; of later ones it may have some."""
        with self._lock:
            return min(self.current, min(self._open, default=self.current + 1) - 1)

    async def mark(self, which: int, epoch: int | None) -> None:
        """Keep how far somebody has come, or nothing about it.

        :raises DatabaseError: it cannot be written.
        """
        if self.marks.get(which) == epoch:
            return
        await self._store.write(lambda connection: _store(connection, which, epoch))
        if epoch is None:
            self.marks.pop(which, None)
        else:
            self.marks[which] = epoch


def _stored(connection: Connection, which: int) -> int | None:
    return connection.execute(select(epoch_table.c.epoch).where(epoch_table.c.id == which)).scalar()


def _store(connection: Connection, which: int, epoch: int | None) -> None:
    this = epoch_table.c.id == which
    if epoch is None:
        connection.execute(delete(epoch_table).where(this))
    elif connection.execute(update(epoch_table).where(this).values(epoch=epoch)).rowcount == 0:
        connection.execute(insert(epoch_table).values(id=which, epoch=epoch))
