"""Just enough XMPP to see that a server answers, and to ask it things as a component.

The gate itself does not use this: it exists so that the sandbox can watch the server from outside of the product.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from xml.sax.saxutils import quoteattr

from component.base.errors import StanzagateError

STREAM = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
COMPONENT = "jabber:component:accept"
CLIENT = "jabber:client"
SERVER = "jabber:server"


class StreamFailed(StanzagateError):
    """A stream could not be opened, or was closed."""


class Stream:
    """A client's or component's XML stream: elements out, elements in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: str) -> None:
        self._reader = reader
        self._writer = writer
        self._place = place
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self.attributes: Mapping[str, str] = {}

    @classmethod
    async def connect(cls, host: str, port: int) -> Stream:
        """:raises StreamFailed: nothing listens there."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise StreamFailed(f"{host}:{port} does not answer: {error.strerror or error}.") from None
        return cls(reader, writer, f"{host}:{port}")

    async def open(self, to: str, namespace: str) -> None:
        """Send a stream header and read the answer's.

        :raises StreamFailed: the other side closed or speaks something else.
        """
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        version = "" if namespace == COMPONENT else " version='1.0'"
        await self.send(f"<stream:stream to={quoteattr(to)} xmlns='{namespace}' xmlns:stream='{STREAM}'{version}>")
        _, element = await self._event()
        if element.tag != f"{{{STREAM}}}stream":
            raise StreamFailed(f"{self._place} is not an XMPP server.")
        self._depth = 1
        self.attributes = dict(element.attrib)

    async def send(self, data: str) -> None:
        """:raises StreamFailed: the connection is gone."""
        try:
            self._writer.write(data.encode())
            await self._writer.drain()
        except OSError:
            raise StreamFailed(f"{self._place} closed the connection.") from None

    async def element(self) -> ET.Element:
        """The next child of the stream.

        :raises StreamFailed: the stream ended; a stream error is named.
        """
        while True:
            event, element = await self._event()
            self._depth += 1 if event == "start" else -1
            if self._depth == 0:
                raise StreamFailed(f"{self._place} closed the stream.")
            if event == "end" and self._depth == 1:
                if element.tag == f"{{{STREAM}}}error":
                    condition = element[0].tag.partition("}")[2] if len(element) else "unknown"
                    raise StreamFailed(f"{self._place} closed the stream: {condition}.")
                return element

    async def start_tls(self, domain: str, context: ssl.SSLContext) -> None:
        """Negotiate TLS (RFC 6120 §5); the certificate must be for `domain`.

        :raises StreamFailed: the server or the certificate is refused.
        """
        await self.send(f"<starttls xmlns='{TLS}'/>")
        if (await self.element()).tag != f"{{{TLS}}}proceed":
            raise StreamFailed(f"{self._place} refuses TLS for {domain}.")
        try:
            await self._writer.start_tls(context, server_hostname=domain)
        except (OSError, ssl.SSLError) as error:
            raise StreamFailed(f"TLS with {self._place} for {domain} failed: {error}.") from None

    @property
    def tls_version(self) -> str:
        """For example ``TLSv1.3``; empty before TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return str(tls.version()) if tls is not None else ""

    async def close(self) -> None:
        """End the stream and the connection."""
        try:
            self._writer.write(b"</stream:stream>")
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:  # the other side was faster
            pass

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _event(self) -> tuple[str, ET.Element]:
        while True:
            # One at a time: what follows an element that ends a phase belongs to the next call.
            event = next(iter(self._parser.read_events()), None)
            if event is not None:
                return cast("tuple[str, ET.Element]", event)
            try:
                data = await self._reader.read(65536)
            except OSError:
                data = b""
            if not data:
                raise StreamFailed(f"{self._place} closed the connection.")
            try:
                self._parser.feed(data)
            except ET.ParseError:
                raise StreamFailed(f"{self._place} is not an XMPP server.") from None


@dataclass(frozen=True)
class Offer:
    """What a server offers to a client of one domain.

    :ivar tls_required: STARTTLS is mandatory to negotiate and no mechanism is offered before it.
    :ivar mechanisms: SASL mechanisms after TLS.
    :ivar tls_version: for example ``TLSv1.3``.
    """

    tls_required: bool
    mechanisms: frozenset[str]
    tls_version: str


async def client_offer(
    host: str,
    port: int,
    domain: str,
    ca: Path,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Offer:
    """Connect as a client of `domain` would, up to the list of SASL mechanisms.

    :param ca: the authority that must have signed the server's certificate.
    :param certificate: a client certificate to offer, with its `key`.
    :raises StreamFailed: something on the way is not as it should be.
    """
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    async with await Stream.connect(host, port) as stream:
        await stream.open(domain, CLIENT)
        before = await stream.element()
        starttls = before.find(f"{{{TLS}}}starttls")
        if starttls is None:
            raise StreamFailed(f"{host}:{port} does not offer TLS for {domain}.")
        required = starttls.find(f"{{{TLS}}}required") is not None and before.find(f"{{{SASL}}}mechanisms") is None
        await stream.start_tls(domain, context)
        await stream.open(domain, CLIENT)
        after = await stream.element()
        names = {(item.text or "").strip() for item in after.iter(f"{{{SASL}}}mechanism")}
        return Offer(required, frozenset(names), stream.tls_version)


async def attach(host: str, port: int, jid: str, secret: str) -> Stream:
    """Attach as the component `jid` (XEP-0114).

    :raises StreamFailed: the server is not there or refuses the secret.
    """
    stream = await Stream.connect(host, port)
    try:
        await stream.open(jid, COMPONENT)
        digest = hashlib.sha1((stream.attributes.get("id", "") + secret).encode(), usedforsecurity=False).hexdigest()
        await stream.send(f"<handshake>{digest}</handshake>")
        answer = await stream.element()
        if answer.tag != f"{{{COMPONENT}}}handshake":
            raise StreamFailed(f"{host}:{port} answered the handshake of {jid} with something else.")
    except BaseException:
        await stream.close()
        raise
    return stream


async def ask(stream: Stream, requests: Mapping[str, str]) -> dict[str, ET.Element]:
    """Send requests all at once and wait for the answer to each.

    :param requests: whole ``<iq/>`` elements by their id.
    :returns: the answers (type result or error) by id.
    :raises StreamFailed: the stream ended first.
    """
    await stream.send("".join(requests.values()))
    answers: dict[str, ET.Element] = {}
    while len(answers) < len(requests):
        element = await stream.element()
        identifier = element.get("id", "")
        if (
            element.tag == f"{{{COMPONENT}}}iq"
            and element.get("type") in ("result", "error")
            and identifier in requests
        ):
            answers[identifier] = element
    return answers
