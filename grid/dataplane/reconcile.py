"""The reconciliation: everything at the server is compared with what it should be, and put right.

Somebody else may have changed something, a server may have been restored from a backup, a change may have met a
server that was away. It uses the same code as changes do, so what it makes is what they make. Its effort is bounded:
three requests for a topic, a few topics side by side, accounts in turns.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from component.base.errors import StanzagateError, Unreachable
from component.base.link import NoAnswer
from grid.dataplane.pubsub import PubSub
from grid.dataplane.report import LINES, Repair, RepairKind, Report
from grid.dataplane.users import Users
from grid.desired import Desired

PIECE = 64
"""So many topics or accounts are handed out together; when the link is lost, no more are."""

ACCOUNTS = 2000
"""So many accounts are looked at in one go, a request each: a second or two. The next ones come the next time."""

Converge = Callable[[str, list[Repair]], Awaitable[None]]
"""Read a topic's node and make it what it should be; what had to be done is put into the list."""


@dataclass
class _Findings:
    repairs: list[Repair] = field(default_factory=list)
    made_good: list[Repair] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    topics: int = 0
    accounts: int = 0
    broken: bool = False
    """Whether the link or the server failed: then there is no use in going on."""

    def note(self, repairs: Sequence[Repair], *, owed: bool) -> None:
        (self.made_good if owed else self.repairs).extend(repairs)

    def fail(self, what: str, error: StanzagateError) -> None:
        self.failed.append(f"{what}: {error}")
        self.broken = self.broken or isinstance(error, (Unreachable, NoAnswer))


class Reconciliation:
    """Compares and repairs.

    :param converge: makes one topic right.
    :param owed: whether changes of a topic or a node could not be made yet, or may have been lost; to make them is no
        repair.
    :param clock: seconds.
    """

    def __init__(
        self,
        pubsub: PubSub,
        users: Users,
        desired: Desired,
        converge: Converge,
        owed: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pubsub = pubsub
        self._users = users
        self._desired = desired
        self._converge = converge
        self._owed = owed
        self._clock = clock
        self._seen = ""  # the last account that was looked at

    async def run(self) -> Report:
        """Do it once. It never fails: what went wrong is in the report."""
        begun = self._clock()
        findings = _Findings()
        await self._topics(findings)
        if not findings.broken:
            await self._accounts(findings)
        return Report(
            Counter(repair.kind for repair in findings.repairs),
            _lines(findings.repairs),
            len(findings.made_good),
            tuple(findings.failed),
            findings.topics,
            findings.accounts,
            self._clock() - begun,
            not findings.broken,
            _lines(findings.made_good),
        )

    async def _topics(self, findings: _Findings) -> None:
        try:
            present = await self._pubsub.nodes()
        except StanzagateError as error:
            findings.fail(self._pubsub.service, error)
            findings.broken = True
            return
        names = self._desired.names()
        if present and not names:
            # An empty database is more likely a mistake than the wish to lose everything.
            findings.failed.append(
                f"No topic is known here, so the {len(present)} nodes at the server are left alone."
            )
            return
        await self._each(sorted(names | present), self._topic, findings)

    async def _topic(self, name: str, findings: _Findings) -> None:
        owed = self._owed(name)
        repairs: list[Repair] = []
        try:
            await self._converge(name, repairs)
        except StanzagateError as error:
            findings.fail(name, error)
        findings.topics += 1
        findings.note(repairs, owed=owed)

    async def _accounts(self, findings: _Findings) -> None:
        jids = heapq.nsmallest(ACCOUNTS, (jid for jid in self._desired.accounts() if jid > self._seen))
        self._seen = jids[-1] if len(jids) == ACCOUNTS else ""
        await self._each([jid for jid in jids if self._users.covers(jid)], self._account, findings)

    async def _account(self, jid: str, findings: _Findings) -> None:
        if not self._desired.account(jid):  # meanwhile it is no more
            return
        try:
            if await self._users.add(jid):
                repair = Repair(RepairKind.ACCOUNT, jid, f"The account {jid} was missing.")
                findings.note([repair], owed=self._owed(jid))
        except StanzagateError as error:
            findings.fail(jid, error)
        findings.accounts += 1

    async def _each(
        self, items: Sequence[str], step: Callable[[str, _Findings], Awaitable[None]], findings: _Findings
    ) -> None:
        for start in range(0, len(items), PIECE):
            if findings.broken:
                return
            await asyncio.gather(*(step(item, findings) for item in items[start : start + PIECE]))


def _lines(repairs: Sequence[Repair]) -> tuple[str, ...]:
    lines = [repair.what for repair in repairs[:LINES]]
    if len(repairs) > LINES:
        lines.append(f"… and {len(repairs) - LINES} more.")
    return tuple(lines)
