"""How the registry of nodes changes: planned on memory, written in one transaction, applied, then told.

Changes happen one after the other, so memory always equals the database. When that is not certain, the next change
reads everything again before it is planned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import Connection

from component.base.audit import Audit
from component.base.enforcement import NotConfirmed
from component.base.store import DatabaseError, Store
from grid import accounts_rows as rows
from grid.accounts_rows import Registry
from grid.binding import Binding, Bindings
from grid.epochs import Epochs
from grid.model import SHOWN, GridChange, Node, Right

T = TypeVar("T")
log = logging.getLogger(__name__)

ON_TRIAL = -1
"""The epoch of a node as it would be after a change."""


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node has become another one.

    :ivar before: None when it was unknown.
    :ivar after: None when it is forgotten.
    :ivar password: for the account on the server, when an administrator has given one; it is stored nowhere.
    """

    before: Node | None
    after: Node | None
    epoch: int
    summary: str
    password: str = field(default="", repr=False)

    @property
    def jid(self) -> str:
        """The bare JID of the node."""
        return _jid_of(self.before, self.after)


Listener = Callable[[NodeChange], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """A change that is ready to be made.

    :ivar binds: a certificate that becomes the node's.
    :ivar registered: whether the node has registered itself; None leaves it as it is.
    """

    before: Node | None
    after: Node | None
    actor: str
    action: str
    summary: str
    detail: dict[str, Any] = field(default_factory=dict)
    binds: Binding | None = None
    registered: bool | None = None
    password: str = field(default="", repr=False)

    @property
    def jid(self) -> str:
        """The bare JID of the node."""
        return _jid_of(self.before, self.after)


class Ledger:
    """Memory and database of the registry.

    :param rights: the rights that a node has according to memory.
    :param clock: Unix time in seconds.
    :ivar registry: memory; only changed here.
    :ivar lock: held while a change is planned and made.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        epochs: Epochs,
        bindings: Bindings,
        *,
        rights: Callable[[str], Sequence[Right]],
        clock: Callable[[], float],
    ) -> None:
        self.registry = Registry()
        self.lock = asyncio.Lock()
        self.listeners: list[Listener] = []
        self._store = store
        self._audit = audit
        self._epochs = epochs
        self._bindings = bindings
        self._rights = rights
        self._clock = clock
        self._doubtful = False  # whether memory may not equal the database
        self._at_stake = 0  # the epoch of the change that is being written
        self._missed: list[NodeChange] = []  # found when everything was read again, and not told yet

    async def load(self) -> None:
        """Read everything from the database."""
        async with self.lock:
            await self._read()

    async def _read(self) -> None:
        registry, bound = await self._store.read(lambda c: (rows.read_registry(c), self._bindings.read(c)))
        self.registry = registry
        self._bindings.use(bound)
        self._doubtful = False
        self._epochs.applied(self._at_stake)

    async def ready(self) -> None:
        """Read everything again when memory may not equal the database; call with the lock held."""
        if not self._doubtful:
            return
        old = self.registry.nodes
        await self._read()
        now = self.registry.nodes
        for jid in old.keys() | now.keys():
            if old.get(jid) != now.get(jid):
                after = now.get(jid)
                epoch = after.epoch if after is not None else self.registry.gone.get(jid, self._epochs.current)
                self._missed.append(NodeChange(old.get(jid), after, epoch, f"{jid} was read again."))

    async def change(self, plan: Callable[[], Step], *, dry_run: bool) -> GridChange:
        """Plan a change and make it.

        :param plan: called when no other change is under way; raises what speaks against the change.
        """
        async with self.lock:
            await self.ready()
            step = plan()
            told = self._described(step, dry_run)
            change = None if dry_run else await self.commit(step)
        await self._tell_missed()
        if change is None:
            return told
        await self._tell(change)
        return replace(told, epoch=change.epoch)

    async def enter(self, plan: Callable[[], Step | Node]) -> Node:
        """A change that a node itself has caused: it does not wait until the server has confirmed it.

        :param plan: as for `change`; a node, when nothing has to change.
        :returns: the node as it is then.
        """
        async with self.lock:
            await self.ready()
            step = plan()
            change = await self.commit(step) if isinstance(step, Step) else None
        await self._tell_missed()
        if change is None or change.after is None:
            assert isinstance(step, Node)  # noqa: S101
            return step
        await self._tell_quietly(change)
        return change.after

    def _described(self, step: Step, dry_run: bool) -> GridChange:
        before = frozenset(self._rights(step.jid))
        with self._as_if(step):
            after = frozenset(self._rights(step.jid))
        loses, gains = sorted(before - after, key=_by_topic), sorted(after - before, key=_by_topic)
        return GridChange(
            step.summary, dry_run, self._epochs.current, tuple(loses[:SHOWN]), len(loses), tuple(gains[:SHOWN]),
            len(gains), {"jid": step.jid, "state": str(step.after.state) if step.after is not None else "gone"},
        )  # fmt: skip

    @contextmanager
    def _as_if(self, step: Step) -> Iterator[None]:
        """Memory as it would be after a step. Nothing may be awaited meanwhile: nobody else must see it."""
        unregistered, gone = step.jid in self.registry.unregistered, self.registry.gone.get(step.jid)
        self._apply(step.jid, None if step.after is None else replace(step.after, epoch=ON_TRIAL), None)
        try:
            yield
        finally:
            self._apply(step.jid, step.before, gone)
            if unregistered:
                self.registry.unregistered.add(step.jid)

    def _apply(self, jid: str, node: Node | None, epoch: int | None) -> None:
        if node is None:
            self.registry.drop(jid, epoch)
        else:
            self.registry.put(node)

    async def commit(self, step: Step) -> NodeChange:
        """Write a step and take it into memory; call with the lock held, after `ready`."""
        jid = step.jid
        known = step.before is not None and jid not in self.registry.unregistered
        registered = known if step.registered is None else step.registered

        def write(connection: Connection) -> tuple[int, Node | None]:
            epoch = self._at_stake = self._epochs.next(connection)
            after = None
            if step.after is None:
                rows.bury(connection, jid, epoch)
                self._bindings.release(connection, jid)
            else:
                after = replace(step.after, epoch=epoch)
                rows.write_node(connection, after, registered)
            if step.binds is not None:
                self._bindings.add(connection, step.binds, self._clock())
            detail = {**step.detail, "epoch": epoch}
            self._audit.append(connection, actor=step.actor, action=step.action, subject=jid, detail=detail)
            return epoch, after

        epoch, after = await self._write(write)
        self._apply(jid, after, epoch)
        self._epochs.applied(epoch)
        if after is not None and not registered:
            self.registry.unregistered.add(jid)
        else:
            self.registry.unregistered.discard(jid)
        return NodeChange(step.before, after, epoch, step.summary, step.password)

    async def correct(self, node: Node) -> None:
        """Replace a node's row by one that differs in nothing that anybody must be told; with the lock held."""
        registered = node.jid not in self.registry.unregistered
        await self._write(lambda connection: rows.write_node(connection, node, registered))
        self.registry.put(node)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._store.write(work)
        except (DatabaseError, asyncio.CancelledError):
            self._doubtful = True  # it may have happened: the database must say
            raise

    async def _tell(self, change: NodeChange) -> None:
        """Tell every listener.

        :raises Exception: what the first that failed has raised, after all were told. The change has been made.
        """
        failed: Exception | None = None
        for listener in self.listeners:
            try:
                await listener(change)
            except Exception as error:  # whatever it is, the others must hear of the change
                failed = failed or error
        if failed is not None:
            raise failed

    async def _tell_missed(self) -> None:
        while self._missed:
            await self._tell_quietly(self._missed.pop(0))

    async def _tell_quietly(self, change: NodeChange) -> None:
        """Tell where nobody waits for the confirmation; what was not confirmed is put right by reconciliation."""
        try:
            await self._tell(change)
        except NotConfirmed as error:
            log.warning("%s: %s", change.jid, error)


def _jid_of(before: Node | None, after: Node | None) -> str:
    node = after or before
    return node.jid if node is not None else ""


def _by_topic(right: Right) -> tuple[str, str, str]:
    return right.jid, right.topic, str(right.action)
