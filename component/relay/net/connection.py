"""The driver of one TCP connection: bytes, TLS and time for the machine of a stream, and what it says for its owner.

A chunk that arrives is decrypted once and given to the machine at once; what the machine then wants written leaves in
one piece at the end of the chunk, or of the round of the event loop when it was somebody else's doing. Outputs are
carried out strictly in the order in which machines gave them, also when the owner calls back in the middle of it:
stanzas must not overtake the ``<success/>`` that allowed them.

A defect, ours or the owner's, ends this connection and no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from component.relay.counters import RefusalKind, Role
from component.relay.defects import shown
from component.relay.net.certs import PeerCertificate
from component.relay.net.rounds import Rounds
from component.relay.net.tcp import acknowledge, watch
from component.relay.net.tls import TlsChannel, TlsContexts, TlsFailed
from component.relay.wire.events import CloseConnection, Output, PairRefused, PassThrough, SendBytes, StartTls
from component.relay.wire.pairs import Pair
from component.relay.wire.s2s_out import OutgoingStream, Purpose
from component.relay.wire.stream import S2SStream

log = logging.getLogger(__name__)

CHUNK: Final = 64 * 1024
"""Bytes that are read at once."""

HIGH_WATER = 256 * 1024
"""Bytes waiting to be written above which the owner should send nothing more."""

WRITE_LIMIT = 16 * 1024 * 1024
"""Bytes waiting to be written with which a peer is taken for one that does not read."""

LINGER = 2.0
"""Seconds that a peer has to close its side once ours is closed. Closing at once would reset the connection while the
peer still sends, and it might never read the stream error that tells it why."""

_LINGER_BYTES = 1024 * 1024
_SHORTEST_NAP = 0.01
"""Seconds between two ticks at least, whatever a machine asks for."""


class Owner(Protocol):
    """Whom connections belong to (`component.relay.relay.Relay`)."""

    def connected(self, connection: Connection, role: Role, purpose: Purpose) -> object:
        """The TCP connection is there; nothing was said yet."""

    def happened(self, connection: Connection, output: Output) -> None:
        """The stream has something to tell that is not for the connection itself."""

    def writable(self, connection: Connection) -> None:
        """It was congested, and takes more again."""

    def closed(self, connection: Connection) -> None:
        """It is no more, or no more ours; comes once, and last."""


Adopt = Callable[[asyncio.Transport, bytes, Callable[[], None]], None]
"""Takes over a stranger's connection, which is paused: the transport, what has come, and whom to tell of its end."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all connections share.

    :ivar identify: makes what a peer has shown in TLS an identity.
    :ivar clock: monotonic seconds, the same that the owner gives to streams.
    :ivar adopt: takes connections of strangers; None when they are not passed through.
    :ivar rounds: who writes at the end of a chunk.
    :ivar buffer: what arrives, until it is handed on in the same call.
    """

    tls: TlsContexts
    identify: Callable[[tuple[bytes, ...]], PeerCertificate]
    clock: Callable[[], float]
    adopt: Adopt | None = None
    rounds: Rounds = field(default_factory=Rounds)
    buffer: bytearray = field(default_factory=lambda: bytearray(CHUNK))


class Connection(asyncio.BufferedProtocol):
    """One TCP connection with its stream. It begins when a transport is connected to it.

    :param direct_tls: TLS comes before the stream (XEP-0368).
    :param on_end: told when the socket is free, also after the connection was handed to the server's own port.

    :ivar address: ``HOST:PORT`` of the other end.
    :ivar heard: whether the peer has sent a byte.
    """

    def __init__(
        self,
        stream: S2SStream,
        owner: Owner,
        wiring: Wiring,
        *,
        purpose: Purpose = Purpose.STANZAS,
        direct_tls: bool = False,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.stream = stream
        self.role = Role.OUTGOING if isinstance(stream, OutgoingStream) else Role.INCOMING
        self.address = ""
        self.heard = False
        self._owner = owner
        self._wiring = wiring
        self._purpose = purpose
        self._direct_tls = direct_tls
        self._on_end = on_end
        self._view = memoryview(wiring.buffer)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._tls: TlsChannel | None = None
        self._identity: PeerCertificate | None = None
        self._todo: deque[Output] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._carrying_out = False
        self._in_callback = False
        self._paused = False
        self._closing = False
        self._discarded = 0
        self._round = False
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None

    # For the owner

    def do(self, outputs: list[Output]) -> None:
        """Carry out what the stream has returned, and tell the owner of the rest.

        When that is going on already, these wait for their turn.
        """
        self._todo.extend(outputs)
        self._out_bytes += sum([len(output.data) for output in outputs if type(output) is SendBytes])
        if self._carrying_out:
            return
        self._carrying_out = True
        todo = self._todo
        try:
            while todo:
                self._carry_out(todo.popleft())
        except Exception as defect:
            todo.clear()
            self._defect(defect)
        finally:
            self._carrying_out = False
        if not (self._in_callback or self._round) and self._transport is not None:
            self._round = True
            self._wiring.rounds.later(self._end_of_round)

    def hold(self) -> None:
        """Read nothing until `resume`."""
        if self._transport is not None and not self._closing:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def drop(self, condition: str, text: str) -> None:
        """End the stream with an error and free the socket, without waiting for the peer."""
        self.do(self.stream.close(condition, text, self._wiring.clock()))
        self._flush()
        self._close(linger=False)

    @property
    def congested(self) -> bool:
        """Whether nothing more should be sent: so much waits to be written, and `Owner.writable` tells when it has
        left; or it is closing.
        """
        return self._paused or self._out_bytes > HIGH_WATER or self._closing

    @property
    def waiting_bytes(self) -> int:
        """Bytes waiting to be written."""
        return self._out_bytes + (self._transport.get_write_buffer_size() if self._transport is not None else 0)

    @property
    def tls_version(self) -> str:
        """For example ``TLSv1.3``; empty before TLS."""
        return self._tls.version if self._tls is not None else ""

    @property
    def cipher(self) -> str:
        """The cipher suite; empty before TLS."""
        return self._tls.cipher if self._tls is not None else ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the peer's certificate in hexadecimal digits; empty when it has shown none."""
        return self._identity.fingerprint if self._identity is not None else ""

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)
        watch(transport)
        self.address = shown_address(transport.get_extra_info("peername"))
        self._guarded(self._begin)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives; all connections share it, since nothing stays in it."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Something has arrived."""
        self.heard = True
        acknowledge(self._transport, nbytes)
        self._guarded(self._arrived, nbytes)

    def eof_received(self) -> None:
        """The peer sends nothing more: neither do we, since a stream in one direction is none."""
        self._guarded(self._lost, "The peer closed the connection.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        reason = f"The connection broke: {exc.strerror or exc}." if isinstance(exc, OSError) else "It was closed."
        self._guarded(self._lost, reason)
        self._guarded(self._gone)
        if self._on_end is not None:
            self._on_end()

    def pause_writing(self) -> None:
        """More waits than the peer reads."""
        self._paused = True

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._paused = False
        if not self._closing:
            self._guarded(self._owner.writable, self)

    # Inside: what comes

    def _guarded(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a part of a callback: no exception leaves it, and what is to be written leaves after it."""
        self._in_callback = True
        with self._wiring.rounds:
            try:
                function(*arguments)
                self._flush()
                self._arm()
            except Exception as defect:
                self._defect(defect)
            finally:
                self._in_callback = False

    def _end_of_round(self) -> None:
        self._round = False
        self._guarded(_nothing)

    def _begin(self) -> None:
        self._owner.connected(self, self.role, self._purpose)
        stream = self.stream
        if self._direct_tls:
            self._start_tls(StartTls(stream.local, stream.remote))
        elif isinstance(stream, OutgoingStream):
            self.do(stream.open(self._wiring.clock()))

    def _arrived(self, count: int) -> None:
        if self._closing:
            self._discard(count)
            return
        tls, now = self._tls, self._wiring.clock()
        if tls is None:
            self.do(self.stream.receive(bytes(self._view[:count]), now))
            return
        try:
            tls.feed(self._view[:count])
        except TlsFailed as failed:
            self._handshake_failed(str(failed))
            return
        if self._identity is None and not self._established(tls, now):
            return
        data = tls.read()
        if data:
            self.do(self.stream.receive(data, now))
        if tls.ended and not self._closing:
            self._lost(tls.failure or "The peer ended TLS.")

    def _lost(self, reason: str) -> None:
        tls = self._tls
        if tls is not None and not tls.established and not self._closing:
            self._refused_in_tls(reason)
        self.do(self.stream.lost(reason, self._wiring.clock()))
        self._close(linger=False)

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > _LINGER_BYTES and self._transport is not None:
            self._transport.abort()

    # Inside: TLS

    def _start_tls(self, command: StartTls) -> None:
        self._flush()  # what came before travels in the clear
        contexts = self._wiring.tls
        if self.role is Role.INCOMING:
            self._tls = contexts.accepting(command.local)
            return
        self._tls = contexts.connecting(command.local, command.partner, direct=self._direct_tls)
        self._tls.start()
        self._write(self._tls.outgoing())

    def _established(self, tls: TlsChannel, now: float) -> bool:
        self._write(tls.outgoing())
        if not tls.established:
            return False
        self._identity = self._wiring.identify(tls.peer_chain)
        self.do(self.stream.tls_established(self._identity, now))
        return True

    def _handshake_failed(self, reason: str) -> None:
        if self._tls is not None:
            self._write(self._tls.outgoing())  # the alert
        self._lost(reason)

    def _refused_in_tls(self, reason: str) -> None:
        """Nobody else knows why, and the administrator wants to."""
        pair = Pair(self.stream.local, self.stream.remote)
        self._owner.happened(self, PairRefused(pair, RefusalKind.TLS, reason, by_us=False))

    # Inside: what goes

    def _carry_out(self, output: Output) -> None:
        if type(output) is SendBytes:
            if self._closing:
                self._out_bytes -= len(output.data)
            else:
                self._out.append(output.data)
        elif type(output) is StartTls:
            self._start_tls(output)
        elif type(output) is CloseConnection:
            self._close(linger=True)
        elif type(output) is PassThrough:
            self._pass_through(output.received)
        else:
            self._owner.happened(self, output)

    def _flush(self) -> None:
        """Write what waits, in one piece; and then what the owner held back until that had left."""
        while self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            was_congested = self.congested
            self._out.clear()
            self._out_bytes -= len(data)
            self._encrypt_and_write(data)
            if was_congested and not self.congested:
                self._owner.writable(self)

    def _encrypt_and_write(self, data: bytes) -> None:
        tls = self._tls
        if tls is not None:
            if not tls.established:
                return  # in the middle of a handshake there is no way to say anything
            try:
                tls.write(data)
            except TlsFailed as failed:
                self._lost(str(failed))
                return
            data = tls.outgoing()
        self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > WRITE_LIMIT:
            transport.abort()
            self.do(self.stream.lost("The peer does not read what it is sent.", self._wiring.clock()))

    # Inside: time

    def _arm(self) -> None:
        """Be woken when the machine wants to be.

        A timer is never moved to a later time: traffic puts deadlines off all the time, and waking for nothing now
        and then costs less than a new timer for each stanza.
        """
        if self._closing or self._transport is None:
            return
        loop, now = self._loop, self._wiring.clock()
        delay = max(self.stream.deadline - now, _SHORTEST_NAP)
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay:
                return
            self._timer.cancel()
        if delay < float("inf"):
            self._timer = loop.call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._guarded(self._tick)

    def _tick(self) -> None:
        now = self._wiring.clock()
        if not self._closing and self.stream.deadline <= now:
            self.do(self.stream.tick(now))

    # Inside: the end

    def _close(self, *, linger: bool) -> None:
        """Close the socket once what waits has left; nothing more is taken from either side."""
        transport = self._transport
        if transport is None or (self._closing and linger):
            return
        if not self._closing:
            self._flush()
            self._closing = True
            if self._timer is not None:
                self._timer.cancel()
            if self._tls is not None:
                self._tls.shutdown()
                self._write(self._tls.outgoing())
        if transport.is_closing():
            return
        self._linger = self._linger or self._loop.call_later(LINGER, transport.abort)
        if linger:
            try:
                transport.write_eof()
            except OSError:  # the peer has reset it already
                transport.abort()
            transport.resume_reading()  # to see the end, and to let it come
        else:
            transport.close()

    def _pass_through(self, received: bytes) -> None:
        transport, adopt = self._transport, self._wiring.adopt
        if transport is None or adopt is None or self._tls is not None:
            self._close(linger=False)
            return
        transport.pause_reading()
        self._closing = True
        self._transport = None
        self._gone()
        adopt(transport, received, self._on_end or _nothing)

    def _gone(self) -> None:
        self._closing = True
        self._transport = None
        for handle in (self._timer, self._linger):
            if handle is not None:
                handle.cancel()
        self._owner.closed(self)

    def _defect(self, defect: Exception) -> None:
        """Nothing of what a defect says is logged, since it may quote a stanza."""
        log.error("The connection with %s ends: %s", self.address, shown(defect))
        self._closing = True
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()  # `connection_lost` tells everybody


async def connect(connection: Connection, host: str, port: int, timeout: float) -> None:
    """Connect, and begin the stream.

    :param host: an IP address.
    :param timeout: seconds.
    :raises OSError: there is nobody.
    :raises TimeoutError: nobody answered in time.
    """
    async with asyncio.timeout(timeout):
        await asyncio.get_running_loop().create_connection(lambda: connection, host, port)


def shown_address(peername: object) -> str:
    """``HOST:PORT`` of what a socket says, with brackets around IPv6."""
    match peername:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return ""


def _nothing() -> None:
    pass
