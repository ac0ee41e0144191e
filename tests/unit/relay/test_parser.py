"""The parser of streams, rule by rule."""

from __future__ import annotations

import tracemalloc
from xml.etree.ElementTree import Element, canonicalize, fromstring, tostring

import pytest

from component.relay import ns
from component.relay.wire import parser as parsing
from component.relay.wire.parser import Ended, Failed, Opened, ParserEvent, PassedOver, Received, StreamParser

LIMIT = 4096
HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{ns.STREAM}'"
    f" xmlns:db='{ns.DIALBACK}' from='partner.test' to='isp.test' version='1.0' xml:lang='en'>"
).encode()
PING = b"<iq from='a@partner.test' to='isp.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"


def opened(header: bytes = HEADER, limit: int = LIMIT) -> StreamParser:
    parser = StreamParser(ns.SERVER, limit=limit)
    events = parser.feed(header)
    assert [type(event) for event in events] == [Opened]
    return parser


def only(events: list[ParserEvent]) -> Received:
    assert [type(event) for event in events] == [Received], events
    assert isinstance(events[0], Received)
    return events[0]


def failure(events: list[ParserEvent]) -> str:
    assert isinstance(events[-1], Failed), events
    return events[-1].condition


def elsewhere(raw: bytes, content: str) -> str:
    """What the bytes mean on a stream of another content namespace that declares no prefix of ours."""
    tree = fromstring(b"<root xmlns='" + content.encode() + b"'>" + raw + b"</root>")
    return meaning(tree[0])


def meaning(element: Element) -> str:
    return canonicalize(tostring(element, encoding="unicode"), rewrite_prefixes=True)


def moved(element: Element, content: str) -> str:
    """The meaning that an element of ours must have on a stream of that content namespace."""
    copy = fromstring(tostring(element))
    for each in copy.iter():
        if each.tag.startswith(f"{{{ns.SERVER}}}"):
            each.tag = f"{{{content}}}{each.tag.rpartition('}')[2]}"
    return meaning(copy)


# Headers and ends


def test_a_header_has_clark_names_and_its_content_namespace() -> None:
    (event,) = StreamParser(ns.SERVER, limit=LIMIT).feed(HEADER)
    assert isinstance(event, Opened)
    assert event.tag == f"{{{ns.STREAM}}}stream"
    assert event.content == ns.SERVER
    lang = f"{{{ns.XML}}}lang"
    assert event.attributes == {"from": "partner.test", "to": "isp.test", "version": "1.0", lang: "en"}


def test_a_header_may_have_no_content_namespace_or_another() -> None:
    assert StreamParser(ns.SERVER, limit=LIMIT).feed(b"<a>") == [Opened("a", {}, "", 3)]
    assert StreamParser(ns.SERVER, limit=LIMIT).feed(b"<a xmlns='b'>") == [Opened("{b}a", {}, "b", 13)]


def test_white_space_before_a_header_counts_for_nothing() -> None:
    parser = StreamParser(ns.SERVER, limit=len(HEADER))
    assert parser.feed(b" \r\n\t" * LIMIT) == []
    assert parser.idle
    assert isinstance(parser.feed(b"\n" + HEADER)[0], Opened)


def test_nothing_comes_after_the_end() -> None:
    parser = opened()
    assert parser.feed(b"</stream:stream> <iq/>") == [Ended()]
    assert parser.feed(PING) == []


def test_nothing_comes_after_a_failure() -> None:
    parser = opened()
    assert failure(parser.feed(b"<iq></message>")) == "not-well-formed"
    assert parser.feed(PING) == []


# Slices


@pytest.mark.parametrize(
    "stanza",
    [
        "<iq/>",
        "<iq></iq>",
        "<iq ></iq\n>",
        "<iq a='>'/>",
        "<message><body>a &amp; b &lt;c/&gt; /></body></message>",
        "<message><body><![CDATA[<stream a=\"'> ]] > &]]></body></message>",
        "<message xml:lang='de'><x xmlns='a' xml:lang='en'/></message>",
        "<message><x xmlns=''/></message>",
        "<message><x xmlns='a' xmlns:b='c' b:d='e'><b:f/></x></message>",
        "<message><b:x xmlns:b='c'><body/></b:x></message>",
        "<message><f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></f></message>",
        "<message><body>Zürich 𐍈</body></message>",
    ],
)
def test_an_element_that_takes_nothing_from_the_header_is_its_bytes(stanza: str) -> None:
    received = only(opened().feed(stanza.encode()))
    assert received.raw == stanza.encode()
    for content in (ns.COMPONENT, "other"):
        assert elsewhere(received.raw, content) == moved(received.element, content)


@pytest.mark.parametrize(
    "stanza",
    [
        "<iq><stream:x stream:a='1' xml:lang='en'/></iq>",
        "<iq><db:x><db:y db:z='&lt;&apos;\"&#10;'/></db:x>\t<y xmlns='b'>&#13;&amp;]]&gt;</y>tail</iq>",
        "<stream:message xmlns:stream='jabber:server'/>",
        "<iq xmlns='jabber:server'><error/></iq>",
        "<iq><error xmlns='jabber:server'/></iq>",
        "<iq><x xmlns='a'><message xmlns='jabber:server'/></x></iq>",
        "<iq><x xmlns='a' b='c'><y xmlns='b'><z/><body xmlns='jabber:server'><q xmlns='b'/></body></y></x></iq>",
        "<iq><x xmlns='a'><message xmlns='jabber&#58;server'/></x></iq>",
        "<iq><x xmlns='a'><message xmlns='jabber&#x3a;server'/></x></iq>",
        "<iq><x xmlns='a'><p:message xmlns:p='jabber:server'><p:body/></p:message></x></iq>",
        '<iq><xml:x xml:y="jabber:server"><error/></xml:x></iq>',
        "<iq><x xmlns=''><y a=\"jabber:server\"/></x></iq>",
        "<iq xmlns:stream='mine'><stream:x/></iq>",
    ],
)
def test_an_element_that_takes_more_is_written_anew_and_means_the_same(stanza: str) -> None:
    received = only(opened().feed(stanza.encode()))
    assert received.raw != stanza.encode()
    for content in (ns.COMPONENT, "other"):
        assert elsewhere(received.raw, content) == moved(received.element, content)


def test_what_cannot_be_said_without_the_content_namespace_keeps_it() -> None:
    stanza = b"<iq><x xmlns=''><message xmlns='jabber:server'/></x></iq>"
    assert only(opened().feed(stanza)).raw == stanza


def test_a_header_of_another_content_namespace_gives_no_slices() -> None:
    parser = opened(HEADER.replace(b"xmlns='jabber:server'", b"xmlns='other'"))
    first, second = parser.feed(b"<x/><iq xmlns='jabber:server'><x xmlns='other'/></iq>")
    assert isinstance(first, Received) and isinstance(second, Received)
    assert (first.element.tag, first.raw) == ("{other}x", b"")
    assert second.raw == b"<iq><x xmlns='other'/></iq>"


def test_a_header_may_declare_many_prefixes() -> None:
    prefixes = b"".join(b" xmlns:p%d='n%d'" % (number, number) for number in range(50))
    parser = opened(HEADER.replace(b" xmlns:db", prefixes + b" xmlns:db"))
    assert only(parser.feed(b"<iq><p49:x/></iq>")).raw == b"<iq><x xmlns='n49'/></iq>"
    assert only(parser.feed(b"<iq ></iq>")).raw == b"<iq/>"


def test_an_element_of_the_stream_itself_has_no_bytes() -> None:
    error, result = opened().feed(b"<stream:error><x xmlns='y'/></stream:error><db:result type='valid'/>")
    assert isinstance(error, Received) and isinstance(result, Received)
    assert (error.element.tag, error.raw) == (f"{{{ns.STREAM}}}error", b"")
    assert (result.element.tag, result.raw) == (f"{{{ns.DIALBACK}}}result", b"")


def test_white_space_between_elements_is_passed_over() -> None:
    parser = opened()
    events = parser.feed(b" \n" + PING + b"\r\n\t" + PING + b" ")
    assert [event.raw for event in events if isinstance(event, Received)] == [PING, PING]
    assert events[0].element.tail is None  # type: ignore[union-attr]
    assert parser.idle


def test_attributes_in_namespaces_have_clark_names() -> None:
    received = only(opened().feed(b"<iq xmlns:a='b' a:c='1' c='2' xml:lang='de'/>"))
    assert received.element.attrib == {"{b}c": "1", "c": "2", f"{{{ns.XML}}}lang": "de"}


def test_a_namespace_that_looks_like_a_clark_name_is_refused() -> None:
    for namespace in (b"{jabber:server", b"{jabber:server}iq", b"a}b"):
        assert failure(opened().feed(b"<x xmlns='" + namespace + b"'/>")) == "bad-format"


def test_names_stay_right_when_they_are_too_many_to_be_remembered() -> None:
    parser = opened()
    for number in range(4000):
        element = only(parser.feed(b"<iq><n%d xmlns='urn:%d' a%d='1'/></iq>" % (number, number, number))).element
        assert element[0].tag == f"{{urn:{number}}}n{number}"
        assert element[0].attrib == {f"a{number}": "1"}
        assert element.tag == "{jabber:server}iq"


def test_a_namespace_may_have_white_space() -> None:
    for namespace in ("a b", " ", "a&#10;b"):
        received = only(opened().feed(f"<iq><x xmlns='{namespace}'/></iq>".encode()))
        assert elsewhere(received.raw, ns.COMPONENT) == moved(received.element, ns.COMPONENT)


# What is not XMPP


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<iq><!-- a --></iq>", "restricted-xml"),
        (b"<iq><!-- don't", "restricted-xml"),
        (b"<!--", "restricted-xml"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
        (b"<iq><?pi?></iq>", "restricted-xml"),
        (b"<?xml version='1.0'?>", "restricted-xml"),
        (b"<iq>&nbsp;</iq>", "restricted-xml"),
        (b"<iq a='&b;'/>", "restricted-xml"),
        (b"<p:iq/>", "bad-namespace-prefix"),
        (b"<iq p:a='1'/>", "bad-namespace-prefix"),
        (b"<iq xmlns:p=''/>", "bad-namespace-prefix"),
        (b"<iq xmlns:xml='a'/>", "bad-namespace-prefix"),
        (b"<iq xmlns:xmlns='a'/>", "bad-namespace-prefix"),
        (b"text", "bad-format"),
        (b"&#32;", "bad-format"),
        (b"<![CDATA[ ]]>", "bad-format"),
        (PING + b"x", "bad-format"),
        (b"<iq></iq >x<", "bad-format"),
        (b"<iq a='1' a='2'/>", "not-well-formed"),
        (b"<iq xmlns:a='c' xmlns:b='c' a:d='1' b:d='2'/>", "not-well-formed"),
        (b"<iq a=1/>", "not-well-formed"),
        (b"<iq a='<'/><", "not-well-formed"),
        (b"<iq>&#0;</iq>", "not-well-formed"),
        (b"<iq>&#xD800;</iq>", "not-well-formed"),
        (b"<iq>\x00</iq>", "not-well-formed"),
        (b"<iq>\x0b</iq>", "not-well-formed"),
        (b"<iq>\xff</iq>", "not-well-formed"),
        (b"<iq>\xc0\x80</iq>", "not-well-formed"),
        (b"<iq>\xed\xa0\x80</iq>", "not-well-formed"),
        (b"<iq>]]></iq>", "not-well-formed"),
        (b"</iq>", "not-well-formed"),
        (b"<iq></message>", "not-well-formed"),
    ],
)
def test_what_is_not_xmpp_fails_in_the_same_way_in_any_chunks(data: bytes, condition: str) -> None:
    assert failure(opened().feed(data)) == condition
    parser = opened()
    assert failure([event for byte in data for event in parser.feed(bytes([byte]))]) == condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        ("<stream>".encode("utf-16"), "unsupported-encoding"),
        ("<stream>".encode("utf-16-be"), "unsupported-encoding"),
        ("<stream>".encode("utf-16-le"), "unsupported-encoding"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a>", "unsupported-encoding"),
        (b"\xef\xbb\xbf<a>", "not-well-formed"),
        (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02\x00", "not-well-formed"),
        (b"<!DOCTYPE a>", "restricted-xml"),
        (b"<?xml-stylesheet href='a'?>", "restricted-xml"),
        (b"<?xml version='1.0'?><?xml version='1.0'?>", "restricted-xml"),
        (b"<?xml version='1.0'?>x", "not-well-formed"),
    ],
)
def test_what_does_not_begin_as_a_stream_fails(data: bytes, condition: str) -> None:
    assert failure(StreamParser(ns.SERVER, limit=LIMIT).feed(data)) == condition


@pytest.mark.parametrize("declaration", ["<?xml version='1.0' encoding='utf-8'?>", '<?xml version="1.0"\n?>\n', ""])
def test_a_declaration_may_stand_at_the_beginning(declaration: str) -> None:
    (event,) = StreamParser(ns.SERVER, limit=LIMIT).feed(declaration.encode() + b"<a>")
    assert isinstance(event, Opened)


def test_no_failure_shows_what_came() -> None:
    for data in (b"<iq><secret></iq>", b"<secret:iq/>", b"<iq>&secret;</iq>", b"secret", b"<iq><!--secret--></iq>"):
        (event,) = opened().feed(data)
        assert isinstance(event, Failed)
        assert "secret" not in event.text


# Limits


def test_an_element_may_be_as_long_as_the_limit_and_no_longer() -> None:
    def stanza(length: int) -> bytes:
        return b"<iq>" + b"a" * (length - 9) + b"</iq>"

    assert only(opened().feed(stanza(LIMIT))).raw == stanza(LIMIT)
    assert failure(opened().feed(stanza(LIMIT + 1))) == "policy-violation"
    assert len(opened().feed(stanza(LIMIT) * 50)) == 50


def test_an_element_is_refused_before_it_is_complete() -> None:
    parser = opened()
    assert parser.feed(b"<iq>" + b"a" * (LIMIT - 4)) == []
    assert failure(parser.feed(b"a")) == "policy-violation"


def test_a_header_has_the_limit_too() -> None:
    assert failure(StreamParser(ns.SERVER, limit=LIMIT).feed(b"<?xml version='1.0'?>" + b" " * LIMIT)) == (
        "policy-violation"
    )
    assert failure(StreamParser(ns.SERVER, limit=LIMIT).feed(b"<a b='" + b"c" * LIMIT)) == "policy-violation"


def test_the_limit_may_be_raised() -> None:
    parser = opened()
    parser.limit = 10 * LIMIT
    assert only(parser.feed(b"<iq>" + b"a" * 2 * LIMIT + b"</iq>"))


def test_white_space_between_elements_has_no_limit() -> None:
    parser = opened()
    assert parser.feed(b" " * 10 * LIMIT) == []
    for _ in range(2 * LIMIT):
        assert parser.feed(b" ") == []
    assert parser.idle
    assert only(parser.feed(PING))


@pytest.mark.parametrize("chunk", [997, 100 * 1024 * 1024])
def test_a_tag_of_100_mebibytes_that_never_ends_costs_no_memory(chunk: int) -> None:
    parser = opened()
    data = b"<iq a='" + b"x" * (100 * 1024 * 1024)
    tracemalloc.start()
    try:
        for start in range(0, len(data), chunk):
            events = parser.feed(data[start : start + chunk])
            if events:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failure(events) == "policy-violation"
    assert peak < chunk + 50 * LIMIT if chunk < LIMIT else peak < 2 * chunk


def test_levels_are_limited() -> None:
    assert only(opened().feed(b"<a>" * 100 + b"</a>" * 100))
    assert failure(opened().feed(b"<a>" * 101)) == "policy-violation"


def test_attributes_are_limited() -> None:
    def element(count: int) -> bytes:
        return b"<iq%s/>" % b"".join(b" a%d=''" % number for number in range(count))

    assert only(opened().feed(element(100)))
    assert failure(opened().feed(element(101))) == "policy-violation"
    assert failure(opened().feed(b"<iq>" + element(101))) == "policy-violation"


def test_a_long_namespace_from_a_prefix_is_weighed_for_each_name() -> None:
    """A server writes it out for each of them, so that 4 KiB would become 500 KiB."""
    header = HEADER.replace(b" xmlns:db", b" xmlns:p='" + b"n" * 1024 + b"' xmlns:db")
    assert failure(opened(header).feed(b"<iq>" + b"<p:a/>" * 500)) == "policy-violation"
    assert failure(opened(header).feed(b"<iq>" + b"<a p:b=''/>" * 300)) == "policy-violation"
    assert only(opened(header).feed(b"<iq><p:a/></iq>"))


def test_what_is_written_anew_keeps_the_limit() -> None:
    assert failure(opened().feed(b"<iq><db:a/>" + b"&gt;" * 500 + b"<![CDATA[" + b"&" * 800 + b"]]></iq>")) == (
        "policy-violation"
    )


@pytest.mark.parametrize(
    ("part", "filling"),
    [
        (b"<iq a='", b"x"),
        (b"<iq a='", b">"),
        (b'<iq a="', b"'"),
        (b"<iq>&#", b"0"),
        (b"<iq>&a", b"a"),
        (b"<iq><![CDATA[<a", b'"'),
        (b"<iq><![CDATA[", b"]"),
        (b"<iq>", b"\r"),
    ],
)
def test_one_byte_at_a_time_takes_linear_time(part: bytes, filling: bytes) -> None:
    """So much takes minutes when each byte makes somebody read from the beginning again."""
    parser = opened(limit=256 * 1024)
    parser.feed(part)
    for _ in range(256 * 1024):
        if parser.feed(filling):
            break


TOO_MUCH = {
    "text": b"<iq id='big'>" + b"a/>" * LIMIT + b"</iq>",
    "text behind": b"<iq id='big'><x/>" + b"a" * LIMIT + b"<x/></iq>",
    "children": b"<iq id='big'>" + b"<x/>" * LIMIT + b"</iq>",
    "levels": b"<iq id='big'>" + b"<x>" * 200 + b"</x>" * 200 + b"</iq>",
    "attributes": b"<iq id='big'><x" + b"".join(b" a%d=''" % number for number in range(101)) + b"/></iq>",
    "own attributes": b"<iq id='big'" + b"".join(b" a%d=''" % number for number in range(101)) + b"/>",
    "a tag": b"<iq a='" + b"a" * LIMIT + b"' id='big'/>",
    "a tag with text": b"<iq a='" + b"a" * LIMIT + b"' id='big'>/></iq>",
    "a tag with a child": b"<iq a='" + b"a" * LIMIT + b"' id='big'><x/></iq>",
    "a tag below": b"<iq id='big'><x a='" + b"a" * LIMIT + b"'/></iq>",
    "weight": b"<iq id='big' xmlns:p='" + b"n" * 2048 + b"'>" + b"<p:a/>" * 100 + b"</iq>",
    "a name": b"<iq id='big'><x xmlns='{a}'/></iq>",
    "the XML namespace": f"<iq id='big'><x xmlns='{ns.XML}'/></iq>".encode(),
    "the XML namespace below": f'<iq id="big"><x xmlns="a"><y xmlns="{ns.XML}"><z/></y></x></iq>'.encode(),
    "a prefix of it": f"<iq id='big'><x xmlns:n='{ns.XML}' n:odd='1'/></iq>".encode(),
    "what is written anew": b"<iq id='big'><db:a/>" + b"<![CDATA[" + b"&" * 1000 + b"]]></iq>",
}


@pytest.mark.parametrize("too_much", TOO_MUCH.values(), ids=TOO_MUCH)
@pytest.mark.parametrize("chunk", [1, 7, 1000, 1_000_000])
def test_a_patient_parser_passes_over_what_is_too_much(too_much: bytes, chunk: int) -> None:
    parser = StreamParser(ns.SERVER, limit=LIMIT, patient=True)
    parser.feed(HEADER)
    data = PING + too_much + b" " + PING + too_much + too_much + PING + b"</stream:stream>"
    events = [event for start in range(0, len(data), chunk) for event in parser.feed(data[start : start + chunk])]
    kinds = [Received, PassedOver, Received, PassedOver, PassedOver, Received, Ended]
    assert [type(event) for event in events] == kinds, events
    for event in events:
        if isinstance(event, PassedOver):
            assert (event.element.tag, event.element.get("id"), len(event.element)) == ("{jabber:server}iq", "big", 0)
        elif isinstance(event, Received):
            assert event.raw == PING
    assert not list(parser._root)


def test_a_patient_parser_leaves_the_xml_namespace_where_it_belongs() -> None:
    for stanza in (
        f"<iq xml:lang='de'><x>{ns.XML} xmlns=&apos;{ns.XML}&apos;</x></iq>",
        f"<iq xmlns:xml='{ns.XML}' xml:lang='de'/>",
        f"<iq a='{ns.XML}'/>",
    ):
        parser = StreamParser(ns.SERVER, limit=LIMIT, patient=True)
        parser.feed(HEADER)
        assert only(parser.feed(stanza.encode())).raw == stanza.encode()


def test_a_patient_parser_is_still_strict_where_xml_is() -> None:
    for data, condition in (
        (b"<!-- -->", "restricted-xml"),
        (b"</x>", "not-well-formed"),
        (b"&x;", "restricted-xml"),
    ):
        parser = StreamParser(ns.SERVER, limit=LIMIT, patient=True)
        parser.feed(HEADER + b"<iq>" + b"a" * LIMIT)
        assert failure(parser.feed(data)) == condition


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST_PASSED", 10 * LIMIT)
    for begin in (b"<iq>", b"<iq a='", HEADER[:20]):
        parser = StreamParser(ns.SERVER, limit=LIMIT, patient=True)
        if begin != HEADER[:20]:
            parser.feed(HEADER)
        events = parser.feed(begin)
        for _ in range(20):
            events += parser.feed(b"a" * LIMIT)
        assert failure(events) == "policy-violation"


# What is half there


def test_it_knows_what_has_followed_an_element() -> None:
    parser = opened()
    (starttls,) = parser.feed(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/> \n")
    assert isinstance(starttls, Received)
    assert not parser.followed(starttls)
    parser.feed(b" ")
    assert not parser.followed(starttls)
    parser.feed(b"<")
    assert parser.followed(starttls)


@pytest.mark.parametrize(
    "behind",
    [b"<iq/>", b"<", b"<iq", b"x", b"\x16\x03\x01", b"\x00", b"</stream:stream>", b"&", b"x" * 9999 + b" " * 99999],
)
def test_what_follows_in_the_same_chunk_is_seen(behind: bytes) -> None:
    parser = opened()
    first = parser.feed(PING + b"\n" + behind + b"\n")[0]
    assert isinstance(first, Received)
    assert parser.followed(first)


def test_what_follows_a_header_is_seen() -> None:
    parser = StreamParser(ns.SERVER, limit=LIMIT)
    (header,) = parser.feed(HEADER + b"\n")
    assert isinstance(header, Opened)
    assert not parser.followed(header)
    parser.feed(PING)
    assert parser.followed(header)


def test_it_is_idle_when_nothing_has_come_in_part() -> None:
    parser = StreamParser(ns.SERVER, limit=LIMIT)
    assert parser.idle
    for part, idle in ((HEADER[:50], False), (HEADER[50:], True), (b" ", True), (b"<", False), (b"iq", False)):
        parser.feed(part)
        assert parser.idle is idle
    parser.feed(b"><a")
    assert not parser.idle
    parser.feed(b"/></iq>\n")
    assert parser.idle
