"""What both ends of a server-to-server stream have in common: see `states` for the theory.

A machine is told what has happened (`receive`, `tls_established`, `tick`, …) with the time in seconds, and returns
what is to be done and what has come of it, in order. It never waits, never fails on what a peer sends, and calls
nobody back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire import nonzas
from component.relay.wire.acks import Acks
from component.relay.wire.dialback_part import DialbackPart
from component.relay.wire.errors import WireError
from component.relay.wire.events import (
    CloseConnection,
    KeyVerified,
    Noticed,
    Output,
    PairAuthorized,
    PairRefused,
    Relieved,
    SendBytes,
    StanzaReceived,
    StreamEnded,
    StreamGone,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Failed, Opened, Received, StreamParser
from component.relay.wire.policy import Authentication, Federation, PartnerPolicy, PeerIdentity
from component.relay.wire.refusal import Refusal
from component.relay.wire.serial import stream_error
from component.relay.wire.stanza import read
from component.relay.wire.states import INCOMING, OUTGOING, Input, State, Table, violation

_STANZAS = frozenset(f"{{{ns.SERVER}}}{kind}" for kind in ("iq", "message", "presence"))
_STREAM = f"{{{ns.STREAM}}}stream"
_STREAM_ERROR = f"{{{ns.STREAM}}}error"
_DIALBACK = f"{{{ns.DIALBACK}}}"
_SM = f"{{{ns.SM}}}"
_BIDI = f"{{{ns.BIDI}}}bidi"
_MOST_ELEMENTS = 200
"""So many elements may come before a peer is authenticated. A server that has keys to verify sends one for each."""


class S2SStream(ABC):
    """One stream.

    :param local: our domain on it, empty until a header has named it.
    :param remote: the peer's, likewise.
    :param new_id: draws a stream id that nobody can guess (RFC 6120 §4.7.3).

    :ivar bidi: stanzas travel both ways.
    :ivar sends: the pairs for which we may send.
    :ivar receives: the pairs whose stanzas we take.
    :ivar authentication: how the first pair was authorized.
    :ivar identity: what TLS has shown of the peer.
    """

    table: ClassVar[Table]

    def __init__(
        self, federation: Federation, local: str, remote: str, new_id: Callable[[], str], now: float, state: State
    ) -> None:
        self.federation = federation
        self.local = local
        self.remote = remote
        self.new_id = new_id
        self.now = now
        self.state = state
        self.stream_id = ""
        self.bidi = False
        self.sends: set[Pair] = set()
        self.receives: set[Pair] = set()
        self.authentication: Authentication | None = None
        self.identity: PeerIdentity | None = None
        self.acks = Acks()
        self.dialback = DialbackPart(self)
        self._header_sent = False
        self._ended = False
        self._elements = 0
        self._started = self._traffic = self._written = now
        self._closing_since = now
        self._out: list[Output] = []
        self._parser = self._new_parser()

    # What happens to a stream

    def receive(self, data: bytes, now: float) -> list[Output]:
        """Take bytes that have come, decrypted when there is TLS."""
        self.now = now
        parser = self._parser
        for event in parser.feed(data):
            if type(event) is Received:
                if event.element.tag in _STANZAS:
                    self._stanza(event)
                else:
                    self._element(event)
            elif type(event) is Opened:
                self._header(event)
            elif type(event) is Failed:
                self.fail(event.condition, event.text)
            else:
                self._peer_ended()
            if self._parser is not parser or self.state is State.CLOSED:
                break  # what a restart may not be followed by was looked at, and after the end nothing counts
        return self._taken()

    def tls_established(self, identity: PeerIdentity, now: float) -> list[Output]:
        """TLS has been negotiated, and the peer's certificate is known."""
        self.now = now
        self.identity = identity
        if self.step(Input.ESTABLISHED):
            self._restart()
            self._secured()
        return self._taken()

    def lost(self, reason: str, now: float) -> list[Output]:
        """The connection has ended."""
        self.now = now
        if self.state is not State.CLOSED:
            self.step(Input.LOST)
            self._end("", reason, by_us=False)
        return self._taken()

    def close(self, condition: str, text: str, now: float) -> list[Output]:
        """End the stream in good order, or with an error when `condition` names one."""
        self.now = now
        if condition:
            self.fail(condition, text)
        elif self.state not in (State.CLOSING, State.CLOSED):
            speechless = self.state is State.TLS or not self._header_sent
            self.step(Input.CLOSE)
            self._closing_since = now
            self._end("", text, by_us=True)
            if speechless:
                self.step(Input.LOST)
                self._end("", text, by_us=True)
                self.put(CloseConnection(text))
            else:
                self.write(nonzas.SM_REQUEST + nonzas.END if len(self.acks) else nonzas.END)
        return self._taken()

    def send(self, pair: Pair, raw: bytes, token: object, now: float) -> list[Output]:
        """Send a stanza of an authorized pair.

        :param token: given back in `StreamEnded` when the peer has not acknowledged the stanza.
        :raises LookupError: the pair is not authorized; whoever calls must ask `sends` first.
        """
        if pair not in self.sends:
            raise LookupError(f"{pair} is not authorized")
        self._traffic = self._written = now
        if self.acks.counting and self.acks.sent(token, now):
            self.acks.ask(now)
            raw += nonzas.SM_REQUEST
        return [SendBytes(raw)]

    def authorize(self, pair: Pair, now: float) -> list[Output]:
        """Ask the peer to authorize a further pair of ours on this stream (XEP-0220 §2.6, XEP-0288 §2.2)."""
        self.now = now
        self.dialback.ask_for_more(pair)
        return self._taken()

    def verify(self, pair: Pair, stream_id: str, key: str, now: float) -> list[Output]:
        """Ask the peer whether a key is genuine that somebody sent us in its name (XEP-0220 §2.1.2)."""
        self.now = now
        self.dialback.ask_about_key(pair, stream_id, key)
        return self._taken()

    def verified(self, answer: KeyVerified, now: float) -> list[Output]:
        """What became of a `VerifyKey`."""
        self.now = now
        if self.state is not State.CLOSED:
            self.dialback.key_verified(answer)
        return self._taken()

    # Time

    @property
    def deadline(self) -> float:
        """When `tick` has something to do, in seconds; it may become earlier with each call."""
        limits = self.federation.limits
        if self.state is State.CLOSED:
            return math.inf
        if self.state is State.CLOSING:
            return self._closing_since + limits.close_timeout
        if not self.ready:
            first = self._started + limits.negotiation_timeout
        else:
            first = min(self._traffic + limits.idle, self._written + limits.keepalive)
            if self.acks.asked is not None:
                first = min(first, self.acks.asked + limits.negotiation_timeout)
            elif self.acks.due is not None:
                first = min(first, self.acks.due)
        asked = self.dialback.deadline
        return first if asked is None else min(first, asked)

    def tick(self, now: float) -> list[Output]:
        """Do what is due."""
        self.now = now
        limits = self.federation.limits
        if self.over:
            return []
        if self.state is State.CLOSING:
            if now >= self._closing_since + limits.close_timeout:
                self.step(Input.LOST)
                self._end("", "The peer did not close its stream.", by_us=True)
                self.put(CloseConnection("The peer did not close its stream."))
            return self._taken()
        self.dialback.expire()
        if self.over:
            return self._taken()
        if not self.ready:
            if now >= self._started + limits.negotiation_timeout:
                self.fail("connection-timeout", f"Nothing was authorized in {limits.negotiation_timeout:g} seconds.")
        elif self.acks.asked is not None and now >= self.acks.asked + limits.negotiation_timeout:
            self.fail("connection-timeout", "What was sent is not acknowledged.")
        elif self.acks.due is not None and now >= self.acks.due:
            self.acks.ask(now)
            self.write(nonzas.SM_REQUEST)
        elif now >= self._traffic + limits.idle:
            return self._taken() + self.close("", "The stream was idle.", now)
        elif now >= self._written + limits.keepalive:
            self.write(b" ")
        return self._taken()

    @property
    def over(self) -> bool:
        """Whether nothing is sent or taken any more."""
        return self.state is State.CLOSED

    @property
    def ready(self) -> bool:
        """Whether the negotiation is over."""
        return self.state in (State.OPEN, State.VERIFYING)

    @property
    def authenticated(self) -> bool:
        """Whether a pair was authorized."""
        return self.authentication is not None

    # For the parts of a machine

    def put(self, output: Output) -> None:
        """Add to what the current call returns."""
        self._out.append(output)

    def write(self, data: bytes) -> None:
        """Send bytes; they keep the connection alive, and are no traffic."""
        self._written = self.now
        self.put(SendBytes(data))

    def notice(self, kind: str, text: str) -> None:
        """Tell of a peer's mistake that did no harm."""
        self.put(Noticed(kind, text))

    def step(self, happened: Input) -> bool:
        """Take the step that the table has; without one the stream fails.

        :returns: whether there was a step.
        """
        after = self.table.get((self.state, happened))
        if after is None:
            self.fail(violation(happened), f"This is not the time for: {happened.value}.")
            return False
        self.state = after
        return True

    def fail(self, condition: str, text: str) -> None:
        """End the stream with an error (RFC 6120 §4.9); nothing more is taken."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.TLS:  # in the middle of a handshake there is no way to say anything
            if not self._header_sent:
                self.send_header()
            self.write(stream_error(condition, text) + nonzas.END)
        self.state = State.CLOSED
        self._end(condition, text, by_us=True)
        self.put(CloseConnection(text or condition))

    def policy(self, remote: str) -> PartnerPolicy | None:
        """What is wanted of a partner; None when the domain is none."""
        return self.federation.partners.get(remote)

    def refusal(self, domain: str) -> str:
        """Why the peer's certificate does not prove that it is `domain`; empty when it does."""
        return self.identity.refusal(domain) if self.identity is not None else "There is no TLS."

    def authorized(self, pair: Pair, how: Authentication, *, sends: bool, receives: bool) -> None:
        """Let the stanzas of a pair travel, and say so."""
        if sends:
            self.sends.add(pair)
        if receives:
            self.receives.add(pair)
        self.authentication = self.authentication or how
        self._traffic = self.now
        self._parser.limit = self.federation.limits.stanza_bytes
        self.put(PairAuthorized(pair, pair in self.sends, pair in self.receives, how))

    def refused(self, pair: Pair, kind: RefusalKind, reason: str, *, by_us: bool, final: bool = True) -> None:
        """Say that a pair was not authorized."""
        self.put(PairRefused(pair, kind, reason, by_us, final))

    def restart(self, received: Received) -> bool:
        """Begin a new stream behind `received` (RFC 6120 §4.3.3); fails when anything stands behind it already.

        What stands behind ``<starttls/>`` in the clear would later be read as if TLS had protected it.
        """
        if self._parser.followed(received):
            self.fail("policy-violation", "Nothing may follow before the stream has begun anew.")
            return False
        self._restart()
        return True

    @abstractmethod
    def send_header(self) -> None:
        """Send our stream header."""

    @abstractmethod
    def _header(self, opened: Opened) -> None:
        """The peer's stream header has come."""

    @abstractmethod
    def _secured(self) -> None:
        """TLS is there."""

    @abstractmethod
    def _negotiate(self, received: Received) -> None:
        """An element has come that only this role expects."""

    @abstractmethod
    def against_dialback(self, policy: PartnerPolicy, pair: Pair) -> Refusal | None:
        """What speaks against a dialback request of the peer's on this stream."""

    def dialback_failed(self) -> None:  # noqa: B027  # only an initiator's stream stands or falls with it
        """A dialback request of ours was refused, or not answered."""

    # Inside

    def _stanza(self, received: Received) -> None:
        if self.state is not State.OPEN and not self.step(Input.STANZA):
            return
        try:
            stanza = read(received, ns.SERVER)
        except WireError as error:
            self.fail(error.condition, error.text)
            return
        if (stanza.recipient_domain, stanza.sender_domain) in self.receives:
            self._traffic = self.now
            self.acks.taken()
            self._out.append(StanzaReceived(stanza))
        elif self.state is State.CLOSING:
            self.notice("stanza-after-end", "A stanza came whose pair has ended.")
        elif all(pair.remote != stanza.sender_domain for pair in self.receives):
            self.fail("invalid-from", f"Nobody has shown here that he speaks for {stanza.sender_domain[:80]}.")
        elif stanza.recipient_domain not in self.federation.domains:
            self.fail("host-unknown", f"{stanza.recipient_domain[:80]} is not here.")
        else:
            self.fail("invalid-from", "This pair of domains is not authorized on this stream.")

    def _element(self, received: Received) -> None:
        tag = received.element.tag
        if not self.authenticated:
            self._elements += 1
            if self._elements > _MOST_ELEMENTS:
                self.fail("policy-violation", "Too much was said before authentication.")
                return
        if tag.startswith(_DIALBACK):
            if self.step(Input.DIALBACK):
                self.dialback.received(received.element)
        elif tag == _STREAM_ERROR:
            self._peer_failed(received.element)
        elif tag.startswith(_SM):
            if self.step(Input.ACKNOWLEDGEMENT):
                self._acknowledgement(received.element)
        elif tag == _BIDI and self.state is not State.NEGOTIATING:
            if self.step(Input.BIDI):
                self.notice("bidi-out-of-place", "bidi counts between TLS and authentication; it was ignored.")
        else:
            self._negotiate(received)

    def _acknowledgement(self, element: Element) -> None:
        acks = self.acks
        match element.tag.removeprefix(_SM):
            case "r":
                self.write(nonzas.sm_answer(acks.handled))
            case "a":
                congested = acks.congested
                if not acks.acknowledged(element.get("h", ""), self.now):
                    self.fail("undefined-condition", "More is acknowledged than was sent.")
                elif congested and not acks.congested:
                    self.put(Relieved())
            case "enable" if self.table is INCOMING:
                acks.begin()
                acks.agree(self.now)
                self.write(nonzas.SM_ENABLED)
            case "enabled" if self.table is OUTGOING and acks.counting:
                acks.agree(self.now)
            case "failed":
                acks.refuse()
            case "resume":
                self.write(nonzas.SM_FAILED)
            case _:
                self.notice("stream-management", "An element of stream management came that makes no sense here.")

    def _peer_failed(self, error: Element) -> None:
        names = [child.tag.rpartition("}")[2] for child in error if child.tag.startswith(f"{{{ns.STREAM_ERRORS}}}")]
        condition = next((name for name in names if name != "text"), "undefined-condition")
        text = (error.findtext(f"{{{ns.STREAM_ERRORS}}}text") or "")[:200]
        if self._header_sent and self.state is not State.CLOSING:
            self.write(nonzas.END)
        self.state = State.CLOSED
        self._end(condition, text, by_us=False)
        self.put(CloseConnection(f"The peer ended the stream: {condition}."))

    def _peer_ended(self) -> None:
        answered = self.state is State.CLOSING
        self.step(Input.END)
        if not answered and self._header_sent:
            self.write(nonzas.END)
        self._end("", "The peer closed the stream.", by_us=False)
        self.put(CloseConnection("The peer closed the stream."))

    def _end(self, condition: str, text: str, *, by_us: bool) -> None:
        """Nothing is sent any more; in state `CLOSED` nothing comes any more either."""
        if not self._ended:
            self._ended = True
            self.sends.clear()
            self.dialback.give_up()
            self.put(StreamEnded(condition, text, by_us))
        if self.state is State.CLOSED:
            self.receives.clear()
            self.put(StreamGone(self.acks.unacknowledged()))

    def _restart(self) -> None:
        self._parser = self._new_parser()
        self._header_sent = False

    def _new_parser(self) -> StreamParser:
        limits = self.federation.limits
        return StreamParser(
            ns.SERVER, limit=limits.stanza_bytes if self.authenticated else limits.unauthenticated_bytes
        )

    def _taken(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    def wrong_header(self, opened: Opened) -> tuple[str, str] | None:
        """Stream error and text for a header that is not one of XMPP 1.0 between servers; None when it is."""
        if opened.tag != _STREAM:
            return "invalid-namespace", "The root element is not a stream."
        if opened.content != ns.SERVER:
            return "invalid-namespace", f"The content namespace must be {ns.SERVER}."
        if not _is_version_1(opened.attributes.get("version", "")):
            return "unsupported-version", "XMPP 1.0 is needed: there is no TLS without it."
        return None


def _is_version_1(version: str) -> bool:
    major, _, minor = version.partition(".")
    return version.isascii() and major.isdigit() and minor.isdigit() and int(major[:9]) >= 1
