"""Sources that are bad, on purpose or not: refused in clear words, in bounded memory, without a look outside."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from grid import iodef
from grid.iodef.errors import MOST
from grid.iodef.parsing import DEFAULT, DEPTH
from tests.unit.iodef.hostile import HUGE, LARGE, MB, Outcome, document_v1, document_v2, extension, looked_at

GOOD = document_v2()
WAYS = [pytest.param(each, id=each.__name__) for each in (iodef.parse, iodef.check, iodef.load)]
Way = Callable[..., object]


def refusal(source: bytes, limits: iodef.Limits = DEFAULT) -> iodef.Problem:
    """The one problem of a source that cannot be parsed; it is about the source as a whole, and short."""
    with pytest.raises(iodef.Invalid) as refused:
        iodef.parse(source, limits=limits)
    (problem,) = refused.value.problems
    assert problem.path == ""
    assert len(problem.message) < 400
    return problem


def text_of(source: bytes) -> str:
    """Of the Description in a document."""
    return next(iodef.check(source).getroot().iter("{*}Description")).text or ""


# A DOCTYPE, whatever it hides behind

BEFORE = {
    "nothing": "",
    "white space": "\n\t \n",
    "a comment": "<!-- > -->",
    "a comment with tags": "<!-- <a><?b?> <!-> -->",
    "an instruction": "<?a b > ?>",
    "an instruction with a comment": "<?a <!-- ?>",
    "many": "<!-- --> <?a?>\n<!----><?b <c> ?><!-- -- >-->".replace("-- >", "- >"),
}
ENCODINGS = [
    ("utf-8", ""),
    ("utf-8-sig", ""),
    ("utf-8", "UTF-8"),
    ("iso-8859-1", "ISO-8859-1"),
    ("utf-16", ""),
    ("utf-16", "UTF-16"),
    ("utf-16-le", "UTF-16LE"),
    ("utf-16-be", "UTF-16BE"),
    ("utf-32", ""),
    ("utf-32-le", "UTF-32LE"),
    ("utf-32-be", "UTF-32BE"),
]


def encoded(document: str, encoding: str, declared: str) -> bytes:
    """A document in an encoding, with a declaration that names it, or without one."""
    start = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    return (start + document).encode(encoding)


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize(("encoding", "declared"), ENCODINGS)
def test_doctype_is_refused(encoding: str, declared: str, before: str) -> None:
    if before.isspace() and not declared and encoding == "utf-32":
        before = ""  # XML 1.0 appendix F knows such a source by its "<" alone
    source = encoded(f'{before}<!DOCTYPE a [<!ENTITY e "v">]>{GOOD}', encoding, declared)
    assert "DOCTYPE" in refusal(source).message


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE IODEF-Document>",
        "<!DOCTYPE\nIODEF-Document\n[\n]\n>",
        '<!DOCTYPE a SYSTEM "iodef.dtd">',
        '<!DOCTYPE a PUBLIC "-//A//B//EN" "http://127.0.0.1/a.dtd" [<!ELEMENT a ANY>]>',
        '<!DOCTYPE a [<!ATTLIST IODEF-Document version CDATA "2.00">]>',
        '<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "u" NDATA n>]>',
    ],
)
def test_doctype_of_any_form_is_refused(doctype: str) -> None:
    assert "DOCTYPE" in refusal((doctype + GOOD).encode()).message


@pytest.mark.parametrize("name", ["UTF-7", "utf-7", "Utf7", "UNICODE-1-1-UTF-7", "CSUNICODE11UTF7"])
@pytest.mark.parametrize("doctype", ["", "<!DOCTYPE a>"])
@pytest.mark.parametrize("hidden", ["", "<", "<!", '<="&'])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_utf_7_is_refused(quote: str, hidden: str, doctype: str, name: str) -> None:
    """In it tags look like nothing, for whoever looks at bytes."""
    source = (doctype + GOOD).encode("utf-7")
    for letter in hidden:
        escaped = base64.b64encode(letter.encode("utf-16-be")).rstrip(b"=")
        source = source.replace(letter.encode(), b"+" + escaped + b"-")
    refusal(f"<?xml version={quote}1.0{quote}\n encoding\t= {quote}{name}{quote} ?>".encode() + source)


@pytest.mark.parametrize(
    "source",
    [
        document_v2("<Description>&lt;!DOCTYPE a></Description>"),
        document_v2("<Description><![CDATA[<!DOCTYPE a [<!ENTITY e SYSTEM 'u'>]>]]></Description>"),
        document_v2(after=extension('<a b="&lt;!DOCTYPE a>"/>')),
        f"<!-- <!DOCTYPE a> --><?a <!DOCTYPE a> ?>{GOOD}<!-- <!DOCTYPE a> -->",
    ],
)
def test_what_only_looks_like_a_doctype_is_accepted(source: str) -> None:
    iodef.load(source.encode())


# Entities, and whatever would make a parser look outside


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file whose content nobody may see."""
    path = tmp_path / "canary.txt"
    path.write_text("CANARY-5d1f")
    return path


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Nobody may connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def _url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/x"


def untouched(server: socket.socket) -> bool:
    """Whether no connection waits to be taken."""
    try:
        server.accept()
    except BlockingIOError:
        return True
    return False


ENTITIES = {
    "text": '<!DOCTYPE a [<!ENTITY e SYSTEM "{url}">]><a>&e;</a>',
    "public": '<!DOCTYPE a [<!ENTITY e PUBLIC "p" "{url}">]><a>&e;</a>',
    "attribute": '<!DOCTYPE a [<!ENTITY e SYSTEM "{url}">]><a b="&e;"/>',
    "parameter": '<!DOCTYPE a [<!ENTITY % e SYSTEM "{url}"> %e;]><a/>',
    "parameter in entity": '<!DOCTYPE a [<!ENTITY % e SYSTEM "{url}"><!ENTITY f "%e;">]><a>&f;</a>',
    "subset": '<!DOCTYPE a SYSTEM "{url}"><a>&e;</a>',
    "default": '<!DOCTYPE a [<!ENTITY e SYSTEM "{url}"><!ATTLIST a b CDATA "&e;">]><a/>',
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hide", [False, True], ids=["plain", "utf-7"])
@pytest.mark.parametrize("document", ENTITIES.values(), ids=ENTITIES)
@pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "large"])
def test_external_entities(
    document: str, hide: bool, way: Way, canary: Path, listening: socket.socket, padding: int
) -> None:
    for url in (canary.as_uri(), str(canary), _url(listening), "php://filter/x", "expect://id"):
        source = document.format(url=url).encode()
        if hide:
            source = b'<?xml version="1.0" encoding="UTF-7"?>' + source.replace(b"<", b"+ADw-").replace(
                b"%", b"+ACU-"
            )
        with pytest.raises(iodef.Invalid) as refused:
            way(source + b" " * padding)
        assert "CANARY" not in str(refused.value)
    assert untouched(listening)


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE a [<!ENTITY e "v">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e "v">]><a b="&e;"/>',
        '<!DOCTYPE a [<!ENTITY e "<b>&#60;</b>">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e "&e;">]><a>&e;</a>',
        "<!DOCTYPE a [<!ENTITY % e \"<!ENTITY f 'v'>\"> %e;]><a>&f;</a>",
    ],
)
def test_internal_entities(document: str) -> None:
    assert "DOCTYPE" in refusal(document.encode()).message


@pytest.mark.parametrize("reference", ["&e;", "&nbsp;", "&eacute;", "&AMP;", "%e;&e;"])
def test_entities_that_nobody_declared(reference: str) -> None:
    problem = refusal(document_v2(f"<Description>{reference}</Description>").encode())
    assert "not defined" in problem.message
    assert problem.line == 5


def test_entities_of_xml_itself() -> None:
    source = document_v2("<Description>&lt;&amp;&gt;&quot;&apos;&#x41;&#66;%e;</Description>")
    assert text_of(source.encode()) == "<&>\"'AB%e;"


XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
PERMISSIVE = (
    '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:ietf:params:xml:ns:iodef-2.0">'
    '<xs:element name="IODEF-Document"/><xs:element name="Incident"/></xs:schema>'
)
LOOKS = {
    "schemaLocation": (f' {XSI} xsi:schemaLocation="urn:ietf:params:xml:ns:iodef-2.0 {{url}}"', "", ""),
    "noNamespaceSchemaLocation": (f' {XSI} xsi:noNamespaceSchemaLocation="{{url}}"', "", ""),
    "base": ("", "", extension('<a xmlns="u" xml:base="{url}" href="a"/>')),
    "stylesheet": ("", '<?xml-stylesheet type="text/xsl" href="{url}"?>', ""),
    "model": ("", '<?xml-model href="{url}"?>', ""),
    "xinclude": (
        "",
        "",
        extension('<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="{url}" parse="text"/>'),
    ),
    "schema in an extension": ("", "", extension(f'<a xmlns="u" {XSI} xsi:schemaLocation="u {{url}}"/>')),
}


@pytest.mark.parametrize("parts", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "large"])
def test_nothing_is_fetched(
    parts: tuple[str, str, str], tmp_path: Path, listening: socket.socket, padding: int
) -> None:
    canary = tmp_path / "a.xsd"
    canary.write_text(f"{PERMISSIVE}<!-- CANARY -->")
    for url in (canary.as_uri(), str(canary), _url(listening)):
        root, start, inside = (part.format(url=url) for part in parts)
        document = iodef.load((start + document_v2(after=inside, root=root)).encode() + b" " * padding)
        assert b"CANARY" not in iodef.dump(document)
        wrong = start + document_v2(after=inside, root=root, incident='purpose="none"')
        with pytest.raises(iodef.Invalid, match="found 'none'"):
            iodef.check(wrong.encode() + b" " * padding)
    assert untouched(listening)


# A hundred megabytes

DOUBTFUL = {"comments", "instructions", "CDATA sections", "character references"}
"""Kinds that are right, if only many."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Of all kinds, half as large as sources may be."""
    return looked_at(LARGE, DEFAULT.size // 2, DEFAULT)


@pytest.mark.parametrize("kind", LARGE)
def test_large_sources(kind: str, outcomes: dict[str, Outcome]) -> None:
    """For a source of the full size less than a gigabyte is taken, whatever it is; mostly it is nothing."""
    told, taken = outcomes[kind]
    assert len(told) == 1 or kind in DOUBTFUL
    assert not any(message.startswith("not Invalid") or len(message) > 400 for message in told)
    assert taken < 500 * MB


WORDS = {
    "nesting": f"{DEPTH} deep",
    "one text": "longer than 10,000,000 bytes",
    "siblings": "1,000,000 elements",
}


@pytest.fixture(scope="module")
def allowed() -> dict[str, Outcome]:
    """Of a hundred megabytes, for those who allow them."""
    nested = looked_at(["nesting"], HUGE, iodef.Limits(size=2 * HUGE, elements=2 * HUGE))
    return looked_at(["one text", "siblings"], HUGE, iodef.Limits(size=2 * HUGE)) | nested


@pytest.mark.parametrize("kind", WORDS)
def test_large_sources_for_those_who_allow_them(kind: str, allowed: dict[str, Outcome]) -> None:
    told, taken = allowed[kind]
    assert len(told) == 1
    assert WORDS[kind] in told[0]
    assert taken < 500 * MB


def test_as_many_elements_as_are_allowed_take_bounded_memory() -> None:
    ((told, taken),) = looked_at(["siblings"], 4 * 990_000, DEFAULT).values()
    assert told == []
    assert taken < 1000 * MB


def test_as_many_problems_as_there_can_be_take_bounded_memory() -> None:
    ((told, taken),) = looked_at(["wrong contacts"], 4 * MB, DEFAULT).values()
    assert len(told) == MOST + 1
    assert told[0].startswith("found 'zz'; expected one of: creator, reporter, ")
    assert taken < 500 * MB


def test_a_hundred_megabytes_are_not_looked_at() -> None:
    source = bytes(HUGE)
    expected = f"{HUGE:,} bytes are more than the {DEFAULT.size:,} that are allowed"
    assert refusal(source) == iodef.Problem(0, "", expected)


# Limits


@pytest.mark.parametrize("way", WAYS)
def test_size_limit(way: Way) -> None:
    source = GOOD.encode()
    way(source, limits=iodef.Limits(size=len(source)))
    with pytest.raises(iodef.Invalid, match=f"{len(source)} bytes are more than the {len(source) - 1} that are"):
        way(source, limits=iodef.Limits(size=len(source) - 1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("encoding", "declared"), ENCODINGS)
def test_element_limit(encoding: str, declared: str, way: Way) -> None:
    source = encoded(document_v2(after=extension("<a><b>x</b></a><c/>")), encoding, declared)
    elements = list(iodef.parse(source).getroot().iter())
    most = sum(1 + len(element.attrib) for element in elements) + 8
    way(source, limits=iodef.Limits(elements=most))  # the declarations, of XML and of a namespace, may count
    fewer = len(elements) - 1
    with pytest.raises(iodef.Invalid, match=f"more than the {fewer} elements"):
        way(source, limits=iodef.Limits(elements=fewer))


@pytest.mark.parametrize("equals", ["=", " = ", "\t=\t", "=\r", "\n=\n", "  =  "])
@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(("encoding", "declared"), ENCODINGS)
def test_attributes_count_as_elements(encoding: str, declared: str, quote: str, equals: str) -> None:
    attributes = " ".join(f"a{number}{equals}{quote}{quote}" for number in range(100))
    source = encoded(document_v2(after=extension(f"<a {attributes}/>")), encoding, declared)
    iodef.parse(source, limits=iodef.Limits(elements=200))
    assert "elements" in refusal(source, iodef.Limits(elements=90)).message


def test_element_limit_holds_where_no_tag_can_be_seen() -> None:
    hidden = document_v2(after=extension("<a/>" * 1000)).encode().replace(b"<", b"+ADw-")
    refusal(b'<?xml version="1.0" encoding="UTF-7"?>' + hidden, iodef.Limits(elements=20))


def test_depth() -> None:
    inside = DEPTH - 3  # within document, incident and extension
    iodef.load(document_v2(after=extension("<a>" * inside + "</a>" * inside)).encode())
    problem = refusal(document_v2(after=extension("<a>\n" * (inside + 1) + "</a>" * (inside + 1))).encode())
    assert problem.message == f"elements are nested more than {DEPTH} deep"
    assert problem.line >= inside


@pytest.mark.parametrize(
    "opening", ['<Contact role="creator" type="person"><ContactName>A</ContactName>', "<EventData>"]
)
def test_classes_within_themselves(opening: str) -> None:
    name = opening[1:].partition(" ")[0].strip(">")
    deep = opening * (DEPTH - 4) + "<DetectTime>2026-11-21T09:00:00Z</DetectTime>" * (name == "EventData")
    document = iodef.load(document_v2(after=deep + f"</{name}>" * (DEPTH - 4)).encode())
    again = iodef.load(iodef.dump(document))
    assert again == document
    assert hash(again) == hash(document)


def test_a_long_text_that_is_allowed() -> None:
    text = "x" * 9_000_000
    assert text_of(document_v2(f"<Description>{text}</Description>").encode()) == text


# Encodings

UMLAUT = document_v2("<Description>ä</Description>")


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        *ENCODINGS,
        ("cp1252", "windows-1252"),
        ("iso-8859-15", "ISO-8859-15"),
        ("utf-8", "utf-8"),
        ("gb18030", "GB18030"),
    ],
)
def test_encodings_that_fit(encoding: str, declared: str) -> None:
    assert text_of(encoded(UMLAUT, encoding, declared)) == "ä"


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "US-ASCII"),
        ("utf-8", "UTF-16"),
        ("utf-8", "UTF-16LE"),
        ("utf-8", "UTF-32"),
        ("utf-8", "IBM037"),
        ("iso-8859-1", ""),
        ("iso-8859-1", "UTF-8"),
        ("iso-8859-1", "US-ASCII"),
        ("cp037", "UTF-8"),
        ("utf-16-le", ""),
    ],
)
def test_encodings_that_do_not_fit(encoding: str, declared: str) -> None:
    problem = refusal(encoded(UMLAUT, encoding, declared))
    assert problem.message.startswith(("this is not well-formed XML: ", "the encoding "))


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-8-sig", "UTF-16"), ("utf-8-sig", "ISO-8859-1"), ("utf-16", "UTF-8"), ("utf-16", "ISO-8859-1")],
)
def test_a_byte_order_mark_decides(encoding: str, declared: str) -> None:
    """Against what is declared, as it is read everywhere; refused would do as well, other letters would not."""
    start = f'<?xml version="1.0" encoding="{declared}"?>'
    assert text_of((start + UMLAUT).encode(encoding)) == "ä"


@pytest.mark.parametrize("declared", ["x-none", "UTF-9", "utf8mb4", "a" * 5000, "", "-", "ü"])
def test_encodings_that_nobody_knows(declared: str) -> None:
    problem = refusal(f'<?xml version="1.0" encoding="{declared}"?>{UMLAUT}'.encode())
    assert "encoding" in problem.message
    assert problem.line == 1


@pytest.mark.parametrize(
    "octets",
    [
        b"\xe4",
        b"\xed\xa0\x80",
        b"\xc0\xbc",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"\xc3",
        b"\0",
        b"\x1b",
        b"\xef\xbf\xbf",
        b"&#0;",
        b"&#x1F;",
        b"&#xD800;",
        b"&#x110000;",
        b"&#xFFFE;",
        b"&#99999999999999;",
        b"&#;",
        b"&#xg;",
    ],
)
def test_characters_that_xml_does_not_have(octets: bytes) -> None:
    problem = refusal(document_v2("<Description>?</Description>").encode().replace(b"?<", octets + b"<"))
    assert problem.message.startswith("this is not well-formed XML: ")
    assert problem.line == 5


# What is no XML at all


@pytest.mark.parametrize("source", [b"", b" ", b"\n\r\n\t"])
def test_empty_sources(source: bytes) -> None:
    assert refusal(source).message == "the source is empty; an XML document is expected"


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf", b"\xff\xfe", b"\0\0\xfe\xff", bytes(100), bytes(range(256)), b"<", b"<?xml", b"<!--", b"<!",
        b'<?xml version="1.0"?>', b"hello", b'{"Incident": []}', b"\x89PNG\r\n\x1a\n", b"\x1f\x8b\x08\0", b"PK\3\4",
        b"\x7fELF", b"%PDF-1.7", b"<html><br></html>", b"-----BEGIN CERTIFICATE-----", b"<a/><b/>", b"<a/>x",
        b'<?xml version="2.0"?><a/>', b'\n<?xml version="1.0"?><a/>', b"<a b='1' b='2'/>", b"<a></b>", b"<p:a/>",
        b"<a b=c/>", b"<a b/>", b"<a>&</a>", b"<a>]]></a>", b"<a><!-- -- --></a>", b"<a xmlns:p=''/>", b"<1/>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_sources_that_are_no_xml(source: bytes, way: Way) -> None:
    with pytest.raises(iodef.Invalid) as refused:
        way(source)
    (problem,) = refused.value.problems
    assert problem.path == ""
    assert "XML" in problem.message or "DOCTYPE" in problem.message


@pytest.mark.parametrize("message", ["pCDATA", "xML", "cData", "pI ", "xmlParse", "line "])
def test_words_are_for_people(message: str) -> None:
    """libxml2's messages are not taken as they come: names of its functions and broken abbreviations."""
    sources = [
        b"\n<?xml version='1.0'?><a/>",
        b"<a>\xef\xbf\xbf</a>",
        b"<a>&</a>",
        b"<a>&#;</a>",
        b"<a><![CDATA[</a>",
    ]
    for source in [*sources, b"<a><?xml ?></a>", b"<a><?</a>", b"<!--"]:
        assert message not in refusal(source).message.partition("XML: ")[2].partition("mismatch")[0]


@pytest.mark.parametrize("document", [document_v2(), document_v1()], ids=["v2", "v1"])
def test_truncated_sources(document: str) -> None:
    source = document.encode()
    iodef.check(source)
    for end in range(len(source)):
        refusal(source[:end])


def test_line_of_what_is_not_well_formed() -> None:
    lines = GOOD.splitlines()
    for number in range(len(lines)):
        broken = "\n".join([*lines[:number], f"{lines[number]}<", *lines[number + 1 :]])
        assert refusal(broken.encode()).line in {number + 1, number + 2}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", [GOOD, "", "<a/>", "<!DOCTYPE a><a/>"])
def test_a_str_is_refused(source: str, way: Way) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        way(source)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["", "<", "</a>", "<a>", "&e;", "]]>", "\0", "\x1b", "<a/>", "x"])
def test_large_sources_that_are_not_well_formed(end: str, way: Way) -> None:
    source = document_v2(after=extension("x" * 300_000, "string"))
    for start in (source.removesuffix("\n</Incident>\n</IODEF-Document>"), source):
        if start + end != source:
            with pytest.raises(iodef.Invalid, match="not well-formed"):
                way((start + end).encode())


# Whatever arrives


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda octets: b"<a>" + octets + b"</a>"))
def test_any_octets(source: bytes) -> None:
    with pytest.raises(iodef.Invalid):
        iodef.load(source)


@given(st.data())
def test_a_document_that_suffered(data: st.DataObject) -> None:
    """Octets replaced, dropped, repeated: it is still an incident, or it is refused in words that can be written."""
    source = bytearray(UMLAUT.encode(data.draw(st.sampled_from(["utf-8", "utf-16", "utf-32"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(source) - 1))
        end = start + data.draw(st.integers(0, 12))
        source[start:end] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"<", b"&#38;", b"<!DOCTYPE a>", b"]]>"])
        )
    try:
        document = iodef.load(bytes(source))
    except iodef.Invalid as refused:
        assert refused.problems
        str(refused).encode()
    else:
        assert iodef.load(iodef.dump(document)) == document


def test_the_parser_keeps_neither_comments_nor_instructions() -> None:
    tree = iodef.parse(document_v2("<!-- c --><?p i?><Description>a<!-- c -->b<?p?>c</Description>").encode())
    assert all(isinstance(element.tag, str) for element in tree.getroot().iter())
    assert next(tree.getroot().iter("{*}Description")).text == "abc"
    assert etree.tostring(tree).startswith(b"<IODEF-Document")
