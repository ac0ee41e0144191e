"""The device's XML stream: slixmpp's client, with TLS demanded and stanzas handed over as they were parsed.

slixmpp negotiates TLS, SASL and the resource. What is ours: a stream without TLS is given up before anything is
authenticated; after the resource is bound every stanza goes to `on_stanza` and slixmpp answers nothing by itself;
connecting, keep-alive and reconnecting are `Uplink`'s, because slixmpp's own retry has neither jitter nor the timers
of the data model.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP
from slixmpp.xmlstream.stanzabase import StanzaBase
from slixmpp.xmlstream.tostring import tostring

from component.base.errors import Unreachable
from component.base.tags import WholeTags
from stanzagate.sandbox.device.request import CLIENT

_STREAM_ERROR = "{http://etherx.jabber.org/streams}error"
CLOSE_TIMEOUT = 1.0
"""Seconds to wait for the server to close its side."""

# slixmpp logs every stanza and, on a parse error, the input: credentials would be in there
logging.getLogger("slixmpp").setLevel(logging.CRITICAL + 1)


class DeviceStream(ClientXMPP):
    """One account's stream. It outlives its connections.

    :param jid: what to bind; without a resource the server chooses one.
    :param context: verifies the server for the domain of the JID.
    :param on_stanza: called with every stanza after the resource is bound.
    """

    def __init__(
        self, jid: str, password: str, *, context: ssl.SSLContext, on_stanza: Callable[[Element], None]
    ) -> None:
        super().__init__(jid, password, ssl_context=context)
        self._on_stanza = on_stanza
        self._online = False
        self._tags = WholeTags()
        self._reason = ""
        self._bound: asyncio.Future[None] = self.loop.create_future()
        self._lost: asyncio.Future[str] = self.loop.create_future()
        self.del_event_handler("session_start", self._start_keepalive)
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("failed_all_auth", lambda _: self._give_up("the server refused the credentials"))
        self.add_event_handler("ssl_invalid_chain", lambda error: self._give_up(_why(error)))
        self.init_plugins()  # type: ignore[no-untyped-call]

    async def open(self, host: str, port: int, timeout: float) -> None:
        """Connect, secure, authenticate and bind.

        :param timeout: seconds that all of it may take.
        :raises Unreachable: when it did not work; the message says at what it failed.
        """
        self._reason = ""
        self._bound, self._lost = self.loop.create_future(), self.loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.loop.create_connection(lambda: cast(asyncio.Protocol, self), host, port)
                await asyncio.wait((self._bound, self._lost), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self.abort()
            raise Unreachable(
                f"{host}:{port} did not let {self.requested_jid.bare} in within {timeout:g} s."
            ) from None
        except OSError as error:
            raise Unreachable(f"{host}:{port} cannot be reached: {error.strerror or error}.") from None
        if not self._bound.done():
            raise Unreachable(f"{host}:{port} did not let {self.requested_jid.bare} in: {self._lost.result()}.")

    async def lost(self, timeout: float | None) -> str | None:
        """Wait until the connection is lost; why, or None when it is still there after `timeout` seconds."""
        done, _ = await asyncio.wait((self._lost,), timeout=timeout)
        return self._lost.result() if done else None

    async def close(self) -> None:
        """Close the stream in order (RFC 6120 §4.4), waiting a second at most for the server."""
        if self.transport is None:
            return
        self.write(self.stream_footer)
        if await self.lost(CLOSE_TIMEOUT) is None:
            self.abort()

    def write(self, xml: str) -> bool:
        """Send `xml` as it stands; False when there is no connection to send it on."""
        if self.transport is None or self.transport.is_closing():
            return False
        self.transport.write(xml.encode())
        return True

    # What slixmpp calls

    def send(self, data: StanzaBase | str, use_filters: bool = True) -> None:
        # at once: slixmpp's queue is emptied by a task of its own, for filters that this client does not have
        self.write(data if isinstance(data, str) else tostring(data.xml, xmlns=CLIENT, stream=self, top_level=True))

    async def _handle_stream_features(self, features: Any) -> bool | None:
        encrypted = self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
        if not encrypted and "starttls" not in features["features"]:
            self._give_up("it offers no TLS")
            return True
        return await super()._handle_stream_features(features)

    async def start_tls(self) -> bool:
        secured = await super().start_tls()
        if not secured and not self._lost.done():
            # asyncio tells nobody that a connection is lost when it is lost in the handshake
            self._lost.set_result(self._reason or "the connection was lost in the TLS handshake")
        return secured

    def data_received(self, data: bytes | str) -> None:
        whole = self._tags.take(data.encode() if isinstance(data, str) else data)
        if self.xml_depth == 0 and b"<!" in whole:
            self._give_up("it sent a DOCTYPE or a comment")  # restricted-xml, RFC 6120 §11.1
            return
        super().data_received(whole)

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        self._tags = WholeTags()
        super().connection_made(transport, send_event)

    def _spawn_event(self, xml: Element) -> None:
        if xml.tag == _STREAM_ERROR:
            self._reason = f"stream error {', '.join(child.tag.rpartition('}')[2] for child in xml)}"
        elif self._online:
            self._on_stanza(xml)
        else:
            super()._spawn_event(xml)

    def connection_lost(self, exception: BaseException | None) -> None:
        self._online = False
        super().connection_lost(exception)
        if not self._lost.done():
            self._lost.set_result(self._reason or _why(exception))

    def _started(self, _event: Any) -> None:
        if not self.boundjid.resource:
            self._give_up("it bound no resource")
        elif not self._bound.done():
            self._online = True
            self._bound.set_result(None)

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self.abort()


def _why(exception: BaseException | None) -> str:
    if isinstance(exception, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({exception.verify_message})"
    return type(exception).__name__ if exception else "the server closed the stream"
