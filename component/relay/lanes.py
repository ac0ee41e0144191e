"""A lane: everything on its way from one local domain to one partner, in order.

A stanza leaves at once when the pair has a route and nothing waits before it; else it waits, bounded in number, bytes
and time, while the lane sees to a route: over a stream that is there already (dialback for a further pair), over a
new connection of ours, or, when only the partner may connect, by waiting for him. What cannot be delivered is handed
back, so that its sender can be told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from component.base.errors import StanzaErrorInfo
from component.relay.counters import RefusalKind
from component.relay.peers import Peer
from component.relay.queues import Queued, QueueLimits, StanzaQueue, light
from component.relay.wire.pairs import Pair, Routes
from component.relay.wire.policy import Authentication, PartnerPolicy
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)

FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0
"""Seconds between attempts to connect while something waits; each is drawn from the half to the whole."""

ANSWER_SECONDS = 5.0
"""So long we wait for the answer to a dialback request on a stream that is there, before we open another."""

BARRED_SECONDS = 15.0
"""So long nothing is tried after a partner refused us, or we it: somebody must mend something first."""


FULL = StanzaErrorInfo("wait", "resource-constraint", "Too much waits for this domain.")
LATE = StanzaErrorInfo("wait", "remote-server-timeout", "The other server could not be reached in time.")


class DialFailed(Exception):
    """No connection came to something.

    :ivar permanent: trying again soon is no use.
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

    def returned(self, pair: Pair, returned: list[Queued], why: StanzaErrorInfo) -> None:
        """Tell the senders of stanzas that were not delivered."""

    def refused(self, pair: Pair, kind: RefusalKind, reason: str) -> None:
        """Note why an attempt came to nothing."""

    def outbound(self, domain: str, stanza: Stanza) -> None:
        """Take a stanza that the local server has handed to the attachment of a partner's domain."""

    def streams_to(self, remote: str) -> list[Peer]:
        """Streams on which a pair with this remote domain may be sent for."""


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

    def __init__(
        self, pair: Pair, policy: PartnerPolicy, limits: QueueLimits, around: Surroundings, tools: Tools
    ) -> None:
        self.pair = pair
        self.policy = policy
        self.queue = StanzaQueue(limits)
        self.next_attempt: float | None = None
        self._around = around
        self._tools = tools
        self._seeing_to_it = False
        self._stirred = asyncio.Event()
        self._barred_until = 0.0
        self._barred_by = LATE
        self._closed = False

    def send(self, raw: bytes, stanza: Stanza | None) -> bool:
        """Send a stanza, or let it wait.

        :param stanza: what is handed back when it cannot be delivered; None for what is never answered.
        :returns: whether it left at once.
        """
        now = self._tools.clock()
        peer = self._around.routes.get(self.pair)
        kept = None if stanza is None else light(stanza)
        if peer is not None and not self.queue and not peer.congested:
            peer.send(self.pair, raw, kept, now)
            return True
        if self._closed or (peer is None and now < self._barred_until):
            self._around.returned(self.pair, [Queued(raw, kept, now)], self._barred_by)
        elif not self.queue.add(raw, kept, now):
            self._around.returned(self.pair, [Queued(raw, kept, now)], FULL)
        elif peer is None:
            self._see_to_it()
        return False

    def flush(self) -> int:
        """Send what waits, as far as the route takes it.

        :returns: how many left.
        """
        peer = self._around.routes.get(self.pair)
        count = 0
        now = self._tools.clock()
        while self.queue and peer is not None and not peer.congested:
            for one in self.queue.take(64 * 1024):
                peer.send(self.pair, one.raw, one.stanza, now)
                count += 1
        if self.queue and peer is None:
            self._see_to_it()
        return count

    def routed(self) -> int:
        """The pair has a route now; returns how many stanzas left."""
        self._barred_until = 0.0
        self._stirred.set()
        return self.flush()

    def unrouted(self) -> None:
        """The pair has lost its route."""
        if self.queue:
            self._see_to_it()

    def stir(self) -> None:
        """Something has changed: what was asked on a stream was refused, or the configuration is new."""
        self._stirred.set()

    def forgive(self) -> None:
        """Try again at once, whatever happened before: the configuration is another one."""
        self._barred_until = 0.0
        self._stirred.set()

    def expire(self) -> None:
        """Hand back what has waited too long."""
        late = self.queue.expired(self._tools.clock())
        if late:
            self._around.returned(self.pair, late, LATE)

    def close(self, why: StanzaErrorInfo = LATE) -> None:
        """Hand back everything, and take nothing more."""
        self._closed = True
        self._barred_by = why
        self._around.returned(self.pair, self.queue.clear(), why)
        self._stirred.set()

    def _see_to_it(self) -> None:
        if not self._seeing_to_it and not self._closed:
            self._seeing_to_it = True
            self._tools.spawn(f"relay.lane {self.pair.local} {self.pair.remote}", self._run())

    async def _run(self) -> None:
        delay = FIRST_DELAY
        try:
            while self.queue and not self._closed and self._around.routes.get(self.pair) is None:
                self._stirred.clear()
                if self._ask_on_a_stream():
                    await self._wait(ANSWER_SECONDS)
                    continue
                if not self.policy.outbound:
                    await self._wait(LONGEST_DELAY)
                    continue
                try:
                    await self._around.dial(self.pair)
                except DialFailed as failed:
                    self._around.refused(self.pair, failed.kind, failed.reason)
                    if failed.permanent:
                        self._bar(failed.error)
                        return
                    await self._wait(self._tools.uniform(delay / 2, delay))
                    delay = min(2 * delay, LONGEST_DELAY)
        finally:
            self.next_attempt = None
            self._seeing_to_it = False
        self.flush()

    def _ask_on_a_stream(self) -> bool:
        """Ask for the pair on a stream that leads there already (XEP-0220 §2.6); once on each."""
        if Authentication.DIALBACK not in self.policy.authentication:
            return False
        for peer in self._around.streams_to(self.pair.remote):
            if self.pair not in peer.asked:
                peer.asked.add(self.pair)
                peer.connection.do(peer.stream.authorize(self.pair, self._tools.clock()))
                return True
        return False

    def _bar(self, error: StanzaErrorInfo) -> None:
        self._barred_until = self._tools.clock() + BARRED_SECONDS
        self._barred_by = error
        self._around.returned(self.pair, self.queue.clear(), error)

    async def _wait(self, seconds: float) -> None:
        """Wait, but not when something helpful happens meanwhile."""
        self.next_attempt = self._tools.wall() + seconds if self.policy.outbound else None
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass
        finally:
            self.next_attempt = None
