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


LONGEST_NUMBER = 18


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
        """A session began; or more is known of one of that `sid`, of its certificate for example."""

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
        self._open: dict[str, ClientSession | None] = {}  # by sid; None for one that could not be read

    @property
    def complete(self) -> bool:
        """Whether everything is known that the plugin has told."""
        return self._seq is not None

    def take(self, element: Element) -> None:
        """Take note of an event (``<session/>``) or of everything (``<sessions/>``)."""
        seq = natural(element.get("seq"))
        if seq is None:
            log.warning("%s: a message about sessions without a number was ignored.", self._host)
        elif element.tag != _SESSION:
            self._replace(seq, element)
        elif self._seq is None or seq > self._seq + 1:
            self._seq = None
        elif seq == self._seq + 1:
            self._seq = seq
            self._event(element)

    def compare(self, seq: int, count: int) -> None:
        """Compare with what the plugin says of itself: whether the last events were lost.

        :param seq: the number of its last event when it said so; a later one may have come since.
        :param count: how many sessions there were then.
        """
        if self._seq is not None and (seq > self._seq or (seq == self._seq and count != len(self._open))):
            self._seq = None

    def forget(self) -> None:
        """The plugin cannot be heard any more."""
        self._seq = None
        self._open = {}
        self._sink.forget(self._host)

    def _replace(self, seq: int, element: Element) -> None:
        self._open = {child.get("sid", ""): self._read(child) for child in element.iterfind(_SESSION)}
        self._seq = seq
        self._sink.replace(self._host, [session for session in self._open.values() if session is not None])

    def _event(self, element: Element) -> None:
        sid = element.get("sid", "")
        if element.get("event") == "down":
            ended = self._open.pop(sid, None)
            if ended is not None:
                self._sink.down(self._host, ended)
        elif element.get("event") == "up":
            session = self._open[sid] = self._read(element)
            if session is not None:
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


def natural(text: str | None) -> int | None:
    """A number as plugins write it: digits and nothing else; None for anything else."""
    return int(text) if text and len(text) <= LONGEST_NUMBER and text.isascii() and text.isdigit() else None
