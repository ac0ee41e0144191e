"""Server dialback on one pair (XEP-0220 with errors, XEP-0185 keys, XEP-0344), when the peer asks us."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import Outcome, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Direction
from component.relay.wire.states import State
from tests.wire.relay.play import our_key
from tests.wire.relay.scenes import (
    CHAT,
    CPE,
    DIALBACK,
    DIALBACK_FEATURE,
    EXTERNAL,
    OURS,
    PAIR,
    PARTNER,
    SAID_ID,
    STRANGER,
    asked_for_tls,
    doubted,
    error,
    header,
    incoming_in,
    message,
    negotiating,
    opened_by_dialback,
    partner,
    received,
    received_by_dialback,
    result,
    verify,
)

VALID = result(OURS, PARTNER, type="valid")
KEYS = RefusalKind.DIALBACK


# As a receiver (§2.2.1)


def test_dialback_errors_are_announced() -> None:
    """§2.4.2 wants it of who handles them, and XEP-0288 wants that of who does bidi with dialback."""
    play = asked_for_tls(partner(authentication=(DIALBACK,))).tls(PARTNER).hears(header())
    assert DIALBACK_FEATURE in play.said()


def test_dialback_that_is_switched_off_is_not_announced() -> None:
    play = asked_for_tls(partner(authentication=(EXTERNAL,))).tls(PARTNER).hears(header())
    assert ns.DIALBACK_FEATURE not in play.said()


def test_a_certificate_saves_the_call_back() -> None:
    """XEP-0344 §2.4; the key is not looked at."""
    play = negotiating().hears(result(key="whatever")).says(VALID).authorizes(PAIR, DIALBACK, receives=True)
    play.nothing_more().hears(message()).receives("hello")


@pytest.mark.parametrize("bidi", [True, False])
def test_a_key_is_asked_about_and_found_genuine(bidi: bool) -> None:
    play = doubted(bidi=bidi).learns(PAIR, "id1", Outcome.VALID).says(VALID)
    play.authorizes(PAIR, DIALBACK, sends=bidi, receives=True).nothing_more()
    assert play.machine.state is State.OPEN


def test_nothing_is_taken_while_a_key_is_in_doubt() -> None:
    doubted().hears(message()).fails("not-authorized")


def test_a_key_that_is_not_genuine_ends_the_stream() -> None:
    """§2.2.1: SHOULD send ``invalid``, MUST close."""
    play = doubted().learns(PAIR, "id1", Outcome.INVALID).refuses(PAIR, KEYS)
    play.fails("not-authorized", result(OURS, PARTNER, type="invalid"))


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("remote-connection-failed", "remote-connection-failed"),
        ("remote-server-timeout", "remote-server-timeout"),
        ("item-not-found", "remote-server-not-found"),
        ("policy-violation", "remote-server-not-found"),
        ("undefined-condition", "remote-server-not-found"),
        ("made-up-by-an-attacker", "remote-server-not-found"),
        ("", "remote-connection-failed"),
    ],
)
def test_a_key_that_could_not_be_asked_about_is_an_error_and_the_stream_lives(condition: str, told: str) -> None:
    """§2.4.2"""
    play = doubted().learns(PAIR, "id1", Outcome.ERROR, condition).refuses(PAIR, KEYS)
    play.says(error("result", OURS, PARTNER, told)).nothing_more()
    play.hears(result(key="again"))
    assert play.expect(VerifyKey).key == "again"


def test_an_answer_counts_once_and_on_its_stream_only() -> None:
    play = doubted()
    for pair, stream_id in ((PAIR, "id0"), (PAIR, ""), (Pair(CPE, PARTNER), "id1"), (Pair(OURS, CHAT), "id1")):
        play.learns(pair, stream_id, Outcome.VALID).nothing_more()
    play.learns(PAIR, "id1", Outcome.VALID).says(VALID).authorizes(PAIR, DIALBACK, receives=True)
    play.learns(PAIR, "id1", Outcome.INVALID).nothing_more()
    assert play.machine.receives == {PAIR}


def test_an_answer_that_was_not_asked_for_does_nothing() -> None:
    negotiating(proven=()).refuses(PAIR, RefusalKind.CERTIFICATE, final=False).learns(
        PAIR, "id1", Outcome.VALID
    ).nothing_more()


def test_an_answer_to_a_stream_that_has_begun_anew_does_not_spoil_the_next_question() -> None:
    """The key of the old stream may have been asked about when the peer went on to SASL."""
    play = negotiating(partner(), partner(CHAT)).hears(result(CHAT))
    assert play.expect(VerifyKey) == VerifyKey(Pair(OURS, CHAT), "id1", "k")
    play.hears(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>")
    play.said()
    play.learns(Pair(OURS, CHAT), "id1", Outcome.VALID).nothing_more().at(30.0).nothing_more()
    play.hears(header())
    play.said()
    play.authorizes(PAIR, EXTERNAL, receives=True).hears(result(CHAT))
    assert play.expect(VerifyKey).stream_id == "id2"
    play.learns(Pair(OURS, CHAT), "id1", Outcome.INVALID).nothing_more()
    play.learns(Pair(OURS, CHAT), "id2", Outcome.VALID).says(result(OURS, CHAT, type="valid"))


def test_a_key_that_comes_twice_is_asked_about_once() -> None:
    doubted().hears(result()).notices("dialback-twice").nothing_more()


def test_a_pair_that_is_authorized_is_valid_without_asking() -> None:
    received_by_dialback().hears(result()).says(VALID).nothing_more()
    received().hears(result()).says(VALID).nothing_more()


@pytest.mark.parametrize(
    ("policy", "said", "pair", "kind", "told"),
    [
        (partner(), result(to="elsewhere.test"), Pair("elsewhere.test", PARTNER), "STRANGER", "item-not-found"),
        (partner(), result(STRANGER), Pair(OURS, STRANGER), "STRANGER", "policy-violation"),
        (partner(), result(CPE), Pair(OURS, CPE), "STRANGER", "policy-violation"),
        (partner(authentication=(EXTERNAL,)), result(), PAIR, "DIALBACK", "policy-violation"),
        (partner(direction=Direction.OUTBOUND), result(), PAIR, "DIRECTION", "policy-violation"),
    ],
    ids=["target", "stranger", "ourselves", "off", "direction"],
)
def test_what_is_refused_without_asking_is_an_error_and_the_stream_lives(
    policy: object, said: str, pair: Pair, kind: str, told: str
) -> None:
    """§2.2.1: an unknown target MUST NOT close the stream."""
    play = negotiating(policy).hears(said).refuses(pair, RefusalKind[kind])  # type: ignore[arg-type]
    play.says(error("result", pair.local, pair.remote, told)).nothing_more()
    assert play.machine.state is State.NEGOTIATING


def test_before_tls_dialback_is_not_taken() -> None:
    incoming_in(State.PLAIN).hears(result()).fails("not-authorized")
    incoming_in(State.PLAIN).hears(verify(PARTNER, OURS, "x", "k")).fails("not-authorized")


@pytest.mark.parametrize("element", ["result", "verify"])
@pytest.mark.parametrize(
    "names", ["", f"from='{PARTNER}'", f"to='{OURS}'", f"from='a@{PARTNER}' to='{OURS}'", f"from='{PARTNER}' to=''"]
)
def test_dialback_between_what_are_no_domains(names: str, element: str) -> None:
    negotiating().hears(f"<db:{element} {names}>k</db:{element}>").fails("improper-addressing")


def test_other_elements_of_dialback() -> None:
    negotiating().hears(f"<db:key from='{PARTNER}' to='{OURS}'/>").fails("unsupported-stanza-type")


# As the authoritative server (§2.2.2)


def test_keys_of_ours_are_known_again() -> None:
    key = our_key(OURS, PARTNER, "their id")
    for play in (
        negotiating(),
        received(),
        received_by_dialback(),
        negotiating(partner(direction=Direction.OUTBOUND)),
    ):
        play.hears(verify(PARTNER, OURS, "their id", f"\n {key} ").encode())
        play.says(verify(OURS, PARTNER, "their id", type="valid")).nothing_more()


@pytest.mark.parametrize(
    "asked",
    [
        verify(PARTNER, OURS, "their id", "nonsense"),
        verify(PARTNER, OURS, "their id", ""),
        verify(PARTNER, OURS, "other id", our_key(OURS, PARTNER, "their id")),
        verify(PARTNER, CPE, "their id", our_key(OURS, PARTNER, "their id")),
        verify(CHAT, OURS, "their id", our_key(OURS, PARTNER, "their id")),
        verify(PARTNER, OURS, "their id", our_key(PARTNER, OURS, "their id")),
        verify(PARTNER, OURS, "their id", our_key(OURS, PARTNER, "their id").upper()),
        verify(PARTNER, OURS, "their id", "äöü"),
    ],
)
def test_no_other_keys_are(asked: str) -> None:
    play = negotiating().hears(asked)
    assert "type='invalid'" in play.said()
    play.nothing_more()


def test_keys_of_domains_that_are_not_ours() -> None:
    play = negotiating().hears(verify(PARTNER, "elsewhere.test", "their id", "k"))
    play.says(error("verify", "elsewhere.test", PARTNER, "item-not-found", "their id")).nothing_more()


def test_a_key_is_never_verified_where_it_was_sent() -> None:
    """XEP-0288 §2.2; whoever sent it would vouch for himself."""
    play = negotiating().hears(verify(PARTNER, OURS, "id1", our_key(OURS, PARTNER, "id1")))
    play.notices("verify-on-same-stream")
    play.says(error("verify", OURS, PARTNER, "policy-violation", "id1")).nothing_more()
    play = opened_by_dialback(bidi=True).hears(verify(PARTNER, OURS, SAID_ID, our_key(*PAIR, SAID_ID)))
    play.notices("verify-on-same-stream")
    play.says(error("verify", OURS, PARTNER, "policy-violation", SAID_ID)).nothing_more()


def test_a_question_without_an_id() -> None:
    play = negotiating().hears(f"<db:verify from='{PARTNER}' to='{OURS}'>k</db:verify>")
    play.says(error("verify", OURS, PARTNER, "bad-request")).nothing_more()
