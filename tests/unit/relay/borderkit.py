"""A border with a policy that tests can turn as they like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from component.base.errors import StanzagateError
from component.base.jid import Jid
from component.relay.border import Border, Hold, PartnerRules, Verdict
from component.relay.border_waiting import WaitingLimits, WaitingRoom
from component.relay.counters import DecisionOutcome
from component.relay.wire.stanza import Stanza
from tests.unit.fakeserver import Tasks

PARTNER = "partner.test"
XMLNS = "xmlns='urn:broadband-forum-org:cwmp:xmppConnReq-1-0'"
REQUEST = f"<connectionRequest {XMLNS}><username>u</username><password>p</password></connectionRequest>"


class Said(NamedTuple):
    """A decision."""

    allowed: bool
    rule: str = "r7"
    reason: str = "allowed or not"


class FakePolicy:
    """Knows what is in `known`; what is not there has to be asked for, and is said when the test says it."""

    def __init__(self) -> None:
        self.guarded_hosts: frozenset[str] | None = frozenset({"cpe.test"})
        self.guard = "connection-requests"
        self.known: dict[tuple[str, str], Said] = {}
        self.asked: dict[tuple[str, str], asyncio.Future[Said]] = {}

    def decide(self, requester: Jid, device: Jid) -> Said | None:
        return self.known.get((requester.bare, device.bare))

    async def ask(self, requester: Jid, device: Jid) -> Said:
        answer = self.asked.setdefault(
            (requester.full, device.full), asyncio.get_running_loop().create_future()
        )  # fmt: skip
        return await answer

    def say(self, requester: str, device: str, said: Said | Exception) -> None:
        future = self.asked.pop((requester, device))
        if isinstance(said, Exception):
            future.set_exception(said)
        else:
            future.set_result(said)


class Scene:
    """A border and all that it has said."""

    def __init__(self, *, clock: Callable[[], float] = lambda: 0.0, **limits: Any) -> None:
        self.policy = FakePolicy()
        self.refused: list[tuple[str, ...]] = []
        self.decided: list[tuple[str, DecisionOutcome]] = []
        self.released: list[tuple[str, Verdict]] = []
        """Id and verdict of what had to wait."""
        self.spawn = Tasks()
        self.border = Border(
            {PARTNER: PartnerRules(frozenset({"cpe.test", "isp.test"}))},
            self.policy,
            on_refusal=lambda *said: self.refused.append(said),
            on_decision=lambda *said: self.decided.append(said),
            clock=clock,
        )
        self.room = WaitingRoom(
            self.border, self.policy, release=self._release, spawn=self.spawn, clock=clock,
            limits=WaitingLimits(**limits),
        )  # fmt: skip
        self.border.waiting = self.room

    def inbound(self, stanza: Stanza) -> Verdict:
        return self.border.inbound(stanza, PARTNER)

    def _release(self, stanza: Stanza, verdict: Verdict) -> None:
        assert not isinstance(verdict, Hold)
        self.released.append((stanza.id, verdict))


class Away(StanzagateError):
    """The policy cannot be asked."""


async def turn() -> None:
    """Let everything run that can run now."""
    for _ in range(10):
        await asyncio.sleep(0)
