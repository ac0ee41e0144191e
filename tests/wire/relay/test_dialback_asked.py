"""Server dialback on one pair, when we ask (XEP-0220 §2.1); and answers that nobody had asked for (§3.1)."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import KeyVerified, Outcome, PairRefused
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
    SAID_ID,
    STARTTLS_FEATURE,
    STRANGER,
    asking,
    asking_about_keys,
    connected,
    doubted,
    error,
    features,
    header,
    message,
    negotiating,
    opened,
    opened_by_dialback,
    partner,
    received,
    received_by_dialback,
    result,
    stream_error,
    verify,
)

KEYS = RefusalKind.DIALBACK


# As an initiator (§2.1.1)


def test_our_key_is_bound_to_both_names_and_the_stream() -> None:
    """XEP-0185 §2: over target, sender and stream id, in this order."""
    assert asking().nothing_more().machine.state is State.DIALBACK
    assert our_key(OURS, PARTNER, SAID_ID) != our_key(PARTNER, OURS, SAID_ID)


@pytest.mark.parametrize("bidi", [True, False])
def test_valid_authorizes_the_pair_that_was_asked_for(bidi: bool) -> None:
    play = opened_by_dialback(bidi=bidi)
    assert play.machine.sends == {PAIR} and play.machine.receives == ({PAIR} if bidi else set())


@pytest.mark.parametrize(
    "forged",
    [
        result(PARTNER, CPE, type="valid"),
        result(CHAT, OURS, type="valid"),
        result(OURS, PARTNER, type="valid"),
        result(STRANGER, OURS, type="valid"),
        verify(PARTNER, OURS, SAID_ID, type="valid"),
    ],
)
def test_no_other_answer_does(forged: str) -> None:
    play = asking(bidi=True).hears(forged).notices("unsolicited-dialback").nothing_more()
    assert not play.machine.sends and play.machine.state is State.DIALBACK
    play.hears(result(PARTNER, OURS, type="valid")).authorizes(PAIR, DIALBACK, sends=True, receives=True)


@pytest.mark.parametrize("kind", ["Valid", "VALID", " valid", "true", "", "error"])
def test_only_the_exact_word_is_a_yes(kind: str) -> None:
    play = asking().hears(f"<db:result from='{PARTNER}' to='{OURS}' type='{kind}'/>")
    play.refuses(PAIR, KEYS, by_us=False).says(END).ended(by_us=True).nothing_more()


def test_why_our_key_was_refused_is_told() -> None:
    play = asking().hears(error("result", PARTNER, OURS, "remote-server-not-found"))
    assert play.expect(PairRefused).reason == "partner.test refused dialback: remote-server-not-found."
    play = asking().hears(result(PARTNER, OURS, type="invalid"))
    assert play.expect(PairRefused).reason == "partner.test refused dialback: our key is not genuine."


@pytest.mark.parametrize("end", [END, stream_error("policy-violation", "No, you do not")])
def test_a_stream_that_ends_before_the_answer_has_refused(end: str) -> None:
    """§2.1.1"""
    refused = asking().hears(end).expect(PairRefused)
    assert refused.kind is RefusalKind.TIMEOUT and not refused.by_us
    assert ("policy-violation (No, you do not)" in refused.reason) is (end != END)


# Unsolicited, duplicate and late


FORGED = [
    result(type="valid"),
    result(type="invalid"),
    error("result", PARTNER, OURS, "item-not-found"),
    result(OURS, PARTNER, type="valid"),
    verify(PARTNER, OURS, "id1", type="valid"),
    verify(PARTNER, OURS, SAID_ID, type="invalid"),
    verify(STRANGER, CPE, "", type="valid"),
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("bidi", [True, False])
def test_what_nobody_asked_for_is_dropped_everywhere(forged: str, bidi: bool) -> None:
    """§3.1, and the security considerations of XEP-0288: typed elements come on incoming streams, too."""
    plays = [
        negotiating().hears(BIDI) if bidi else negotiating(),
        doubted(bidi=bidi),
        received(bidi=bidi),
        received_by_dialback(bidi=bidi),
        opened(bidi=bidi),
        opened_by_dialback(bidi=bidi),
        asking_about_keys(),
    ]
    for play in plays:
        before = set(play.machine.sends), set(play.machine.receives), play.machine.state
        play.hears(forged).notices("unsolicited-dialback").nothing_more()
        assert (play.machine.sends, play.machine.receives, play.machine.state) == before


def test_an_answer_does_not_count_twice() -> None:
    play = opened_by_dialback().hears(result(PARTNER, OURS, type="invalid")).notices("unsolicited-dialback")
    assert play.nothing_more().machine.sends == {PAIR}


def test_an_answer_that_is_late_does_not_count() -> None:
    play = (
        asking(partner(authentication=(DIALBACK, EXTERNAL))).at(30.0).refuses(PAIR, RefusalKind.TIMEOUT, by_us=False)
    )
    play.says(END).ended(by_us=True).hears(result(PARTNER, OURS, type="valid")).nothing_more()
    assert not play.machine.sends


def test_an_answer_on_another_stream_does_not_count() -> None:
    asked, other = asking(), negotiating().hears(BIDI)
    other.hears(result(type="valid")).notices("unsolicited-dialback").nothing_more()
    assert asked.nothing_more().machine.state is State.DIALBACK


# As a receiver that asks (§2.1.2)


def test_a_key_is_asked_about_on_a_stream_of_its_own() -> None:
    play = asking_about_keys()
    play.take(play.machine.verify(PAIR, "id1", "a<key", 0.0)).says(verify(OURS, PARTNER, "id1", "a&lt;key"))
    for other in (verify(PARTNER, OURS, "id2", type="valid"), verify(CHAT, OURS, "id1", type="valid")):
        play.hears(other).notices("unsolicited-dialback").nothing_more()
    play.hears(verify(PARTNER, OURS, "id1", type="valid"))
    assert play.expect(KeyVerified) == KeyVerified(PAIR, "id1", Outcome.VALID)
    play.hears(verify(PARTNER, OURS, "id1", type="invalid")).notices("unsolicited-dialback").nothing_more()
    assert not play.machine.sends and not play.machine.receives


def test_the_authoritative_server_says_no_or_does_not_know() -> None:
    play = asking_about_keys()
    play.take(play.machine.verify(PAIR, "id1", "k", 0.0)).said()
    play.hears(verify(PARTNER, OURS, "id1", type="invalid"))
    assert play.expect(KeyVerified) == KeyVerified(PAIR, "id1", Outcome.INVALID)
    play.take(play.machine.verify(PAIR, "id1", "k", 0.0)).said()
    play.hears(error("verify", PARTNER, OURS, "item-not-found", "id1"))
    assert play.expect(KeyVerified) == KeyVerified(PAIR, "id1", Outcome.ERROR, "item-not-found")


def test_every_question_is_answered_even_when_the_stream_ends() -> None:
    """§2.1.2: what is pending then SHOULD count as an error."""
    failed = KeyVerified(PAIR, "id1", Outcome.ERROR, "remote-server-timeout")
    play = asking_about_keys()
    play.take(play.machine.verify(PAIR, "id1", "k", 0.0)).said()
    play.hears(END).says(END)
    assert play.expect(KeyVerified) == failed
    play.ended(by_us=False).gone()
    play.take(play.machine.verify(PAIR, "id1", "k", 0.0))
    assert play.expect(KeyVerified) == failed
    play.nothing_more()


def test_keys_are_not_asked_about_on_streams_that_carry_stanzas() -> None:
    for play in (opened(bidi=True), received(bidi=True), negotiating(), asking()):
        play.take(play.machine.verify(PAIR, "id9", "k", 0.0))
        assert play.expect(KeyVerified).outcome is Outcome.ERROR
        play.nothing_more()


def test_a_server_that_asks_us_to_verify_does_not_have_to_authenticate() -> None:
    """And so never may send: not even with bidi."""
    play = negotiating().hears(BIDI).hears(verify(PARTNER, OURS, "x", "k"))
    play.said()
    assert not play.machine.sends and play.machine.state is State.NEGOTIATING
    play.hears(message()).fails("not-authorized")


def test_too_much_before_authentication_ends_the_stream() -> None:
    play = negotiating()
    for _ in range(199):  # STARTTLS was the first
        play.hears(verify(PARTNER, OURS, "x", "k"))
    play.said()
    play.hears(verify(PARTNER, OURS, "x", "k")).fails("policy-violation")


def test_a_plain_server_is_not_asked() -> None:
    play = connected().hears(header(PARTNER, OURS, id="1") + features()).refuses(PAIR, RefusalKind.TLS)
    play.fails("policy-violation")
    play = connected().hears(header(PARTNER, OURS, id="1") + features(STARTTLS_FEATURE))
    play.said()
    play.hears(f"<failure xmlns='{ns.TLS}'/>{END}").refuses(PAIR, RefusalKind.TLS, by_us=False)
    play.says(END).ended(by_us=True).gone()
