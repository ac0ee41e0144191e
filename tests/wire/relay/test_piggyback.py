"""Several pairs on one stream (XEP-0220 §2.6, XEP-0288 §2.2): in both roles, in both directions, refused and not."""

from __future__ import annotations

import pytest

from component.relay.counters import RefusalKind
from component.relay.wire.events import Outcome, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Bidi, Direction
from component.relay.wire.states import State
from tests.wire.relay.play import our_key
from tests.wire.relay.scenes import (
    BIDI,
    CHAT,
    CPE,
    DIALBACK,
    END,
    EXTERNAL,
    OURS,
    PAIR,
    PARTNER,
    STRANGER,
    error,
    message,
    negotiating,
    opened,
    opened_by_dialback,
    partner,
    received,
    received_by_dialback,
    result,
)

BOTH = (partner(), partner(CHAT))
CPE_PAIR, CHAT_PAIR, CPE_CHAT = Pair(CPE, PARTNER), Pair(OURS, CHAT), Pair(CPE, CHAT)


# The peer asks for more, as initiator


@pytest.mark.parametrize("bidi", [True, False])
def test_a_peer_asks_for_another_target(bidi: bool) -> None:
    for play in (received(bidi=bidi), received_by_dialback(bidi=bidi)):
        play.hears(result(to=CPE)).says(result(CPE, PARTNER, type="valid"))
        play.authorizes(CPE_PAIR, DIALBACK, sends=bidi, receives=True).nothing_more()
        play.hears(message(to=CPE)).receives("hello").hears(message()).receives("hello")


@pytest.mark.parametrize("bidi", [True, False])
def test_a_peer_asks_for_another_sender_and_is_looked_at_again(bidi: bool) -> None:
    """XEP-0344: the certificate is asked again for each pair; this one proves only the first."""
    play = received(*BOTH, bidi=bidi).hears(result(CHAT))
    assert play.expect(VerifyKey) == VerifyKey(CHAT_PAIR, "id2", "k")
    play.nothing_more().hears(message()).receives("hello")  # verified pairs go on meanwhile (XEP-0220 §2.2.1)
    play.learns(CHAT_PAIR, "id2", Outcome.VALID).says(result(OURS, CHAT, type="valid"))
    play.authorizes(CHAT_PAIR, DIALBACK, sends=bidi, receives=True).hears(message(CHAT)).receives("hello")
    assert play.machine.sends == ({PAIR, CHAT_PAIR} if bidi else set())


def test_pairs_are_not_combined() -> None:
    """(isp, partner) and (cpe, chat) do not make (isp, chat)."""
    play = negotiating(*BOTH, proven=(PARTNER, CHAT)).hears(result()).hears(result(CHAT, CPE))
    play.said()
    play.authorizes(PAIR, DIALBACK, receives=True).authorizes(CPE_CHAT, DIALBACK, receives=True)
    play.hears(message(CHAT, CPE)).receives("hello")
    play.hears(message(CHAT, OURS)).fails("invalid-from")


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (message(STRANGER), "invalid-from"),
        (message(CHAT), "invalid-from"),
        (message(OURS), "invalid-from"),
        (message(f"x@sub.{PARTNER}"), "invalid-from"),
        (message(to=CPE), "invalid-from"),
        (message(to="elsewhere.test"), "host-unknown"),
        (message(to=PARTNER), "host-unknown"),
        ("<message/>", "improper-addressing"),
        (f"<message from='{PARTNER}'/>", "improper-addressing"),
        (f"<message to='{OURS}'/>", "improper-addressing"),
        (f"<message from='' to='{OURS}'/>", "improper-addressing"),
        (f"<message from='@{PARTNER}' to='{OURS}'/>", "improper-addressing"),
    ],
)
def test_stanzas_of_other_pairs_end_the_stream(said: str, condition: str) -> None:
    """RFC 6120 §4.9.3.6, .7 and .9."""
    for play in (received(*BOTH, bidi=True), received_by_dialback(*BOTH), opened(*BOTH, bidi=True)):
        play.hears(said + message()).fails(condition)


def test_a_refused_pair_does_not_harm_the_others() -> None:
    play = received(*BOTH, bidi=True)
    for said, pair, kind, told in (
        (result(to="elsewhere.test"), Pair("elsewhere.test", PARTNER), RefusalKind.STRANGER, "item-not-found"),
        (result(STRANGER), Pair(OURS, STRANGER), RefusalKind.STRANGER, "policy-violation"),
    ):
        play.hears(said).refuses(pair, kind).says(error("result", *pair, told)).nothing_more()
    play.hears(result(CHAT)).expect(VerifyKey)
    play.learns(CHAT_PAIR, "id2", Outcome.INVALID).refuses(CHAT_PAIR, RefusalKind.DIALBACK)
    play.says(error("result", OURS, CHAT, "forbidden")).nothing_more()  # XEP-0220 §2.2.1: instead of closing
    play.hears(message()).receives("hello").hears(message(CHAT)).fails("invalid-from")


def test_a_false_key_ends_the_stream_only_when_nobody_else_is_about_to_be_verified() -> None:
    play = negotiating(*BOTH, proven=()).hears(result() + result(CHAT))
    play.refuses(PAIR, RefusalKind.CERTIFICATE, final=False)
    for pair in (PAIR, CHAT_PAIR):
        assert play.expect(VerifyKey).pair == pair
    play.learns(PAIR, "id1", Outcome.INVALID).refuses(PAIR, RefusalKind.DIALBACK)
    play.says(error("result", OURS, PARTNER, "forbidden")).nothing_more()
    play.learns(CHAT_PAIR, "id1", Outcome.INVALID).refuses(CHAT_PAIR, RefusalKind.DIALBACK)
    play.fails("not-authorized", result(OURS, CHAT, type="invalid"))


def test_a_partner_of_another_policy_keeps_its_own() -> None:
    """On a stream of a partner without restrictions."""
    others = (
        (partner(CHAT, direction=Direction.OUTBOUND), RefusalKind.DIRECTION),
        (partner(CHAT, bidi=Bidi.REQUIRED), RefusalKind.BIDI),
        (partner(CHAT, authentication=(EXTERNAL,)), RefusalKind.DIALBACK),
    )
    for policy, kind in others:
        play = received(partner(), policy).hears(result(CHAT)).refuses(CHAT_PAIR, kind)
        play.says(error("result", OURS, CHAT, "policy-violation")).nothing_more()


def test_more_keys_at_once_than_can_be_asked_about() -> None:
    many = [partner(f"p{number}.test") for number in range(101)]
    play = received(partner(), *many)
    for policy in many[:100]:
        play.hears(result(policy.domain)).expect(VerifyKey)
    last = Pair(OURS, many[100].domain)
    play.hears(result(last.remote)).refuses(last, RefusalKind.LIMIT)
    play.says(error("result", *last, "resource-constraint")).nothing_more()
    play.hears(result(many[0].domain)).notices("dialback-twice").nothing_more()


# The peer asks for more, as receiver of a stream of ours


def test_under_bidi_a_receiver_asks_for_another_sender() -> None:
    """Example 5 of XEP-0288: conference.montague.lit."""
    for play in (opened(*BOTH, bidi=True), opened_by_dialback(*BOTH, bidi=True)):
        stream_id = play.machine.stream_id
        play.hears(result(CHAT))
        assert play.expect(VerifyKey) == VerifyKey(CHAT_PAIR, stream_id, "k")
        play.learns(CHAT_PAIR, stream_id, Outcome.VALID).says(result(OURS, CHAT, type="valid"))
        play.authorizes(CHAT_PAIR, DIALBACK, sends=True, receives=True)
        play.sends(CHAT_PAIR, message(OURS, CHAT)).says(message(OURS, CHAT))


def test_it_asks_only_towards_domains_of_ours_that_are_at_this_end() -> None:
    """XEP-0288 §2.2: any domain authenticated to be hosted by the connecting server."""
    play = opened(bidi=True).hears(result(to=CPE)).refuses(CPE_PAIR, RefusalKind.PROTOCOL)
    play.says(error("result", CPE, PARTNER, "policy-violation")).nothing_more()


def test_on_a_stream_of_ours_it_does_not_matter_who_may_connect() -> None:
    play = opened(partner(), partner(CHAT, direction=Direction.OUTBOUND), bidi=True).hears(result(CHAT))
    assert play.expect(VerifyKey).pair == CHAT_PAIR


def test_without_bidi_it_does_not_ask() -> None:
    play = opened(*BOTH).hears(result(CHAT)).refuses(CHAT_PAIR, RefusalKind.BIDI)
    play.says(error("result", OURS, CHAT, "policy-violation")).nothing_more()


# We ask for more


@pytest.mark.parametrize("bidi", [True, False])
def test_as_initiator_we_ask_for_another_sender(bidi: bool) -> None:
    for play in (opened(bidi=bidi), opened_by_dialback(bidi=bidi)):
        play.asks_for(CPE_PAIR).says(result(CPE, PARTNER, our_key(*CPE_PAIR, play.machine.stream_id))).nothing_more()
        with pytest.raises(LookupError):
            play.sends(CPE_PAIR, message())
        play.sends(PAIR, message(OURS, PARTNER)).says(message(OURS, PARTNER))  # XEP-0220 §2.1.1: SHOULD continue
        play.hears(result(PARTNER, CPE, type="valid")).authorizes(CPE_PAIR, DIALBACK, sends=True, receives=bidi)
        play.sends(CPE_PAIR, message(CPE, PARTNER)).says(message(CPE, PARTNER))


def test_as_receiver_under_bidi_we_ask_towards_verified_domains() -> None:
    """XEP-0288 §2.2: MAY."""
    for play in (received(bidi=True), received_by_dialback(bidi=True)):
        play.asks_for(CPE_PAIR).says(result(CPE, PARTNER, our_key(*CPE_PAIR, play.machine.stream_id)))
        play.hears(result(PARTNER, CPE, type="valid")).authorizes(CPE_PAIR, DIALBACK, sends=True, receives=True)
        play.hears(message(to=CPE)).receives("hello").nothing_more()


def test_towards_others_we_do_not() -> None:
    for play in (received(*BOTH, bidi=True), opened(*BOTH), received(*BOTH), negotiating(*BOTH)):
        play.asks_for(CPE_CHAT).refuses(CPE_CHAT, RefusalKind.PROTOCOL).nothing_more()


def test_towards_a_domain_that_a_receiver_has_verified_we_do() -> None:
    play = negotiating(*BOTH, proven=(PARTNER, CHAT)).hears(BIDI + result() + result(CHAT))
    play.said()
    play.authorizes(PAIR, DIALBACK, sends=True, receives=True)
    play.authorizes(CHAT_PAIR, DIALBACK, sends=True, receives=True)
    play.asks_for(CPE_CHAT).says(result(CPE, CHAT, our_key(*CPE_CHAT, "id1")))


def test_with_dialback_switched_off_we_do_not_ask() -> None:
    play = opened(partner(authentication=(EXTERNAL,))).asks_for(CPE_PAIR)
    play.refuses(CPE_PAIR, RefusalKind.DIALBACK).nothing_more()


def test_we_ask_once() -> None:
    play = opened().asks_for(CPE_PAIR)
    play.said()
    play.asks_for(CPE_PAIR).notices("dialback-twice").nothing_more()
    play.hears(result(PARTNER, CPE, type="valid")).authorizes(CPE_PAIR, DIALBACK, sends=True)
    play.asks_for(CPE_PAIR).nothing_more()


@pytest.mark.parametrize(
    "refusal", [result(PARTNER, CPE, type="invalid"), error("result", PARTNER, CPE, "item-not-found")]
)
def test_a_refused_further_pair_leaves_the_stream_as_it_was(refusal: str) -> None:
    """ejabberd takes no piggybacked requests in reverse."""
    for play in (opened(), received(bidi=True), opened_by_dialback()):
        play.asks_for(CPE_PAIR).said()
        play.hears(refusal).refuses(CPE_PAIR, RefusalKind.DIALBACK, by_us=False).nothing_more()
        assert play.machine.state is State.OPEN and play.machine.sends == {PAIR}
        play.sends(PAIR, message(OURS, PARTNER)).says(message(OURS, PARTNER))


def test_no_answer_to_a_further_pair_leaves_the_stream_as_it_was() -> None:
    play = opened().at(1.0).asks_for(CPE_PAIR)
    play.said()
    play.wakes(31.0).refuses(CPE_PAIR, RefusalKind.TIMEOUT, by_us=False).nothing_more()
    play.hears(result(PARTNER, CPE, type="valid")).notices("unsolicited-dialback").nothing_more()
    assert play.machine.sends == {PAIR}


def test_further_pairs_end_with_the_stream() -> None:
    play = opened(bidi=True).asks_for(CPE_PAIR)
    play.said()
    play.hears(END).says(END).refuses(CPE_PAIR, RefusalKind.TIMEOUT, by_us=False).ended(by_us=False).gone()


def test_a_pair_that_is_authorized_is_not_asked_for() -> None:
    play = opened_by_dialback().asks_for(PAIR).nothing_more()
    assert play.machine.sends == {PAIR}
