"""What is said of documents that are not valid: words, place, number; however and wherever they are looked at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from grid import iodef
from grid.iodef.errors import MOST, SHOWN
from grid.iodef.names import PREFIXES, V1, V2, XSI
from grid.iodef.validation import validate_element
from tests.unit.iodef.hostile import document_v1, document_v2, extension

GOOD = document_v2()
CONTACT = '<Contact role="creator" type="person"><ContactName>A</ContactName></Contact>'
INCIDENT = "/IODEF-Document/Incident"
LARGE = 160 * 1024
"""White space behind a document with which it counts as a large one, and is looked at in another way."""


def told(source: str | bytes) -> list[tuple[int, str, str]]:
    """What is wrong with a document; the same in every way in which one may ask."""
    source = source.encode() if isinstance(source, str) else source
    tree = iodef.parse(source)
    found = iodef.validate(tree, source=source)
    large = source + b"\n" * LARGE
    filled = source.replace(b"</Contact>", f"{extension('<a/>' * 12_000)}</Contact>".encode(), 1)
    for problems in (
        iodef.validate(tree),
        _refused(source),
        _refused(large),
        iodef.validate(iodef.parse(large), source=large),
        *([iodef.validate(iodef.parse(filled)), _refused(filled)] if b"</Contact>" in source else []),
    ):
        assert problems == found
    return [(problem.line, problem.path, problem.message) for problem in found]


def _refused(source: bytes) -> list[iodef.Problem]:
    try:
        iodef.check(source)
    except iodef.Invalid as refused:
        return list(refused.problems)
    return []


def event(system: str) -> str:
    """A flow of one system, with more in it than its node."""
    node = '<Node><Address category="ipv4-addr">192.0.2.1</Address></Node>'
    return f"<EventData><Flow><System>{node}{system}</System></Flow></EventData>"


def service(ports: str, protocol: str = "6") -> str:
    return event(f'<Service ip-protocol="{protocol}">{ports}</Service>')


SYSTEM = f"{INCIDENT}/EventData/Flow/System"
NEXT = "expected one of: Description, Discovery, Assessment, Method, Contact"
XS = f'xmlns:xsi="{XSI}"'
HASH = (
    '<EventData><Record><RecordData><FileData><File><HashData scope="file-contents"><Hash xmlns:ds="{}">'
    '<ds:DigestMethod Algorithm="u"/><ds:DigestValue>!</ds:DigestValue></Hash></HashData></File></FileData>'
    "</RecordData></Record></EventData>"
).format(PREFIXES["ds"])
REFERENCE = (
    '<Method><Reference><e:ReferenceName xmlns:e="{}" specIndex="{}"><e:ID>{}</e:ID></e:ReferenceName></Reference>'
    "</Method>"
)

PURPOSES = "expected one of: traceback, mitigation, reporting, watch, other, ext-value"
MOMENT = "expected a date and time like 2026-11-21T09:00:00Z"
FILE = f"{INCIDENT}/EventData/Record/RecordData/FileData/File"

MESSAGES = {
    "enumeration": (
        document_v2(incident='purpose="x"'),
        (2, f"{INCIDENT}/@purpose", f"found 'x'; {PURPOSES}"),
    ),
    "attribute missing": (
        document_v2(incident=""),
        (2, INCIDENT, "Incident has no attribute purpose; it is required"),
    ),
    "attribute unknown": (
        document_v2(incident='purpose="watch" foo="1"'),
        (2, f"{INCIDENT}/@foo", "found the attribute foo; Incident has none of that name"),
    ),
    "attribute foreign": (
        document_v2(incident='purpose="watch" xmlns:q="urn:q" q:foo="1"'),
        (2, f"{INCIDENT}/@foo", "found the attribute foo; Incident has none of that name"),
    ),
    "element out of order": (
        document_v2('<IncidentID name="a">1</IncidentID>'),
        (5, f"{INCIDENT}/IncidentID[2]", f"found IncidentID; {NEXT}"),
    ),
    "element unknown": (document_v2("<Foo/>"), (5, f"{INCIDENT}/Foo", f"found Foo; {NEXT}")),
    "element foreign": (
        document_v2('<a xmlns="urn:u"/>'),
        (5, f"{INCIDENT}/a", f"found a of the namespace urn:u; {NEXT}"),
    ),
    "element without namespace": (
        document_v2('<a xmlns=""/>'),
        (5, f"{INCIDENT}/a", f"found a without namespace; {NEXT}"),
    ),
    "element at the end": (
        document_v2(after='<AdditionalData dtype="string"/>\n<Foo/>'),
        (8, f"{INCIDENT}/Foo", "found Foo; expected AdditionalData"),
    ),
    "element missing": (GOOD.replace(CONTACT, ""), (2, INCIDENT, f"Incident is not complete; {NEXT}")),
    "one element missing": (
        f'<IODEF-Document version="2.00" xmlns="{V2}">\n</IODEF-Document>',
        (1, "/IODEF-Document", "IODEF-Document is not complete; expected Incident"),
    ),
    "too much": (
        document_v2(after=service("<Port>1</Port><Port>1</Port>")),
        (7, f"{SYSTEM}/Service/Port[2]", "found Port; expected"),
    ),
    "text among elements": (
        document_v2("text"),
        (2, INCIDENT, "found text or elements in Incident; expected child elements only"),
    ),
    "element in a text": (
        document_v2("<Description><b/></Description>"),
        (5, f"{INCIDENT}/Description", "found text or elements in Description; expected text only"),
    ),
    "fixed": (GOOD.replace("2.00", "2.0"), (1, "/IODEF-Document/@version", "found '2.0'; expected '2.00'")),
    "date": (
        GOOD.replace("2026-", "26-"),
        (4, f"{INCIDENT}/GenerationTime", f"found '26-11-21T09:00:00Z'; {MOMENT}"),
    ),
    "no date": (
        GOOD.replace("2026-11-21T09:00:00Z", ""),
        (4, f"{INCIDENT}/GenerationTime", f"found ''; {MOMENT}"),
    ),
    "time zone": (
        document_v2(after=CONTACT.replace("<ContactName>A</ContactName>", "<Timezone>EST</Timezone>")),
        (7, f"{INCIDENT}/Contact[2]/Timezone", "found 'EST'; expected Z or an offset like +01:00, at most 14 hours"),
    ),
    "language": (
        document_v2('<Description xml:lang="12">a</Description>'),
        (5, f"{INCIDENT}/Description/@lang", "found '12'; expected a language tag like en or de-CH"),
    ),
    "port too high": (
        document_v2(after=service("<Port>65536</Port>")),
        (7, f"{SYSTEM}/Service/Port", "found '65536'; expected a port from 0 to 65535"),
    ),
    "port below": (
        document_v2(after=service("<Port>-1</Port>")),
        (7, f"{SYSTEM}/Service/Port", "found '-1'; expected a port from 0 to 65535"),
    ),
    "ports": (
        document_v2(after=service("<Portlist>80, 81</Portlist>")),
        (7, f"{SYSTEM}/Service/Portlist", "found '80, 81'; expected ports and ranges like 22,80,8000-8080"),
    ),
    "not positive": (
        document_v2("<Assessment><MonetaryImpact>0</MonetaryImpact></Assessment>"),
        (5, f"{INCIDENT}/Assessment/MonetaryImpact", "found '0'; expected more than 0"),
    ),
    "no positive number": (
        document_v2("<Assessment><MonetaryImpact>x</MonetaryImpact></Assessment>"),
        (5, f"{INCIDENT}/Assessment/MonetaryImpact", "found 'x'; expected a number above 0"),
    ),
    "no number": (
        document_v2(after=event('<Counter type="count" unit="host">1,5</Counter>')),
        (7, f"{SYSTEM}/Counter", "found '1,5'; expected a number"),
    ),
    "no whole number": (
        document_v2(REFERENCE.format(PREFIXES["enum"], "x", "a")),
        (5, f"{INCIDENT}/Method/Reference/ReferenceName/@specIndex", "found 'x'; expected a whole number"),
    ),
    "no name": (
        document_v2(REFERENCE.format(PREFIXES["enum"], "1", "a:b")),
        (5, f"{INCIDENT}/Method/Reference/ReferenceName/ID", "found 'a:b'; expected a name without colon"),
    ),
    "identifier": (
        document_v2(incident='purpose="watch" observable-id="1"'),
        (2, f"{INCIDENT}/@observable-id", "found '1'; expected an identifier: a letter or _, then letters, "
         "digits, . - _; each only once in a document"),
    ),
    "base64": (
        document_v2(after=HASH),
        (7, f"{FILE}/HashData/Hash/DigestValue", "found '!'; expected base64"),
    ),
    "empty": (
        GOOD.replace(">1</IncidentID>", "> </IncidentID>"),
        (3, f"{INCIDENT}/IncidentID", "found ' '; expected text that is not empty"),
    ),
    "empty attribute": (
        GOOD.replace("csirt.example.com", ""),
        (3, f"{INCIDENT}/IncidentID/@name", "found ''; expected text that is not empty"),
    ),
    "class in an extension": (
        document_v2(after=extension("\n<EventData>\n<Description/><Foo/></EventData>")),
        (9, f"{INCIDENT}/AdditionalData/EventData/Foo", "found Foo; expected one of: Description, DetectTime, "
         "StartTime, EndTime, RecoveryTime, ReportTime, Contact, Discovery, Assessment, Method, …"),
    ),
    "1.0: enumeration": (
        document_v1(incident='purpose="watch"'),
        (2, f"{INCIDENT}/@purpose", f"found 'watch'; {PURPOSES.replace('watch, ', '')}"),
    ),
    "1.0: order": (
        document_v1("<ReportTime>2026-11-21T09:00:00Z</ReportTime>"),
        (6, f"{INCIDENT}/ReportTime[2]", "found ReportTime; expected one of: Assessment, Method, Contact"),
    ),
    "1.0: version": (
        document_v1().replace("1.00", "2.00"),
        (1, "/IODEF-Document/@version", "found '2.00'; expected '1.00'"),
    ),
    "1.0: a class of 2.0": (
        document_v1("<Discovery/>"),
        (6, f"{INCIDENT}/Discovery", "found Discovery; expected one of: Assessment, Method, Contact"),
    ),
    "1.0: incomplete": (
        document_v1().replace(CONTACT, ""),
        (2, INCIDENT, "Incident is not complete; expected one of: Assessment, Method, Contact"),
    ),
    "another root": (
        "<a/>",
        (1, "/a", f"found a without namespace; expected IODEF-Document in the namespace {V2} "
         f"or IODEF-Document in the namespace {V1}"),
    ),
    "another namespace": (
        GOOD.replace("iodef-2.0", "iodef-3.0"),
        (1, "/IODEF-Document", "found IODEF-Document of the namespace urn:ietf:params:xml:ns:iodef-3.0; "
         f"expected IODEF-Document in the namespace {V2} or IODEF-Document in the namespace {V1}"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_each_kind_of_message(document: str, expected: tuple[int, str, str]) -> None:
    (found,) = told(document)
    assert found[:2] == expected[:2]
    assert found[2] == expected[2] or (expected[2].endswith("expected") and found[2].startswith(expected[2]))


@pytest.mark.parametrize("kind", ["xsi:type", "xsi:nil"])
def test_messages_of_instance_attributes(kind: str) -> None:
    value = {"xsi:type": "PortlistType", "xsi:nil": "true"}[kind]
    source = document_v2(f'<Description {XS} {kind}="{value}">x</Description>')
    ((line, path, message),) = told(source)
    assert (line, path.partition("/@")[0]) == (5, f"{INCIDENT}/Description")
    assert "Description" not in message or kind in message
    assert "nillable" not in message


def test_identifiers_twice_are_told_where_the_second_is() -> None:
    source = document_v2('<Description>d</Description>', incident='purpose="watch" observable-id="a"',
                         after='<EventData observable-id="a"><Description/></EventData>')  # fmt: skip
    ((line, path, message),) = told(source)
    assert (line, path) == (7, f"{INCIDENT}/EventData/@observable-id")
    assert message.startswith("found 'a'; expected an identifier")


# Prefixes


def prefixed(document: str) -> str:
    """The same document, with a prefix for IODEF."""
    return document.replace("</", "</p:").replace("<", "<p:").replace("<p:/p:", "</p:").replace("xmlns=", "xmlns:p=")


PLAIN = [kind for kind, (document, _) in MESSAGES.items() if document.count("xmlns") == 1]
"""Documents with one namespace alone."""


@pytest.mark.parametrize("kind", PLAIN)
def test_prefixes_change_nothing(kind: str) -> None:
    document, _ = MESSAGES[kind]
    assert told(prefixed(document)) == told(document)


CLASH = '<p:AdditionalData dtype="xml"><p:a xmlns:p="{}"/></p:AdditionalData>'


@pytest.mark.parametrize("kind", PLAIN)
def test_the_same_prefix_for_something_else(kind: str) -> None:
    """As xml.etree and XMPP libraries do it, that begin with ns0 at each stanza."""
    document, _ = MESSAGES[kind]
    if "AdditionalData" in document or "Incident>" not in document:
        document = document_v2(incident='purpose="x"')
    clashing = prefixed(document).replace("</p:Incident>", CLASH.format("urn:u") + CLASH.format(V1) + "</p:Incident>")
    expected = told(document.replace("</Incident>", extension('<a xmlns="urn:u"/>') * 2 + "</Incident>"))
    assert told(clashing) == expected


def test_each_element_binds_its_own_prefix() -> None:
    wrong = f'<q:Contact xmlns:q="{V2}" role="{{}}" type="person"><q:ContactName>A</q:ContactName></q:Contact>'
    inner = f'<q:AdditionalData xmlns:q="{V2}" dtype="xml"><q:x xmlns:q="urn:x"><q:y/></q:x></q:AdditionalData>'
    found = told(document_v2(after=wrong.format("zz") + "\n" + wrong.format("admin") + wrong.format("yy") + inner))
    assert [(line, path) for line, path, _ in found] == [
        (7, f"{INCIDENT}/Contact[2]/@role"),
        (8, f"{INCIDENT}/Contact[4]/@role"),
    ]
    assert [message[:11] for *_, message in found] == ["found 'zz';", "found 'yy';"]


def test_paths_tell_elements_of_the_same_name_apart() -> None:
    wrong = '<Contact role="zz" type="person"><Timezone>Z</Timezone></Contact>'
    extensions = [extension(f'<x xmlns="urn:{number}"/>{wrong}') for number in range(12)]
    paths = [path for _, path, _ in told(document_v2(after="".join(extensions)))]
    assert paths == [f"{INCIDENT}/AdditionalData[{n}]/Contact/@role" for n in range(1, 13)]


# Values that imitate libxml2's messages, are long, or hold anything

IMITATIONS = [
    "' is not an element of the set {'evil'}",
    "' is not an element of the set {'evil'}.",
    "x' is not a valid value of the atomic type 'xs:evil'.",
    "This element is not expected. Expected is ( evil ).",
    "The type definition is absent",
    "The QName value 'a' of the xsi:type attribute does not resolve to a type definition.",
    "Element '{urn:u}a': The QName value 'b' of the xsi:type attribute does not resolve",
    "The attribute 'evil' is required but missing.",
    "' is not accepted by the pattern 'evil'.",
    "[facet 'pattern'] The value 'evil' is less than the minimum value allowed ('evil').",
    "{urn:u}", "{", "}", "''", '\\"', "&lt;a&gt;", "%s {0} \\1", "No matching global element declaration",
    "Character content other than whitespace is not allowed because the content type is 'element-only'.",
]  # fmt: skip


@pytest.mark.parametrize("value", IMITATIONS)
def test_values_cannot_put_words_into_messages(value: str) -> None:
    attribute = value.replace('"', "&quot;")
    seen = value.replace("&lt;", "<").replace("&gt;", ">")
    shown = repr(seen if len(seen) <= 80 else seen[:79] + "…")
    ((_, path, message),) = told(document_v2(incident=f'purpose="{attribute}"'))
    assert (path, message) == (f"{INCIDENT}/@purpose", f"found {shown}; {PURPOSES}")
    ((_, path, message),) = told(GOOD.replace("2026-11-21T09:00:00Z", attribute))
    assert (path, message) == (f"{INCIDENT}/GenerationTime", f"found {shown}; {MOMENT}")


@pytest.mark.parametrize("name", ["evil", "set", "The", "é", "x" * 5000, "a.b-c", "日本"])
def test_names_cannot_put_words_into_messages(name: str) -> None:
    found = told(document_v2(f"<{name}/>"))
    assert [message for *_, message in found] == [f"found {name}; {NEXT}"] or len(name) > 80
    found = told(document_v2(incident=f'purpose="watch" {name}=""'))
    assert len(found) == 1


@pytest.mark.parametrize(
    "document",
    [
        document_v2(incident='purpose="{}"'),
        document_v2('<Description xml:lang="{}">d</Description>'),
        document_v2(f'<Description {XS} xsi:type="{{}}">d</Description>'),
        GOOD.replace("2026", "{}2026"),
        document_v2(after=service("<Portlist>{},</Portlist>")),
        document_v2(after=service("<Port>1</Port>", "{}")),
        document_v2(after=extension("{}", "boolean")),
        document_v2(after="<IndicatorData><Indicator>{}</Indicator></IndicatorData>"),
        document_v2('<{}/>'),
        document_v2(incident='purpose="watch" {}=""'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["x", "1"])
def test_messages_are_short(document: str, unit: str) -> None:
    """Whatever is wrong with the value; names may stand in the path."""
    value = unit * 200_000 if "<{}" not in document and "{}=" not in document else "x" * 20_000
    with pytest.raises(iodef.Invalid) as refused:
        iodef.check(document.replace("{}", value).encode())
    assert all(len(problem.message) < 1000 for problem in refused.value.problems)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")))
def test_any_value_is_told_as_it_is(value: str) -> None:
    root = etree.fromstring(GOOD)
    root[0].set("purpose", f"-{value}")
    problems = iodef.validate(root.getroottree())
    assert [problem.path for problem in problems] == [f"{INCIDENT}/@purpose"]
    assert problems[0].message.endswith(f"; {PURPOSES}")


# Lines and numbers


@pytest.mark.parametrize("lines", [65_533, 65_534, 65_535, 65_536, 70_000, 200_000])
def test_lines_beyond_what_fits_16_bits(lines: int) -> None:
    blank = "\n" * lines
    source = document_v2(blank, after='<Contact role="zz" type="person"><Timezone>Z</Timezone></Contact>').encode()
    for problems in (_refused(source), iodef.validate(iodef.parse(source))):
        assert [(problem.line, problem.path) for problem in problems] == [(lines + 7, f"{INCIDENT}/Contact[2]/@role")]


WRONG = {
    "by the schema": '<Contact role="zz" type="person"><Timezone>Z</Timezone></Contact>\n',
    "by a rule": '<AdditionalData dtype="integer">x</AdditionalData>\n',
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("number", [MOST - 1, MOST, MOST + 1, 5 * MOST, 100 * MOST])
def test_many_problems(kind: str, number: int) -> None:
    source = document_v2(after=WRONG[kind] * number).encode()
    for problems in (_refused(source), iodef.validate(iodef.parse(source))):
        real = problems[: min(number, MOST)]
        assert [problem.line for problem in real] == list(range(7, 7 + len(real)))
        assert len({problem.path for problem in real}) == len(real)
        assert all("expected" in problem.message for problem in real)
        if number <= MOST:
            assert problems == real
        else:
            assert problems[MOST:] == [iodef.Problem(0, "", problems[-1].message)]
            assert f"more than these {MOST} problems" in problems[-1].message


def test_problems_of_schema_and_rules_are_in_the_order_of_the_document() -> None:
    found = told(document_v2(after="".join(WRONG.values()) + WRONG["by a rule"]).replace("2.00", "2"))
    assert [line for line, *_ in found] == [1, 7, 8, 9]


def test_text_of_an_invalid() -> None:
    with pytest.raises(iodef.Invalid) as refused:
        iodef.check(document_v2(after=WRONG["by a rule"] * (SHOWN + 5)).encode())
    text = str(refused.value)
    assert len(refused.value.problems) == SHOWN + 5
    assert text.startswith(
        f"This is not a valid incident document. line 7: {INCIDENT}/AdditionalData[1]: found 'x'; "
    )
    assert text.endswith(" … and 5 more")


@pytest.mark.parametrize("character", ["\x85", "\u202e", "\u2028", "\x9b"])
def test_a_problem_as_text_shows_each_character(character: str) -> None:
    assert str(iodef.Problem(1, f"/a{character}", "m")) == f"line 1: /a\\u{ord(character):04x}: m"
    assert str(iodef.Problem(0, "", f"m{character}")) == f"m\\u{ord(character):04x}"


# Extensions


HIDING = [f'xmlns="urn:u" {XS} xsi:type="foo"', f'xmlns="urn:u" {XS} xmlns:q="urn:q" xsi:type="q:foo"',
          f'xmlns="" {XS} xsi:type="foo"']  # fmt: skip


@pytest.mark.parametrize("attributes", HIDING)
def test_foreign_types_are_nothing_to_us(attributes: str) -> None:
    assert told(document_v2(after=extension(f"<a {attributes}><b/>text</a>"))) == []
    right = CONTACT.replace("<Contact ", f'<Contact xmlns="{V2}" ')
    assert told(document_v2(after=extension(f"<a {attributes}><b>{right}</b></a>"))) == []


@pytest.mark.parametrize("attributes", HIDING)
@pytest.mark.parametrize("between", ["{}", "<b>{}</b>", f'<b {XS} xsi:type="bar">{{}}</b>'])
def test_foreign_types_hide_nothing(attributes: str, between: str) -> None:
    wrong = f'<Contact xmlns="{V2}" role="zz" type="person"><Timezone>Z</Timezone></Contact>'
    found = told(document_v2(after=extension(f"<a {attributes}>{between.format(wrong)}</a>")))
    path = f"{INCIDENT}/AdditionalData/a/{'b/' if 'b' in between else ''}Contact/@role"
    assert [(line, where) for line, where, _ in found] == [(7, path)]


@pytest.mark.parametrize("attributes", HIDING)
def test_foreign_types_beside_other_problems(attributes: str) -> None:
    """What is said of the rest is all there, and said once."""
    hiding = extension(f"<a {attributes}/>")
    assert len(told(document_v2(after=hiding * 3, incident='purpose="x"'))) == 1
    assert len(told(document_v2(after=hiding + extension("x", "integer")))) == 1


@pytest.mark.parametrize("kind", ["foo", "xs:string", "iodef:NoType", "Contact"])
def test_types_of_our_own_elements_must_be_known(kind: str) -> None:
    assert told(document_v2(f'<Description {XS} xsi:type="{kind}">d</Description>'))


# With and without source, in every encoding

ENCODINGS = ["utf-8", "utf-16", "utf-32", "iso-8859-1", "us-ascii"]
EXTENDED = [
    ('role="creator"', True),
    ('role="ext-value" ext-role="ä"', True),
    ('role="ext-value"', False),
    ('role="creator" ext-role="x"', False),
    ('role="ext-value" ext-role=""', False),
    ('role="ext-value" ext-role=" "', False),
    ('role=" ext-value\n" ext-role="x"', True),
    ('role="zz"', False),
]


@st.composite
def written(draw: st.DrawFn, source: str) -> bytes:
    """One of the ways to write a document down: encoding, references to characters, prefix, CDATA, comments."""
    encoding = draw(st.sampled_from(ENCODINGS))
    if draw(st.booleans()):
        source = prefixed(source)
    forms = draw(st.dictionaries(st.sampled_from("exti-v"), st.sampled_from(["&#{};", "&#x{:x};", "&#x000{:X};"])))
    hidden = {ord(letter): form.format(ord(letter)) for letter, form in forms.items()}
    parts = source.split('"')
    for number in range(1, len(parts), 2):
        if not parts[number].startswith("urn:"):
            parts[number] = parts[number].translate(hidden)
    source = '"'.join(parts)
    if draw(st.booleans()):
        source = source.replace(">A<", "><![CDATA[A]]><").replace(">x<", "><!-- -->x<")
    if draw(st.booleans()):
        source = source.replace('"', "'")
    if draw(st.booleans()):
        source += " " * LARGE
    start = draw(
        st.sampled_from(["<?xml version='1.0' encoding='{}'?>\n", '<?xml version="1.0"  encoding = "{}" ?>\n'])
    )
    return (start.format(encoding) + source).encode(encoding, "xmlcharrefreplace")


@given(st.data(), st.sampled_from(EXTENDED), st.sampled_from([document_v2, document_v1]))
def test_the_source_changes_nothing(data: st.DataObject, case: tuple[str, bool], document: object) -> None:
    attributes, good = case
    contact = f'<Contact {attributes} type="person"><ContactName>A</ContactName></Contact>'
    plain = document(after=contact)  # type: ignore[operator]
    source = data.draw(written(plain))
    tree = iodef.parse(source)
    problems = iodef.validate(tree, source=source)
    assert (problems == []) == good
    assert iodef.validate(tree) == problems == _refused(source)
    assert problems == iodef.validate(iodef.parse(b"\n" + plain.encode()))


# Classes on their own


def test_any_class_can_be_the_root() -> None:
    contact = etree.fromstring(f'<Contact xmlns="{V2}" role="zz" type="person"><ContactName/></Contact>')
    (problem,) = validate_element(contact)
    assert problem.path == "/Contact/@role"
    contact.set("role", "admin")
    assert validate_element(contact) == []
    (problem,) = validate_element(etree.fromstring(f'<Foo xmlns="{V2}"/>'))
    assert problem == iodef.Problem(1, "/Foo", "found Foo; it is not one of the classes of IODEF")
    (problem,) = validate_element(etree.fromstring('<Foo xmlns="urn:u"/>'))
    assert problem == iodef.Problem(1, "/Foo", "Foo of the namespace urn:u is not a class of IODEF")


# Threads


@pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
def test_threads(padding: int) -> None:
    """No document is taken for another."""

    def outcome(number: int) -> tuple[int, list[tuple[str, str]]]:
        make = document_v2 if number % 4 < 2 else document_v1
        wrong = f'<Contact role="r{number}" type="person"><ContactName>A</ContactName></Contact>'
        source = make(after=wrong if number % 2 else CONTACT).encode() + b" " * padding
        return number, [(problem.path, problem.message[: len(f"found 'r{number}'")]) for problem in _refused(source)]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(outcome, range(200 if padding else 1600)))
    for number, problems in found:
        assert problems == ([(f"{INCIDENT}/Contact[2]/@role", f"found 'r{number}'")] if number % 2 else [])


def test_a_tree_is_not_changed() -> None:
    """By looking at it, valid or not, whatever is in it."""
    for after in ("", WRONG["by the schema"], extension(f"<a {HIDING[0]}><Foo/></a>"), WRONG["by a rule"]):
        tree = iodef.parse(document_v2(after=after).encode())
        before = etree.tostring(tree, method="c14n")
        first, second = (iodef.validate(tree) for _ in range(2))
        assert first == second
        assert etree.tostring(tree, method="c14n") == before


def test_one_problem_after_the_other_is_mended() -> None:
    """A document with one mistake fewer has one problem fewer."""
    wrong = [document_v2(after=WRONG["by the schema"] * number) for number in range(5, -1, -1)]
    assert all(len(told(more)) == len(told(fewer)) + 1 for more, fewer in pairwise(wrong))
