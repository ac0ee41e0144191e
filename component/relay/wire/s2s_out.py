"""The initiator of a server-to-server stream: we have opened the connection. The theory is in `states`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from enum import Enum, auto
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire import nonzas
from component.relay.wire.domains import domain
from component.relay.wire.events import Output, ReadyToAsk, StartTls
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Opened, Received
from component.relay.wire.policy import Authentication, Bidi, Federation, PartnerPolicy
from component.relay.wire.refusal import Refusal
from component.relay.wire.states import OUTGOING, Input, State
from component.relay.wire.stream import S2SStream

_FEATURES = f"{{{ns.STREAM}}}features"
_STARTTLS = f"{{{ns.TLS}}}starttls"
_PROCEED = f"{{{ns.TLS}}}proceed"
_TLS_FAILURE = f"{{{ns.TLS}}}failure"
_MECHANISMS = f"{{{ns.SASL}}}mechanisms"
_MECHANISM = f"{{{ns.SASL}}}mechanism"
_SUCCESS = f"{{{ns.SASL}}}success"
_FAILURE = f"{{{ns.SASL}}}failure"
_BIDI_FEATURES = (f"{{{ns.BIDI_FEATURE}}}bidi", f"{{{ns.BIDI}}}bidi")
_SM_FEATURE = f"{{{ns.SM}}}sm"


class Purpose(Enum):
    """What a connection of ours is for."""

    STANZAS = auto()
    VERIFY = auto()
    """To ask whether dialback keys are genuine; it never carries a stanza."""


class OutgoingStream(S2SStream):
    """A stream that we open.

    :param policy: what is wanted of the partner.
    :param tls: the connection begins with TLS (XEP-0368); `tls_established` comes first, and sends the header.
    """

    table = OUTGOING

    def __init__(
        self,
        federation: Federation,
        local: str,
        policy: PartnerPolicy,
        new_id: Callable[[], str],
        now: float,
        *,
        purpose: Purpose = Purpose.STANZAS,
        tls: bool = False,
    ) -> None:
        super().__init__(federation, local, policy.domain, new_id, now, State.TLS if tls else State.HEADER)
        self._policy = policy
        self._purpose = purpose
        self._left: list[Authentication] = []

    def open(self, now: float) -> list[Output]:
        """The connection is there: send the header. With TLS from the beginning `tls_established` does it."""
        self.now = now
        self.send_header()
        return self._taken()

    def send_header(self) -> None:
        """Begin our side of the stream."""
        self._header_sent = True
        self.write(nonzas.header(self.local, self.remote))

    def _secured(self) -> None:
        self.send_header()

    # What comes

    def _header(self, opened: Opened) -> None:
        if not self.step(Input.HEADER):
            return
        wrong = self.wrong_header(opened)
        sender = opened.attributes.get("from")
        if wrong is None and sender is not None and domain(sender) != self.remote:
            wrong = "invalid-from", "The answer comes from another domain than was asked for."
        if wrong is None and not opened.attributes.get("id"):
            wrong = "bad-format", "A stream needs an id."
        if wrong is not None:
            self._give_up(RefusalKind.PROTOCOL, wrong[1], condition=wrong[0])
            return
        self.stream_id = opened.attributes["id"]

    def _negotiate(self, received: Received) -> None:
        tag = received.element.tag
        if tag == _FEATURES:
            state = self.state
            if self.step(Input.FEATURES):
                self._features(state, received.element)
        elif tag == _PROCEED:
            if self.step(Input.PROCEED) and self.restart(received):
                self.put(StartTls(self.local, self.remote))
        elif tag == _TLS_FAILURE:
            self._give_up(RefusalKind.TLS, "The peer cannot negotiate TLS now.")
        elif tag == _SUCCESS:
            if self.step(Input.SUCCESS) and self.restart(received):
                self.send_header()
        elif tag == _FAILURE:
            if self.step(Input.FAILURE):
                self._sasl_failed(received.element)
        else:
            self.fail("unsupported-stanza-type", "This element is not known here.")

    def _features(self, state: State, features: Element) -> None:
        if state is State.PLAIN:
            if features.find(_STARTTLS) is None:
                self._give_up(
                    RefusalKind.TLS, "The peer does not offer TLS, which is required.", condition="policy-violation"
                )
            else:
                self.write(nonzas.STARTTLS)
        elif state is State.TLS_FEATURES:
            self._authenticate(features)
        elif state is State.SASL_FEATURES:
            if features.find(_SM_FEATURE) is not None:
                self.acks.begin()
                self.write(nonzas.SM_ENABLE)  # before the first stanza, which counts already
            pair = Pair(self.local, self.remote)
            self.authorized(pair, Authentication.EXTERNAL, sends=True, receives=self.bidi)

    # Authentication

    def _authenticate(self, features: Element) -> None:
        """Choose what to do behind TLS, once the peer has shown its certificate and what it offers."""
        policy = self._policy
        refusal = self.refusal(self.remote)
        if refusal and policy.verify_certificate:
            self._give_up(RefusalKind.CERTIFICATE, refusal, condition="not-authorized")
            return
        if self._purpose is Purpose.VERIFY:
            if self.step(Input.ASK_ONLY):
                self.put(ReadyToAsk())
            return
        offered = any(features.find(name) is not None for name in _BIDI_FEATURES)
        if policy.bidi is Bidi.REQUIRED and not offered:
            reason = f"{self.remote} does not offer bidi, which is required."
            self._give_up(RefusalKind.BIDI, reason, condition="policy-violation")
            return
        if offered and policy.bidi is not Bidi.OFF:
            self.write(nonzas.BIDI)
            self.bidi = True
        mechanisms = [name.text for name in features.iterfind(f"{_MECHANISMS}/{_MECHANISM}")]
        self._left = [
            way for way in policy.authentication if way is Authentication.DIALBACK or "EXTERNAL" in mechanisms
        ]
        self._try_next(f"{self.remote} does not offer EXTERNAL: it may not accept our certificate.")

    def _try_next(self, reason: str) -> None:
        """Try what is left; without anything, give up for this reason."""
        if not self._left:
            self._give_up(RefusalKind.AUTHENTICATION, reason)
        elif self._left.pop(0) is Authentication.EXTERNAL:
            if self.step(Input.TRY_SASL):
                self.write(nonzas.sasl_auth(b64encode(self.local.encode()).decode()))
        elif self.step(Input.TRY_DIALBACK):
            self.dialback.ask(Pair(self.local, self.remote))

    def _sasl_failed(self, failure: Element) -> None:
        condition = next((child.tag.rpartition("}")[2] for child in failure), "undefined-condition")
        reason = f"{self.remote} refused EXTERNAL: {condition}."
        if self._left:
            pair = Pair(self.local, self.remote)
            self.refused(pair, RefusalKind.AUTHENTICATION, reason, by_us=False, final=False)
        self._try_next(reason)

    def dialback_failed(self) -> None:
        """Our key was refused, or not answered: go on with what is left, unless it was for a further pair."""
        if self.state is State.DIALBACK and self.step(Input.FAILURE):
            self._try_next("")

    def _give_up(self, kind: RefusalKind, reason: str, *, condition: str = "") -> None:
        """No pair will be authorized here.

        :param reason: empty when it was told already.
        :param condition: the stream error that the peer gets, if it is at fault.
        """
        if reason:
            self.refused(Pair(self.local, self.remote), kind, reason, by_us=bool(condition))
        for output in self.close(condition, reason, self.now):
            self.put(output)

    def against_dialback(self, _policy: PartnerPolicy, pair: Pair) -> Refusal | None:
        """What speaks against a dialback request of the peer's on this stream."""
        if not self.bidi:
            reason = f"{pair.remote} asked to send on a stream of ours without bidi."
            return Refusal("policy-violation", RefusalKind.BIDI, reason)
        if all(known.local != pair.local for known in self.sends):
            reason = f"{pair.local} is not at this end of the stream."
            return Refusal("policy-violation", RefusalKind.PROTOCOL, reason)
        return None
