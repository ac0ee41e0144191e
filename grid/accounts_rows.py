"""The registry of nodes in the database, and how it is read into memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    SmallInteger,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from component.base.errors import InputError
from component.base.store import metadata
from grid.model import Clearance, Node, NodeState

node_table = Table(
    "grid_node",
    metadata,
    Column("jid", String(2047), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("groups", Text, nullable=False),
    Column("clearance", SmallInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("since", Float, nullable=False),
    Column("account", Boolean, nullable=False),
    Column("registered", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)
"""One row for each node. `registered`: it has said so itself, which it may do once."""

gone_table = Table(
    "grid_node_gone",
    metadata,
    Column("jid", String(2047), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)
"""Nodes that were rejected or deleted, so that an in-server plugin that was away hears of it."""

LONGEST_REASON = 500

_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LEVELS = {
    "white": Clearance.WHITE, "public": Clearance.WHITE,
    "green": Clearance.GREEN, "partner": Clearance.GREEN,
    "amber": Clearance.AMBER, "need-to-know": Clearance.AMBER,
    "red": Clearance.RED, "private": Clearance.RED,
}  # fmt: skip
_SEPARATOR = ";"


@dataclass
class Registry:
    """Every node, as the database has it.

    :ivar unregistered: the JIDs of those that were admitted and have not registered themselves yet.
    :ivar gone: bare JID and epoch of those that were rejected or deleted.
    :ivar members: JIDs by group.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)
    gone: dict[str, int] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    pending: int = 0

    def put(self, node: Node) -> None:
        """Take a node in the place of the one of its JID."""
        self._leave(self.nodes.get(node.jid))
        self.nodes[node.jid] = node
        self.gone.pop(node.jid, None)
        self.pending += node.state is NodeState.PENDING
        for group in node.groups:
            self.members.setdefault(group, set()).add(node.jid)

    def drop(self, jid: str, epoch: int | None = None) -> None:
        """Forget a node; with `epoch` it is remembered that it has gone."""
        self._leave(self.nodes.pop(jid, None))
        self.unregistered.discard(jid)
        if epoch is not None:
            self.gone[jid] = epoch

    def _leave(self, node: Node | None) -> None:
        if node is None:
            return
        self.pending -= node.state is NodeState.PENDING
        for group in node.groups:
            self.members[group].discard(node.jid)
            if not self.members[group]:
                del self.members[group]


def read_registry(connection: Connection) -> Registry:
    """Everything; texts that many nodes have in common are there once."""
    registry = Registry()
    groups: dict[str, tuple[str, ...]] = {"": ()}
    states = {str(state): state for state in NodeState}
    levels = {int(level): level for level in Clearance}
    columns = (
        node_table.c.jid, node_table.c.state, node_table.c.groups, node_table.c.clearance, node_table.c.epoch,
        node_table.c.since, node_table.c.account, node_table.c.reason, node_table.c.registered,
    )  # fmt: skip
    for jid, state, joined, level, epoch, since, account, reason, registered in connection.execute(select(*columns)):
        found = groups.get(joined)
        if found is None:
            found = groups[joined] = tuple(sys.intern(group) for group in joined.split(_SEPARATOR))
        registry.put(Node(jid, states[state], found, levels[level], epoch, since, account, reason))
        if not registered:
            registry.unregistered.add(jid)
    for jid, epoch in connection.execute(select(gone_table.c.jid, gone_table.c.epoch)):
        registry.gone[jid] = epoch
    return registry


def write_node(connection: Connection, node: Node, registered: bool) -> None:
    """Insert or replace a node's row."""
    values = {
        "state": str(node.state), "groups": _SEPARATOR.join(node.groups), "clearance": int(node.clearance),
        "epoch": node.epoch, "since": node.since, "account": node.account, "registered": registered,
        "reason": node.reason,
    }  # fmt: skip
    if connection.execute(update(node_table).where(node_table.c.jid == node.jid).values(values)).rowcount == 0:
        connection.execute(insert(node_table).values(jid=node.jid, **values))
        connection.execute(delete(gone_table).where(gone_table.c.jid == node.jid))


def bury(connection: Connection, jid: str, epoch: int) -> None:
    """Remove a node's row, and remember that it has gone."""
    connection.execute(delete(node_table).where(node_table.c.jid == jid))
    connection.execute(insert(gone_table).values(jid=jid, epoch=epoch))


def checked_group(text: str) -> str:
    """A group's name.

    :raises InputError: it has characters that a group's name cannot have.
    """
    name = text.strip()
    if not _GROUP.fullmatch(name):
        raise InputError(
            f"{text!a} is not a group name.",
            hint="Use 1 to 64 of A-Z a-z 0-9 _ . + - and begin with a letter, a digit or _.",
        )
    return sys.intern(name)


def checked_groups(texts: Iterable[str]) -> tuple[str, ...]:
    """Names of groups in alphabetical order, each once.

    :raises InputError: as `checked_group`.
    """
    return tuple(sorted({checked_group(text) for text in texts}))


def checked_reason(text: str) -> str:
    """What an administrator says, in one line.

    :raises InputError: it is too long, or has control characters.
    """
    reason = text.strip()
    if len(reason) > LONGEST_REASON:
        raise InputError(f"The reason has {len(reason)} characters.", hint=f"Use at most {LONGEST_REASON}.")
    if _CONTROL.search(reason):
        raise InputError("The reason has control characters.", hint="Write it as one line of text.")
    return reason


def clearance_from(text: str) -> Clearance:
    """A level by one of its names (RFC 7970 §3.3.1).

    :raises InputError: there is no such level.
    """
    level = _LEVELS.get(text.strip().lower())
    if level is None:
        raise InputError(f"{text!a} is not a level.", hint=f"Use one of {', '.join(_LEVELS)}.")
    return level


def changes_after(
    registry: Registry, epoch: int, bound: Mapping[str, int], states: dict[NodeState, str], gone: str
) -> Iterator[tuple[int, str, str]]:
    """Epoch, JID and state of everything that has changed after an epoch, in that order.

    :param bound: names of which a binding has changed after it, and by which change.
    """
    changed = {node.jid: node for node in registry.nodes.values() if node.epoch > epoch}
    changed |= {jid: registry.nodes[jid] for jid in bound if jid in registry.nodes}
    nodes: Sequence[tuple[int, str, str]] = [
        (max(node.epoch, bound.get(jid, 0)), jid, states[node.state]) for jid, node in changed.items()
    ]
    buried = [(number, jid, gone) for jid, number in registry.gone.items() if number > epoch]
    yield from sorted([*nodes, *buried])
