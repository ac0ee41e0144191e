"""The attachment of one partner's domain to the local server (XEP-0114), kept up for as long as the relay runs.

It connects, reconnects with jitter, says once why the server does not take it, and drains before it closes. What it
carries to the server goes through an `Outbox`, which outlives the connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from component.relay.net.localconnection import LocalConnection
from component.relay.net.outbox import BarrierTiming, Listener, Outbox
from component.relay.net.rounds import Rounds
from component.relay.queues import QueueLimits
from component.relay.status import AttachmentState, AttachmentStatus
from component.relay.wire.component import ComponentStream
from component.relay.wire.serial import bounce, instead
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)

_HINTS = {
    "not-authorized": "Make the secret here and the one in the server's configuration equal (Prosody: "
    "component_secret; ejabberd: password of the listener, whose hosts must name the domain).",
    "conflict": "Is another relay attached as this domain, or does the server serve it as a host of its own? "
    "Stop the one, or remove the other.",
    "host-unknown": "Add the component to the server's configuration (Prosody: Component; ejabberd: a listener of "
    "module ejabberd_service).",
}
"""What to do about a stream error with which a server refuses a component."""

_AWAY = "Is the server running, and is component_port the port of its component listener?"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    :ivar first_delay: before the second attempt to connect, at most; each further delay is twice as long.
    :ivar longest_delay: the longest one.
    :ivar connect: for an attempt, up to the handshake.
    :ivar watch: after which a barrier shows whether the server is alive.
    :ivar close: for the server to close its side.
    """

    first_delay: float = 0.1
    longest_delay: float = 2.0
    connect: float = 4.0
    watch: float = 30.0
    close: float = 2.0
    barriers: BarrierTiming = field(default_factory=BarrierTiming)


DEFAULT_TIMING = Timing()

LAST_WORDS = 5
"""So often an attachment is made again at the end, to say what became of stanzas that came behind our last word."""


class AttachmentListener(Listener, Protocol):
    """Who is told what happens to an attachment; its methods must not fail."""

    def local_stanza(self, stanza: Stanza) -> None:
        """The local server has handed over a stanza for the partner."""

    def attached(self, attached: bool) -> None:
        """The attachment stands, or was lost."""


class Attachment:
    """One attachment.

    :param domain: the partner's, prepared.
    :param host: of the server; component streams are plain text, so loopback or a tunnel.
    :param stream: makes the machine for a new connection.
    :param uniform: draws a number between two.
    :param new_id: unguessable.
    :param clock: monotonic seconds; `wall`: Unix time in seconds.
    :param rounds: says when to write; shared with whatever else has its input handled.
    :ivar losses: how often it was lost.
    """

    def __init__(
        self,
        domain: str,
        host: str,
        port: int,
        *,
        stream: Callable[[], ComponentStream],
        listener: AttachmentListener,
        uniform: Callable[[float, float], float],
        new_id: Callable[[], str],
        clock: Callable[[], float],
        wall: Callable[[], float],
        limits: QueueLimits,
        rounds: Rounds,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.domain = domain
        self.losses = 0
        self.outbox = Outbox(
            f"barrier@{domain}/{new_id()}",
            listener,
            new_id=new_id,
            clock=clock,
            limits=limits,
            timing=timing.barriers,
            rounds=rounds,
        )
        self._rounds = rounds
        self._host = host
        self._port = port
        self._stream = stream
        self._listener = listener
        self._uniform = uniform
        self._wall = wall
        self._timing = timing
        self._connection: LocalConnection | None = None
        self._attached = False
        self._never = True
        self._ended = asyncio.Event()
        self._opened = asyncio.Event()
        self._stop = asyncio.Event()
        self._draining = False
        self._condition = ""
        self._reason = ""
        self._said: set[str] = set()
        self._state = AttachmentState.CONNECTING
        self._since = wall()

    def status(self) -> AttachmentStatus:
        """How it stands."""
        reason = "" if self._attached else self._reason
        return AttachmentStatus(self._state, self._since, self.outbox.queued, reason)

    def send(self, raw: bytes, stanza: Stanza | None = None) -> None:
        """Send a stanza to the local server, or keep it while there is none; see `Outbox.send`."""
        self.outbox.send(raw, stanza)
        if self._stop.is_set() and not self._draining:
            self.outbox.give_back()

    # Connecting

    async def run(self) -> None:
        """Keep the attachment up until `drain` is called or the task is cancelled; then nothing waits any more."""
        delay = self._timing.first_delay
        try:
            while not self._stop.is_set():
                self._is(AttachmentState.CONNECTING)
                if await self._attach() and not self._stop.is_set():
                    delay = self._timing.first_delay
                    await self._stay()
                if self._stop.is_set():
                    break
                self._is(AttachmentState.REFUSED if self._condition in _HINTS else AttachmentState.WAITING)
                self._complain()
                await _set_within(self._stop, self._uniform(delay / 2, delay))
                delay = min(2 * delay, self._timing.longest_delay)
        finally:
            if not self._draining:
                self._stop.set()
                self._over()

    async def _attach(self) -> bool:
        """Connect and shake hands; whether that worked."""
        self._ended.clear()
        self._opened.clear()
        self._condition = ""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.connect):
                await loop.create_connection(self._connect, self._host, self._port)
                await self._opened.wait()
        except TimeoutError:
            self._reason = f"no answer within {self._timing.connect:g} s"
        except OSError as error:
            self._reason = error.strerror or str(error)
        if not self._attached:
            self._abandon(self._reason)
        return self._attached

    def _connect(self) -> LocalConnection:
        self._connection = LocalConnection(self._stream(), self, self._rounds)
        return self._connection

    async def _stay(self) -> None:
        """Wait for the end of the connection, and see now and then whether its server is alive."""
        while not await _set_within(self._ended, self._timing.watch):
            self.outbox.barrier()

    def _abandon(self, reason: str) -> None:
        """End the connection, if there is one, and have done with it."""
        if self._connection is not None:
            self._connection.abort(reason)
            self.lost(self._connection, "", reason)

    # What the connection tells

    def ready(self) -> None:
        """The server has accepted the handshake."""
        self._attached = True
        self._never = False
        self._said.clear()
        self._is(AttachmentState.ATTACHED)
        log.info("%s: attached to the local server at %s:%d.", self.domain, self._host, self._port)
        self._opened.set()
        self._listener.attached(True)
        if self._connection is not None:
            self.outbox.connected(self._connection)

    def received(self, stanza: Stanza) -> None:
        """The server has handed over a stanza."""
        if stanza.recipient == self.outbox.address and stanza.sender == self.outbox.address:
            self.outbox.answered(stanza.id)
        elif stanza.sender == stanza.recipient and stanza.sender_domain == self.domain:
            self._other_relay()
        else:
            self._listener.local_stanza(stanza)

    def unfit(self, stanza: Stanza, text: str) -> None:
        """The server has handed over a stanza that is too much: tell its sender, or who waits for the answer."""
        log.debug("%s: %s was passed over: %s", self.domain, stanza.kind, text)
        returned = bounce(stanza, "modify", "policy-violation", text)
        if returned is not None:
            self.send(returned)
            return
        answer = instead(stanza, "modify", "policy-violation", text)
        if answer is not None:
            self._listener.local_stanza(answer)

    def congestion(self) -> None:
        """The server has begun or ceased to read."""
        self.outbox.pump()

    def lost(self, connection: LocalConnection, condition: str, reason: str) -> None:
        """A connection has ended."""
        if connection is not self._connection:
            return  # it was abandoned
        self._connection = None
        self._condition = condition
        self._reason = reason
        was_attached, self._attached = self._attached, False
        self._ended.set()
        self._opened.set()
        if was_attached:
            self.losses += 1
            self.outbox.lost()
            self._listener.attached(False)

    def _is(self, state: AttachmentState) -> None:
        # Between two attempts it stays what it was, or somebody who looks now and then would see it flicker.
        if state is AttachmentState.CONNECTING and self._reason and not self._attached:
            return
        if state is not self._state:
            self._state = state
            self._since = self._wall()

    def _other_relay(self) -> None:
        """Say that a barrier of somebody else has come; only a component of our name can have sent it."""
        if "other" not in self._said:
            self._said.add("other")
            log.warning(
                "%s: another relay is attached to the local server at %s:%d as this domain, and gets a part of its "
                "stanzas (ejabberd lets that happen). Stop one of the two.", self.domain, self._host, self._port,
            )  # fmt: skip

    def _complain(self) -> None:
        """Say why there is no attachment; once for each reason until there is one again."""
        kind, what = self._condition or "away", self._reason.rstrip(".")
        if kind in self._said:
            return
        self._said.add(kind)
        hint = _HINTS.get(self._condition, _AWAY if self._never else "")
        log.warning(
            "%s: not attached to the local server at %s:%d: %s.%s%s It is tried until it works; this is said once.",
            self.domain, self._host, self._port, what, hint and " ", hint,
        )  # fmt: skip

    # Ending

    async def drain(self, timeout: float) -> None:
        """Deliver what waits, take what the server still has for us, close the stream; `run` ends then.

        The server goes on writing until it has read our end. What is owed for that (nothing can be delivered now,
        so its senders are told) cannot be said on the stream that we have ended: it is said on another one, which has
        its own end in turn, a few times at most.

        COMPAT: ejabberd (23.01) drops what it has for us between our end and its own. A moment in which there is
        nothing cannot be brought about: who is told that something did not arrive sends it again.

        :param timeout: seconds for all of it; what was not delivered by then is handed back.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.outbox.settle()
                self._draining = True
                self._stop.set()
                await self._end()
                for _ in range(LAST_WORDS):
                    if not self.outbox.queued or not await self._attach():
                        break
                    await self.outbox.settle()
                    await self._end()
        except TimeoutError:
            log.warning(
                "%s: %d stanzas had not reached the local server when the relay ended.",
                self.domain, self.outbox.queued + self.outbox.unconfirmed,
            )  # fmt: skip
        self._draining = False
        self._stop.set()
        self._over()

    async def _end(self) -> None:
        """Close the stream, and read what the server writes until it has closed its side."""
        connection = self._connection
        if connection is not None and self._attached:
            self.outbox.lost()  # what is sent from here on waits: behind the end nobody would read it
            connection.end()
            await _set_within(self._ended, self._timing.close)
        self._abandon("the relay ends")

    def _over(self) -> None:
        """Nothing waits any more, and nothing will."""
        self._abandon("the relay ends")
        self.outbox.give_back()
        self._is(AttachmentState.STOPPED)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
