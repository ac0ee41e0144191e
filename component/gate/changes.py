"""What a change says about itself, and the one way in which changes happen.

A change is planned on the index, written in one transaction together with its audit row and the next epoch, then
applied to the index; then the listeners are told, and then it returns. Changes happen one after the other, so the
memory always equals the database. When that is not certain, nothing is decided until everything was read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, select, update

from component.base.errors import StanzagateError
from component.base.store import DatabaseError, Store
from component.gate.rules import policy_state_table

if TYPE_CHECKING:
    from component.base.link import Spawn

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    """Devices that a requester may wake before or after a change, but not both.

    :ivar requester: a bare JID, or a full JID that has rules of its own.
    :ivar devices: how many.
    :ivar examples: ids of up to ten of them.
    """

    requester: str
    devices: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did, or would do when `dry_run` is set.

    :ivar summary: one or more sentences for people.
    :ivar created: id of the rule, suspension or device that is new; ids of the rules that an import has made. Empty
        for an import of devices, and when it was only tried.
    :ivar epoch: the number of the policy after the change.
    :ivar requester: bare JID of the only requester that is touched; empty when there are several.
    :ivar device: bare JID of the only device that is touched; empty when there are several.
    """

    summary: str
    loses: tuple[Loss, ...] = ()
    gains: tuple[Loss, ...] = ()
    created: tuple[str, ...] = ()
    epoch: int = 0
    dry_run: bool = False
    requester: str = ""
    device: str = ""


Listener = Callable[[Change], Awaitable[None]]


class Trail(Protocol):
    """The part of the audit record that changes need."""

    def append(
        self, connection: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any]
    ) -> object:
        """Record a change in the transaction that makes it."""


@dataclass(frozen=True)
class Plan:
    """A change that is ready to be made.

    :ivar change: what is told of it when it is not made.
    :ivar write: makes it in the database and records it; what it returns is given to `apply`.
    :ivar apply: makes it in memory and tells what happened; must not fail.
    :ivar advances: whether the policy is another one afterwards; if not, there is no new epoch and nobody to tell.
    """

    change: Change
    write: Callable[[Connection], Any]
    apply: Callable[[Any], Change]
    advances: bool = True


def unchanged(change: Change, write: Callable[[Connection], None] = lambda _: None) -> Plan:
    """The plan of what turns out to change nothing.

    :param write: records it, if that is wanted.
    """
    return Plan(change, write, lambda _: change, advances=False)


class Changes:
    """Makes changes one after the other.

    :param reload: reads everything again; called when memory may not equal the database.
    :param wake: set when something has to be done soon.
    :param spawn: a change that has begun is finished by a task of its own, so that a caller who goes away cannot
        leave memory and database apart.
    """

    def __init__(
        self, store: Store, reload: Callable[[], Awaitable[None]], spawn: Spawn, wake: asyncio.Event
    ) -> None:
        self.store = store
        self.lock = asyncio.Lock()
        self.epoch = 0
        self.generation = 0
        self.available = False
        self.reloads = 0
        """How often everything was read again because memory might not have equalled the database."""
        self.listeners: list[Listener] = []
        self._reload = reload
        self._wake = wake
        self._spawn = spawn

    async def make(self, plan: Callable[[], Awaitable[Plan]], *, dry_run: bool = False) -> Change:
        """Plan a change and make it.

        :param plan: called when no other change is under way; raises what speaks against the change.
        :returns: the change, with its epoch.
        """
        return await self.finish("policy change", self._make(plan, dry_run))

    async def finish(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even if the caller is cancelled meanwhile."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._spawn(name, _deliver(work, future))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_looked_at)
            raise

    async def _make(self, plan: Callable[[], Awaitable[Plan]], dry_run: bool) -> Change:
        async with self.lock:
            await self.ready()
            planned = await plan()
            if dry_run:
                return self.described(planned)
            change = await self.commit(planned)
        if planned.advances:
            await self.tell(change)
        return change

    def described(self, plan: Plan) -> Change:
        """What a plan would do."""
        return replace(plan.change, created=(), epoch=self.epoch, dry_run=True)

    def look_again(self) -> None:
        """Tell whoever cleans up that there is something new to wait for."""
        self._wake.set()

    async def ready(self) -> None:
        """Read everything again when memory may not equal the database; call with the lock held."""
        if not self.available:
            self.reloads += 1
            await self._reload()
            self._spawn("policy read again", self._tell_all())

    async def commit(self, plan: Plan) -> Change:
        """Write a plan and apply it; call with the lock held."""
        try:
            step = advance if plan.advances else current_epoch
            epoch, result = await self.store.write(lambda connection: (step(connection), plan.write(connection)))
        except DatabaseError:
            self.available = False  # a commit that failed may have happened: the database must say
            self.available = await self._unmoved()
            self._wake.set()
            raise
        except asyncio.CancelledError:
            self.available = False
            self._wake.set()
            raise
        try:
            change = plan.apply(result)
        except BaseException:
            self.available = False
            self._wake.set()
            raise
        self.epoch = epoch
        return replace(change, epoch=epoch)

    async def _unmoved(self) -> bool:
        try:
            return await self.store.read(current_epoch) == self.epoch
        except StanzagateError:
            return False

    async def tell(self, change: Change) -> None:
        """Tell every listener.

        :raises Exception: what the first of the listeners that failed raised, after all were told. The change
            itself has been made.
        """
        failed: Exception | None = None
        for listener in self.listeners:
            try:
                await listener(change)
            except Exception as error:  # whatever it is, the others must hear of the change
                failed = failed or error
        if failed is not None:
            raise failed

    async def _tell_all(self) -> None:
        """What was read again may be another policy than the one that was told of."""
        try:
            await self.tell(Change("The policy was read again.", epoch=self.epoch))
        except StanzagateError as error:
            log.warning("%s", error)


def current_epoch(connection: Connection) -> int:
    """The epoch of the database."""
    return int(connection.execute(select(policy_state_table.c.epoch)).scalar_one())


def advance(connection: Connection) -> int:
    """Go on to the next epoch, in the transaction of the change that causes it, and return it."""
    connection.execute(update(policy_state_table).values(epoch=policy_state_table.c.epoch + 1))
    return current_epoch(connection)


async def _deliver(work: Coroutine[Any, Any, T], future: asyncio.Future[T]) -> None:
    try:
        result = await work
    except asyncio.CancelledError:
        future.cancel()
        raise
    except Exception as error:  # it belongs to whoever asked, not to the task group
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def _looked_at(future: asyncio.Future[Any]) -> None:
    # The caller has gone; without this asyncio complains that nobody looked at the outcome.
    if not future.cancelled() and future.exception() is not None:
        log.warning("a change whose caller had gone failed: %s", future.exception())
