"""SASL EXTERNAL (XEP-0178 §3, RFC 6120 §6) in both roles, and what comes after it has failed."""

from __future__ import annotations

from base64 import b64encode

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import PairRefused, StreamEnded
from component.relay.wire.policy import Bidi, Direction
from tests.wire.relay.play import our_key
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
    SAID_ID,
    SM_FEATURE,
    SUCCESS,
    accepted,
    answer,
    asked_for_tls,
    auth,
    authenticating,
    features,
    header,
    message,
    negotiating,
    opened,
    partner,
    received,
    result,
    sasl_failure,
    secured,
)

REFUSED = RefusalKind.AUTHENTICATION


def base64(text: str | bytes) -> str:
    """As it is written in SASL."""
    return b64encode(text if isinstance(text, bytes) else text.encode()).decode()


# As a receiver: what is offered


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("ways", [(EXTERNAL,), (EXTERNAL, DIALBACK), (DIALBACK, EXTERNAL), (DIALBACK,)])
def test_external_is_offered_when_it_is_allowed_and_the_certificate_is_good(
    ways: tuple[object, ...], proven: bool
) -> None:
    play = asked_for_tls(partner(authentication=ways)).tls(*([PARTNER] if proven else [])).hears(header())
    if EXTERNAL in ways and not proven:
        play.refuses(PAIR, RefusalKind.CERTIFICATE, final=DIALBACK not in ways)
    if DIALBACK not in ways and not proven:
        play.fails("policy-violation", answer(1))  # RFC 6120 §6.4.5, at the end
        return
    offered = [EXTERNAL_FEATURE] if EXTERNAL in ways and proven else []
    further = [DIALBACK_FEATURE] if DIALBACK in ways else []
    play.says(answer(1) + features(*offered, BIDI_FEATURE, *further)).nothing_more()


def test_why_a_certificate_was_refused_is_told_to_everybody() -> None:
    play = asked_for_tls(partner(authentication=(EXTERNAL,))).tls("other.test").hears(header())
    assert play.expect(PairRefused).reason == "The certificate is not for partner.test."
    assert play.expect(StreamEnded).text == "The certificate is not for partner.test."
    assert "The certificate is not for partner.test." in play.said()


# As a receiver: what is accepted


@pytest.mark.parametrize(
    "response",
    [
        "",
        "=",
        " = ",
        "\n",
        base64(PARTNER),
        f"\n  {base64(PARTNER)[:4]}\n{base64(PARTNER)[4:]} ",
        base64("Partner.TEST"),
    ],
    ids=["absent", "empty", "padded", "white", "equal", "broken", "case"],
)
def test_external_is_accepted(response: str) -> None:
    """XEP-0178 §3: the identity may be left out; it then is the one in the header."""
    play = negotiating().hears(auth(response).encode()).says(SUCCESS).nothing_more()
    assert not play.machine.receives and not play.machine.sends
    play.hears(header()).says(answer(2) + features(SM_FEATURE, DIALBACK_FEATURE))
    play.authorizes(PAIR, EXTERNAL, receives=True).nothing_more()


def test_exactly_the_pair_of_the_header_is_authorized() -> None:
    """XEP-0288 §2.2; the certificate may prove more."""
    play = received(partner(), partner(CHAT))
    assert play.machine.receives == {PAIR} and play.machine.sends == set()
    play.hears(message(sender=CHAT)).fails("invalid-from")


def test_with_bidi_its_inverse_is_authorized_too() -> None:
    play = received(bidi=True)
    assert play.machine.receives == play.machine.sends == {PAIR}


# As a receiver: what is not


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (auth(mechanism="PLAIN"), "invalid-mechanism"),
        (auth(mechanism="external"), "invalid-mechanism"),
        (auth(mechanism="SCRAM-SHA-256-PLUS"), "invalid-mechanism"),
        (f"<auth xmlns='{ns.SASL}'>=</auth>", "invalid-mechanism"),
        (auth(base64("other.test")), "invalid-authzid"),
        (auth(base64(OURS)), "invalid-authzid"),
        (auth(base64(f"romeo@{PARTNER}")), "invalid-authzid"),
        (auth(base64(f"{PARTNER}/r")), "invalid-authzid"),
        (auth(base64(f"{PARTNER}\0")), "invalid-authzid"),
        (auth(base64(f"x.{PARTNER}")), "invalid-authzid"),
        (auth(PARTNER), "incorrect-encoding"),
        (auth("a"), "incorrect-encoding"),
        (auth("=="), "incorrect-encoding"),
        (auth("cGFydG5lci50ZXN0!"), "incorrect-encoding"),
        (auth("äöü"), "incorrect-encoding"),
        (auth(base64(b"\xff\xfe")), "incorrect-encoding"),
        (auth("=<x/>"), "malformed-request"),
        (f"<response xmlns='{ns.SASL}'>=</response>", "malformed-request"),
        (f"<abort xmlns='{ns.SASL}'/>", "aborted"),
    ],
)
def test_each_failure_has_its_condition(said: str, condition: str) -> None:
    """RFC 6120 §6.5; the stream goes on."""
    play = negotiating().hears(said).says(sasl_failure(condition))
    play.refuses(PAIR, REFUSED, final=False).nothing_more()
    assert not play.machine.authenticated
    play.hears(auth()).says(SUCCESS)


def test_what_was_not_offered_for_want_of_a_certificate_is_refused() -> None:
    """XEP-0178 §3, step 11b; dialback may follow."""
    play = negotiating(proven=("other.test",)).refuses(PAIR, RefusalKind.CERTIFICATE, final=False)
    play.hears(auth()).says(sasl_failure("not-authorized")).refuses(PAIR, REFUSED, final=False).nothing_more()


@pytest.mark.parametrize(
    "policy", [partner(authentication=(DIALBACK,)), partner(direction=Direction.OUTBOUND)], ids=["off", "outbound"]
)
def test_what_is_switched_off_is_no_mechanism(policy: object) -> None:
    play = negotiating(policy).hears(auth()).says(sasl_failure("invalid-mechanism"))  # type: ignore[arg-type]
    play.refuses(PAIR, REFUSED, final=False).nothing_more()


def test_a_failure_is_final_without_dialback() -> None:
    play = negotiating(partner(authentication=(EXTERNAL,))).hears(auth("a")).says(sasl_failure("incorrect-encoding"))
    play.refuses(PAIR, REFUSED).nothing_more()


def test_after_the_third_failure_the_stream_ends() -> None:
    """RFC 6120 §6.4.5: two to five retries."""
    play = negotiating()
    for _ in range(2):
        play.hears(auth("a")).says(sasl_failure("incorrect-encoding")).refuses(PAIR, REFUSED, final=False)
    play.nothing_more().hears(auth("a")).fails("policy-violation", sasl_failure("incorrect-encoding"))


def test_bidi_that_is_required_must_be_asked_for_first() -> None:
    play = negotiating(partner(bidi=Bidi.REQUIRED)).hears(auth()).refuses(PAIR, RefusalKind.BIDI)
    play.fails("policy-violation")
    assert accepted(partner(bidi=Bidi.REQUIRED), bidi=True).machine.bidi


def test_nothing_is_authorized_before_the_stream_has_begun_anew() -> None:
    play = accepted(bidi=True)
    assert play.machine.authenticated
    assert not play.machine.sends and not play.machine.receives
    play.hears(message()).fails("invalid-namespace", answer(2))


def test_once_authenticated_a_peer_does_not_authenticate_again() -> None:
    received().hears(auth()).fails("policy-violation")
    received().hears(SUCCESS).fails("unsupported-stanza-type")


# As an initiator


def test_we_send_our_domain() -> None:
    """XEP-0178 §3, step 10: for servers of old."""
    authenticating().nothing_more()
    assert base64(OURS) == "aXNwLnRlc3Q="


def test_success_authorizes_the_pair_of_the_stream() -> None:
    play = opened()
    assert play.machine.sends == {PAIR} and play.machine.receives == set()
    assert opened(bidi=True).machine.receives == {PAIR}


def test_the_pair_is_authorized_with_the_features_of_the_new_stream() -> None:
    play = authenticating().hears(SUCCESS).says(header(OURS, PARTNER)).nothing_more()
    play.hears(header(PARTNER, OURS, id="3")).nothing_more()
    with pytest.raises(LookupError):
        play.sends(PAIR, message())
    play.hears(features()).authorizes(PAIR, EXTERNAL, sends=True).nothing_more()


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("proven", [True, False])
def test_a_server_must_prove_who_it_is_first(proven: bool, verify: bool) -> None:
    play = secured(partner(verify_certificate=verify), proven=(PARTNER,) if proven else ())
    play.hears(features(EXTERNAL_FEATURE))
    if verify and not proven:
        play.refuses(PAIR, RefusalKind.CERTIFICATE).fails("not-authorized")
    else:
        play.says(auth("aXNwLnRlc3Q=")).nothing_more()


@pytest.mark.parametrize("ways", [(EXTERNAL,), (EXTERNAL, DIALBACK), (DIALBACK, EXTERNAL), (DIALBACK,)])
@pytest.mark.parametrize("offered", [True, False])
def test_what_is_tried_follows_the_order_of_preference(ways: tuple[object, ...], offered: bool) -> None:
    play = secured(partner(authentication=ways)).hears(features(*([EXTERNAL_FEATURE] if offered else [])))
    possible = [way for way in ways if way is DIALBACK or offered]
    ours = result(OURS, PARTNER, our_key(*PAIR, SAID_ID))
    for number, way in enumerate(possible):
        play.says(auth("aXNwLnRlc3Q=") if way is EXTERNAL else ours).nothing_more()
        play.hears(sasl_failure("not-authorized") if way is EXTERNAL else result(PARTNER, OURS, type="invalid"))
        last = number == len(possible) - 1
        play.refuses(PAIR, REFUSED if way is EXTERNAL else RefusalKind.DIALBACK, by_us=False, final=last)
    if not possible:
        play.refuses(PAIR, REFUSED, by_us=False)
    play.says(END).ended(by_us=True).hears(END).gone()


def test_why_we_were_refused_is_told() -> None:
    play = authenticating(partner(authentication=(EXTERNAL,)))
    play.hears(f"<failure xmlns='{ns.SASL}'><text>No.</text><not-authorized/><x xmlns='urn:x'/></failure>")
    assert play.expect(PairRefused).reason == "partner.test refused EXTERNAL: not-authorized."
    play = authenticating(partner(authentication=(EXTERNAL,))).hears(f"<failure xmlns='{ns.SASL}'/>")
    assert play.expect(PairRefused).reason == "partner.test refused EXTERNAL: undefined-condition."


def test_a_server_that_offers_other_mechanisms_only() -> None:
    others = f"<mechanisms xmlns='{ns.SASL}'><mechanism>PLAIN</mechanism><mechanism/></mechanisms>"
    play = secured(partner(authentication=(EXTERNAL,))).hears(features(others))
    assert "may not accept our certificate" in play.expect(PairRefused).reason
    play.says(END)


def test_white_space_in_a_mechanism_does_no_harm() -> None:
    play = secured().hears(f"""<stream:features><mechanisms xmlns='{ns.SASL}'><mechanism>
        EXTERNAL</mechanism></mechanisms></stream:features>""")
    play.says(auth("aXNwLnRlc3Q="))


def test_a_challenge_makes_no_sense() -> None:
    authenticating().hears(f"<challenge xmlns='{ns.SASL}'>=</challenge>").fails("unsupported-stanza-type")


def test_bidi_stands_before_authentication() -> None:
    secured().hears(features(EXTERNAL_FEATURE, BIDI_FEATURE)).says(BIDI + auth("aXNwLnRlc3Q="))
