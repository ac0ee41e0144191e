"""The parser of streams, fed with anything in any chunks: it fails only by its events, and they are always the same.

``FUZZ_EXAMPLES=100000`` looks for longer.
"""

from __future__ import annotations

import os
from itertools import pairwise
from xml.etree.ElementTree import Element, canonicalize, fromstring, tostring

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from component.relay import ns
from component.relay.wire.errors import WireError
from component.relay.wire.parser import Ended, Failed, Opened, Received, StreamParser
from component.relay.wire.stanza import read

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{ns.STREAM}'"
    f" xmlns:db='{ns.DIALBACK}' from='partner.test' version='1.0' xml:lang='en'>"
).encode()

REAL = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>",
    b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    b"<db:result from='a' to='b'>c3b5</db:result>",
    b"<db:result from='a' to='b' type='error'><error type='cancel'/></db:result>",
    b"<iq from='a@b/c' to='d' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    b"<message xmlns='jabber:server' to=\"a@b\"><body>a &amp; &#x41;<![CDATA[<]]></body></message>",
    b"<iq><x xmlns='a'><message xmlns='jabber:server'><y xmlns=''/></message></x></iq>",
    b"<stream:error><x xmlns='y'/></stream:error>",
    b"</stream:stream>",
    HEADER,
)

TOKENS = (
    b"<iq>", b"</iq>", b"<iq/>", b"<a b='", b"'/>", b"'>", b'"', b"'", b"<", b">", b"/>", b"&", b"&#", b"&#65;",
    b"&lt;", b"&x;", b";", b"<!", b"<!--", b"-->", b"<!DOCTYPE", b"<?", b"<?xml ", b"?>", b"<![CDATA[", b"]]>",
    b"]", b" ", b"\n", b"\r", b"\t", b"\x00", b"\xff", b"\xc3", b"\xa9", b"\xef\xbb\xbf", b"x", b"=", b" xmlns='a'",
    b" xmlns=''", b"db:", b" xmlns='jabber:server'", b"<db:x>", b"</db:x>", b"<x xmlns='a'>", b"</x>",
    b"<message to='a'>", b"</message>", b" xmlns:p='jabber:server'", b"<p:x", b"{", b"}",
    b"<x xmlns:p='b' p:c='d'>", b"</stream:stream>", b" p:x='&apos;'",
)  # fmt: skip

streams = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(HEADER.__add__),
    st.lists(st.sampled_from(TOKENS), max_size=30).map(b"".join),
    st.lists(st.sampled_from(TOKENS + REAL), max_size=30).map(b"".join).map(HEADER.__add__),
    st.lists(st.sampled_from(REAL), max_size=6).map(b"".join).map(HEADER.__add__),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real stream, or what is left of it when pieces are lost, doubled or replaced."""
    data = draw(streams)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3), st.just(data[start:end] * 2)))
        data = data[:start] + piece + data[end:]
    return data


Shown = tuple[object, ...]


def run(chunks: list[bytes], limit: int) -> tuple[list[Shown], bool]:
    parser = StreamParser(ns.SERVER, limit=limit)
    shown: list[Shown] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            assert not shown or shown[-1][0] not in (Ended, Failed)
            match event:
                case Opened(tag, attributes, content, end):
                    shown.append((Opened, tag, tuple(attributes.items()), content, end))
                case Received():
                    shown.append((Received, tostring(event.element), event.raw, event.end))
                case Failed(condition, text):
                    shown.append((Failed, condition, text))
                case Ended():
                    shown.append((Ended,))
    idle = parser.idle if not shown or shown[-1][0] not in (Ended, Failed) else True
    return shown, idle


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


limits = st.one_of(st.just(100_000), st.integers(len(HEADER), len(HEADER) + 60), st.integers(1, 60))


@fuzz
@given(mutated(), st.lists(st.integers(0, 5000), max_size=12), limits)
def test_chunks_change_nothing(data: bytes, cuts: list[int], limit: int) -> None:
    whole = run([data], limit)
    assert run(cut(data, cuts), limit) == whole
    assert run([data[at : at + 1] for at in range(len(data))], limit) == whole


def moved(element: Element, content: str) -> str:
    copy = fromstring(tostring(element))
    for each in copy.iter():
        if each.tag.startswith(f"{{{ns.SERVER}}}"):
            each.tag = f"{{{content}}}{each.tag.rpartition('}')[2]}"
    return canonicalize(tostring(copy, encoding="unicode"), rewrite_prefixes=True)


NAMESPACES = ("", "a", "b&'<", ns.SERVER, ns.SERVER, ns.DIALBACK, ns.XML)


@st.composite
def markup(draw: st.DrawFn, around: tuple[str, ...] = ("jabber:server",), depth: int = 0) -> str:
    """A well-formed element, in all ways to write its namespace; nothing of `SERVER` inside of none."""
    choices = [name for name in NAMESPACES if name != ns.SERVER or "" not in around] if depth else [ns.SERVER]
    namespace = draw(st.sampled_from(choices))
    escaped = namespace.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;")
    if draw(st.booleans()):
        escaped = escaped.replace(":", "&#58;")
    way = draw(st.integers(0, 2))
    if namespace == ns.XML:
        name, declaration = "xml:e", ""
    elif namespace == around[-1] and way == 0:
        name, declaration = "e", ""
    elif namespace == ns.DIALBACK and way == 1:
        name, declaration = "db:e", ""
    elif namespace and way == 2:
        name, declaration = "p:e", f" xmlns:p='{escaped}'"
    else:
        name, declaration = "e", f" xmlns='{escaped}'"
    default = namespace if name == "e" else around[-1]
    attributes = "".join(
        draw(st.lists(st.sampled_from((" c='&apos;&#10;\"'", " db:d='1'", " xml:lang='x'")), unique=True))
    )
    child = markup(around=(*around, default), depth=depth + 1)
    text = st.sampled_from(("", "t", "&amp;&#13;", "<![CDATA[<&]]>", "\n"))
    inside = draw(text) + "".join(
        draw(child) + draw(text) for _ in range(draw(st.integers(0, 2)) if depth < 4 else 0)
    )
    return f"<{name}{declaration}{attributes}>{inside}</{name}>"


@fuzz
@given(markup())
def test_bytes_mean_what_the_element_says_on_any_stream(data: str) -> None:
    opened, received = StreamParser(ns.SERVER, limit=100_000).feed(HEADER + data.encode())
    assert isinstance(opened, Opened) and isinstance(received, Received)
    for content in (ns.COMPONENT, "other"):
        (again,) = fromstring(b"<root xmlns='" + content.encode() + b"'>" + received.raw + b"</root>")
        meaning = canonicalize(tostring(again, encoding="unicode"), rewrite_prefixes=True)
        assert meaning == moved(received.element, content)


@fuzz
@given(mutated())
def test_a_stanza_is_read_or_refused(data: bytes) -> None:
    for event in StreamParser(ns.SERVER, limit=100_000).feed(data):
        if isinstance(event, Received):
            try:
                stanza = read(event, ns.SERVER)
            except WireError as error:
                assert error.condition in ("unsupported-stanza-type", "improper-addressing")
            else:
                assert stanza.raw and stanza.sender_domain and stanza.recipient_domain


@fuzz
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_address_is_read_or_refused(sender: str, recipient: str) -> None:
    element = Element(f"{{{ns.SERVER}}}message", {"from": sender, "to": recipient})
    try:
        stanza = read(Received(element, b"<message/>"), ns.SERVER)
    except WireError as error:
        assert error.condition == "improper-addressing"
    else:
        assert stanza.sender.partition("/")[0].rpartition("@")[2] == stanza.sender_domain
