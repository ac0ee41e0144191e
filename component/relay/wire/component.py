"""The local side: one stream of a component to our own server (XEP-0114).

It begins with two headers and a handshake; then either side sends stanzas until one of them closes the stream. The
server is trusted, as whoever has the secret must be, and yet nothing that it sends can make this fail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.wire.errors import WireError
from component.relay.wire.events import Noticed, SendBytes
from component.relay.wire.parser import Ended, Failed, Opened, PassedOver, Received, StreamParser
from component.relay.wire.serial import quote, stream_error
from component.relay.wire.stanza import Stanza, read

CLOSE = b"</stream:stream>"

_STREAM = f"{{{ns.STREAM}}}stream"
_STREAM_ERROR = f"{{{ns.STREAM}}}error"
_HANDSHAKE = f"{{{ns.COMPONENT}}}handshake"


@dataclass(frozen=True, slots=True)
class AttachmentReady:
    """The server has accepted the handshake: stanzas may be sent."""


@dataclass(frozen=True, slots=True)
class LocalStanza:
    """The server has handed over a stanza for the domain."""

    stanza: Stanza


@dataclass(frozen=True, slots=True)
class UnfitStanza:
    """The server has handed over a stanza that is too much for a partner, and was passed over.

    :ivar stanza: without what it contained, and without bytes.
    :ivar text: one sentence for people.
    """

    stanza: Stanza
    text: str


@dataclass(frozen=True, slots=True)
class AttachmentFailed:
    """The stream is over; nothing comes after it. End the connection once what was sent before has left.

    :ivar condition: stream error (RFC 6120 §4.9.3), the server's or ours; empty when the server closed the stream.
    :ivar text: one sentence for people, which may be the server's; empty for none.
    """

    condition: str
    text: str


LocalOutput = SendBytes | AttachmentReady | LocalStanza | UnfitStanza | AttachmentFailed | Noticed


class ComponentStream:
    """One stream; a new connection needs a new one.

    :param domain: the one that the server lets the component have.
    :param secret: shared with the server; it never leaves this object but as a part of the handshake's digest.
    :param limit: bytes that a stanza may have; a longer one is passed over, and costs nobody the stream.

    :ivar ready: whether the handshake was accepted and the stream not ended since.
    """

    def __init__(self, domain: str, secret: str, *, limit: int = 512 * 1024) -> None:
        self.ready = False
        self._domain = domain
        self._secret = secret
        self._parser = StreamParser(ns.COMPONENT, limit=limit, patient=True)
        self._over = False
        self._out: list[LocalOutput] = []

    def open(self) -> bytes:
        """What to send when the connection stands (XEP-0114 §3)."""
        return (
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'"
            f" to='{quote(self._domain)}'>"
        ).encode()

    def receive(self, data: bytes) -> list[LocalOutput]:
        """Take bytes from the server.

        :return: what has come of it, and what to send, in order.
        """
        for event in self._parser.feed(data):
            if self._over:
                break
            match event:
                case Received() if self.ready and event.element.tag != _STREAM_ERROR:
                    self._stanza(event)
                case PassedOver(element, text) if self.ready:
                    self._unfit(element, text)
                case PassedOver(_, text):
                    self._fail("policy-violation", text)
                case Received(element):
                    self._negotiate(element)
                case Opened():
                    self._opened(event)
                case Failed(condition, text):
                    self._fail(condition, text)
                case Ended():
                    self._end("", "")
        out, self._out = self._out, []
        return out

    def _opened(self, header: Opened) -> None:
        if header.tag != _STREAM or header.content != ns.COMPONENT:
            self._fail("invalid-namespace", "The port is not one for components.")
            return
        stream_id = header.attributes.get("id")
        if not stream_id:
            return  # Prosody does so before it says what is wrong with the header
        digest = hashlib.sha1((stream_id + self._secret).encode(), usedforsecurity=False).hexdigest()
        self._out.append(SendBytes(f"<handshake>{digest}</handshake>".encode()))

    def _negotiate(self, element: Element) -> None:
        if element.tag == _STREAM_ERROR:
            prefix = f"{{{ns.STREAM_ERRORS}}}"
            names = [child.tag.removeprefix(prefix) for child in element if child.tag.startswith(prefix)]
            condition = next((name for name in names if name != "text"), "undefined-condition")
            self._end(condition, (element.findtext(f"{prefix}text") or "")[:200])
        elif element.tag == _HANDSHAKE:
            self.ready = True
            self._out.append(AttachmentReady())
        else:
            self._fail("not-authorized", "The server has sent something else than an answer to the handshake.")

    def _stanza(self, received: Received) -> None:
        try:
            self._out.append(LocalStanza(read(received, ns.COMPONENT)))
        except WireError as error:
            self._out.append(Noticed(f"local-{error.condition}", error.text))

    def _unfit(self, element: Element, text: str) -> None:
        try:
            self._out.append(UnfitStanza(read(Received(element, b""), ns.COMPONENT), text))
        except WireError as error:
            self._out.append(Noticed(f"local-{error.condition}", error.text))

    def _fail(self, condition: str, text: str) -> None:
        self._out.append(SendBytes(stream_error(condition, text) + CLOSE))
        self._end(condition, text)

    def _end(self, condition: str, text: str) -> None:
        self._over = True
        self.ready = False
        self._out.append(AttachmentFailed(condition, text))
