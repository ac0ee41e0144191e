"""The grid's registries on a real database with a real audit record; nodes are what the test says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from component.base.audit import Audit, AuditKey
from component.base.store import Store
from grid.access import Access
from grid.epochs import Epochs
from grid.model import Action, Node, NodeState
from grid.topics import Topics
from stanzagate import migrations

URL = "sqlite:///grid.db"


@dataclass
class Registries:
    """Topics and rules.

    :ivar nodes: registered nodes by JID; a test changes them as it likes.
    """

    store: Store
    audit: Audit
    epochs: Epochs
    nodes: dict[str, Node]
    topics: Topics
    access: Access

    async def actions(self) -> list[tuple[str, str, str]]:
        """Actor, action and subject of every row of the audit record."""
        return [(row.actor, row.action, row.subject) for row in await self.audit.rows()]


def node(jid: str, *groups: str, state: NodeState = NodeState.ACTIVE) -> Node:
    """A registered node."""
    return Node(jid, state, tuple(sorted(groups)))


@contextlib.asynccontextmanager
async def registries(
    folder: Path, nodes: Iterable[Node] = (), roles: Mapping[str, tuple[Action, ...]] | None = None
) -> AsyncIterator[Registries]:
    """Registries on the database of a folder, loaded; what was there is there again."""
    migrations.upgrade(URL, folder)
    with contextlib.closing(Store(URL, folder)) as store:
        audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head")
        epochs = Epochs(store)
        await epochs.load()
        known = {each.jid: each for each in nodes}
        topics = Topics(store, audit, epochs, clock=lambda: 1000.0)
        access = Access(
            store, audit, epochs, node=known.get,
            members=lambda group: [jid for jid, each in known.items() if group in each.groups],
            topics=topics.all, topic=topics.get, roles=roles, clock=lambda: 1000.0,
        )  # fmt: skip
        topics.standing = access.standing
        await topics.load()
        await access.load()
        yield Registries(store, audit, epochs, known, topics, access)
