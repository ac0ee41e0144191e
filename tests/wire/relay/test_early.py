"""Stanzas between ``<success/>`` and the new header, as Prosody sends them on a stream with bidi."""

from __future__ import annotations

import pytest

from component.relay.wire.early import EarlyStanzas
from component.relay.wire.events import PairAuthorized, StanzaReceived
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Bidi, PartnerPolicy
from tests.wire.relay.play import Play, federation
from tests.wire.relay.test_seed import SASL, TLS, C, S

EARLY = b"<message from='juliet@montague.lit' to='romeo@capulet.lit' id='%d'><body>&lt;?xml</body></message>"
SUCCESS = f"<success xmlns='{SASL}'/>".encode()
NEW = (S % "x2").encode() + b"<stream:features/>"
PAIR = Pair("capulet.lit", "montague.lit")


def authenticating(bidi: Bidi = Bidi.PREFERRED) -> Play:
    """We have asked for EXTERNAL, and for bidi if it is wanted."""
    policy = PartnerPolicy("montague.lit", bidi=bidi)
    play = Play.outgoing(federation(policy, domains=("capulet.lit",)), "capulet.lit", "montague.lit").says(C)
    play.hears(S % "x0" + f"<stream:features><starttls xmlns='{TLS}'/></stream:features>").said()
    play.hears(f"<proceed xmlns='{TLS}'/>").tls("montague.lit").says(C)
    play.hears(
        S % "x1"
        + f"""<stream:features><mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>
        <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>"""
    )
    play.said()
    return play


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_they_are_taken_in_whatever_chunks_they_come(size: int) -> None:
    play = authenticating()
    data = SUCCESS + EARLY % 1 + b"\n" + EARLY % 2
    for start in range(0, len(data), size):
        play.hears(data[start : start + size])
    assert play.expect(PairAuthorized) == PairAuthorized(PAIR, False, True, Authentication.EXTERNAL)
    assert [play.expect(StanzaReceived).stanza.id for _ in range(2)] == ["1", "2"]
    play.says(C)
    late = EARLY % 3 + NEW
    for start in range(0, len(late), size):
        play.hears(late[start : start + size])
    assert play.expect(StanzaReceived).stanza.id == "3"
    assert play.expect(PairAuthorized) == PairAuthorized(PAIR, True, True, Authentication.EXTERNAL)
    play.nothing_more()


@pytest.mark.parametrize("header", [NEW, NEW.removeprefix(b"<?xml version='1.0'?>"), b" " + NEW])
def test_without_any_the_stream_begins_anew_as_always(header: bytes) -> None:
    play = authenticating().hears(SUCCESS).says(C)
    play.hears(header)
    assert play.expect(PairAuthorized) == PairAuthorized(PAIR, True, True, Authentication.EXTERNAL)
    play.nothing_more()


@pytest.mark.parametrize("size", [1, 3, 5, 1000])
def test_another_prefix_for_streams_is_a_header_too(size: int) -> None:
    play = authenticating().hears(SUCCESS).says(C)
    header = (
        b"\n<s:stream xmlns='jabber:server' xmlns:s='http://etherx.jabber.org/streams' from='montague.lit' id='x2'"
        b" to='capulet.lit' version='1.0'><s:features/>"
    )
    for start in range(0, len(header), size):
        play.hears(header[start : start + size])
    play.expect(PairAuthorized)
    play.nothing_more()


def test_half_a_stanza_in_the_chunk_of_success_is_no_header() -> None:
    play = authenticating()
    play.hears(SUCCESS + b"<message from='juliet@montague.lit' to='romeo@capulet.lit'>")
    play.hears(b"<stream xmlns='urn:x'/></message>")
    play.expect(PairAuthorized)
    assert play.expect(StanzaReceived).stanza.sender == "juliet@montague.lit"
    play.says(C)


def test_those_of_another_pair_end_the_stream() -> None:
    play = authenticating().hears(SUCCESS).says(C)
    play.hears(b"<message from='juliet@verona.lit' to='romeo@capulet.lit'/>")
    play.fails("invalid-from")


def test_without_bidi_nothing_may_come() -> None:
    play = authenticating(Bidi.OFF).hears(SUCCESS).says(C)
    play.hears(EARLY % 1)
    assert "<stream:error>" in play.said()


def test_half_a_mark_is_held_back_until_it_is_one_or_is_not() -> None:
    early = EarlyStanzas(between=True)
    assert early.split(b"<message/><str") == (b"<message/>", None)
    assert early.split(b"ange/><?x") == (b"<strange/>", None)
    assert early.split(b"ml version='1.0'?>") == (b"", b"<?xml version='1.0'?>")
