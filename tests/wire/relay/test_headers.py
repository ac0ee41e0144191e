"""Stream headers: what is answered, what is not taken, and streams that begin anew."""

from __future__ import annotations

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.events import StreamEnded
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Bidi, Direction
from component.relay.wire.states import State
from tests.wire.relay.play import DECLARED, Play
from tests.wire.relay.scenes import (
    BIDI_FEATURE,
    CHAT,
    CPE,
    DIALBACK,
    DIALBACK_FEATURE,
    END,
    EXTERNAL,
    EXTERNAL_FEATURE,
    OURS,
    PAIR,
    PARTNER,
    PROCEED,
    SM_FEATURE,
    STARTTLS,
    STARTTLS_FEATURE,
    STRANGER,
    SUCCESS,
    accepted,
    answer,
    asked_for_tls,
    auth,
    connected,
    features,
    header,
    negotiating,
    ours,
    outgoing_in,
    partner,
    stream_error,
)

PLAIN = features(STARTTLS_FEATURE, BIDI_FEATURE)


NAMELESS = f"<stream:stream {DECLARED} from='' to='{PARTNER}' id='id0' version='1.0' xml:lang='en'>"


# As a receiver (RFC 6120 §4.7)


def test_a_header_is_answered_in_kind() -> None:
    Play.incoming(ours()).hears(header()).says(answer(0) + PLAIN).nothing_more()


def test_every_stream_on_a_connection_has_an_id_of_its_own() -> None:
    play = Play.incoming(ours()).hears(header()).says(answer(0) + PLAIN)
    play.hears(STARTTLS).says(PROCEED).tls(PARTNER).hears(header())
    play.says(answer(1) + features(EXTERNAL_FEATURE, BIDI_FEATURE, DIALBACK_FEATURE))
    play.hears(auth()).says(SUCCESS).hears(header()).says(answer(2) + features(SM_FEATURE, DIALBACK_FEATURE))


def test_an_id_of_the_initiator_is_ignored() -> None:
    Play.incoming(ours()).hears(header(id="theirs")).says(answer(0) + PLAIN)


def test_in_the_clear_the_initiator_may_keep_its_name_back() -> None:
    play = Play.incoming(ours()).hears(header(sender=""))
    play.says(header(OURS, "", id="id0") + features(STARTTLS_FEATURE))
    play.hears(STARTTLS).says(PROCEED).tls(PARTNER).hears(header())
    play.says(answer(1) + features(EXTERNAL_FEATURE, BIDI_FEATURE, DIALBACK_FEATURE))


def test_behind_tls_it_may_not() -> None:
    asked_for_tls().tls(PARTNER).hears(header(sender="")).fails("improper-addressing", answer(1))


def test_after_sasl_the_name_is_known() -> None:
    accepted().hears(header(sender="")).says(answer(2) + features(SM_FEATURE, DIALBACK_FEATURE))


def test_names_are_compared_as_prepared() -> None:
    play = Play.incoming(ours()).hears(header(sender="Partner.TEST", to="ISP.test")).says(answer(0) + PLAIN)
    play.hears(STARTTLS).says(PROCEED).tls(PARTNER).hears(header())
    assert play.machine.state is State.NEGOTIATING


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("bidi", Bidi)
def test_bidi_is_offered_before_tls_unless_told_otherwise(bidi: Bidi, early: bool) -> None:
    play = Play.incoming(ours(partner(bidi=bidi, early_bidi=early))).hears(header())
    offered = [BIDI_FEATURE] if early and bidi is not Bidi.OFF else []
    play.says(answer(0) + features(STARTTLS_FEATURE, *offered))


WRONG_ROOTS = [
    (f"<stream:stream {DECLARED.replace(ns.STREAM, 'urn:example')} to='{OURS}' version='1.0'>", "invalid-namespace"),
    (f"<stream xmlns='{ns.SERVER}' to='{OURS}' version='1.0'>", "invalid-namespace"),
    (f"<stream:streams {DECLARED} to='{OURS}' version='1.0'>", "bad-format"),
    (header().replace(ns.SERVER, "jabber:client", 1), "invalid-namespace"),
    (header().replace(ns.SERVER, ns.COMPONENT, 1), "invalid-namespace"),
    (f"<stream:stream xmlns:stream='{ns.STREAM}' to='{OURS}' version='1.0'>", "invalid-namespace"),
    (header(rest=""), "unsupported-version"),
    (header(rest="version='0.9'"), "unsupported-version"),
    (header(rest="version='one'"), "unsupported-version"),
    (header(rest="version='1'"), "unsupported-version"),
    (header(rest="version='²·0'"), "unsupported-version"),
]
HEADERS = ["namespace", "none", "name", "client", "component", "content", "no", "0.9", "one", "1", "digits"]


@pytest.mark.parametrize(("root", "condition"), WRONG_ROOTS, ids=HEADERS)
def test_a_root_that_is_no_stream_between_servers(root: str, condition: str) -> None:
    """RFC 6120 §4.9.1.2: the answer has a header all the same."""
    play = Play.incoming(ours()).hears(root)
    assert play.machine.local == OURS
    play.fails(condition)


@pytest.mark.parametrize("version", ["1.0", "1.1", "01.0", "2.13", "10.0"])
def test_higher_versions_are_answered_with_ours(version: str) -> None:
    play = Play.incoming(ours()).hears(header(rest=f"version='{version}'")).says(answer(0) + PLAIN)
    assert play.machine.state is State.PLAIN


def test_a_header_without_to() -> None:
    play = Play.incoming(ours()).hears(header(to=""))
    play.fails("improper-addressing", NAMELESS)


@pytest.mark.parametrize("name", ["partner.test/x", "a@partner.test", "-", "a..b"])
def test_a_header_with_a_name_that_is_no_domain(name: str) -> None:
    Play.incoming(ours()).hears(header(sender=name)).fails("improper-addressing", header(OURS, "", id="id0"))
    Play.incoming(ours()).hears(header(to=name)).fails("improper-addressing", NAMELESS)


def test_a_header_to_a_domain_that_is_not_ours() -> None:
    """RFC 6120 §4.9.1.3: from must be one of ours or empty."""
    play = Play.incoming(ours()).hears(header(to="elsewhere.test"))
    play.fails("host-unknown", NAMELESS)


def test_a_stranger_is_told_that_he_is_one() -> None:
    play = Play.incoming(ours()).hears(header(sender=STRANGER))
    play.refuses(Pair(OURS, STRANGER), RefusalKind.STRANGER)
    play.fails("policy-violation", header(OURS, STRANGER, id="id0"))


def test_a_partner_that_may_not_connect_is_told_so() -> None:
    only = partner(direction=Direction.OUTBOUND, authentication=(EXTERNAL,))
    play = Play.incoming(ours(only)).hears(header()).refuses(PAIR, RefusalKind.DIRECTION)
    play.fails("policy-violation", answer(0))


def test_a_partner_that_may_not_connect_may_ask_about_keys() -> None:
    """Or our own connections could not be verified."""
    only = partner(direction=Direction.OUTBOUND)
    play = Play.incoming(ours(only)).hears(header()).says(answer(0) + features(STARTTLS_FEATURE))
    play.hears(STARTTLS).says(PROCEED).tls(PARTNER).hears(header()).says(answer(1) + features(DIALBACK_FEATURE))


# A stream restarted under another name


@pytest.mark.parametrize(
    ("restarted", "condition"),
    [
        (header(sender=CHAT), "invalid-from"),
        (header(to=CPE), "policy-violation"),
        (header(sender=STRANGER), "invalid-from"),
        (header(to="elsewhere.test"), "host-unknown"),
        (header(sender=OURS, to=PARTNER), "host-unknown"),
        (header(to=""), "improper-addressing"),
        (header(rest=""), "unsupported-version"),
    ],
)
def test_a_stream_that_begins_anew_keeps_its_names(restarted: str, condition: str) -> None:
    both = (partner(), partner(CHAT))
    behind_tls = asked_for_tls(*both).tls(PARTNER, CHAT).hears(restarted)
    behind_tls.fails(condition, answer(1))
    behind_sasl = accepted(*both).hears(restarted)
    behind_sasl.fails(condition, answer(2))


def test_nobody_is_authorized_by_a_header() -> None:
    play = negotiating(proven=())
    assert not play.machine.sends and not play.machine.receives
    play.refuses(PAIR, RefusalKind.CERTIFICATE, final=False).nothing_more()


# As an initiator


def test_our_header_tells_both_names_and_no_id() -> None:
    play = connected().nothing_more()
    assert play.machine.state is State.HEADER


def test_with_direct_tls_the_header_waits_for_tls() -> None:
    play = Play.outgoing(ours(), OURS, PARTNER, tls=True).nothing_more()
    play.tls(PARTNER).says(header(OURS, PARTNER)).hears(header(PARTNER, OURS, id="1"))
    play.hears(features(EXTERNAL_FEATURE)).says(auth("aXNwLnRlc3Q=")).nothing_more()


def test_with_direct_tls_a_peer_begins_behind_tls() -> None:
    play = Play.incoming(ours(), tls=True).tls(PARTNER).nothing_more().hears(header())
    play.says(answer(0) + features(EXTERNAL_FEATURE, BIDI_FEATURE, DIALBACK_FEATURE))


@pytest.mark.parametrize(("root", "condition"), WRONG_ROOTS, ids=HEADERS)
def test_an_answer_that_is_no_stream_between_servers(root: str, condition: str) -> None:
    connected().hears(root).refuses(PAIR, RefusalKind.PROTOCOL).fails(condition)


@pytest.mark.parametrize(
    ("answered", "condition"),
    [
        (header(CHAT, OURS, id="1"), "invalid-from"),
        (header("a@b", OURS, id="1"), "invalid-from"),
        (header(PARTNER, OURS), "bad-format"),
    ],
)
def test_an_answer_under_another_name_or_without_an_id(answered: str, condition: str) -> None:
    play = connected().hears(answered).nothing_more()
    play.hears(features(STARTTLS_FEATURE)).refuses(PAIR, RefusalKind.PROTOCOL).fails(condition)


def test_an_answer_without_from_is_taken() -> None:
    connected().hears(header("", OURS, id="1") + features(STARTTLS_FEATURE)).says(STARTTLS)


def test_why_a_server_does_not_want_us_is_heard_under_whatever_name_it_says_so() -> None:
    """RFC 6120 §4.9.1.3 lets it answer under another name, or none."""
    play = connected().hears(f"<stream:stream {DECLARED} from='' id='x' version='1.0'>").nothing_more()
    play.hears(stream_error("host-unknown", "Who is that?")).says(END)
    end = play.expect(StreamEnded)
    assert (end.condition, end.text, end.by_us) == ("host-unknown", "Who is that?", False)
    play.gone()


def test_a_server_that_changes_its_name_behind_tls() -> None:
    play = outgoing_in(State.TLS_HEADER).hears(header(CHAT, OURS, id="2"))
    play.hears(features(EXTERNAL_FEATURE)).refuses(PAIR, RefusalKind.PROTOCOL).fails("invalid-from")


def test_dialback_is_a_way_of_its_own() -> None:
    """Without EXTERNAL, a certificate is no reason to refuse the stream."""
    play = asked_for_tls(partner(authentication=(DIALBACK,))).tls().hears(header())
    play.says(answer(1) + features(BIDI_FEATURE, DIALBACK_FEATURE)).nothing_more()
