"""A lane: everything on its way from one local domain to one partner, in order.

A stanza leaves at once when the pair has a route and nothing waits before it; else it waits, bounded in number, bytes
and time, while the lane sees to a route: over a stream that is there already (dialback for a further pair), over a
new connection of ours, or, when only the partner may connect, by waiting for him. What cannot be delivered is handed
back, so that its sender can be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from component.base.errors import StanzaErrorInfo
from component.relay.counters import PartnerCounters, RefusalKind
from component.relay.peers import Peer
from component.relay.queues import Queued, QueueLimits, StanzaQueue, light
from component.relay.wire.pairs import Pair, Routes
from component.relay.wire.policy import Authentication, PartnerPolicy
from component.relay.wire.stanza import Stanza

FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0
"""Seconds between attempts to connect while something waits; each is drawn from the half to the whole."""

ANSWER_SECONDS = 5.0
"""So long we wait for the answer to a dialback request on a stream that is there, before we open another."""

BARRED_SECONDS = 15.0
"""So long nothing is tried after a partner refused us, or we it: somebody must mend something first."""

BATCH = 64 * 1024
"""Bytes that leave the queue at once, about."""

FULL = StanzaErrorInfo("wait", "resource-constraint", "Too much waits for this domain.")
LATE = StanzaErrorInfo("wait", "remote-server-timeout", "The other server could not be reached in time.")
GONE = StanzaErrorInfo("cancel", "remote-server-not-found", "These domains exchange nothing any more.")


class DialFailed(Exception):
    """No connection came to something.

    :ivar permanent: trying again soon is no use.
    :ivar error: what the senders of those stanzas get that are not tried again.
    """

    def __init__(self, kind: RefusalKind, reason: str, *, permanent: bool, error: StanzaErrorInfo = LATE) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.permanent = permanent
        self.error = error


class Surroundings(Protocol):
    """What a lane needs of the relay."""

    routes: Routes[Peer]

    async def dial(self, pair: Pair) -> Peer:
        """Open a connection on which we may send for a pair.

        :raises DialFailed: that was not possible.
        """

    def refused(self, pair: Pair, kind: RefusalKind, reason: str) -> None:
        """Note why an attempt came to nothing."""

    def streams_to(self, remote: str) -> list[Peer]:
        """Streams on which a pair with this remote domain may be sent for."""


class Owner(Protocol):
    """Whose lane it is (`component.relay.partner.Partner`)."""

    policy: PartnerPolicy
    counters: PartnerCounters

    def not_sent(self, returned: Iterable[Queued], why: StanzaErrorInfo) -> None:
        """Tell the senders of stanzas that were not delivered."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every lane shares.

    :ivar clock: monotonic seconds.
    :ivar wall: Unix time in seconds.
    :ivar uniform: draws a number between two.
    """

    spawn: Callable[[str, Coroutine[Any, Any, None]], object]
    clock: Callable[[], float]
    wall: Callable[[], float]
    uniform: Callable[[float, float], float]


class Lane:
    """The way from one local domain to one partner.

    :ivar next_attempt: when we try again to connect, Unix time in seconds; None when nothing is planned.
    """

    def __init__(self, pair: Pair, owner: Owner, limits: QueueLimits, around: Surroundings, tools: Tools) -> None:
        self.pair = pair
        self.queue = StanzaQueue(limits)
        self.next_attempt: float | None = None
        self._owner = owner
        self._around = around
        self._tools = tools
        self._seeing_to_it = False
        self._stirred = asyncio.Event()
        self._barred_until = 0.0
        self._barred_by = LATE
        self._closed = False

    # Stanzas

    def send(self, raw: bytes, stanza: Stanza | None) -> None:
        """Send a stanza, or let it wait.

        :param stanza: what is handed back when it cannot be delivered; None for what is never answered.
        """
        now = self._tools.clock()
        peer = self._around.routes.get(self.pair)
        one = Queued(raw, None if stanza is None else light(stanza), now)
        if peer is not None and not self.queue and peer.takes(self.pair):
            self._leave(peer, one, now)
        elif self._closed or (peer is None and now < self._barred_until):
            self._owner.not_sent([one], self._barred_by)
        elif not self.queue.add(*one):
            self._owner.not_sent([one], FULL)
        elif peer is None:
            self._see_to_it()

    def flush(self) -> None:
        """Send what waits, as far as the route takes it."""
        peer = self._around.routes.get(self.pair)
        now = self._tools.clock()
        while self.queue and peer is not None and peer.takes(self.pair):
            for one in self.queue.take(BATCH):
                self._leave(peer, one, now)
        if self.queue and peer is None:
            self._see_to_it()

    def _leave(self, peer: Peer, one: Queued, now: float) -> None:
        counters = self._owner.counters
        counters.sent += 1
        counters.sent_bytes += len(one.raw)
        peer.send(self.pair, one.raw, one.stanza, now)

    def expire(self) -> None:
        """Hand back what has waited too long."""
        late = self.queue.expired(self._tools.clock())
        if late:
            self._owner.not_sent(late, LATE)

    def close(self, why: StanzaErrorInfo) -> None:
        """Hand back everything, and take only what leaves at once, for as long as there is a route."""
        self._closed = True
        self._barred_by = why
        self._stirred.set()
        self._owner.not_sent(self.queue.clear(), why)

    # What happens around it

    def routed(self) -> None:
        """The pair has a route now."""
        self.forgive()
        self.flush()

    def unrouted(self) -> None:
        """The pair has lost its route."""
        self.flush()

    def stir(self) -> None:
        """What was asked on a stream was refused: do not wait for it any longer."""
        self._stirred.set()

    def forgive(self) -> None:
        """Try again at once, whatever happened before: something is different now."""
        self._barred_until = 0.0
        self._stirred.set()

    # Routes

    @property
    def _wants_route(self) -> bool:
        return bool(self.queue) and self._around.routes.get(self.pair) is None

    def _see_to_it(self) -> None:
        if not self._seeing_to_it:
            self._seeing_to_it = True
            self._tools.spawn(f"relay.lane {self.pair.local} {self.pair.remote}", self._run())

    async def _run(self) -> None:
        delay = FIRST_DELAY
        try:
            while self._wants_route:
                self._stirred.clear()
                if self._ask_on_a_stream():
                    await self._wait(ANSWER_SECONDS)
                elif not self._owner.policy.outbound:
                    await self._wait(LONGEST_DELAY)
                else:
                    await self._dial()
                    if self._wants_route:
                        await self._wait(self._tools.uniform(delay / 2, delay))
                        delay = min(2 * delay, LONGEST_DELAY)
        finally:
            self._seeing_to_it = False
        self.flush()

    def _ask_on_a_stream(self) -> bool:
        """Ask for the pair on a stream that leads there already (XEP-0220 §2.6); once on each."""
        if Authentication.DIALBACK not in self._owner.policy.authentication:
            return False
        for peer in self._around.streams_to(self.pair.remote):
            if self.pair not in peer.asked:
                peer.asked.add(self.pair)
                peer.connection.do(peer.stream.authorize(self.pair, self._tools.clock()))
                return True
        return False

    async def _dial(self) -> None:
        try:
            await self._around.dial(self.pair)
        except DialFailed as failed:
            self._around.refused(self.pair, failed.kind, failed.reason)
            if failed.permanent and not self._stirred.is_set():  # else it may be different by now
                self._barred_until = self._tools.clock() + BARRED_SECONDS
                self._barred_by = failed.error
                self._owner.not_sent(self.queue.clear(), failed.error)
        else:
            self._stirred.clear()  # a route that is lost again at once is no reason to hurry

    async def _wait(self, seconds: float) -> None:
        """Wait, but not when something helpful happens meanwhile."""
        self.next_attempt = self._tools.wall() + seconds if self._owner.policy.outbound else None
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass
        finally:
            self.next_attempt = None
