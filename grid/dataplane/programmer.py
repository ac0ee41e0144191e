"""Makes the server's publish-subscribe service and its accounts what they should be, and keeps them so.

A change is on disk before it comes here; whatever the registries say by then is made so (`grid.desired`), by the
difference to what is known to be at the server (`grid.dataplane.mirror`). So it does not matter how often, in which
order or after which failure it is called: a second run sends nothing. What could not be done is owed, and made good
when the server is back, or by the reconciliation.

Topics are independent of each other and are programmed side by side; for one topic there is one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from component.base.enforcement import NotConfirmed
from component.base.errors import StanzagateError, Unreachable
from component.base.link import NoAnswer
from grid.dataplane.debts import Debts
from grid.dataplane.pubsub import PubSub
from grid.dataplane.reconcile import Reconciliation
from grid.dataplane.report import Repair, Report
from grid.dataplane.shaping import Lost, Shaper
from grid.dataplane.users import Users
from grid.desired import Desired
from grid.model import Node, NodeState

log = logging.getLogger(__name__)

AT_ONCE = 8
"""So many topics are programmed side by side: more gain nothing, since either server works on one request after the
other, and would make batches wait for each other."""

SHOWN = 5
"""So many findings of a reconciliation are logged; the report has them all."""

UNSURE_SECONDS = 15.0
"""A server that is killed loses what it was told last: ejabberd's database writes to its file after seconds."""

RETRY_SECONDS = 5.0
INTERVAL = 300.0

NoteAccount = Callable[[str, bool], Awaitable[None]]
"""Keeps whether the account of a node was made by us."""


async def _nobody(_jid: str, _made: bool) -> None:
    """Where nobody keeps it."""


class Programmer:
    """Programs the server.

    :param pubsub: the publish-subscribe service.
    :param users: the accounts.
    :param desired: what should be.
    :param lost: tells the in-server plugin that a node has lost a topic or regained it; may raise NotConfirmed.
    :param note_account: keeps whether we have made an account.
    :param debts: keeps accounts that have to be deleted and cannot be yet.
    :param on_report: told of each reconciliation.
    :param interval: seconds between reconciliations.
    :param at_once: so many topics are programmed side by side.
    :param clock: seconds, for the duration of reconciliations.
    :ivar owed: topics that could not be programmed, until they are.
    :ivar owed_nodes: nodes likewise.
    :ivar uncertain: whether changes of an earlier run may not have reached the server, nobody knows which; until
        everything has been compared.
    :ivar last: the last reconciliation.
    """

    def __init__(
        self,
        pubsub: PubSub,
        users: Users,
        desired: Desired,
        *,
        lost: Lost,
        note_account: NoteAccount = _nobody,
        debts: Debts | None = None,
        on_report: Callable[[Report], None] = lambda _report: None,
        interval: float = INTERVAL,
        at_once: int = AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pubsub = pubsub
        self.users = users
        self.desired = desired
        self.owed: set[str] = set()
        self.owed_nodes: dict[str, tuple[Node | None, str]] = {}
        self.uncertain = False
        self.last: Report | None = None
        self._shaper = Shaper(pubsub, desired, lost)
        self._note_account = note_account
        self._debts = debts
        self._on_report = on_report
        self._interval = interval
        self._bound = asyncio.Semaphore(at_once)
        self._turns: dict[str, tuple[asyncio.Lock, list[None]]] = {}
        self._reconciling = asyncio.Lock()
        self._reconciliation = Reconciliation(pubsub, users, desired, self._repair, self._is_owed, clock)
        self._clock = clock
        self._made: dict[str, float] = {}  # topics and nodes, by the time when they were last made right
        self._unsure: set[str] = set()  # those of which the server may have lost that
        self._wake = asyncio.Event()
        self._overdue = True
        pubsub.link.watchers.append(self._attached_or_lost)

    # What others call

    async def topic(self, name: str, jids: Iterable[str] | None = None) -> None:
        """Make the server have what it should have of a topic.

        :param jids: bare JIDs whose part in it has changed; None for everything.
        :raises NotConfirmed: not everything is done yet; it is tried again.
        """
        only = frozenset(jids) if jids is not None else None
        try:
            await self._owing(name, only)
        except StanzagateError as error:
            if isinstance(error, (Unreachable, NoAnswer)):
                await self._shaper.foretell(name, only)
            raise _not_confirmed(f"The topic {name}", error) from error

    async def node(self, jid: str, *, before: Node | None = None, password: str = "") -> None:
        """Make the server have what it should have of a node: its account, its part in topics, no sessions.

        :param before: what it was, if that is known: its account is deleted with it if it was made by us.
        :param password: for its account; empty for a random one that nobody knows, if the account is not there.
        :raises NotConfirmed: not everything is done yet; it is tried again.
        """
        try:
            await self._node(jid, before, password)
        except StanzagateError as error:
            self._wake.set()
            if self._debts is not None and self.desired.state(jid) is None and before is not None and before.account:
                await self._debts.owe(jid)
            raise _not_confirmed(jid, error, error.details) from error

    async def _node(self, jid: str, before: Node | None, password: str) -> None:
        owed_before, owed_password = self.owed_nodes.get(jid, (None, ""))
        before, password = before or owed_before, password or owed_password
        self.owed_nodes[jid] = before, password
        failed: list[StanzagateError] = []
        for step in (self._admit(jid, before, password), self._topics_of(jid), self._expel(jid, before)):
            await _collect(step, failed)
        if failed:
            failed[0].details += tuple(str(error) for error in failed[1:])
            raise failed[0]
        self.owed_nodes.pop(jid, None)
        self._note_made(jid)
        if self._debts is not None:
            await self._debts.settle(jid)

    def expect(self, what: str) -> None:
        """A topic or a node has changed and will be programmed: if the link is lost before, that is no drift."""
        self._note_made(what)

    async def recover(self) -> None:
        """Owe what an earlier run of the controller owed; call it before `run`."""
        if self._debts is not None:
            await self._debts.load()
            gone = ((jid, Node(jid, NodeState.ACTIVE, account=True)) for jid in self._debts.jids)
            self.owed_nodes.update({jid: (before, "") for jid, before in gone})

    async def reconcile(self) -> Report:
        """Compare everything with the server, and put right what differs.

        :returns: what was put right; `complete` says whether everything was looked at.
        """
        async with self._reconciling:
            report = self.last = await self._reconciliation.run()
            if report.complete and not report.failed:
                self.uncertain = False
                self._unsure.clear()
        if report.drift or report.failed:
            found = "; ".join([*report.lines, *report.failed][:SHOWN])
            log.warning("Reconciliation: %d put right, %d failed: %s", report.drift, len(report.failed), found)
        self._on_report(report)
        return report

    async def run(self) -> None:
        """Reconcile when the server is attached, and from time to time; make good what is owed, at once and then less
        and less often. Until cancelled."""
        delay = RETRY_SECONDS
        while True:
            await self.pubsub.link.attached.wait()
            self._wake.clear()
            if self._overdue:
                self._overdue = False
                report = await self.reconcile()
                self._overdue = self._overdue or not report.complete
            await self._pay()
            urgent = bool(self.owed or self.owed_nodes or self._overdue)
            try:
                async with asyncio.timeout(min(delay, self._interval) if urgent else self._interval):
                    await self._wake.wait()
                    delay = RETRY_SECONDS
            except TimeoutError:
                self._overdue = self._overdue or not urgent or delay >= self._interval
                delay = min(2 * delay, self._interval) if urgent else RETRY_SECONDS

    def _is_owed(self, what: str) -> bool:
        return self.uncertain or what in self.owed or what in self.owed_nodes or what in self._unsure

    @property
    def idle(self) -> bool:
        """Whether the server has everything that it was to have, as far as is known."""
        return not (self.owed or self.owed_nodes or self._turns or self.uncertain or self._overdue)

    # Topics

    async def _converge(self, name: str, only: frozenset[str] | None, repairs: list[Repair] | None) -> None:
        async with self._turn(name), self._bound:
            await self._shaper.converge(name, only, repairs)
        if only is None:
            self.owed.discard(name)
        if repairs is None:
            self._note_made(name)

    async def _repair(self, name: str, repairs: list[Repair]) -> None:
        try:
            await self._converge(name, None, repairs)
        except StanzagateError:
            self.owed.add(name)
            raise

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """One at a time for a topic."""
        lock, waiting = self._turns.setdefault(name, (asyncio.Lock(), []))
        waiting.append(None)
        try:
            async with lock:
                yield
        finally:
            waiting.pop()
            if not waiting:
                del self._turns[name]

    # Nodes

    async def _admit(self, jid: str, before: Node | None, password: str) -> None:
        if not self.desired.account(jid) or not self.users.covers(jid):
            return
        if await self.users.add(jid, password):
            return
        if password:
            await self.users.set_password(jid, password)
        elif before is None or before.state is NodeState.PENDING:  # later ones find what we made ourselves
            await self._note_account(jid, False)

    async def _topics_of(self, jid: str) -> None:
        names = self.desired.touched(jid) | self._shaper.mirror.concerning(jid)
        if not self.desired.account(jid):
            names |= self.desired.names() - self._shaper.mirror.names()  # nobody knows yet what it has there
        only = frozenset((jid,))
        failed: list[StanzagateError] = []
        await asyncio.gather(*(_collect(self._owing(name, only), failed) for name in sorted(names)))
        if failed:
            raise failed[0]

    async def _expel(self, jid: str, before: Node | None) -> None:
        state = self.desired.state(jid)
        if state in (NodeState.ACTIVE, NodeState.PENDING) or not self.users.covers(jid):
            return
        await self.users.end_sessions(jid)
        if state is None and before is not None and before.account:
            await self.users.delete(jid)

    # Debts

    async def _owing(self, name: str, only: frozenset[str] | None) -> None:
        try:
            await self._converge(name, only, None)
        except BaseException:
            self.owed.add(name)
            self._wake.set()
            raise

    async def _pay(self) -> None:
        """Do what is owed; what fails is owed still."""
        for name in sorted(self.owed):
            with contextlib.suppress(StanzagateError):
                await self._converge(name, None, None)
        for jid, (before, password) in list(self.owed_nodes.items()):
            with contextlib.suppress(StanzagateError):
                await self._node(jid, before, password)

    def _note_made(self, what: str) -> None:
        now = self._clock()
        self._made.pop(what, None)
        self._made[what] = now
        while (first := next(iter(self._made))) != what and self._made[first] < now - UNSURE_SECONDS:
            del self._made[first]

    def _attached_or_lost(self, _attached: bool) -> None:
        self._shaper.forget()
        self._unsure |= {what for what, then in self._made.items() if then >= self._clock() - UNSURE_SECONDS}
        self._made.clear()
        self._overdue = True
        self._wake.set()


async def _collect(step: Awaitable[None], failed: list[StanzagateError]) -> None:
    try:
        await step
    except StanzagateError as error:
        failed.append(error)


def _not_confirmed(what: str, error: StanzagateError, details: Sequence[str] = ()) -> NotConfirmed:
    return NotConfirmed(
        f"{what} is not yet at the server what it should be: {error.message}",
        hint=f"{error.hint} It is tried again until it is done.".strip(),
        details=details,
    )
