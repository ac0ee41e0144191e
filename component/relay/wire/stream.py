"""What both ends of a server-to-server stream have in common: see `states` for the theory.

A machine is told what has happened (`receive`, `tls_established`, `tick`, …) with the time in seconds, and returns
what is to be done and what has come of it, in order. It never waits, never fails on what a peer sends, and calls
nobody back. Once it is closed it returns nothing more, but for the answer to a question (`verify`).
"""

from __future__ import annotations

from abc import abstractmethod

from component.relay import ns
from component.relay.wire import nonzas
from component.relay.wire.acks_part import acknowledgement
from component.relay.wire.core import StreamCore
from component.relay.wire.elements import condition_of, input_of
from component.relay.wire.errors import WireError
from component.relay.wire.events import KeyVerified, Output, SendBytes, StanzaReceived
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Failed, Opened, Received
from component.relay.wire.policy import PeerIdentity
from component.relay.wire.stanza import read
from component.relay.wire.states import Input, State

_STANZAS = frozenset(f"{{{ns.SERVER}}}{kind}" for kind in ("iq", "message", "presence"))
_TEXT = f"{{{ns.STREAM_ERRORS}}}text"
_ANEW = (Input.STARTTLS, Input.PROCEED, Input.SUCCESS)
"""Behind these a stream begins anew; behind ``<auth/>`` only when it was accepted."""

_MOST_ELEMENTS = 200
"""So many elements may come before a peer is authenticated. A server that has keys to verify sends one for each."""


class S2SStream(StreamCore):
    """A stream, as its driver sees it."""

    # What happens to a stream

    def receive(self, data: bytes, now: float) -> list[Output]:
        """Take bytes that have come, decrypted when there is TLS."""
        self.now = now
        if self.over:
            return []
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
            if self._parser is not parser or self.over:
                break  # what a restart may not be followed by was looked at, and after the end nothing counts
        return self._taken()

    def tls_established(self, identity: PeerIdentity, now: float) -> list[Output]:
        """TLS has been negotiated, and the peer's certificate is known."""
        self.now = now
        if self.step(Input.ESTABLISHED):
            self.identity = identity
            self.restart()
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
        else:
            self.finish(text)
        return self._taken()

    def send(self, pair: Pair, raw: bytes, token: object, now: float) -> list[Output]:
        """Send a stanza of an authorized pair.

        :param token: given back in `StreamEnded` when the peer has not acknowledged the stanza.
        :raises LookupError: the pair is not authorized; whoever calls must ask `sends` first.
        """
        if pair not in self.sends:
            raise LookupError(f"{pair} is not authorized")
        self._times.traffic = self._times.written = now
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

    def tick(self, now: float) -> list[Output]:
        """Do what is due at `deadline`."""
        self.now = now
        self._times.tick()
        return self._taken()

    @property
    def deadline(self) -> float:
        """When `tick` has something to do, in seconds; it may become earlier with each call."""
        return self._times.deadline

    @abstractmethod
    def _header(self, opened: Opened) -> None:
        """The peer's stream header has come."""

    @abstractmethod
    def _secured(self) -> None:
        """TLS is there."""

    @abstractmethod
    def _negotiate(self, happened: Input, before: State, received: Received) -> None:
        """An element has come that only this role expects; its step was taken.

        :param before: the state before that step.
        """

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
            self._times.traffic = self.now
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
        if not self.authenticated:
            self._elements += 1
            if self._elements > _MOST_ELEMENTS:
                self.fail("policy-violation", "Too much was said before authentication.")
                return
        element, state = received.element, self.state
        happened = input_of(element.tag)
        anew = happened in _ANEW and state is not State.CLOSING and (state, happened) in self.table
        anew = anew and not self._may_follow(happened)
        if (anew and not self.nothing_behind(received)) or not self.step(happened):
            return
        if happened is Input.ERROR:
            self._peer_failed(condition_of(element, ns.STREAM_ERRORS), element.findtext(_TEXT) or "")
        elif happened is Input.ACKNOWLEDGEMENT:
            acknowledgement(self, element)
        elif state is State.CLOSING:
            pass  # it was said before the peer knew
        elif happened is Input.DIALBACK:
            self.dialback.received(element)
        elif happened is Input.BIDI and state is not State.NEGOTIATING:
            self.notice("bidi-out-of-place", "bidi counts between TLS and authentication; it was ignored.")
        else:
            self._negotiate(happened, state, received)

    def _may_follow(self, happened: Input) -> bool:
        """Whether something may come before the stream has begun anew."""
        return False

    def _peer_failed(self, condition: str, text: str) -> None:
        if self._header_sent:
            self._say_end()
        self._end(condition, text[:200], by_us=False, close=f"The peer ended the stream: {condition}.")

    def _peer_ended(self) -> None:
        self.step(Input.END)
        if self._header_sent:
            self._say_end()
        self._end("", "The peer closed the stream.", by_us=False, close="The peer closed the stream.")
