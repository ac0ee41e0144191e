"""Bidirectional streams (XEP-0288): who asks for them, when that counts, and what follows from it."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.policy import Bidi, Direction
from component.relay.wire.states import State
from tests.wire.relay.scenes import (
    BIDI,
    BIDI_FEATURE,
    CHAT,
    DIALBACK,
    DIALBACK_FEATURE,
    END,
    EXTERNAL,
    EXTERNAL_FEATURE,
    OURS,
    PAIR,
    PARTNER,
    STARTTLS,
    STARTTLS_FEATURE,
    SUCCESS,
    accepted,
    answer,
    asked_for_tls,
    asking,
    asking_about_keys,
    auth,
    connected,
    features,
    header,
    incoming_in,
    message,
    negotiating,
    opened,
    opened_by_dialback,
    partner,
    received,
    received_by_dialback,
    result,
    sasl_failure,
    secured,
)

OFFER = (EXTERNAL_FEATURE, BIDI_FEATURE, DIALBACK_FEATURE)
LEGACY = f"<bidi xmlns='{ns.BIDI}'/>"
OFF = partner(bidi=Bidi.OFF)
REQUIRED = partner(bidi=Bidi.REQUIRED)


# As a receiver: what is offered


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("bidi", Bidi)
def test_bidi_is_offered_behind_tls_to_partners_that_may_connect(
    bidi: Bidi, direction: Direction, legacy: bool
) -> None:
    policy = partner(bidi=bidi, direction=direction, offer_legacy_bidi=legacy)
    play = asked_for_tls(policy).tls(PARTNER).hears(header())
    if direction is Direction.OUTBOUND:
        play.says(answer(1) + features(DIALBACK_FEATURE))
        return
    offered = [] if bidi is Bidi.OFF else [BIDI_FEATURE, *([LEGACY] if legacy else [])]
    play.says(answer(1) + features(EXTERNAL_FEATURE, *offered, DIALBACK_FEATURE)).nothing_more()


def test_the_features_of_an_authenticated_stream_do_not_offer_it_again() -> None:
    play = accepted().hears(header())
    assert "bidi" not in play.said()


# As a receiver: when it counts


def test_before_tls_it_is_ignored_and_forgotten() -> None:
    """XEP-0288 §2.1: STARTTLS MUST be completed before. Newer ejabberd asks too early."""
    play = incoming_in(State.PLAIN).hears(BIDI).notices("bidi-out-of-place").nothing_more()
    play.hears(STARTTLS).tls(PARTNER).hears(header())
    assert not play.machine.bidi
    play.hears(auth()).hears(header())
    play.said()
    play.authorizes(PAIR, EXTERNAL, receives=True)


def test_twice_is_once() -> None:
    play = negotiating().hears(BIDI).nothing_more().hears(BIDI).notices("bidi-twice").nothing_more()
    assert play.machine.bidi


def test_after_authentication_it_is_too_late() -> None:
    for play in (received(), received_by_dialback()):
        play.hears(BIDI).notices("bidi-out-of-place").nothing_more()
        assert not play.machine.bidi and not play.machine.sends


def test_between_success_and_the_new_header_nothing_can_come() -> None:
    accepted().hears(BIDI).fails("invalid-namespace", answer(2))


def test_it_may_carry_what_we_do_not_know() -> None:
    """Prosody puts the limits of XEP-0478 inside."""
    play = negotiating().hears(f"""<bidi xmlns='{ns.BIDI}'><limits xmlns='urn:xmpp:stream-limits:0'>
        <max-bytes>524288</max-bytes></limits>text</bidi>""")
    assert play.nothing_more().machine.bidi


@pytest.mark.parametrize("policy", [OFF, partner(direction=Direction.OUTBOUND)], ids=["off", "outbound"])
def test_what_was_not_offered_is_ignored(policy: object) -> None:
    play = negotiating(policy).hears(BIDI).notices("bidi-not-offered").nothing_more()  # type: ignore[arg-type]
    assert not play.machine.bidi


def test_the_name_of_the_feature_is_not_a_request() -> None:
    negotiating().hears(BIDI_FEATURE).fails("unsupported-stanza-type")


def test_it_outlives_failed_sasl() -> None:
    play = negotiating().hears(BIDI + auth("a")).says(sasl_failure("incorrect-encoding"))
    play.refuses(PAIR, RefusalKind.AUTHENTICATION, final=False)
    play.hears(result()).says(result(OURS, PARTNER, type="valid"))
    play.authorizes(PAIR, DIALBACK, sends=True, receives=True)


# As a receiver: required, and what follows


def test_required_and_not_asked_for() -> None:
    play = negotiating(REQUIRED).hears(auth()).refuses(PAIR, RefusalKind.BIDI)
    play.fails("policy-violation")
    play = negotiating(REQUIRED).hears(result()).refuses(PAIR, RefusalKind.BIDI)
    assert "policy-violation" in play.said()
    play.nothing_more().hears(BIDI).hears(result()).says(result(OURS, PARTNER, type="valid"))
    play.authorizes(PAIR, DIALBACK, sends=True, receives=True)


def test_without_bidi_a_receiver_sends_nothing() -> None:
    for play in (received(), received_by_dialback()):
        with pytest.raises(LookupError):
            play.sends(PAIR, message())
        play.asks_for(PAIR).refuses(PAIR, RefusalKind.PROTOCOL).nothing_more()


def test_with_bidi_a_receiver_sends_once_the_peer_is_authenticated() -> None:
    """XEP-0288 §2.2: it MUST NOT before."""
    play = negotiating().hears(BIDI)
    for _ in range(2):
        with pytest.raises(LookupError):
            play.sends(PAIR, message())
        if play.machine.state is State.NEGOTIATING:
            play.hears(auth()).says(SUCCESS)
    play.hears(header()).said()
    play.authorizes(PAIR, EXTERNAL, sends=True, receives=True)
    play.sends(PAIR, message(OURS, PARTNER)).says(message(OURS, PARTNER))


def test_bidi_of_one_partner_is_not_that_of_another_on_its_stream() -> None:
    """Theirs is off: we take their stanzas here, and send ours on a stream of our own."""
    chat = partner(CHAT, bidi=Bidi.OFF)
    play = negotiating(partner(), chat, proven=(PARTNER, CHAT)).hears(BIDI)
    play.hears(result()).says(result(OURS, PARTNER, type="valid")).authorizes(
        PAIR, DIALBACK, sends=True, receives=True
    )
    play.hears(result(CHAT)).says(result(OURS, CHAT, type="valid"))
    play.authorizes(PAIR._replace(remote=CHAT), DIALBACK, receives=True).nothing_more()
    assert play.machine.sends == {PAIR}


# As an initiator


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("bidi", Bidi)
@pytest.mark.parametrize("way", [EXTERNAL, DIALBACK])
def test_it_is_asked_for_when_it_is_offered_and_wanted(bidi: Bidi, offered: bool, way: object) -> None:
    play = secured(partner(bidi=bidi, authentication=(way,)))
    play.hears(features(EXTERNAL_FEATURE, *([BIDI_FEATURE] if offered else [])))
    if bidi is Bidi.REQUIRED and not offered:
        play.refuses(PAIR, RefusalKind.BIDI).fails("policy-violation")
        return
    said = play.said()
    wanted = offered and bidi is not Bidi.OFF
    assert said.startswith(BIDI) is wanted
    assert ("<auth" in said) is (way is EXTERNAL) and ("<db:result" in said) is (way is DIALBACK)
    assert play.nothing_more().machine.bidi is wanted


def test_the_name_of_the_request_among_the_features_counts_as_an_offer() -> None:
    secured().hears(features(EXTERNAL_FEATURE, LEGACY)).says(BIDI + auth("aXNwLnRlc3Q="))


def test_it_is_never_asked_for_before_tls() -> None:
    play = connected().hears(header(PARTNER, OURS, id="1") + features(STARTTLS_FEATURE, BIDI_FEATURE))
    play.says(STARTTLS).nothing_more()


def test_a_stream_that_asks_about_keys_does_without() -> None:
    assert not asking_about_keys(REQUIRED).machine.bidi


def test_nothing_is_taken_before_our_own_authentication() -> None:
    """Facts of the trade: an attacker that we connect to must not be able to speak at once."""
    asking(bidi=True).hears(message(sender=PARTNER)).fails("not-authorized")
    secured().hears(features(*OFFER) + message(sender=PARTNER)).fails("not-authorized", BIDI + auth("aXNwLnRlc3Q="))


def test_with_bidi_the_pair_is_received_for_too() -> None:
    for play in (opened(bidi=True), opened_by_dialback(bidi=True)):
        play.hears(message()).receives("hello")
        play.hears(message(to=f"x@{PARTNER}")).fails("host-unknown")


def test_without_bidi_nothing_is_received() -> None:
    for play in (opened(), opened_by_dialback()):
        assert not play.machine.receives
        play.hears(message()).fails("invalid-from")


def test_a_partner_without_bidi_does_not_ask_for_pairs_on_a_stream_of_ours() -> None:
    play = opened().hears(result()).refuses(PAIR, RefusalKind.BIDI)
    assert "policy-violation" in play.said()
    play.nothing_more()
    both = opened(partner(), partner(CHAT, bidi=Bidi.OFF), bidi=True).hears(result(CHAT))
    both.refuses(PAIR._replace(remote=CHAT), RefusalKind.BIDI)
    assert "policy-violation" in both.said()


def test_bidi_is_no_word_of_a_receiver() -> None:
    opened().hears(BIDI).notices("bidi-out-of-place").nothing_more()
    asking().hears(BIDI).fails("policy-violation")
    connected().hears(header(PARTNER, OURS, id="1") + END).says(END)
