"""What a stream is made of: its state, whose stanzas travel on it, and how it ends. The theory is in `states`.

The parts of a machine (dialback, acknowledgements, times) and both roles work with this; `stream` is what a driver
sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire import nonzas
from component.relay.wire.acks import Acks
from component.relay.wire.dialback_part import DialbackPart
from component.relay.wire.events import (
    CloseConnection,
    Noticed,
    Output,
    PairAuthorized,
    PairRefused,
    SendBytes,
    StreamEnded,
    StreamGone,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Received, StreamParser
from component.relay.wire.policy import Authentication, Bidi, Federation, PartnerPolicy, PeerIdentity
from component.relay.wire.refusal import Refusal
from component.relay.wire.serial import stream_error
from component.relay.wire.states import Input, State, Table, violation
from component.relay.wire.timing import Timing


class StreamCore(ABC):
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
        self._said_end = False
        self._times = Timing(self)
        self._out: list[Output] = []
        self._parser = self._new_parser()

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
        """Send bytes, unless we have closed our side; they keep the connection alive, and are no traffic."""
        if not self._said_end:
            self._times.written = self.now
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

    def fail(self, condition: str, text: str, further: bytes = b"") -> None:
        """End the stream with an error (RFC 6120 §4.9); nothing more is taken.

        :param further: an element that says more, for programs.
        """
        if self.state is State.CLOSED:
            return
        if self.state is not State.TLS:  # in the middle of a handshake there is no way to say anything
            if not self._header_sent:
                self.send_header()
            self._say_end(stream_error(condition, text, further))
        self.state = State.CLOSED
        self._end(condition, text, by_us=True, close=text or condition)

    def finish(self, text: str) -> None:
        """Close our side, and wait for the peer's end; where nothing was said yet there is nothing to wait for."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        speechless = self.state is State.TLS or not self._header_sent
        self.step(Input.CLOSE)
        self._times.closing = self.now
        self._end("", text, by_us=True)
        if speechless:
            self.abandon(text)
        else:
            self._say_end(nonzas.SM_REQUEST if len(self.acks) else b"")

    def abandon(self, text: str) -> None:
        """Close the connection; nothing is said."""
        self.step(Input.LOST)
        self._end("", text, by_us=True, close=text)

    def policy(self, remote: str) -> PartnerPolicy | None:
        """What is wanted of a partner; None when the domain is none."""
        return self.federation.partners.get(remote)

    def refusal(self, domain: str) -> str:
        """Why the peer's certificate does not prove that it is `domain`; empty when it does."""
        return self.identity.refusal(domain) if self.identity is not None else "There is no TLS."

    def both_ways(self, remote: str) -> bool:
        """Whether a partner's pairs on this stream are for both directions."""
        policy = self.policy(remote)
        return self.bidi and policy is not None and policy.bidi is not Bidi.OFF

    def authorized(self, pair: Pair, how: Authentication, *, sends: bool, receives: bool) -> None:
        """Let the stanzas of a pair travel, and say so."""
        if sends:
            self.sends.add(pair)
        if receives:
            self.receives.add(pair)
        self.authentication = self.authentication or how
        self._times.traffic = self.now
        self._parser.limit = self.federation.limits.stanza_bytes
        self.put(PairAuthorized(pair, pair in self.sends, pair in self.receives, how))

    def refused(self, pair: Pair, kind: RefusalKind, reason: str, *, by_us: bool, final: bool = True) -> None:
        """Say that a pair was not authorized."""
        self.put(PairRefused(pair, kind, reason, by_us, final))

    def nothing_behind(self, received: Received) -> bool:
        """Whether the stream may begin anew behind `received` (RFC 6120 §5.4.3.3); fails when it may not.

        What stands behind ``<starttls/>`` in the clear would later be read as if TLS had protected it.
        """
        if self._parser.followed(received):
            self.fail("policy-violation", "Nothing may follow before the stream has begun anew.")
            return False
        return True

    def restart(self) -> None:
        """Forget what was read and asked: the stream begins anew, under another id (RFC 6120 §4.3.3)."""
        self.dialback.begin_anew()
        self._parser = self._new_parser()
        self._header_sent = False

    @abstractmethod
    def send_header(self) -> None:
        """Send our stream header."""

    @abstractmethod
    def against_dialback(self, policy: PartnerPolicy, pair: Pair) -> Refusal | None:
        """What speaks against a dialback request of the peer's on this stream."""

    @property
    def last_way(self) -> bool:
        """Whether nothing is left to try when our dialback request fails."""
        return True

    def dialback_failed(self) -> None:  # noqa: B027  # only an initiator's stream stands or falls with it
        """A dialback request of ours was refused, or not answered."""

    # Inside

    def _say_end(self, before: bytes = b"") -> None:
        """Close our side, once."""
        self.write(before + nonzas.END)
        self._said_end = True

    def _end(self, condition: str, text: str, *, by_us: bool, close: str = "") -> None:
        """Nothing is sent any more; in state `CLOSED` nothing comes any more either.

        :param close: why the connection is to be closed; empty when it is not, or has been.
        """
        if not self._ended:
            self._ended = True
            self.sends.clear()
            self.dialback.give_up(f"{condition} ({text})" if condition and text else condition or text)
            self.put(StreamEnded(condition, text, by_us))
        if self.state is State.CLOSED:
            self.receives.clear()
            if close:
                self.put(CloseConnection(close))
            self.put(StreamGone(self.acks.unacknowledged()))

    def _new_parser(self) -> StreamParser:
        limits = self.federation.limits
        return StreamParser(
            ns.SERVER, limit=limits.stanza_bytes if self.authenticated else limits.unauthenticated_bytes
        )

    def _taken(self) -> list[Output]:
        out, self._out = self._out, []
        return out
