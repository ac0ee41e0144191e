"""Which clients are connected to a guarded host, as its in-server plugin tells: numbered events, and all at once.

Events can be lost (a stanza that a server drops), and with a resource conflict the new session comes before the old
one has gone. So events are numbered, sessions have names of their own, and a book that misses an event says so until
it has been told everything anew.
"""

from __future__ import annotations

import binascii
import logging
import math
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.jid import Jid, JidError, prepare

log = logging.getLogger(__name__)

_SESSION = f"{{{ns.POLICY}}}session"
_CERTIFICATES = f"{{{ns.POLICY}}}certificateChain/{{{ns.POLICY}}}certificate"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ClientSession:
    """A session of a client, from when its resource is bound (RFC 6120 §7) to its end.

    :ivar sid: its name; no other session of the server has it.
    :ivar since: Unix time in seconds at which it began.
    :ivar mechanism: the SASL mechanism, or empty when the plugin did not see it.
    :ivar fingerprint: SHA-256 of the client's TLS certificate in lower-case hex, or empty.
    :ivar chain: the certificates that the client sent, DER, its own first.
    """

    sid: str
    jid: Jid
    since: float
    mechanism: str = ""
    fingerprint: str = ""
    chain: tuple[bytes, ...] = ()


class SessionSink(Protocol):
    """Who wants to know which clients are connected."""

    def up(self, host: str, session: ClientSession) -> None:
        """A session began."""

    def down(self, host: str, session: ClientSession) -> None:
        """A session ended; another one of the same JID may have begun meanwhile."""

    def replace(self, host: str, sessions: Iterable[ClientSession]) -> None:
        """These are all sessions on `host`."""

    def forget(self, host: str) -> None:
        """It is not known any more who is connected to `host`."""


class SessionBook:
    """The sessions on one host."""

    def __init__(self, host: str, sink: SessionSink) -> None:
        self._host = host
        self._sink = sink
        self._seq: int | None = None
        self._open: dict[str, ClientSession] = {}

    def take(self, element: Element) -> bool:
        """Take note of an event (``<session/>``) or of everything (``<sessions/>``).

        :returns: False when something is missing.
        """
        seq = _count(element.get("seq"))
        if seq is None:
            log.warning("%s: a message about sessions without a number was ignored.", self._host)
        elif element.tag != _SESSION:
            self._replace(seq, element)
        elif self._seq is None or seq > self._seq + 1:
            self._seq = None
        elif seq == self._seq + 1:
            self._seq = seq
            self._event(element)
        return self._seq is not None

    def complete(self, seq: int | None, count: int) -> bool:
        """Whether the book agrees with what the plugin says of itself.

        :param seq: the number of its last event, or None when it does not say.
        :param count: how many sessions there are.
        """
        if self._seq is None or count != len(self._open) or (seq is not None and seq != self._seq):
            self._seq = None
        return self._seq is not None

    def forget(self) -> None:
        """The plugin cannot be heard any more."""
        self._seq = None
        self._open = {}
        self._sink.forget(self._host)

    def _replace(self, seq: int, element: Element) -> None:
        found = (self._read(child) for child in element.iterfind(_SESSION))
        self._open = {session.sid: session for session in found if session is not None}
        self._seq = seq
        self._sink.replace(self._host, self._open.values())

    def _event(self, element: Element) -> None:
        if element.get("event") == "down":
            ended = self._open.pop(element.get("sid", ""), None)
            if ended is not None:
                self._sink.down(self._host, ended)
        elif (session := self._read(element)) is not None:
            self._open[session.sid] = session
            self._sink.up(self._host, session)

    def _read(self, element: Element) -> ClientSession | None:
        try:
            jid = prepare(element.get("jid", ""))
            since = float(element.get("since", ""))
            chain = tuple(b64decode(item.text or "", validate=True) for item in element.iterfind(_CERTIFICATES))
        except (JidError, ValueError, binascii.Error) as error:
            log.warning("%s: a session could not be read: %s", self._host, error)
            return None
        fingerprint = element.get("fingerprint", "")
        if (
            jid.domain != self._host  # a plugin speaks for its own host
            or not (element.get("sid") and math.isfinite(since))
            or (fingerprint and not _FINGERPRINT.fullmatch(fingerprint))
        ):
            log.warning("%s: a session that cannot be was ignored.", self._host)
            return None
        return ClientSession(element.get("sid", ""), jid, since, element.get("mechanism", ""), fingerprint, chain)


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
