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
from component.relay.wire.early import EarlyStanzas
from component.relay.wire.elements import condition_of
from component.relay.wire.events import Output, ReadyToAsk, StartTls
from component.relay.wire.headers import wrong_header
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Opened, Received
from component.relay.wire.policy import Authentication, Bidi, Federation, PartnerPolicy
from component.relay.wire.refusal import Refusal
from component.relay.wire.states import OUTGOING, Input, State, violation
from component.relay.wire.stream import S2SStream

_STARTTLS = f"{{{ns.TLS}}}starttls"
_MECHANISMS = f"{{{ns.SASL}}}mechanisms"
_MECHANISM = f"{{{ns.SASL}}}mechanism"
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
        self._doubt: tuple[str, str] | None = None
        self._early: EarlyStanzas | None = None

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

    def receive(self, data: bytes, now: float) -> list[Output]:
        """Take bytes that have come, decrypted when there is TLS."""
        if self._early is None:
            return super().receive(data, now)
        before, after = self._early.split(data)
        out = super().receive(before, now) if before else []
        if after is not None:
            self._early = None
            self._parser = self._new_parser()
            out += super().receive(after, now)
        return out

    def _may_follow(self, happened: Input) -> bool:
        return happened is Input.SUCCESS and self.bidi

    def _stanza(self, received: Received) -> None:
        if self.state is State.SASL_HEADER:
            if self._early is None:
                self.fail(violation(Input.STANZA), "This is not the time for: stanza.")
                return
            pair = Pair(self.local, self.remote)
            if pair not in self.receives:
                self.authorized(pair, Authentication.EXTERNAL, sends=False, receives=True)
        super()._stanza(received)

    def _header(self, opened: Opened) -> None:
        state = self.state
        if not self.step(Input.HEADER) or state is State.CLOSING:
            return
        wrong = wrong_header(opened)
        if wrong is not None:
            self._give_up(RefusalKind.PROTOCOL, wrong[1], condition=wrong[0])
            return
        # a server that refuses us may do so under another name, and its reason comes behind the header
        sender, self.stream_id = opened.attributes.get("from"), opened.attributes.get("id", "")
        if sender is not None and domain(sender) != self.remote:
            self._doubt = "invalid-from", "The answer comes from another domain than was asked for."
        elif not self.stream_id:
            self._doubt = "bad-format", "A stream needs an id."

    def _negotiate(self, happened: Input, before: State, received: Received) -> None:
        if happened is Input.FEATURES:
            self._features(before, received.element)
        elif happened is Input.PROCEED:
            self.restart()
            self.put(StartTls(self.local, self.remote))
        elif happened is Input.TLS_FAILURE:
            self._give_up(RefusalKind.TLS, "The peer cannot negotiate TLS now.")
        elif happened is Input.SUCCESS:
            parser = self._parser
            self.restart()
            if self.bidi:  # the peer may send already: see `early`
                self._early, self._parser = EarlyStanzas(between=parser.idle), parser
                parser.limit = self.federation.limits.stanza_bytes
            self.send_header()
        elif happened is Input.FAILURE:
            self._sasl_failed(received.element)

    def _features(self, before: State, features: Element) -> None:
        if self._doubt is not None:
            condition, text = self._doubt
            self._give_up(RefusalKind.PROTOCOL, text, condition=condition)
        elif before is State.PLAIN:
            if features.find(_STARTTLS) is None:
                self._give_up(
                    RefusalKind.TLS, "The peer does not offer TLS, which is required.", condition="policy-violation"
                )
            else:
                self.write(nonzas.STARTTLS)
        elif before is State.TLS_FEATURES:
            self._authenticate(features)
        elif before is State.SASL_FEATURES:
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
        mechanisms = [(name.text or "").strip() for name in features.iterfind(f"{_MECHANISMS}/{_MECHANISM}")]
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
        reason = f"{self.remote} refused EXTERNAL: {condition_of(failure, ns.SASL)}."
        if self._left:
            pair = Pair(self.local, self.remote)
            self.refused(pair, RefusalKind.AUTHENTICATION, reason, by_us=False, final=False)
        self._try_next(reason)

    def dialback_failed(self) -> None:
        """Our key was refused, or not answered: go on with what is left, unless it was for a further pair."""
        if self.state is State.DIALBACK and self.step(Input.REFUSED):
            self._try_next("")

    @property
    def last_way(self) -> bool:
        """Whether nothing is left to try when our dialback request fails."""
        return self.state is not State.DIALBACK or not self._left

    def _give_up(self, kind: RefusalKind, reason: str, *, condition: str = "") -> None:
        """No pair will be authorized here.

        :param reason: empty when it was told already.
        :param condition: the stream error that the peer gets, if it is at fault.
        """
        if reason:
            self.refused(Pair(self.local, self.remote), kind, reason, by_us=bool(condition))
        if condition:
            self.fail(condition, reason)
        else:
            self.finish(reason)

    def against_dialback(self, policy: PartnerPolicy, pair: Pair) -> Refusal | None:
        """What speaks against a dialback request of the peer's on this stream."""
        if not self.both_ways(policy.domain):
            reason = f"{pair.remote} asked to send on a stream of ours without bidi."
            return Refusal("policy-violation", RefusalKind.BIDI, reason)
        if all(known.local != pair.local for known in self.sends):
            reason = f"{pair.local} is not at this end of the stream."
            return Refusal("policy-violation", RefusalKind.PROTOCOL, reason)
        return None
