"""How streams end: in good order from either side and from both, with errors from either side, and without a word."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import CloseConnection, StreamEnded, StreamGone
from component.relay.wire.states import State
from tests.wire.relay.scenes import (
    BIDI,
    END,
    OURS,
    PAIR,
    PARTNER,
    asking,
    doubted,
    features,
    header,
    message,
    negotiating,
    opened,
    outgoing_in,
    received,
    result,
    stream_error,
    verify,
)

LATER = [
    message("a@elsewhere.test"),
    result(),
    result(type="valid"),
    verify(PARTNER, OURS, "x", "k"),
    BIDI,
    features(),
    f"<r xmlns='{ns.SM}'/>",
    f"<enable xmlns='{ns.SM}'/>",
    "<x xmlns='urn:unknown'/>",
]


def test_we_close_and_the_peer_answers() -> None:
    play = received(bidi=True).closes().says(END).ended(by_us=True).nothing_more()
    assert play.machine.state is State.CLOSING
    play.hears(END).gone()


def test_the_peer_closes_and_we_answer() -> None:
    play = received(bidi=True).hears(message() + END).receives("hello").says(END).ended(by_us=False).gone()
    play.closes().nothing_more()


def test_both_close_at_once() -> None:
    play = opened(bidi=True).closes().says(END).ended(by_us=True)
    play.hears(message() + END).receives("hello").gone()


def test_what_was_on_its_way_still_comes() -> None:
    """RFC 6120 §4.4: continue to process data received from the other entity."""
    play = opened(bidi=True).closes().says(END).ended(by_us=True)
    with pytest.raises(LookupError):
        play.sends(PAIR, message(OURS, PARTNER))
    play.hears(message(body="1") + message(body="2")).receives("1", "2").nothing_more().hears(END).gone()


@pytest.mark.parametrize("later", LATER)
def test_nothing_is_said_behind_our_end(later: str) -> None:
    """RFC 6120 §4.4: refrain from sending any further data."""
    for play in (received(bidi=True), opened(bidi=True), negotiating().hears(BIDI), asking()):
        play.closes().said()
        play.hears(later).says_nothing()
        assert not play.machine.sends and play.machine.state is State.CLOSING
        assert not play.machine.receives - {PAIR}
        play.hears(END).says_nothing()
        assert play.machine.over


@pytest.mark.parametrize("broken", ["<a></b>", "<!-- -->", "text", "<message/>", "<message from='a@' to='b'/>"])
def test_not_even_an_error(broken: str) -> None:
    play = received().closes().says(END).ended(by_us=True).hears(broken)
    play.says_nothing().gone()


def test_questions_that_are_open_come_to_nothing() -> None:
    play = doubted().closes().says(END).ended(by_us=True).nothing_more()
    assert play.machine.deadline == 5.0
    play = asking().closes().says(END).refuses(PAIR, RefusalKind.TIMEOUT, by_us=False).ended(by_us=True)
    play.hears(result(PARTNER, OURS, type="valid")).nothing_more()


def test_closing_while_a_header_or_features_are_on_their_way() -> None:
    for state in (State.HEADER, State.TLS_HEADER, State.SASL_HEADER):
        play = outgoing_in(state).closes().says(END).ended(by_us=True)
        play.hears(header(PARTNER, OURS, id="9") + features()).nothing_more().hears(END).gone()


# Errors


def test_an_error_of_ours_ends_everything_at_once() -> None:
    play = received(bidi=True).closes("system-shutdown", "See you.")
    assert "See you." in play.said()
    assert play.expect(StreamEnded) == StreamEnded("system-shutdown", "See you.", by_us=True)
    play.gone().hears(message() + END).nothing_more()


def test_an_error_while_we_close() -> None:
    play = received(bidi=True).closes().says(END).ended(by_us=True)
    play.closes("reset").gone()


def test_what_stands_behind_a_violation_is_not_read() -> None:
    play = received().hears(message(body="1") + message("x.test") + message(body="2")).receives("1")
    play.fails("invalid-from")


def test_an_error_of_the_peer_is_told_in_its_words() -> None:
    """RFC 6120 §4.9.1.1: we close our side, too."""
    play = received(bidi=True).hears(message() + stream_error("policy-violation", "Too much."))
    play.receives("hello").says(END)
    assert play.expect(StreamEnded) == StreamEnded("policy-violation", "Too much.", by_us=False)
    assert play.expect(CloseConnection).reason == "The peer ended the stream: policy-violation."
    assert play.expect(StreamGone) == StreamGone()
    play.nothing_more()


@pytest.mark.parametrize(
    ("inside", "condition", "text"),
    [
        ("", "undefined-condition", ""),
        ("<reset/>", "undefined-condition", ""),
        (f"<text xmlns='{ns.STREAM_ERRORS}'>a</text>", "undefined-condition", "a"),
        (f"<text xmlns='{ns.STREAM_ERRORS}'/><conflict xmlns='{ns.STREAM_ERRORS}'/>", "conflict", ""),
        (f"<x xmlns='urn:x'/><conflict xmlns='{ns.STREAM_ERRORS}'/><y xmlns='urn:x'/>", "conflict", ""),
        (f"<{'x' * 500} xmlns='{ns.STREAM_ERRORS}'/>", "x" * 64, ""),
        (
            f"<reset xmlns='{ns.STREAM_ERRORS}'/><text xmlns='{ns.STREAM_ERRORS}'>{'y' * 999}</text>",
            "reset",
            "y" * 200,
        ),
    ],
)
def test_errors_of_every_shape(inside: str, condition: str, text: str) -> None:
    play = received().hears(f"<stream:error>{inside}</stream:error>{END}").says(END)
    assert play.expect(StreamEnded) == StreamEnded(condition, text, by_us=False)
    play.gone()


def test_crossed_errors() -> None:
    received().hears("<x xmlns='urn:x'/>" + stream_error("reset")).fails("unsupported-stanza-type")
    received().hears(stream_error("reset") + "<x xmlns='urn:x'/>").says(END).ended("reset", by_us=False).gone()


# XML


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ("<!-- hello -->", "restricted-xml"),
        ("<?php ?>", "restricted-xml"),
        ("<!DOCTYPE x>", "restricted-xml"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        ("<message>&unknown;</message>", "restricted-xml"),
        ("<message><!-- --></message>", "restricted-xml"),
        ("<message></iq>", "not-well-formed"),
        ("<message><x:y/></message>", "bad-namespace-prefix"),
        ("hello", "bad-format"),
        ("<![CDATA[ ]]>", "bad-format"),
        ("<message>\x01</message>", "not-well-formed"),
        (b"<message>\xff</message>", "not-well-formed"),
    ],
)
def test_what_is_not_xml_as_xmpp_has_it(said: str | bytes, condition: str) -> None:
    for play in (negotiating(), received(), opened(bidi=True)):
        play.hears(said).fails(condition)


def test_elements_may_be_small_before_authentication_and_larger_behind_it() -> None:
    big = f"<message from='{PARTNER}' to='{OURS}'><body>{'a' * 20_000}</body></message>"
    negotiating().hears(big).fails("policy-violation")
    received().hears(big).receives("a" * 20_000)
    received().hears(big.replace("a" * 20_000, "a" * 600_000)).fails("policy-violation")
    negotiating().hears(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{'a' * 9000}").fails("policy-violation")
    opened().hears("<a " + "b" * 600_000).fails("policy-violation")


# Without a word


def test_a_connection_that_breaks() -> None:
    play = received(bidi=True).loses().ended(by_us=False).gone(closed=False)
    play.loses().nothing_more()


def test_a_connection_that_breaks_while_we_close() -> None:
    play = received(bidi=True).closes().says(END).ended(by_us=True).loses()
    play.gone(closed=False)
