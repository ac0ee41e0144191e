"""Acknowledgements (XEP-0198, without resumption): who counts what from when, and what was not acknowledged."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.wire import acks
from component.relay.wire.events import Relieved, StreamEnded
from tests.wire.relay.play import Play
from tests.wire.relay.scenes import (
    END,
    OURS,
    PAIR,
    PARTNER,
    message,
    negotiating,
    opened,
    received,
    received_by_dialback,
)

ENABLE, ENABLED, R = (f"<{name} xmlns='{ns.SM}'/>" for name in ("enable", "enabled", "r"))
OUT = message(OURS, PARTNER)


def a(handled: object) -> str:
    return f"<a xmlns='{ns.SM}' h='{handled}'/>"


def failed(condition: str) -> str:
    return f"<failed xmlns='{ns.SM}'><{condition} xmlns='{ns.STANZA_ERRORS}'/></failed>"


def counted() -> Play:
    """We have connected, and both sides count."""
    return opened(bidi=True, acks=True).hears(ENABLED).nothing_more()


def counting_in() -> Play:
    """The peer has connected, and both sides count."""
    return received(bidi=True).hears(ENABLE).says(ENABLED).nothing_more()


def sent(play: Play, *tokens: object) -> Play:
    """We have sent stanzas; whether we asked does not matter here."""
    for token in tokens:
        play.sends(PAIR, OUT, token)
    play.said()
    return play


# Agreeing


def test_we_agree_when_it_is_offered() -> None:
    opened(acks=True).nothing_more()
    sent(opened(), "x").hears(END).says(END).ended(by_us=False).gone()


def test_peers_agree_whenever_they_like_once_authenticated() -> None:
    received().hears(ENABLE).says(ENABLED)
    received_by_dialback().hears(ENABLE).says(ENABLED)


def test_not_before() -> None:
    """§3: the order is enforced with an error, and the stream goes on."""
    play = negotiating().hears(ENABLE).says(failed("unexpected-request"))
    play.hears(f"<resume xmlns='{ns.SM}' h='0' previd='x'/>").says(failed("unexpected-request"))
    play.hears(R).notices("stream-management").hears(a(1)).notices("stream-management").nothing_more()


def test_not_twice() -> None:
    """§3: a second one SHOULD end the stream."""
    counting_in().hears(ENABLE).fails("policy-violation")


def test_resumption_is_refused() -> None:
    play = received().hears(f"<resume xmlns='{ns.SM}' h='0' previd='x'/>").says(failed("feature-not-implemented"))
    play.hears(ENABLE).says(ENABLED)


def test_whoever_wants_to_resume_may_still_count() -> None:
    received().hears(f"<enable xmlns='{ns.SM}' resume='true' max='60'/>").says(ENABLED)


@pytest.mark.parametrize(
    "said", [R, a(0), a(7), ENABLED, failed("item-not-found"), f"<x xmlns='{ns.SM}'/>", f"<a xmlns='{ns.SM}'/>"]
)
def test_what_makes_no_sense_without_agreement_is_ignored(said: str) -> None:
    for play in (received(bidi=True), opened(bidi=True)):
        play.hears(said).notices("stream-management").nothing_more()


@pytest.mark.parametrize("said", [ENABLED, failed("item-not-found"), f"<x xmlns='{ns.SM}'/>"])
def test_what_makes_no_sense_after_it_is_ignored(said: str) -> None:
    for play in (counting_in(), counted()):
        sent(play.hears(message()).receives("hello"), "one").hears(said).notices("stream-management").nothing_more()
        play.hears(R).says(a(1)).hears(a(1)).nothing_more()


def test_to_agree_is_the_initiators_part() -> None:
    opened(acks=True).hears(ENABLE).notices("stream-management").nothing_more()
    counted().hears(ENABLE).notices("stream-management").nothing_more()
    counted().hears(f"<resume xmlns='{ns.SM}'/>").notices("stream-management").nothing_more()


# Counting what comes


def test_what_came_since_the_agreement_is_acknowledged() -> None:
    """§4: h is zero when it is enabled."""
    play = received(bidi=True).hears(message(body="0")).receives("0").hears(ENABLE).says(ENABLED).hears(R).says(a(0))
    play.hears(message(body="1") + R).receives("1").says(a(1))
    play.hears(R + message(body="2") + message(body="3") + R).receives("2", "3").says(a(1) + a(3)).nothing_more()


def test_what_is_not_a_stanza_is_not_counted() -> None:
    assert counted().hears(f" <db:verify from='{PARTNER}' to='{OURS}' id='x'/>{R}").said().endswith(a(0))


def test_our_count_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """§4: from 2^32 - 1 to zero; here from 7."""
    monkeypatch.setattr(acks, "_WRAP", 8)
    play = counting_in()
    for number in range(1, 20):
        play.hears(message() + R).receives("hello").says(a(number % 8))


# Counting what goes


def test_what_is_sent_is_asked_about_behind_a_hundred_or_a_tenth_of_a_second() -> None:
    play = counted()
    play.now = 1.0
    play.sends(PAIR, OUT, 0).says(OUT)
    play.wakes(1.1).says(R).nothing_more()
    assert play.machine.deadline == 61.1
    play.hears(a(1))
    for number in range(1, 100):
        play.sends(PAIR, OUT, number)
    assert R not in play.said()
    assert play.sends(PAIR, OUT, 100).said().endswith(R)
    assert R not in play.sends(PAIR, OUT, 101).said()  # one question at a time


def test_tokens_of_what_was_not_acknowledged_come_back_in_order() -> None:
    for play in (counted(), counting_in()):
        sent(play, "a", "b", "c").hears(a(1)).loses().ended(by_us=False).gone("b", "c", closed=False)
        assert len(play.machine.acks) == 0


def test_what_was_sent_before_the_answer_to_enable_counts() -> None:
    """§4: our counter starts with <enable/>."""
    play = sent(opened(acks=True), "a", "b").hears(ENABLED).at(0.0).says(R).hears(a(1))
    play.loses().ended(by_us=False).gone("b", closed=False)


def test_what_was_sent_before_enable_came_does_not_count() -> None:
    play = sent(received(bidi=True), "a").hears(ENABLE).says(ENABLED)
    sent(play, "b").hears(a(1)).loses().ended(by_us=False).gone(closed=False)


def test_a_peer_that_refuses_to_count_gets_no_questions() -> None:
    play = sent(opened(acks=True), "a").hears(failed("unexpected-request")).nothing_more()
    sent(play, "b").at(10.0).nothing_more().loses().ended(by_us=False).gone(closed=False)


def test_nobody_acknowledges_more_than_was_sent() -> None:
    """§6: with an element that says so."""
    too_high = f"<handled-count-too-high xmlns='{ns.SM}' h='3' send-count='2'/>"
    play = sent(counted(), "a", "b").hears(a(3))
    assert too_high in play.said()
    assert play.expect(StreamEnded).condition == "undefined-condition"
    play.gone("a", "b")


@pytest.mark.parametrize("handled", ["", "-1", "+1", "1.0", "one", " 1", "²", "4294967296", "99999999999", "0" * 11])
def test_a_count_that_is_none(handled: str) -> None:
    assert sent(counted(), "a").hears(a(handled)).said().startswith("<stream:error><undefined-condition")
    play = sent(counted(), "a").hears(f"<a xmlns='{ns.SM}'/>")
    assert "undefined-condition" in play.said() and play.machine.over


def test_an_acknowledgement_is_not_taken_back() -> None:
    play = sent(counted(), "a", "b").hears(a(2)).nothing_more().hears(a(1))
    assert play.machine.over


def test_their_count_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "_WRAP", 8)
    play = counted()
    for number in range(1, 20):
        sent(play, number).hears(a(number % 8)).nothing_more()
    sent(play, "x", "y").hears(a(4)).loses().ended(by_us=False).gone("y", closed=False)


def test_the_largest_count_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    play = counted()
    monkeypatch.setattr(play.machine.acks, "_sent", 2**32 - 1)
    sent(play, "a", "b").hears(a(2**32 - 1)).hears(a(0)).hears(a(1)).nothing_more()
    assert len(play.machine.acks) == 0


# Time and room


def test_a_peer_that_does_not_acknowledge_is_gone() -> None:
    play = counted().sends(PAIR, OUT, "a")
    play.at(0.1).said()
    play.wakes(60.1)
    assert "connection-timeout" in play.said()
    play.ended("connection-timeout", by_us=True).gone("a")


def test_answers_that_acknowledge_nothing_do_not_help() -> None:
    play = counted().sends(PAIR, OUT, "a")
    play.at(0.1).said()
    for second in range(1, 60):
        play.at(second + 0.0).hears(a(0)).hears(a(0))
        play.at(second + 0.5).says(R)
    assert play.machine.deadline == pytest.approx(60.1)
    assert "connection-timeout" in play.at(60.2).said()


def test_slow_progress_does() -> None:
    play = sent(counted(), *range(5)).at(0.1)
    play.said()
    for number in range(1, 5):
        play.at(number * 50.0).hears(a(number))
        assert R in play.at(number * 50.0 + 0.2).said()
    play.at(249.0).hears(a(5)).nothing_more()


def test_a_stream_with_too_much_unacknowledged_is_congested_and_says_when_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acks, "ROOM", 3)
    play = sent(counted(), 1, 2)
    assert not play.machine.acks.congested
    assert sent(play, 3).machine.acks.congested
    play.hears(a(1)).expect(Relieved)
    play.nothing_more().hears(a(2)).nothing_more()
    refused = sent(opened(acks=True), 1, 2, 3)
    assert refused.machine.acks.congested
    refused.hears(failed("unexpected-request")).expect(Relieved)
    assert not refused.nothing_more().machine.acks.congested


# The end


def test_before_we_close_we_ask_once_more() -> None:
    play = sent(counted(), "a", "b").closes().says(R + END).ended(by_us=True)
    play.hears(a(2)).nothing_more().hears(END).gone()


def test_what_is_acknowledged_while_we_close_counts() -> None:
    play = sent(counting_in(), "a", "b").closes().says(R + END).ended(by_us=True)
    play.hears(R).nothing_more().hears(a(1) + END).gone("b")


def test_what_nobody_counts_is_not_handed_back() -> None:
    sent(opened(), "a").loses().ended(by_us=False).gone(closed=False)
