"""Time: what is due at which second, and not before. The clock is passed in; nothing here waits."""

from __future__ import annotations

import math

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import Outcome
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Limits
from component.relay.wire.states import State
from tests.wire.relay.play import Play
from tests.wire.relay.scenes import (
    BIDI,
    CPE,
    DIALBACK,
    END,
    OURS,
    PAIR,
    PARTNER,
    RESTING,
    asking,
    asking_about_keys,
    auth,
    doubted,
    error,
    header,
    message,
    negotiating,
    opened,
    ours,
    partner,
    received,
    received_by_dialback,
    result,
    stream_in,
    verify,
)

SHORT = Limits(
    negotiation_timeout=10.0, idle=100.0, keepalive=40.0, close_timeout=3.0, dialback_timeout=5.0,
)  # fmt: skip
READY = (State.OPEN, State.VERIFYING)
NEGOTIATIONS = [
    (role, state) for role, state in RESTING if state not in (*READY, State.CLOSING, State.CLOSED, State.DIALBACK)
]


@pytest.mark.parametrize(("role", "state"), NEGOTIATIONS, ids=str)
def test_a_negotiation_has_a_minute_wherever_it_stands(role: str, state: State) -> None:
    """One byte a second does not make it longer."""
    play = stream_in(role, state)
    play.machine.receive(b" ", 59.0)
    play.wakes(60.0)
    if state is State.TLS:
        play.fails_in_silence("connection-timeout")
    else:
        play.fails("connection-timeout")


def test_bytes_one_by_one_do_not_put_it_off() -> None:
    play = Play.incoming(ours(limits=SHORT))
    for second, byte in enumerate(header().encode()[:10]):
        play.now = float(second)
        play.hears(bytes([byte])).nothing_more()
    assert play.machine.deadline == 10.0
    play.at(10.0).fails("connection-timeout")


def test_authentication_ends_it() -> None:
    play = received_by_dialback(limits=SHORT)
    assert play.machine.deadline == 40.0


def test_dialback_alone_does_not() -> None:
    """Whoever only has keys verified comes again for the next."""
    play = negotiating(limits=SHORT)
    play.now = 9.0
    play.hears(verify(PARTNER, OURS, "x", "k"))
    play.said()
    play.wakes(10.0).fails("connection-timeout")


# Dialback


def test_our_question_has_half_a_minute() -> None:
    play = asking().wakes(30.0).refuses(PAIR, RefusalKind.TIMEOUT, by_us=False)
    play.says(END).ended(by_us=True).nothing_more()


def test_then_the_next_way_is_tried() -> None:
    play = asking(partner(authentication=(DIALBACK, DIALBACK)), limits=SHORT)  # the second time is for want of others
    play.wakes(5.0).refuses(PAIR, RefusalKind.TIMEOUT, by_us=False, final=False)
    assert "<db:result" in play.said()
    play.nothing_more()


def test_a_peer_that_waits_for_us_to_ask_about_its_key_has_half_a_minute_too() -> None:
    play = doubted().wakes(30.0).refuses(PAIR, RefusalKind.DIALBACK)
    play.says(error("result", OURS, PARTNER, "remote-server-timeout")).nothing_more()
    play.learns(PAIR, "id1", Outcome.VALID).nothing_more()
    assert not play.machine.receives


def test_a_question_about_a_key_has_half_a_minute() -> None:
    play = asking_about_keys()
    play.now = 7.0
    play.take(play.machine.verify(PAIR, "id1", "k", 7.0)).said()
    assert play.machine.deadline == 37.0
    play.at(37.0)
    assert play.expect(object).condition == "remote-server-timeout"  # type: ignore[attr-defined]
    play.nothing_more().hears(verify(PARTNER, OURS, "id1", type="valid")).notices("unsolicited-dialback")


def test_questions_expire_one_by_one() -> None:
    play = opened(limits=SHORT).at(1.0).asks_for(Pair(CPE, PARTNER))
    play.said()
    assert play.machine.deadline == 6.0
    play.at(2.0).hears(result(PARTNER, CPE, type="valid")).authorizes(Pair(CPE, PARTNER), DIALBACK, sends=True)
    assert play.machine.deadline == 41.0


# Open streams


@pytest.mark.parametrize("bidi", [True, False])
def test_silence_is_broken_by_a_space(bidi: bool) -> None:
    play = received(bidi=bidi, limits=SHORT).wakes(40.0)
    assert play.said() == " "
    play.nothing_more().wakes(80.0)
    assert play.said() == " "
    assert play.machine.deadline == 100.0


def test_what_we_say_puts_the_space_off_and_what_the_peer_says_does_not() -> None:
    play = received(bidi=True, limits=SHORT)
    play.now = 30.0
    play.sends(PAIR, message(OURS, PARTNER)).said()
    assert play.machine.deadline == 70.0
    play.now = 60.0
    play.hears(message()).receives("hello")
    assert play.machine.deadline == 70.0


def test_an_idle_stream_is_closed_in_good_order() -> None:
    """14 minutes; spaces are no traffic, on either side."""
    play = received(limits=SHORT)
    for now in (40.0, 80.0):
        play.at(now)
        assert play.said() == " "
        play.hears(" ").nothing_more()
    play.wakes(100.0).says(END).ended(by_us=True).nothing_more()
    play.wakes(103.0).gone()


@pytest.mark.parametrize("ours_or_theirs", ["ours", "theirs"])
def test_traffic_in_either_direction_keeps_a_stream(ours_or_theirs: str) -> None:
    play = opened(bidi=True, limits=SHORT)
    play.now = 50.0
    if ours_or_theirs == "ours":
        play.sends(PAIR, message(OURS, PARTNER)).said()
    else:
        play.hears(message()).receives("hello")
    play.at(100.0).said()
    assert play.machine.state is State.OPEN
    play.at(140.0).said()
    play.wakes(150.0).says(END)


def test_an_authorized_pair_keeps_a_stream() -> None:
    play = received(limits=SHORT)
    play.now = 50.0
    play.hears(result(to=CPE)).authorizes(Pair(CPE, PARTNER), DIALBACK, receives=True)
    play.at(149.0).said()
    play.wakes(150.0).says(END)


def test_the_defaults_are_those_of_the_facts() -> None:
    play = received()
    assert play.machine.deadline == 5 * 60.0
    for now in (300.0, 600.0):
        play.at(now)
        assert play.said() == " "
    play.wakes(14 * 60.0).says(END).ended(by_us=True)
    play.wakes(14 * 60.0 + 5).gone()


# The end


def test_a_peer_has_five_seconds_to_close() -> None:
    play = opened(limits=SHORT)
    play.now = 20.0
    play.closes().says(END).ended(by_us=True).nothing_more()
    play.wakes(23.0).gone()


def test_stanzas_do_not_give_it_more() -> None:
    play = received(limits=SHORT).closes().says(END).ended(by_us=True)
    play.now = 2.0
    play.hears(message()).receives("hello")
    play.wakes(3.0).gone()


def test_a_closed_stream_is_never_due() -> None:
    play = received().loses()
    assert play.machine.deadline == math.inf


def test_ticks_that_come_too_early_or_too_often_do_nothing() -> None:
    for role, state in RESTING:
        play = stream_in(role, state)
        for now in (0.0, 0.0, 1.0, 2.0):
            play.at(now).nothing_more()


def test_a_tick_that_comes_much_too_late_does_one_thing() -> None:
    play = received(limits=SHORT).at(1_000_000.0).says(END).ended(by_us=True).nothing_more()
    play.at(2_000_000.0).gone()
    asking(limits=SHORT).at(1_000_000.0).refuses(PAIR, RefusalKind.TIMEOUT, by_us=False).says(END).ended(by_us=True)


def test_the_machines_ask_nobody_for_the_time() -> None:
    play = negotiating()
    play.now = 12345.0
    play.hears(BIDI).hears(auth()).hears(header()).said()
    assert play.machine.deadline == 12345.0 + 5 * 60.0
    assert ns.SERVER
