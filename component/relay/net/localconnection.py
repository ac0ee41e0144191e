"""One TCP connection to the local server, with the XEP-0114 machine that runs on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Protocol, cast

from component.relay.defects import shown
from component.relay.net.rounds import Rounds
from component.relay.net.tcp import acknowledge
from component.relay.wire.component import (
    AttachmentFailed,
    AttachmentReady,
    ComponentStream,
    LocalStanza,
    UnfitStanza,
)
from component.relay.wire.events import Noticed, SendBytes
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)

HIGH_WATER = 256 * 1024
"""Bytes in our own buffer from which on nothing more is written: what was never written cannot be lost."""


class Owner(Protocol):
    """Who is told what happens on a connection."""

    def ready(self) -> None:
        """The server has accepted the handshake."""

    def received(self, stanza: Stanza) -> None:
        """The server has handed over a stanza."""

    def unfit(self, stanza: Stanza, text: str) -> None:
        """The server has handed over a stanza that is too much; what it contained is gone.

        :param text: why, for people.
        """

    def congestion(self) -> None:
        """The server has begun or ceased to read: see `LocalConnection.paused`."""

    def lost(self, connection: LocalConnection, condition: str, reason: str) -> None:
        """The connection has ended; told once.

        :param condition: stream error of the server, or empty.
        :param reason: for people.
        """


class LocalConnection(asyncio.Protocol):
    """The protocol object of one connection.

    :ivar paused: the server does not read, so nothing should be written.
    """

    def __init__(self, stream: ComponentStream, owner: Owner, rounds: Rounds) -> None:
        self.paused = False
        self._stream = stream
        self._owner = owner
        self._rounds = rounds
        self._transport: asyncio.Transport | None = None
        self._condition = ""
        self._reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self.write(self._stream.open())

    def data_received(self, data: bytes) -> None:
        acknowledge(self._transport, len(data))
        with self._rounds:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            for output in self._stream.receive(data):
                match output:
                    case LocalStanza(stanza):
                        self._owner.received(stanza)
                    case UnfitStanza(unfit, text):
                        self._owner.unfit(unfit, text)
                    case SendBytes(answer):
                        self.write(answer)
                    case AttachmentReady():
                        self._owner.ready()
                    case AttachmentFailed(condition, text):
                        self._failed(condition, text)
                    case Noticed(_, text):
                        log.warning("The local server has sent what is no stanza between servers: %s", text)
        except Exception as defect:  # it costs this connection; what was written to it is handed back
            log.error("The connection to the local server is given up: %s", shown(defect))
            self.abort("there is a defect in the relay")

    def pause_writing(self) -> None:
        self.paused = True
        self._owner.congestion()

    def resume_writing(self) -> None:
        self.paused = False
        self._owner.congestion()

    def connection_lost(self, exception: BaseException | None) -> None:
        transport, self._transport = self._transport, None
        self.paused = True
        if transport is not None and exception is not None:
            self._read_out(transport)
        reason = self._reason or (str(exception) if exception else "the server closed the connection")
        self._owner.lost(self, self._condition, reason)

    def _read_out(self, transport: asyncio.Transport) -> None:
        """Take what the server had sent before the connection broke: asyncio reads nothing more when a write fails.

        There may be stanzas in it that nobody else will deliver, and the answer to a barrier.
        """
        place = transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):  # there is nothing more
            while data := os.read(place, 65_536):
                self._take(data)

    def write(self, data: bytes) -> None:
        """Write bytes, unless the connection has ended."""
        if self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        """Say the last word (RFC 6120 §4.4); stanzas still come in until the server has said its own."""
        self.write(b"</stream:stream>")

    def abort(self, reason: str) -> None:
        """End the connection at once.

        :param reason: for people.
        """
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _failed(self, condition: str, text: str) -> None:
        """The server has ended the stream, or done what ends it."""
        self._condition = condition
        what = f"stream error {condition}" if condition else "the server closed the stream"
        self._reason = self._reason or f"{what}{f' ({text})' if text else ''}"
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():  # it does not read, and may never do so
            self._transport.abort()
        else:
            self._transport.close()
