"""Dialback on a stream (XEP-0220), which both ends share: under bidi requests and answers flow both ways.

Two questions, each with an answer that counts once, on the stream and from the domain of which it was asked:

* ``db:result``: may I send for this pair? Asked with a key, answered when the key was found genuine.
* ``db:verify``: is this key yours? Asked of the authoritative server, over another connection than the key's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire import nonzas
from component.relay.wire.dialback import Ask, Asker, Kind, Ledger, key, matches
from component.relay.wire.domains import domain
from component.relay.wire.elements import condition_of
from component.relay.wire.events import KeyVerified, Outcome, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication
from component.relay.wire.refusal import Refusal
from component.relay.wire.states import Input, State

if TYPE_CHECKING:
    from component.relay.wire.core import StreamCore

_ERROR = f"{{{ns.SERVER}}}error"
_UNREACHED = ("remote-connection-failed", "remote-server-timeout")
"""What a peer is told when the authoritative server was not reached, or did not answer. Whatever error that server
gives itself is ``remote-server-not-found`` for the peer (XEP-0220 §2.4)."""


class DialbackPart:
    """The part of one stream.

    :param stream: the machine that this belongs to.
    """

    def __init__(self, stream: StreamCore) -> None:
        self._stream = stream
        self._ledger = Ledger(stream.federation.limits.dialback_timeout)

    @property
    def deadline(self) -> float | None:
        """When the oldest question expires, in seconds."""
        return self._ledger.deadline

    # We ask

    def ask(self, pair: Pair) -> bool:
        """Send our key for a pair (XEP-0220 §2.1.1).

        :returns: whether that was possible: the same may have been asked already.
        """
        stream = self._stream
        if not self._ledger.expect(Ask(Kind.RESULT, pair.local, pair.remote, "", stream.now), stream.now):
            return False
        ours = key(stream.federation.secret, pair.remote, pair.local, stream.stream_id)
        stream.write(nonzas.db_result(pair.local, pair.remote, ours))
        return True

    def ask_for_more(self, pair: Pair) -> None:
        """Piggyback: send a key for a further pair, towards a domain that is known to be at the other end."""
        stream = self._stream
        policy = stream.policy(pair.remote)
        known = {known.remote for known in stream.sends}
        if stream.state is not State.OPEN or pair.remote not in known or policy is None:
            stream.refused(pair, RefusalKind.PROTOCOL, "The stream does not lead to this domain.", by_us=True)
        elif Authentication.DIALBACK not in policy.authentication:
            stream.refused(pair, RefusalKind.DIALBACK, "Dialback with this partner is switched off.", by_us=True)
        elif pair not in stream.sends and not self.ask(pair):
            stream.notice("dialback-twice", f"{pair} is being asked for already.")

    def ask_about_key(self, pair: Pair, stream_id: str, given: str) -> None:
        """Ask whether a key is genuine; the answer is a `KeyVerified`."""
        stream = self._stream
        ask = Ask(Kind.VERIFY, pair.local, pair.remote, stream_id, stream.now)
        if stream.state is not State.VERIFYING or not self._ledger.expect(ask, stream.now):
            stream.put(KeyVerified(pair, stream_id, Outcome.ERROR, "remote-server-timeout"))
        else:
            stream.write(nonzas.db_verify(pair.local, pair.remote, stream_id, given))

    # The peer speaks

    def received(self, element: Element) -> None:
        """Take an element of the dialback namespace."""
        stream = self._stream
        sender, to = domain(element.get("from")), domain(element.get("to"))
        kind = element.tag.rpartition("}")[2]
        if sender is None or to is None:
            stream.fail("improper-addressing", "A dialback element needs from and to, which are domains.")
        elif kind == "result" and "type" in element.attrib:
            self._result_answered(element, Pair(to, sender))
        elif kind == "verify" and "type" in element.attrib:
            self._verify_answered(element, Pair(to, sender))
        elif kind == "result":
            self._result_asked(element, Pair(to, sender))
        elif kind == "verify":
            self._verify_asked(element, sender, to)
        else:
            stream.fail("unsupported-stanza-type", "Dialback knows result and verify.")

    def _result_answered(self, element: Element, pair: Pair) -> None:
        stream = self._stream
        if self._ledger.take(Kind.RESULT, pair.remote, pair.local, "", stream.now) is None:
            stream.notice("unsolicited-dialback", f"Nobody had asked for {pair}; the answer was dropped.")
            return
        outcome, condition = _outcome(element)
        if outcome is Outcome.VALID:
            self._authorized(pair, sends=True, receives=stream.both_ways(pair.remote))
            return
        why = "our key is not genuine" if outcome is Outcome.INVALID else condition
        reason = f"{pair.remote} refused dialback: {why}."
        stream.refused(pair, RefusalKind.DIALBACK, reason, by_us=False, final=stream.last_way)
        stream.dialback_failed()

    def _verify_answered(self, element: Element, pair: Pair) -> None:
        stream = self._stream
        stream_id = element.get("id", "")
        if self._ledger.take(Kind.VERIFY, pair.remote, pair.local, stream_id, stream.now) is None:
            stream.notice("unsolicited-dialback", f"No key of {pair} was asked about; the answer was dropped.")
            return
        stream.put(KeyVerified(pair, stream_id, *_outcome(element)))

    def _verify_asked(self, element: Element, asker: str, ours: str) -> None:
        """Say whether a key is ours: it is when we would make the same (XEP-0185 §3)."""
        stream = self._stream
        stream_id = element.get("id", "")
        if not stream_id:
            stream.write(nonzas.db_error(Kind.VERIFY, ours, asker, "bad-request"))
        elif ours not in stream.federation.domains:
            stream.write(nonzas.db_error(Kind.VERIFY, ours, asker, "item-not-found", stream_id))
        elif stream_id == stream.stream_id:  # XEP-0288 §2.2: never where the key itself was sent
            stream.notice("verify-on-same-stream", "The peer asked about a key on the stream where it was sent.")
            stream.write(nonzas.db_error(Kind.VERIFY, ours, asker, "policy-violation", stream_id))
        else:
            genuine = matches(key(stream.federation.secret, asker, ours, stream_id), "".join(element.itertext()))
            stream.write(nonzas.db_answer(Kind.VERIFY, ours, asker, "valid" if genuine else "invalid", stream_id))

    def _result_asked(self, element: Element, pair: Pair) -> None:
        stream = self._stream
        against = self._against(pair)
        if against is not None:
            stream.refused(pair, against.kind, against.reason, by_us=True)
            stream.write(nonzas.db_error(Kind.RESULT, pair.local, pair.remote, against.condition))
        elif pair in stream.receives:
            stream.write(nonzas.db_answer(Kind.RESULT, pair.local, pair.remote, "valid"))
        elif not stream.refusal(pair.remote):  # the certificate says what a call back would (XEP-0344 §2)
            self._genuine(pair)
        elif self._ledger.expect(Ask(Kind.RESULT, *pair, "", stream.now, Asker.PEER), stream.now):
            stream.put(VerifyKey(pair, stream.stream_id, "".join(element.itertext()).strip()))
        elif any(ask.asker is Asker.PEER and (ask.local, ask.remote) == pair for ask in self._ledger):
            stream.notice("dialback-twice", f"The key of {pair} is being verified already.")
        else:
            reason = f"Too many keys of {stream.remote} are being verified."
            stream.refused(pair, RefusalKind.LIMIT, reason, by_us=True)
            stream.write(nonzas.db_error(Kind.RESULT, pair.local, pair.remote, "resource-constraint"))

    def _against(self, pair: Pair) -> Refusal | None:
        """What speaks against verifying a pair."""
        stream = self._stream
        policy = stream.policy(pair.remote)
        if pair.local not in stream.federation.domains:
            return Refusal("item-not-found", RefusalKind.STRANGER, f"{pair.local[:80]} is not one of our domains.")
        if policy is None:
            return Refusal("policy-violation", RefusalKind.STRANGER, f"{pair.remote[:80]} is not a partner.")
        if Authentication.DIALBACK not in policy.authentication:
            reason = f"Dialback with {pair.remote} is switched off (authentication)."
            return Refusal("policy-violation", RefusalKind.DIALBACK, reason)
        return stream.against_dialback(policy, pair)

    def key_verified(self, answer: KeyVerified) -> None:
        """Answer the peer whose key was asked about; the answer may be about a stream that has begun anew since."""
        stream = self._stream
        pair = answer.pair
        if answer.stream_id != stream.stream_id:
            return
        if self._ledger.take(Kind.RESULT, pair.local, pair.remote, "", stream.now, Asker.PEER) is None:
            return
        if answer.outcome is Outcome.VALID:
            self._genuine(pair)
        elif answer.outcome is Outcome.INVALID:
            self._false(pair)
        else:
            self._failed(pair, answer.condition or "remote-connection-failed")

    def _genuine(self, pair: Pair) -> None:
        self._stream.write(nonzas.db_answer(Kind.RESULT, pair.local, pair.remote, "valid"))
        self._authorized(pair, sends=self._stream.both_ways(pair.remote), receives=True)

    def _authorized(self, pair: Pair, *, sends: bool, receives: bool) -> None:
        if self._stream.step(Input.VERIFIED):
            self._stream.authorized(pair, Authentication.DIALBACK, sends=sends, receives=receives)

    def _false(self, pair: Pair) -> None:
        """Refuse, and end the stream, as XEP-0220 §2.2.1 wants; but not when others have shown who they are on it, or
        may be about to. They would take ``invalid`` for the end, so it is an error for them.
        """
        stream = self._stream
        reason = f"{pair.remote} says that the key is not its own: somebody else may have used its name."
        stream.refused(pair, RefusalKind.DIALBACK, reason, by_us=True)
        if stream.authenticated or any(ask.asker is Asker.PEER for ask in self._ledger):
            stream.write(nonzas.db_error(Kind.RESULT, pair.local, pair.remote, "forbidden"))
        else:
            stream.write(nonzas.db_answer(Kind.RESULT, pair.local, pair.remote, "invalid"))
            stream.fail("not-authorized", f"The key for {pair.remote} was not genuine.")

    def _failed(self, pair: Pair, condition: str) -> None:
        stream = self._stream
        reason = f"The server of {pair.remote} could not be asked whether the key is its own: {condition}."
        stream.refused(pair, RefusalKind.DIALBACK, reason, by_us=True)
        told = condition if condition in _UNREACHED else "remote-server-not-found"
        stream.write(nonzas.db_error(Kind.RESULT, pair.local, pair.remote, told))

    # Time

    def begin_anew(self) -> None:
        """The stream has another id now: keys and answers for the old one are void."""
        self._ledger.drain()

    def expire(self) -> None:
        """Give up what was not answered in time."""
        for ask in self._ledger.expired(self._stream.now):
            if ask.asker is Asker.PEER:
                self._failed(Pair(ask.local, ask.remote), "remote-server-timeout")
                continue
            self._unanswered(ask, "it took too long")
            if ask.kind is Kind.RESULT:
                self._stream.dialback_failed()

    def give_up(self, why: str) -> None:
        """The stream has ended: nothing will be answered any more."""
        for ask in self._ledger.drain():
            if ask.asker is Asker.WE:
                self._unanswered(ask, why)

    def _unanswered(self, ask: Ask, why: str) -> None:
        stream, pair = self._stream, Pair(ask.local, ask.remote)
        if ask.kind is Kind.VERIFY:
            stream.put(KeyVerified(pair, ask.id, Outcome.ERROR, "remote-server-timeout"))
        else:
            reason = f"{pair.remote} has not answered our dialback request: {why.rstrip('.')}."
            stream.refused(pair, RefusalKind.TIMEOUT, reason, by_us=False, final=stream.last_way)


def _outcome(element: Element) -> tuple[Outcome, str]:
    """What an answer says: only the exact word ``valid`` is a yes."""
    match element.get("type"):
        case "valid":
            return Outcome.VALID, ""
        case "invalid":
            return Outcome.INVALID, ""
    return Outcome.ERROR, condition_of(element.find(_ERROR), ns.STANZA_ERRORS)
