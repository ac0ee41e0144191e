"""What nodes have lost: topics whose events the in-server plugin must not deliver to them any more.

Neither server looks at rights again when it delivers, and what is stored for a node that is away would still reach it
(XEP-0160). So the plugin drops the events of a topic that a node has lost; when the node gets its right back, only
what is newer than the loss passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, String, Table, delete, insert, select

from component.base.store import DatabaseError, Store, metadata
from grid.epochs import Epochs

losses_table = Table(
    "grid_losses",
    metadata,
    Column("jid", String(3071), primary_key=True),
    Column("topic", String(1023), primary_key=True),
    Column("regained", Boolean, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Index("ix_grid_losses_epoch", "epoch"),
)


class Losses:
    """The losses of all nodes, by pair of bare JID and topic."""

    def __init__(self, store: Store, epochs: Epochs) -> None:
        self._store = store
        self._epochs = epochs
        self._pairs: dict[tuple[str, str], tuple[int, bool]] = {}  # epoch, whether it was regained
        self._uncertain = False  # whether memory may not equal the database
        self._at_stake = 0

    async def load(self) -> None:
        """Read them; call it before anything else."""
        rows = await self._store.read(lambda connection: connection.execute(select(losses_table)).all())
        self._pairs = {(row.jid, row.topic): (row.epoch, row.regained) for row in rows}
        self._uncertain = False
        self._epochs.applied(self._at_stake)

    def lost(self, jid: str, topic: str) -> bool:
        """Whether the node has lost the topic and not regained it."""
        found = self._pairs.get((jid, topic))
        return found is not None and not found[1]

    async def note(self, jid: str, topic: str, *, regained: bool) -> bool:
        """Note that a node has lost a topic, or regained what it had lost.

        :returns: whether that is news.
        """
        if self._uncertain:
            await self.load()
        found = self._pairs.get((jid, topic))
        if regained and (found is None or found[1]):
            return False

        def write(connection: Connection) -> int:
            epoch = self._at_stake = self._epochs.next(connection)
            this = (losses_table.c.jid == jid) & (losses_table.c.topic == topic)
            connection.execute(delete(losses_table).where(this))
            connection.execute(insert(losses_table).values(jid=jid, topic=topic, regained=regained, epoch=epoch))
            return epoch

        try:
            epoch = await self._store.write(write)
        except (DatabaseError, asyncio.CancelledError):
            self._uncertain = True  # it may have happened: the database must say
            raise
        self._pairs[jid, topic] = (epoch, regained)
        self._epochs.applied(epoch)
        return True

    def since(self, epoch: int) -> Iterator[tuple[int, str, str, bool]]:
        """Epoch, bare JID, topic, whether regained: of those that are newer than `epoch`."""
        for (jid, topic), (number, regained) in self._pairs.items():
            if number > epoch:
                yield number, jid, topic, regained
