"""Accounts that must go from the server and have not gone yet.

They are kept, since nothing else knows of a node that is deleted. Everything else that is owed is seen by comparing
(`grid.dataplane.reconcile`); whether an account was one of ours is not.
"""

from __future__ import annotations

from sqlalchemy import Column, String, Table, delete, insert, select

from component.base.store import Store, metadata

debts_table = Table("grid_account_owed", metadata, Column("jid", String(2047), primary_key=True))


class Debts:
    """The bare JIDs of deleted nodes whose accounts, made by us, are still on the server.

    :ivar jids: all of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.jids: set[str] = set()

    async def load(self) -> None:
        """Read them; call it before anything else."""
        self.jids = set(
            await self._store.read(lambda connection: connection.scalars(select(debts_table.c.jid)).all())
        )

    async def owe(self, jid: str) -> None:
        """The account could not be deleted now."""
        if jid in self.jids:
            return
        await self._store.write(lambda connection: connection.execute(insert(debts_table).values(jid=jid)))
        self.jids.add(jid)

    async def settle(self, jid: str) -> None:
        """The account has gone, or is a node's again."""
        if jid not in self.jids:
            return
        await self._store.write(
            lambda connection: connection.execute(delete(debts_table).where(debts_table.c.jid == jid))
        )
        self.jids.discard(jid)
