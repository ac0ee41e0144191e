"""Strangers are passed through, as bytes, to the server's own port, where the SRV record of a domain names the relay.

Nothing of it is read: backpressure, half-closed connections and ends of one side appear at the other. What waits in
between is bounded by what the transports may hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast

from component.base.settings import Address
from component.relay.net.connection import CHUNK, shown_address

log = logging.getLogger(__name__)

Spawn = Callable[[str, Coroutine[Any, Any, None]], object]

WAITING_BYTES = 64 * 1024
"""In each direction, above which nothing more is read."""

CONNECT_TIMEOUT = 10.0
"""Seconds; the server is a neighbour."""


class Splicer:
    """Takes over connections of strangers.

    :param server: the server's own port.
    :param idle: seconds without a byte in either direction after which a connection ends.
    :param spawn: starts a background task.
    """

    def __init__(self, server: Address, idle: float, spawn: Spawn) -> None:
        self._server = server
        self._idle = idle
        self._spawn = spawn
        self._view = memoryview(bytearray(CHUNK))
        self._splices: set[_Splice] = set()
        self._unreachable = False

    def __len__(self) -> int:
        return len(self._splices)

    def adopt(self, transport: asyncio.Transport, received: bytes, on_end: Callable[[], None]) -> None:
        """Pass a connection on.

        :param transport: of the stranger; it is not read from yet.
        :param received: what the stranger has sent already.
        :param on_end: told when both connections are closed.
        """
        splice = _Splice(self._view, self._idle, received, lambda: self._ended(splice, on_end))
        self._splices.add(splice)
        splice.stranger.take(transport)
        name = f"relay.pass-through {shown_address(transport.get_extra_info('peername'))}"
        self._spawn(name, self._connect(splice))

    def close(self) -> None:
        """End all of them."""
        for splice in list(self._splices):
            splice.close()

    async def _connect(self, splice: _Splice) -> None:
        host, port = self._server.host, self._server.port
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().create_connection(lambda: splice.server, host, port)
        except (OSError, TimeoutError) as error:
            if not self._unreachable:  # one line for as long as it lasts
                text = getattr(error, "strerror", None) or "no answer in time"
                log.error(
                    "%s (relay.pass_through) cannot be reached, strangers are turned away: %s", self._server, text
                )
            self._unreachable = True
            splice.close()
        except BaseException:
            splice.close()
            raise
        else:
            self._unreachable = False

    def _ended(self, splice: _Splice, on_end: Callable[[], None]) -> None:
        self._splices.discard(splice)
        on_end()


class _Splice:
    """Two connections, each of which gets what the other sends."""

    def __init__(self, view: memoryview, idle: float, received: bytes, on_end: Callable[[], None]) -> None:
        self.received = received
        self.stranger = _Half(self, view)
        self.server = _Half(self, view)
        self.stranger.other, self.server.other = self.server, self.stranger
        self.closing = False
        self.last = 0.0
        self._idle = idle
        self._on_end = on_end
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self.touch()
        self._timer = self._loop.call_later(idle, self._look)

    def touch(self) -> None:
        """Something was sent."""
        self.last = self._loop.time()

    def joined(self) -> None:
        """The server is there: give it what the stranger has sent, and let both talk."""
        if self.closing or self.stranger.transport is None or self.server.transport is None:
            self.close()
            return
        self.server.transport.write(self.received)
        self.received = b""
        self.stranger.transport.resume_reading()

    def close(self) -> None:
        """End both connections, once what waits has left."""
        self.closing = True
        for half in (self.stranger, self.server):
            if half.transport is not None:
                half.transport.close()
        self.ended()

    def ended(self) -> None:
        """One may have ended."""
        if self.closing and not self._ended and self.stranger.transport is None and self.server.transport is None:
            self._ended = True
            self._timer.cancel()
            self._on_end()

    def _look(self) -> None:
        left = self.last + self._idle - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            for half in (self.stranger, self.server):
                if half.transport is not None:
                    half.transport.abort()
            self.close()


class _Half(asyncio.BufferedProtocol):
    """One of the two."""

    def __init__(self, splice: _Splice, view: memoryview) -> None:
        self.other: _Half
        self.transport: asyncio.Transport | None = None
        self.finished = False
        self._splice = splice
        self._view = view

    def take(self, transport: asyncio.Transport) -> None:
        """Become the protocol of a transport that has another."""
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=WAITING_BYTES)
        self.transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WAITING_BYTES)
        self._splice.joined()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self._splice.touch()
        to = self.other.transport
        if to is not None and not to.is_closing():
            to.write(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        """Keep the other direction open: who has said all that he has to say may wait for an answer."""
        self.finished = True
        to = self.other.transport
        if self.other.finished or to is None:
            self._splice.close()
            return False
        if not to.is_closing():
            try:
                to.write_eof()
            except OSError:  # it is reset already
                to.abort()
        return True

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self._splice.touch()
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if exc is not None and self.other.transport is not None:
            self.other.transport.abort()  # a broken end must not look like an orderly one
        self._splice.close()
        self._splice.ended()
