"""Finding connection requests in stanzas, whatever they are hidden in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base import ns
from component.relay import ns as relay_ns
from component.relay.border_payload import LONGEST_REMEMBERED, Payload, PayloadFinder
from component.relay.wire.parser import Received, StreamParser
from component.relay.wire.stanza import read
from tests.unit.relay.borderkit import REQUEST, XMLNS
from tests.unit.relay.stanzas import stanza

WRITTEN_OTHERWISE = "xmlns='urn:broadband&#45;forum&#x2D;org:cwmp:xmppConnReq-1-0'"


@pytest.mark.parametrize(
    "content",
    [
        REQUEST,
        f"<connectionRequest {WRITTEN_OTHERWISE}/>",
        f"<x {WRITTEN_OTHERWISE}/>",
        f"<x xmlns='urn:x'><y/><z><connectionRequest {XMLNS}/></z></x>",
        f"<x xmlns='urn:x'><y/><z><username {XMLNS}/></z></x>",
        "<connectionRequest/>",
        "<connectionRequest xmlns=''/>",
        "<p:connectionRequest xmlns:p='urn:x'/>",
        f"<p:anything xmlns:p='{ns.CONNECTION_REQUEST}'/>",
        f"text<x xmlns='urn:x'>text<connectionRequest {XMLNS}/>text</x>",
    ],
)
def test_a_payload_is_found(content: str) -> None:
    finder = PayloadFinder()
    for _ in range(2):
        assert finder.carries(stanza(content).element)
        assert not finder.carries(stanza("<x xmlns='urn:x'/>").element)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<query xmlns='jabber:iq:version'/>",
        "<connectionRequests xmlns='urn:x'/>",
        "<x xmlns='urn:connectionRequest'/>",
        "<body>connectionRequest</body>",
        f"<body {XMLNS.replace('1-0', '1-1')}/>",
        "<x a='connectionRequest'/>",
    ],
)
def test_what_is_none_is_not_taken_for_one(content: str) -> None:
    finder = PayloadFinder()
    for _ in range(2):
        assert finder.read(stanza(content)).payload is Payload.NONE


def test_credentials_are_read_and_never_shown() -> None:
    carried = PayloadFinder().read(stanza(REQUEST.replace(">p<", ">hush<")))
    assert carried.payload is Payload.REQUEST
    assert carried.credentials == ("u", "hush")
    assert "hush" not in repr(carried)


NAMES = st.sampled_from(["a", "b", "query", "connectionRequests", "username"])
TREES = st.recursive(
    NAMES.map(lambda name: f"<{name} xmlns='urn:x'/>"),
    lambda trees: st.tuples(NAMES, st.lists(trees, max_size=3)).map(
        lambda made: f"<{made[0]} xmlns='urn:y'>{''.join(made[1])}</{made[0]}>"
    ),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=3), st.lists(NAMES, max_size=4), st.booleans())
def test_depth_and_company_hide_nothing(before: list[str], around: list[str], foreign: bool) -> None:
    payload = "<connectionRequest xmlns='urn:x'/>" if foreign else f"<username {XMLNS}/>"
    for name in around:
        payload = f"<{name} xmlns='urn:x'>{''.join(before)}{payload}</{name}>"
    finder = PayloadFinder()
    for content in before:
        assert not finder.carries(stanza(content).element)
    assert finder.carries(stanza("".join(before) + payload).element)


def test_names_that_are_made_up_fill_no_memory() -> None:
    finder = PayloadFinder(remembered=10)
    for number in range(100):
        assert not finder.carries(stanza(f"<x{number} xmlns='urn:x'/>").element)
        assert len(finder._harmless) <= 10
    assert not finder.carries(stanza(f"<{'x' * 1000} xmlns='urn:x'/>").element)
    assert max(map(len, finder._harmless)) <= LONGEST_REMEMBERED
    assert finder.carries(stanza(REQUEST).element)


@pytest.mark.parametrize(
    "content",
    [
        f"<connectionRequest {WRITTEN_OTHERWISE}/>",
        "<c:connectionRequest/>",
        "<x xmlns='urn:x'><c:y/></x>",
        "<connectionRequest/>",
        "<![CDATA[x]]><c:connectionRequest><username>u</username></c:connectionRequest>",
    ],
)
def test_a_payload_is_found_in_what_comes_from_a_stream(content: str) -> None:
    header = (
        f"<stream:stream xmlns='{relay_ns.SERVER}' xmlns:stream='{relay_ns.STREAM}' "
        f"xmlns:c='{ns.CONNECTION_REQUEST}' version='1.0'>"
    )
    arrived = f"<message from='a@partner.test/x' to='cpe1@cpe.test/y'>{content}</message>"
    events = StreamParser(relay_ns.SERVER, limit=8192).feed((header + arrived).encode())
    (received,) = [event for event in events if isinstance(event, Received)]
    assert PayloadFinder().carries(read(received, relay_ns.SERVER).element)
