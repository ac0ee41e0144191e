"""Every sentence of XEP-0288 that says MUST, SHOULD, should or MAY, in its order; and those of its notes.

Both of its examples are in test_seed.
"""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import Outcome, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Bidi
from component.relay.wire.s2s_out import Purpose
from component.relay.wire.states import State
from tests.wire.relay.play import Play, our_key
from tests.wire.relay.scenes import (
    BIDI,
    BIDI_FEATURE,
    CHAT,
    CPE,
    DIALBACK,
    DIALBACK_FEATURE,
    EXTERNAL,
    EXTERNAL_FEATURE,
    OURS,
    PAIR,
    PARTNER,
    PROCEED,
    STARTTLS,
    STARTTLS_FEATURE,
    SUCCESS,
    answer,
    asking,
    asking_about_keys,
    auth,
    authenticating,
    connected,
    doubted,
    error,
    features,
    header,
    incoming_in,
    message,
    negotiating,
    opened,
    ours,
    partner,
    received,
    result,
    secured,
    verify,
)


def test_it_should_inform_the_connecting_entity_both_before_and_after_tls_negotiation() -> None:
    """§2.1: … including a <bidi/> element qualified by the 'urn:xmpp:features:bidi' namespace."""
    play = Play.incoming(ours()).hears(header())
    play.says(answer(0) + features(STARTTLS_FEATURE, BIDI_FEATURE)).hears(STARTTLS).says(PROCEED)
    play.tls(PARTNER).hears(header()).says(answer(1) + features(EXTERNAL_FEATURE, BIDI_FEATURE, DIALBACK_FEATURE))


def test_starttls_negotiation_must_be_completed_before_enabling_bidirectionality() -> None:
    """§2.1: we ask only behind TLS …"""
    play = connected().hears(header(PARTNER, OURS, id="1") + features(STARTTLS_FEATURE, BIDI_FEATURE)).says(STARTTLS)
    play.hears(PROCEED).tls(PARTNER).says(header(OURS, PARTNER)).nothing_more()


def test_and_what_is_asked_before_enables_nothing() -> None:
    """§2.1: … and so must the peer."""
    play = incoming_in(State.PLAIN).hears(BIDI).notices("bidi-out-of-place")
    play.hears(STARTTLS).tls(PARTNER).hears(header() + auth()).hears(header())
    play.said()
    play.authorizes(PAIR, EXTERNAL, receives=True)
    assert not play.machine.bidi


def test_the_connecting_server_sends_bidi_before_either_sasl_or_dialback() -> None:
    """§2.2: This SHOULD be done before either SASL negotiation or Server Dialback."""
    secured().hears(features(EXTERNAL_FEATURE, BIDI_FEATURE)).says(BIDI + auth("aXNwLnRlc3Q="))
    secured().hears(features(BIDI_FEATURE)).says(BIDI + result(OURS, PARTNER, our_key(*PAIR, "p33r")))


def test_and_then_continues_to_authenticate_via_sasl_or_dialback() -> None:
    """§2.2: there is no answer to wait for."""
    assert authenticating(bidi=True).nothing_more().machine.state is State.SASL
    assert asking(bidi=True).nothing_more().machine.state is State.DIALBACK


def test_the_receiving_server_must_not_send_stanzas_before_the_peer_has_authenticated_via_sasl() -> None:
    play = negotiating().hears(BIDI)
    with pytest.raises(LookupError):
        play.sends(PAIR, message(OURS, PARTNER))
    play.hears(auth()).says(SUCCESS)
    with pytest.raises(LookupError):
        play.sends(PAIR, message(OURS, PARTNER))
    play.hears(header())
    play.said()
    play.sends(PAIR, message(OURS, PARTNER)).says(message(OURS, PARTNER))


def test_or_its_identity_has_been_verified_via_dialback() -> None:
    play = doubted(bidi=True)
    with pytest.raises(LookupError):
        play.sends(PAIR, message(OURS, PARTNER))
    play.learns(PAIR, "id1", Outcome.VALID)
    play.said()
    play.sends(PAIR, message(OURS, PARTNER)).says(message(OURS, PARTNER))


def test_it_must_not_attempt_to_verify_a_key_on_the_connection_where_the_request_was_issued() -> None:
    """§2.2: a key leaves the machine as a question to somebody else …"""
    play = doubted(bidi=True).says_nothing()
    play.take(play.machine.verify(PAIR, "id1", "k", 0.0)).says_nothing()
    assert asking_about_keys().machine._purpose is Purpose.VERIFY  # type: ignore[attr-defined]


def test_nor_do_we_answer_one_that_does() -> None:
    """§2.2: … and a peer that asks on the same connection gets no yes."""
    play = asking(bidi=True).hears(verify(PARTNER, OURS, "p33r", our_key(*PAIR, "p33r")))
    play.notices("verify-on-same-stream").says(error("verify", OURS, PARTNER, "policy-violation", "p33r"))


def test_it_must_only_send_stanzas_for_which_it_has_been_authenticated_which_with_sasl_is_the_streams_to() -> None:
    play = received(partner(), partner(CHAT), bidi=True)
    assert play.machine.sends == {PAIR}
    for pair in (Pair(CPE, PARTNER), Pair(OURS, CHAT), Pair(PARTNER, OURS)):
        with pytest.raises(LookupError):
            play.sends(pair, message(*pair))


def test_and_with_dialback_the_inverse_of_any_pair_that_has_been_used_in_a_request() -> None:
    """And was verified."""
    play = negotiating(partner(), partner(CHAT), proven=(PARTNER, CHAT)).hears(BIDI)
    play.hears(result(to=CPE) + result(CHAT))
    play.said()
    play.authorizes(Pair(CPE, PARTNER), DIALBACK, sends=True, receives=True)
    play.authorizes(Pair(OURS, CHAT), DIALBACK, sends=True, receives=True)
    for pair in (PAIR, Pair(CPE, CHAT)):
        with pytest.raises(LookupError):
            play.sends(pair, message(*pair))


def test_the_receiving_server_may_initiate_dialback_for_other_domains_it_hosts() -> None:
    """§2.2: … to any domain authenticated to be hosted by the connecting server."""
    pair = Pair(CPE, PARTNER)
    play = received(bidi=True).asks_for(pair).says(result(CPE, PARTNER, our_key(*pair, "id2")))
    play.hears(result(PARTNER, CPE, type="valid")).authorizes(pair, DIALBACK, sends=True, receives=True)


def test_but_only_once_bidirectionality_is_enabled_and_to_no_other_domain() -> None:
    pair = Pair(CPE, PARTNER)
    received().asks_for(pair).refuses(pair, RefusalKind.PROTOCOL).nothing_more()
    pair = Pair(CPE, CHAT)
    play = received(partner(), partner(CHAT), bidi=True)
    play.asks_for(pair).refuses(pair, RefusalKind.PROTOCOL).nothing_more()


def test_in_particular_target_piggybacking_for_any_source_domain_of_the_connecting_server() -> None:
    pair = Pair(CPE, CHAT)
    play = received(partner(), partner(CHAT), bidi=True).hears(result(CHAT)).expect(VerifyKey)
    assert play.pair == Pair(OURS, CHAT)
    stream = received(partner(), partner(CHAT), bidi=True).hears(result(CHAT))
    stream.expect(VerifyKey)
    stream.asks_for(pair).refuses(pair, RefusalKind.PROTOCOL)  # not verified yet
    stream.learns(Pair(OURS, CHAT), "id2", Outcome.VALID)
    stream.said()
    stream.authorizes(Pair(OURS, CHAT), DIALBACK, sends=True, receives=True)
    stream.asks_for(pair).says(result(CPE, CHAT, our_key(*pair, "id2")))


def test_a_connecting_server_that_uses_bidi_and_dialback_must_support_dialback_error_conditions() -> None:
    """§2.2: it gives them instead of ending the stream, and takes them without ending it."""
    play = opened(bidi=True).hears(result(to="elsewhere.test"))
    play.refuses(Pair("elsewhere.test", PARTNER), RefusalKind.STRANGER)
    play.says(error("result", "elsewhere.test", PARTNER, "item-not-found"))
    play.asks_for(Pair(CPE, PARTNER)).said()
    play.hears(error("result", PARTNER, CPE, "item-not-found"))
    play.refuses(Pair(CPE, PARTNER), RefusalKind.DIALBACK, by_us=False).nothing_more()
    assert play.machine.state is State.OPEN


def test_no_support_is_signalled_in_the_other_direction() -> None:
    """§2.2, note: features come from the receiving server only."""
    opened(bidi=True).nothing_more()
    opened().hears(features(DIALBACK_FEATURE)).fails("unsupported-stanza-type")


def test_unsolicited_dialback_is_handled_on_incoming_connections_too() -> None:
    """§4: dialback elements with a "type" attribute also need to be handled in incoming connections."""
    for play in (received(bidi=True), negotiating().hears(BIDI), doubted(bidi=True)):
        before = set(play.machine.sends)
        play.hears(result(type="valid")).notices("unsolicited-dialback").nothing_more()
        play.hears(verify(PARTNER, OURS, "id1", type="valid")).notices("unsolicited-dialback").nothing_more()
        assert play.machine.sends == before


def test_the_namespaces_are_those_of_the_registrar() -> None:
    """§5"""
    assert (ns.BIDI, ns.BIDI_FEATURE) == ("urn:xmpp:bidi", "urn:xmpp:features:bidi")


def test_who_does_not_want_it_does_not_have_it() -> None:
    """§2.1: *if* a server supports it."""
    play = Play.incoming(ours(partner(bidi=Bidi.OFF))).hears(header()).says(answer(0) + features(STARTTLS_FEATURE))
    play.hears(STARTTLS).tls(PARTNER).hears(header()).hears(BIDI).notices("bidi-not-offered")
    assert not play.machine.bidi
