"""A play of two servers: what the peer says (`hears`), what our machine says (`says`), and what has come of it.

The peer is the test; its lines are written out. Our lines are compared as XML, whole and in order, so a machine that
says more than it should fails. Ids are ``id0``, ``id1``, …
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Self, TypeVar
from xml.etree import ElementTree as ET

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.dialback import key
from component.relay.wire.events import (
    CloseConnection,
    KeyVerified,
    Noticed,
    Outcome,
    Output,
    PairAuthorized,
    PairRefused,
    SendBytes,
    StanzaReceived,
    StartTls,
    StreamEnded,
    StreamGone,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Federation, Limits, PartnerPolicy
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.s2s_out import OutgoingStream, Purpose
from component.relay.wire.stream import S2SStream

EventT = TypeVar("EventT")
SECRET = "a secret of the test"
DECLARED = f"xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' xmlns:db='{ns.DIALBACK}'"  # on both sides of the examples
LIMITS = Limits()


class Certificate:
    """What TLS has shown: the domains that a certificate proves."""

    def __init__(self, *domains: str) -> None:
        self.domains = domains

    def refusal(self, domain: str) -> str:
        return "" if domain in self.domains else f"The certificate is not for {domain}."


def federation(*partners: PartnerPolicy, domains: tuple[str, ...], limits: Limits = LIMITS) -> Federation:
    """Our side."""
    return Federation(frozenset(domains), {partner.domain: partner for partner in partners}, SECRET, limits)


def our_key(local: str, remote: str, stream_id: str) -> str:
    """The dialback key that our machine makes for a pair."""
    return key(SECRET, remote, local, stream_id)


class Play:
    """One connection, with us as receiver or initiator."""

    def __init__(self, machine: S2SStream, now: float = 0.0) -> None:
        self.machine = machine
        self.now = now
        self._sent = b""
        self._events: list[Output] = []

    @classmethod
    def incoming(cls, ours: Federation, *, pass_through: bool = False, tls: bool = False) -> Self:
        """A peer has connected to us."""
        return cls(IncomingStream(ours, _ids(), 0.0, pass_through=pass_through, tls=tls))

    @classmethod
    def outgoing(
        cls, ours: Federation, local: str, remote: str, *, purpose: Purpose = Purpose.STANZAS, tls: bool = False
    ) -> Self:
        """We have connected to a peer; with TLS from the beginning, nothing is said yet."""
        machine = OutgoingStream(ours, local, ours.partners[remote], _ids(), 0.0, purpose=purpose, tls=tls)
        play = cls(machine)
        if not tls:
            play.take(machine.open(0.0))
        return play

    def hears(self, text: str | bytes) -> Self:
        """The peer says something; indentation and line ends between elements are not sent."""
        data = text if isinstance(text, bytes) else _joined(text).encode()
        return self.take(self.machine.receive(data, self.now))

    def take(self, outputs: list[Output]) -> Self:
        """Carry out what a call of the machine has returned."""
        for output in outputs:
            if isinstance(output, SendBytes):
                self._sent += output.data
            else:
                self._events.append(output)
        return self

    def tls(self, *domains: str) -> Self:
        """TLS is negotiated; the peer's certificate proves these domains. Directly, or after `StartTls`."""
        if any(isinstance(event, StartTls) for event in self._events):
            self.expect(StartTls)
        return self.take(self.machine.tls_established(Certificate(*domains), self.now))

    def at(self, now: float) -> Self:
        """It is so many seconds after the beginning; what is due is done."""
        self.now = now
        return self.take(self.machine.tick(now))

    def wakes(self, at: float) -> Self:
        """Something will be due at this time, and not before; then it is done."""
        assert self.machine.deadline == at
        self.at(math.nextafter(at, -math.inf)).nothing_more()
        return self.at(at)

    def sends(self, pair: Pair, text: str, token: object = None) -> Self:
        """We are told to send a stanza."""
        return self.take(self.machine.send(pair, _joined(text).encode(), token, self.now))

    def asks_for(self, pair: Pair) -> Self:
        """We are told to ask for a further pair."""
        return self.take(self.machine.authorize(pair, self.now))

    def learns(self, pair: Pair, stream_id: str, outcome: Outcome, condition: str = "") -> Self:
        """The authoritative server has been asked about a key."""
        return self.take(self.machine.verified(KeyVerified(pair, stream_id, outcome, condition), self.now))

    def closes(self, condition: str = "", text: str = "We are done.") -> Self:
        """We are told to end the stream."""
        return self.take(self.machine.close(condition, text, self.now))

    def loses(self) -> Self:
        """The connection ends."""
        return self.take(self.machine.lost("The connection broke.", self.now))

    def says(self, text: str) -> Self:
        """We have said exactly this since the last time."""
        said = self.said()
        assert _canonical(said) == _canonical(text), f"said: {said}"
        return self

    def says_nothing(self) -> Self:
        """We have said nothing since the last time."""
        assert self.said() == ""
        return self

    def said(self) -> str:
        """What we have said since the last time."""
        sent, self._sent = self._sent.decode(), b""
        return sent

    def expect(self, kind: type[EventT]) -> EventT:
        """The next event, which is of this kind."""
        assert self._events, f"nothing has happened; expected {kind.__name__}"
        event = self._events.pop(0)
        assert isinstance(event, kind), f"expected {kind.__name__}: {event}"
        return event

    def receives(self, *texts: str) -> Self:
        """The next events are stanzas of the peer's, with these bodies."""
        for text in texts:
            assert self.expect(StanzaReceived).stanza.element.findtext(f"{{{ns.SERVER}}}body") == text
        return self

    def authorizes(self, pair: Pair, how: Authentication, *, sends: bool = False, receives: bool = False) -> Self:
        """The next event is that the stanzas of a pair may travel, in these directions."""
        assert self.expect(PairAuthorized) == PairAuthorized(pair, sends, receives, how)
        assert (pair in self.machine.sends, pair in self.machine.receives) == (sends, receives)
        return self

    def refuses(self, pair: Pair, kind: RefusalKind, *, by_us: bool = True, final: bool = True) -> Self:
        """The next event is that we refused a pair of the peer's, or the peer one of ours."""
        event = self.expect(PairRefused)
        assert (event.pair, event.kind, event.by_us, event.final) == (pair, kind, by_us, final), event
        assert event.reason.endswith(".")
        return self

    def ended(self, condition: str = "", *, by_us: bool) -> Self:
        """The next event is that nothing is sent any more."""
        event = self.expect(StreamEnded)
        assert (event.condition, event.by_us) == (condition, by_us), event
        assert not self.machine.sends
        return self

    def gone(self, *unacknowledged: object, closed: bool = True) -> Self:
        """The last event of the stream has come, behind the end of the connection if we end it."""
        if closed:
            self.expect(CloseConnection)
        assert self.expect(StreamGone).unacknowledged == unacknowledged
        assert self.machine.over and not self.machine.receives and self.machine.deadline == math.inf
        return self.nothing_more()

    def notices(self, kind: str) -> Self:
        """The next event is this mistake of the peer's, which did no harm."""
        assert self.expect(Noticed).kind == kind
        return self

    def nothing_more(self) -> Self:
        """Nothing has happened and nothing was said."""
        assert self._events == []
        return self.says_nothing()

    def fails(self, condition: str, saying: str = "") -> Self:
        """We have ended the stream with this error, and nothing comes any more.

        :param saying: what we have said before, since the last time.
        """
        error = f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>"
        before, found, after = self.said().partition(error)
        assert found, before
        assert after.endswith("</stream:error></stream:stream>")
        if saying:
            assert _canonical(before) == _canonical(saying)
        else:
            assert not _canonical(before) or before.startswith("<?xml"), before
        while not isinstance(self._events[0], StreamEnded):
            self._events.pop(0)
        return self.ended(condition, by_us=True).gone()

    def fails_in_silence(self, condition: str) -> Self:
        """We have ended the stream for this reason where nothing could be said."""
        return self.says_nothing().ended(condition, by_us=True).gone()


def _joined(text: str) -> str:
    """The lines as one; a line that breaks off inside a tag keeps its space."""
    lines = [line.strip() for line in text.splitlines()]
    return "".join(line if line.endswith(">") else f"{line} " for line in lines if line)


def _ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"id{next(numbers)}"


def _canonical(text: str) -> list[str]:
    """The elements of one side of a stream, comparable; headers become elements of their own."""
    text = text.replace("<?xml version='1.0'?>", "")
    parts: list[str] = []
    for piece in text.split("<stream:stream ")[0:1]:
        parts += _elements(piece)
    for piece in text.split("<stream:stream ")[1:]:
        attributes, _, rest = piece.partition(">")
        header = ET.canonicalize(f"<stream:stream {attributes}/>")
        parts.append(header)
        parts += _elements(rest)
    return parts


def _elements(text: str) -> list[str]:
    ended = text.rstrip().endswith("</stream:stream>")
    body = text.rstrip().removesuffix("</stream:stream>")
    root = ET.fromstring(f"<stream:stream {DECLARED}>{body}</stream:stream>")
    lines = [ET.canonicalize(ET.tostring(element, encoding="unicode"), strip_text=True) for element in root]
    return lines + ["end"] * ended
