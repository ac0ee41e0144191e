"""One XEP-0114 stream: slixmpp's, with the parts replaced that a gate under attack cannot afford.

slixmpp opens the stream, performs the handshake and, for the few stanzas that want it, dispatches to its plugins
(service discovery, version, ping). Three things are ours:

* **Reading.** A parsed stanza is handed to `on_stanza` before any stanza object is built; only what it does not
  claim goes on to slixmpp. Nothing that was received is ever logged: it may carry a device's credentials.
* **Writing.** What is written while a chunk of input is being handled leaves in one system call at its end, and
  the amount that waits for a server that does not read is bounded.
* **Connecting.** `Link` decides when; slixmpp's own retry loop is not used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast
from xml.etree.ElementTree import Element, ParseError

from slixmpp.componentxmpp import ComponentXMPP
from slixmpp.xmlstream.xmlstream import NotConnectedError

from component.base import ns
from component.base.stanzas import STREAM_ERROR
from component.base.tags import WholeTags

log = logging.getLogger(__name__)

LONGEST_TAG = 4 * 1024 * 1024
"""Bytes. Both servers refuse stanzas that are far shorter."""

WRITE_LIMIT = 32 * 1024 * 1024
"""Bytes that may wait for a server that does not read. Stopping to read in turn is no way out: ejabberd's
component process writes and reads alternately, so each side would wait for the other."""


class ComponentStream(ComponentXMPP):
    """The protocol object of one attachment; it outlives its connections.

    :param on_stanza: called with every stanza after the handshake; returns whether it was claimed.
    :param on_ready: called when the server has accepted the handshake.
    :param on_lost: called once for each connection that ends, with a reason for people.
    """

    def __init__(
        self,
        jid: str,
        secret: str,
        *,
        on_stanza: Callable[[Element], bool],
        on_ready: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(jid, secret)  # type: ignore[no-untyped-call]
        self._on_stanza = on_stanza
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self._reading = False
        self._prolog = True
        self._tags = WholeTags()
        self._reason = ""
        self.dropped = 0
        self.add_event_handler("session_start", lambda _event: self._on_ready())

    # Reading

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        self._prolog = True
        self._tags = WholeTags()
        self._reason = ""
        self._out.clear()
        super().connection_made(transport, send_event)

    def data_received(self, data: bytes) -> None:  # type: ignore[override]
        parser = self.parser
        if parser is None:
            return
        whole = self._tags.take(data)
        if self._prolog and b"<!" in whole:
            self.give_up("the server sent a DOCTYPE or a comment (restricted-xml)")
            return
        self._reading = True
        try:
            parser.feed(whole)
            if len(self._tags) > LONGEST_TAG:
                self.give_up("the server sent a tag without an end")
                return
            self._dispatch(cast(Any, parser.read_events()))
        except ParseError as error:
            self.give_up(f"the server sent XML that is not well-formed ({error})")
        finally:
            self._reading = False
            self.flush()

    def _dispatch(self, events: Any) -> None:
        depth = self.xml_depth
        root = self.xml_root
        for event, element in events:
            if event == "start":
                if depth == 0:
                    root = self.xml_root = element
                    self._prolog = False
                    self.start_stream_handler(element)  # type: ignore[no-untyped-call]
                depth += 1
            else:
                depth -= 1
                if depth == 1:
                    self.xml_depth = depth
                    self._stanza(element)
                    if self.parser is None:  # the stanza's handler ended the connection
                        return
                    cast(Element, root).clear()
                elif depth == 0:
                    self.give_up("the server closed the stream")
                    return
        self.xml_depth = depth

    def _stanza(self, element: Element) -> None:
        if element.tag == STREAM_ERROR:
            self._reason = _stream_error_reason(element)
        elif self.sessionstarted:
            try:
                if self._on_stanza(element):
                    return
            except Exception:
                log.exception("A stanza was dropped because its handler failed.")
                return
        try:
            self._spawn_event(element)
        except Exception as error:  # slixmpp copies what it answers, recursively; its message may show the stanza
            log.error("A stanza was dropped because slixmpp failed on it: %s.", type(error).__name__)

    # Writing

    def send_raw(self, data: str | bytes) -> None:
        """Write what slixmpp has serialised; the bound of `write` holds for it too."""
        if self.transport is None:
            raise NotConnectedError
        self.write(data.encode() if isinstance(data, str) else data)

    def write(self, data: bytes) -> None:
        """Queue bytes for the server; they leave at the end of the current chunk of input or loop iteration."""
        self._out.append(data)
        if not (self._reading or self._flush_scheduled):
            self._flush_scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand what is queued to the operating system."""
        self._flush_scheduled = False
        if not self._out:
            return
        transport = self.transport
        if transport is None or transport.get_write_buffer_size() > WRITE_LIMIT:
            self.dropped += len(self._out)
        else:
            transport.write(b"".join(self._out))
        self._out.clear()

    # Ending

    def end(self) -> None:
        """Say the last word (RFC 6120 §4.4); stanzas still come in until the server has said its own."""
        self.write(b"</stream:stream>")
        self.flush()

    def connection_lost(self, exception: BaseException | None) -> None:
        self.sessionstarted = False
        super().connection_lost(exception)
        self._on_lost(self._reason or (str(exception) if exception else "the server closed the connection"))

    def give_up(self, reason: str) -> None:
        """End the connection at once.

        :param reason: for people.
        """
        self._reason = self._reason or reason
        self.parser = None
        if self.transport is not None:
            self.transport.abort()


def _stream_error_reason(element: Element) -> str:
    conditions = [child.tag.partition("}")[2] for child in element if child.tag.startswith(f"{{{ns.STREAMS}}}")]
    condition = next((name for name in conditions if name != "text"), "undefined-condition")
    text = (element.findtext(f"{{{ns.STREAMS}}}text") or "").strip()
    return f"stream error {condition}{f' ({text})' if text else ''}"
