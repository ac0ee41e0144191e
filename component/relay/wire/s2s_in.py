"""The receiver of a server-to-server stream: the peer has opened the connection. The theory is in `states`."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire import nonzas
from component.relay.wire.domains import domain
from component.relay.wire.events import Output, PassThrough, StartTls
from component.relay.wire.headers import wrong_header
from component.relay.wire.pairs import Pair
from component.relay.wire.parser import Opened, Received
from component.relay.wire.policy import Authentication, Bidi, Federation, PartnerPolicy
from component.relay.wire.refusal import Refusal
from component.relay.wire.states import INCOMING, Input, State
from component.relay.wire.stream import S2SStream

_ABORT = f"{{{ns.SASL}}}abort"
_RESPONSE = f"{{{ns.SASL}}}response"
_MOST_FAILURES = 3


class IncomingStream(S2SStream):
    """A stream that a peer has opened.

    :param pass_through: hand streams that do not belong to our partners and domains to somebody else, as bytes.
    :param tls: the connection begins with TLS (XEP-0368); `tls_established` comes first.
    """

    table = INCOMING

    def __init__(
        self,
        federation: Federation,
        new_id: Callable[[], str],
        now: float,
        *,
        pass_through: bool = False,
        tls: bool = False,
    ) -> None:
        super().__init__(federation, "", "", new_id, now, State.TLS if tls else State.HEADER)
        self._seen: bytearray | None = bytearray() if pass_through and not tls else None
        self._failures = 0

    def receive(self, data: bytes, now: float) -> list[Output]:
        """Take bytes that have come, decrypted when there is TLS."""
        if self._seen is None:
            return super().receive(data, now)
        self._seen += data
        out = super().receive(data, now)
        if self._seen is not None and len(self._seen) > self.federation.limits.unauthenticated_bytes:
            self._seen = None  # white space may be endless; what else is too long has ended the stream already
            return out + self.close("policy-violation", "There is no stream header.", now)
        return out

    # Headers

    def _header(self, opened: Opened) -> None:
        first, state = self._seen, self.state
        self._seen = None
        sender, to = domain(opened.attributes.get("from")), domain(opened.attributes.get("to"))
        if first is not None and (sender not in self.federation.partners or to not in self.federation.domains):
            self.state = State.CLOSED  # it is another server's stream from its first byte on
            self.put(PassThrough(bytes(first)))
            return
        if not self.step(Input.HEADER) or state is State.CLOSING:
            return
        wrong = wrong_header(opened) or self._wrong_names(opened, sender, to, state)
        self.remote = self.remote or sender or ""
        self.local = self.local or (to if to in self.federation.domains else "") or ""
        if wrong is not None:
            self.fail(*wrong)
            return
        policy = self.policy(self.remote)
        against = self._against(policy)
        if against is not None:
            self.refused(Pair(self.local, self.remote), against.kind, against.reason, by_us=True)
            self.fail(against.condition, against.reason)
            return
        self.send_header()
        if policy is None or state is State.HEADER:
            self._offer_tls(policy)
        elif state is State.TLS_HEADER:
            self._offer(policy)
        else:
            self.write(nonzas.features(nonzas.SM_FEATURE + self._dialback_feature(policy)))
            pair = Pair(self.local, self.remote)
            self.authorized(pair, Authentication.EXTERNAL, sends=self.bidi, receives=True)

    def _wrong_names(
        self, opened: Opened, sender: str | None, to: str | None, state: State
    ) -> tuple[str, str] | None:
        """Stream error and text for a header that is not to us, or not for what it was for before."""
        if to is None or (sender is None and "from" in opened.attributes):
            return "improper-addressing", "The header must say from which domain to which domain it goes."
        if to not in self.federation.domains:
            return "host-unknown", f"{to[:80]} is not here."
        if sender is None and state is State.TLS_HEADER:  # in the clear it may be kept back (RFC 6120 §4.7.1)
            return "improper-addressing", "The header must say from whom it is."
        if self.local and to != self.local:
            return "policy-violation", "A stream that begins anew must go to the same domain."
        if self.remote and sender not in (self.remote, None):
            return "invalid-from", "A stream that begins anew must keep its name."
        return None

    def _against(self, policy: PartnerPolicy | None) -> Refusal | None:
        """What speaks against a stream from this peer at all."""
        if not self.remote:
            return None
        if policy is None:
            reason = f"{self.remote[:80]} is not a partner."
            return Refusal("policy-violation", RefusalKind.STRANGER, reason)
        if not policy.inbound and Authentication.DIALBACK not in policy.authentication:
            return self._wrong_direction(policy)
        return None

    @staticmethod
    def _wrong_direction(policy: PartnerPolicy) -> Refusal:
        reason = f"{policy.domain} may not connect to us (direction: outbound)."
        return Refusal("policy-violation", RefusalKind.DIRECTION, reason)

    def send_header(self) -> None:
        """Answer the header with a fresh id (RFC 6120 §4.7.3)."""
        self.stream_id = self.new_id()
        self._header_sent = True
        self.write(nonzas.header(self.local, self.remote, stream_id=self.stream_id))

    # Features

    def _offer_tls(self, policy: PartnerPolicy | None) -> None:
        early = policy is not None and policy.early_bidi and policy.inbound and policy.bidi is not Bidi.OFF
        self.write(nonzas.features(nonzas.STARTTLS_FEATURE + (nonzas.BIDI_FEATURE if early else b"")))

    def _offer(self, policy: PartnerPolicy) -> None:
        """Offer the ways to authenticate that are open to this peer, and bidi."""
        external, refusal = Authentication.EXTERNAL in policy.authentication, ""
        if external and policy.inbound:
            refusal = self.refusal(policy.domain)
        by_dialback = Authentication.DIALBACK in policy.authentication
        if refusal:
            pair = Pair(self.local, self.remote)
            self.refused(pair, RefusalKind.CERTIFICATE, refusal, by_us=True, final=not by_dialback)
        offered = b""
        if external and policy.inbound and not refusal:
            offered += nonzas.EXTERNAL_FEATURE
        elif not by_dialback:
            self.fail("policy-violation", refusal)  # RFC 6120 §6.4.5
            return
        if policy.inbound and policy.bidi is not Bidi.OFF:
            offered += nonzas.BIDI_FEATURE + (nonzas.LEGACY_BIDI_FEATURE if policy.offer_legacy_bidi else b"")
        self.write(nonzas.features(offered + self._dialback_feature(policy)))

    def _dialback_feature(self, policy: PartnerPolicy) -> bytes:
        return nonzas.DIALBACK_FEATURE if Authentication.DIALBACK in policy.authentication else b""

    # Elements

    def _negotiate(self, happened: Input, before: State, received: Received) -> None:
        if happened is Input.STARTTLS:
            self.write(nonzas.PROCEED)
            self.restart()
            self.put(StartTls(self.local))
        elif happened is Input.BIDI:
            self._bidi_asked()
        elif happened is Input.AUTH:
            self._auth(received)

    def _secured(self) -> None:
        """The peer begins anew behind TLS."""

    def _bidi_asked(self) -> None:
        policy = self.policy(self.remote)
        if self.bidi:
            self.notice("bidi-twice", "The peer asked for bidi again.")
        elif policy is None or policy.bidi is Bidi.OFF or not policy.inbound:
            self.notice("bidi-not-offered", "The peer asked for bidi, which was not offered; it was ignored.")
        else:
            self.bidi = True

    def _auth(self, received: Received) -> None:
        """SASL EXTERNAL (XEP-0178 §3): the certificate must prove the domain that the header named."""
        policy = self.policy(self.remote)
        pair = Pair(self.local, self.remote)
        if policy is not None and policy.bidi is Bidi.REQUIRED and not self.bidi:
            reason = f"{self.remote} did not ask for bidi, which is required."
            self.refused(pair, RefusalKind.BIDI, reason, by_us=True)
            self.fail("policy-violation", "bidi is required.")
            return
        failure, reason = self._against_external(policy, received.element)
        if not failure:
            if self.nothing_behind(received) and self.step(Input.ACCEPTED):
                self.authentication = Authentication.EXTERNAL  # the pair is authorized when the stream has begun anew
                self.write(nonzas.SASL_SUCCESS)
                self.restart()
            return
        by_dialback = policy is not None and Authentication.DIALBACK in policy.authentication
        self.refused(pair, RefusalKind.AUTHENTICATION, reason, by_us=True, final=not by_dialback)
        self.write(nonzas.sasl_failure(failure))
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self.fail("policy-violation", "SASL has failed too often.")

    def _against_external(self, policy: PartnerPolicy | None, auth: Element) -> tuple[str, str]:
        """SASL failure (RFC 6120 §6.5) and reason; two empty strings when nothing speaks against it."""
        if auth.tag == _ABORT:
            return "aborted", f"{self.remote} gave up on SASL."
        if auth.tag == _RESPONSE or len(auth):
            return "malformed-request", f"{self.remote} sent an element of SASL that makes no sense here."
        if auth.get("mechanism") != "EXTERNAL":
            return "invalid-mechanism", f"{self.remote} tried another mechanism than EXTERNAL."
        if policy is None or not policy.inbound or Authentication.EXTERNAL not in policy.authentication:
            return "invalid-mechanism", f"{self.remote} tried EXTERNAL, which is switched off for it."
        refusal = self.refusal(policy.domain)
        if refusal:
            return "not-authorized", refusal
        text = "".join((auth.text or "").split())
        if text in ("", "="):
            return "", ""
        try:
            identity = b64decode(text, validate=True).decode()
        except ValueError:  # not even ASCII, not Base64, or not UTF-8
            return "incorrect-encoding", f"{self.remote} sent an identity that is not Base64 of UTF-8."
        if domain(identity) != self.remote:
            return "invalid-authzid", f"{self.remote} wants to act for another domain."
        return "", ""

    def against_dialback(self, policy: PartnerPolicy, pair: Pair) -> Refusal | None:
        """What speaks against a dialback request of the peer's on this stream."""
        if not policy.inbound:
            return self._wrong_direction(policy)
        if policy.bidi is not Bidi.REQUIRED or self.bidi:
            return None
        return Refusal(
            "policy-violation", RefusalKind.BIDI, f"{pair.remote} did not ask for bidi, which is required."
        )
