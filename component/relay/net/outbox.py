"""What goes to the local server: nothing is lost without a word, and nothing is written twice.

XEP-0114 has no acknowledgements, and what was written to a server that dies is lost without a trace. So everything
written is remembered until a *barrier* behind it has come back: a result from us to us that nobody asked for. Prosody
and ejabberd both take the stanzas of a component in order, and route such a result back to it; when it has come, all
before it was taken. (A ping of a local domain would say the same, where its module is loaded.) What was not confirmed
when a connection is lost may have been delivered or not: it is handed back as uncertain, and never written again.
What still waited is written to the next connection.

The bounds: so much as `QueueLimits` says may be written and not confirmed; the same again may wait behind it. From
half of the first on the other side is asked to read nothing more, so a server that is slow loses nothing. While there
is no server nobody is asked to wait: what is beyond the bounds, or too old, is handed back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from component.base.errors import StanzaErrorInfo
from component.relay.net.rounds import Rounds
from component.relay.queues import Queued, QueueLimits, StanzaQueue, Unconfirmed, light
from component.relay.wire.serial import quote
from component.relay.wire.stanza import Stanza

BATCH = 64 * 1024
"""Bytes that are written at once, about."""

LARGEST = 512 * 1024
"""Bytes of a stanza. Prosody ends the stream of a component that sends more in one (component_stanza_size_limit)."""

LATE = StanzaErrorInfo("wait", "remote-server-timeout", "The server could not be reached in time.")
FULL = StanzaErrorInfo("wait", "resource-constraint", "Too much waits for the server.")
TOO_LARGE = StanzaErrorInfo("modify", "policy-violation", "The stanza is too large for the server.")
UNCERTAIN = StanzaErrorInfo("wait", "remote-server-timeout", "The connection was lost; it may have been delivered.")


class Writer(Protocol):
    """A connection on which stanzas may be written."""

    @property
    def paused(self) -> bool:
        """The other side does not read."""

    def write(self, data: bytes) -> None:
        """Write bytes, unless the connection has ended."""

    def abort(self, reason: str) -> None:
        """End the connection at once; `Outbox.lost` is called in consequence."""


class Listener(Protocol):
    """Who is told what becomes of stanzas; its methods must not fail."""

    def returned(self, returned: list[Queued], why: StanzaErrorInfo, uncertain: bool) -> None:
        """Stanzas were not delivered, and their senders should be told.

        :param uncertain: they may have been delivered all the same; they must not be sent again.
        """

    def pressure(self, on: bool) -> None:
        """The server is slow: read no more from the partner (True), or again (False)."""


@dataclass(frozen=True, slots=True)
class BarrierTiming:
    """Seconds. Between two barriers lies five times what the server took to answer the last, within bounds: little
    is uncertain while the server is idle, and one that is busy is not kept busier.

    :ivar shortest: between two barriers, unless half of what may be unconfirmed is; `longest` likewise.
    :ivar answer: after which a server that has not answered one is taken for dead.
    """

    shortest: float = 0.005
    longest: float = 0.05
    answer: float = 60.0


class Outbox:
    """What waits for the server, and what was written and not confirmed.

    :param address: of ours, to which barriers come back.
    :param new_id: unguessable, so that nobody else can answer a barrier.
    :param clock: monotonic seconds.
    :param rounds: says when to write.
    :ivar barriers: how many were sent.
    """

    def __init__(
        self,
        address: str,
        listener: Listener,
        *,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        limits: QueueLimits,
        timing: BarrierTiming,
        rounds: Rounds,
        largest: int = LARGEST,
    ) -> None:
        self.address = address
        self.barriers = 0
        self._listener = listener
        self._new_id = new_id
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._rounds = rounds
        self._largest = largest
        self._queue = StanzaQueue(limits)
        self._unconfirmed = Unconfirmed()
        self._writer: Writer | None = None
        self._pressure = False
        self._pump_scheduled = False
        self._barrier_id = ""
        self._last_barrier = clock() - timing.longest
        self._interval = timing.longest
        self._next_barrier: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    # Waiting

    @property
    def queued(self) -> int:
        """Stanzas that wait."""
        return len(self._queue)

    @property
    def unconfirmed(self) -> int:
        """Stanzas that were written, and may be lost with the connection."""
        return self._unconfirmed.count

    def send(self, raw: bytes, stanza: Stanza | None = None) -> None:
        """Write a stanza at the end of the loop's iteration, or let it wait.

        :param raw: its bytes, which mean the same under any content namespace.
        :param stanza: what is handed back when it is not delivered; None for what is never answered.
        """
        now = self._clock()
        if len(raw) > self._largest:
            self._return([Queued(raw, stanza, now)], TOO_LARGE)
            return
        if self._flows:
            if not self._queue.add(raw, stanza, now):
                self.pump()  # more has come at once than may wait: what may be written makes room
                self._keep(raw, stanza, now)
            elif not self._pump_scheduled:
                self._pump_scheduled = True
                self._rounds.later(self.pump)
        else:
            self._keep(raw, stanza, now)

    def _keep(self, raw: bytes, stanza: Stanza | None, now: float) -> None:
        """Let a stanza wait for longer than this iteration of the loop."""
        kept = None if stanza is None else light(stanza)
        if self._queue.add(raw, kept, now):
            self._arm_expiry()
        else:
            self._return([Queued(raw, kept, now)], FULL)

    def give_back(self) -> None:
        """Hand back everything that waits."""
        self._return(self._queue.clear(), LATE)
        self._changed.set()

    # The connection

    def connected(self, writer: Writer) -> None:
        """Write to this connection from now on."""
        self._writer = writer
        self.pump()

    def lost(self) -> None:
        """The connection has ended."""
        self._writer = None
        for timer in (self._next_barrier, self._silence):
            if timer is not None:
                timer.cancel()
        self._next_barrier = self._silence = None
        self._barrier_id = ""
        lost = self._unconfirmed.clear()
        if lost:
            self._listener.returned(lost, UNCERTAIN, uncertain=True)
        self._arm_expiry()
        self._press()
        self._changed.set()

    def pump(self) -> None:
        """Write what waits, as far as the server takes it; called when it reads again, or no more."""
        self._pump_scheduled = False
        while self._queue and self._flows and self._writer is not None:
            batch = self._queue.take(BATCH)
            data = b"".join([one.raw for one in batch])
            self._unconfirmed.add(batch, len(data))
            self._writer.write(data)
        if self._queue:
            self._arm_expiry()
        self._press()
        self._want_barrier()

    @property
    def _flows(self) -> bool:
        """Whether more may be written."""
        written, limits = self._unconfirmed, self._limits
        return (
            self._writer is not None
            and not self._writer.paused
            and written.count < limits.stanzas
            and written.size < limits.bytes
        )

    # Barriers

    @property
    def _half(self) -> bool:
        """Whether half of what may be unconfirmed is."""
        written, limits = self._unconfirmed, self._limits
        return 2 * written.count >= limits.stanzas or 2 * written.size >= limits.bytes

    def _want_barrier(self) -> None:
        if self._writer is None or self._unconfirmed.outstanding or not self._unconfirmed.behind:
            return
        left = self._last_barrier + self._interval - self._clock()
        if left <= 0 or self._half:
            self.barrier()
        elif self._next_barrier is None:
            self._next_barrier = asyncio.get_running_loop().call_later(left, self.barrier)

    def barrier(self) -> None:
        """Write a barrier, unless one is under way."""
        if self._next_barrier is not None:
            self._next_barrier.cancel()
            self._next_barrier = None
        if self._writer is None or self._unconfirmed.outstanding:
            return
        self.barriers += 1
        self._barrier_id = self._new_id()
        self._last_barrier = self._clock()
        self._unconfirmed.barrier()
        address = quote(self.address)
        self._writer.write(f"<iq type='result' id='{self._barrier_id}' from='{address}' to='{address}'/>".encode())
        self._silence = asyncio.get_running_loop().call_later(self._timing.answer, self._unanswered)

    def answered(self, barrier_id: str) -> None:
        """A barrier has come back."""
        if not self._barrier_id or barrier_id != self._barrier_id:
            return  # of a connection before this one
        self._barrier_id = ""
        took = self._clock() - self._last_barrier
        self._interval = min(max(5 * took, self._timing.shortest), self._timing.longest)
        if self._silence is not None:
            self._silence.cancel()
        self._unconfirmed.confirmed()
        self._changed.set()
        self.pump()

    def _unanswered(self) -> None:
        self._silence = None
        if self._writer is not None:
            self._writer.abort(f"the server has taken nothing for {self._timing.answer:g} s")

    async def settle(self) -> None:
        """Wait until nothing waits and all that was written is confirmed, with all the server had for us before.

        It returns, too, when there is no connection and nothing waits for one.
        """
        sent = self.barriers
        while True:
            self._changed.clear()
            if self._writer is None:
                if not self._queue:
                    return
            elif not (self._queue or self._unconfirmed.count or self._unconfirmed.outstanding):
                if self.barriers > sent:
                    return
                self.barrier()
            await self._changed.wait()

    # Bounds

    def _press(self) -> None:
        on = self._writer is not None and (self._writer.paused or self._half or bool(self._queue))
        if on is not self._pressure:
            self._pressure = on
            self._listener.pressure(on)

    def _arm_expiry(self) -> None:
        deadline = self._queue.deadline
        if self._expiry is None and deadline is not None:
            self._expiry = asyncio.get_running_loop().call_later(max(0.0, deadline - self._clock()), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._return(self._queue.expired(self._clock()), LATE)
        self._arm_expiry()
        self._press()
        self._changed.set()

    def _return(self, returned: list[Queued], why: StanzaErrorInfo) -> None:
        if returned:
            self._listener.returned(returned, why, uncertain=False)
