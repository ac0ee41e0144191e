"""Where stanzas wait at the border until the policy has decided.

Stanzas of one pair (sender, recipient) leave in the order in which they came (RFC 6120 §10.1), whatever they wait
for; those of other pairs overtake them. How many wait, how many of one partner, their bytes and their time are
bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from component.base.errors import StanzagateError
from component.base.jid import Jid
from component.relay.border import NO_DECISION, Border, Case, Decision, Decisions, Verdict
from component.relay.defects import shown
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WaitingLimits:
    """Bounds of what waits for decisions.

    :ivar share: bytes of one partner, so that no partner takes the room of the others.
    :ivar seconds: after which a stanza is refused for want of a decision.
    """

    stanzas: int = 10_000
    of_partner: int = 1_000
    bytes: int = 16 * 1024 * 1024
    share: int = 4 * 1024 * 1024
    seconds: float = 5.0


class _Held(NamedTuple):
    case: Case
    since: float


_Pair = tuple[Jid, Jid]
_Lane = deque[_Held]


class WaitingRoom:
    """What waits, in a lane for each pair.

    :param border: judges, once there is a decision.
    :param release: called with each stanza and its verdict, never with `Hold`. It must not fail.
    :param spawn: starts a background task.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        border: Border,
        decisions: Decisions,
        *,
        release: Callable[[Stanza, Verdict], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        clock: Callable[[], float],
        limits: WaitingLimits = WaitingLimits(),
    ) -> None:
        self._border = border
        self._decisions = decisions
        self._release = release
        self._spawn = spawn
        self._clock = clock
        self._limits = limits
        self._lanes: dict[_Pair, _Lane] = {}
        self._partners: Counter[str] = Counter()
        self._count = 0
        self._bytes: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return self._count

    def behind(self, requester: Jid, device: Jid) -> bool:
        """Whether a stanza of the pair waits."""
        return (requester, device) in self._lanes

    def add(self, case: Case) -> bool:
        """Let a stanza wait behind those of its pair.

        :returns: False when there is no room.
        """
        limits, size = self._limits, len(case.stanza.raw)
        if (
            self._count >= limits.stanzas
            or self._partners[case.partner] >= limits.of_partner
            or self._bytes[case.partner] + size > limits.share
            or self._bytes.total() + size > limits.bytes
        ):
            return False
        self._account(case, 1)
        pair = (case.requester, case.device)
        lane = self._lanes.get(pair)
        if lane is None:
            lane = self._lanes[pair] = deque()
            lane.append(_Held(case, self._clock()))
            self._spawn(f"border {case.partner}", self._settle(pair, lane))
        else:
            lane.append(_Held(case, self._clock()))
        return True

    async def settled(self) -> None:
        """Wait until nothing waits any more."""
        await self._empty.wait()

    async def _settle(self, pair: _Pair, lane: _Lane) -> None:
        """Settle a lane from its head to its end; then it is gone."""
        try:
            while lane:
                decision = await self._decision(lane[0])
                self._let_go(lane, decision)
        finally:
            while lane:  # the relay ends
                self._let_go(lane, None)
            del self._lanes[pair]

    def _let_go(self, lane: _Lane, decision: Decision | None) -> None:
        case = lane.popleft().case
        self._account(case, -1)
        verdict: Verdict = NO_DECISION
        try:
            verdict = self._border.judged(case, decision)
        except Exception as defect:  # a defect of ours must not open the border, nor stop it
            log.error("A decision on a stanza from %s came to nothing: %s", case.partner, shown(defect))
        try:
            self._release(case.stanza, verdict)
        except Exception as defect:
            log.error("A stanza from %s was lost behind the border: %s", case.partner, shown(defect))

    async def _decision(self, held: _Held) -> Decision | None:
        case = held.case
        if not case.needs:
            return None
        try:
            known = self._decisions.decide(case.requester, case.device)
            left = held.since + self._limits.seconds - self._clock()
            if known is not None or left <= 0:
                return known
            async with asyncio.timeout(left):
                return await self._decisions.ask(case.requester, case.device)
        except (TimeoutError, StanzagateError) as error:
            log.debug("No decision on a stanza from %s: %s.", case.partner, error)
        except Exception as defect:
            log.error("A decision on a stanza from %s came to nothing: %s", case.partner, shown(defect))
        return None

    def _account(self, case: Case, number: int) -> None:
        self._count += number
        self._bytes[case.partner] += number * len(case.stanza.raw)
        self._partners[case.partner] += number
        if not self._partners[case.partner]:
            del self._partners[case.partner], self._bytes[case.partner]
        if self._count:
            self._empty.clear()
        else:
            self._empty.set()
