"""What may not stand behind an element that begins a stream anew; and streams of strangers, which are handed on."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import PassThrough, StartTls, StreamEnded
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Limits
from component.relay.wire.states import State
from tests.wire.relay.play import Play
from tests.wire.relay.scenes import (
    BIDI_FEATURE,
    CHAT,
    END,
    EXTERNAL_FEATURE,
    OURS,
    PARTNER,
    PROCEED,
    STARTTLS,
    STARTTLS_FEATURE,
    STRANGER,
    SUCCESS,
    answer,
    auth,
    authenticating,
    features,
    header,
    incoming_in,
    message,
    negotiating,
    ours,
    outgoing_in,
    result,
    secured,
)

PLAIN = features(STARTTLS_FEATURE, BIDI_FEATURE)


# Nothing may stand behind what begins a stream anew


@pytest.mark.parametrize("injected", [header(), message(), result(), "<", "x", "&amp;", STARTTLS, END])
def test_injected_behind_starttls(injected: str) -> None:
    """It came in the clear, and would be read as if TLS had protected it (RFC 6120 §5.4.3.3)."""
    play = incoming_in(State.PLAIN).hears((STARTTLS + injected).encode())
    play.fails("policy-violation")


@pytest.mark.parametrize("injected", [header(), message(), features(), "<", END])
def test_injected_behind_proceed(injected: str) -> None:
    outgoing_in(State.PROCEED).hears((PROCEED + injected).encode()).fails("policy-violation")


@pytest.mark.parametrize("injected", [header(), message(), "<"])
def test_injected_behind_auth_and_success(injected: str) -> None:
    play = negotiating().hears((auth() + injected).encode()).fails("policy-violation")
    assert not play.machine.authenticated
    authenticating().hears((SUCCESS + injected).encode()).fails("policy-violation")


def test_white_space_behind_them_does_no_harm() -> None:
    play = incoming_in(State.PLAIN).hears(f"{STARTTLS}\r\n ".encode()).says(PROCEED)
    play.tls(PARTNER).hears(header().encode() + b"\n")
    play.hears(f"{auth()}\n".encode())
    assert play.said().endswith(SUCCESS)
    assert outgoing_in(State.PROCEED).hears(f"{PROCEED}\n".encode()).expect(StartTls) == StartTls(OURS, PARTNER)


def test_failed_sasl_begins_nothing_anew() -> None:
    play = negotiating().hears(auth(mechanism="PLAIN") + auth())
    assert play.said().endswith(SUCCESS)


def test_what_came_in_the_clear_is_forgotten_behind_tls() -> None:
    """The half of an element that came before must not be finished behind TLS."""
    play = secured().hears(features(EXTERNAL_FEATURE))
    assert play.machine.stream_id == "p33r"
    assert play.said().endswith(auth("aXNwLnRlc3Q="))


# Strangers are passed through


STRANGERS = [
    header(sender=STRANGER),
    header(sender=STRANGER, to="elsewhere.test"),
    header(to="elsewhere.test"),
    header(sender=""),
    header(to=""),
    header(sender="", to=""),
    header(sender="a@partner.test"),
    header(sender=STRANGER, rest=""),
    header(sender=STRANGER).replace(ns.SERVER, "jabber:client", 1),
    f"<x xmlns:stream='{ns.STREAM}'>",
]


@pytest.mark.parametrize("said", STRANGERS)
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_strangers_are_handed_on_with_every_byte_that_came(said: str, chunk: int) -> None:
    data = b"\n<?xml version='1.0'?>" + said.encode()
    play = Play.incoming(ours(), pass_through=True)
    for start in range(0, len(data), chunk):
        play.nothing_more().hears(data[start : start + chunk])
    assert play.expect(PassThrough) == PassThrough(data)
    assert play.machine.over
    play.nothing_more().hears(message()).loses().at(1e6).nothing_more()


def test_what_a_stranger_said_behind_its_header_is_handed_on_too() -> None:
    data = header(sender=STRANGER).encode() + b"<starttls/>\xff\x00<"
    play = Play.incoming(ours(), pass_through=True).hears(data)
    assert play.expect(PassThrough).received == data


def test_partners_are_not_passed_through() -> None:
    play = Play.incoming(ours(), pass_through=True).hears(header()).says(answer(0) + PLAIN)
    play.hears(STARTTLS).says(PROCEED).tls(PARTNER).hears(header(sender=CHAT)).fails("invalid-from", answer(1))


def test_behind_tls_nobody_is_passed_through() -> None:
    play = Play.incoming(ours(), pass_through=True, tls=True).tls(STRANGER).hears(header(sender=STRANGER))
    play.refuses(Pair(OURS, STRANGER), RefusalKind.STRANGER).fails(
        "policy-violation", header(OURS, STRANGER, id="id0")
    )


@pytest.mark.parametrize("said", [b" " * 100, b"<a b='" + b"c" * 100, b"<!DOCTYPE x>", b"\x16\x03\x01\x00", b"<" * 9])
def test_what_never_becomes_a_header_is_not_kept(said: bytes) -> None:
    play = Play.incoming(ours(limits=Limits(unauthenticated_bytes=90)), pass_through=True)
    for _ in range(1000):
        play.hears(said)
        assert len(play.machine._seen or b"") <= 200  # type: ignore[attr-defined]
    assert "<stream:error>" in play.said()
    play.expect(StreamEnded)
    play.gone()
