"""What the standards demand and no schema can say: each rule kept and broken, and the edges; in work that grows with
the document, not with its square."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid import iodef
from grid.iodef.names import PREFIXES, XSI
from tests.unit.iodef.hostile import document_v1, document_v2, extension

INCIDENT = "/IODEF-Document/Incident"
NODE = '<Node><Address category="ipv4-addr">192.0.2.1</Address></Node>'
Document = Callable[..., str]
BOTH = pytest.mark.parametrize("document", [document_v2, document_v1], ids=["v2", "v1"])


def told(source: str) -> list[tuple[str, str]]:
    """Paths and messages of a document, asked with its source and without."""
    octets = source.encode()
    tree = iodef.parse(octets)
    found = iodef.validate(tree, source=octets)
    assert iodef.validate(tree) == found
    return [(problem.path, problem.message) for problem in found]


def alone(source: str) -> tuple[str, str]:
    """The one thing that is wrong with a document: path below the incident, and message."""
    ((path, message),) = told(source)
    return path.removeprefix(f"{INCIDENT}/"), message


# Extensions have the content that their dtype names (7970: 2.15.1, 2.16, 5.2; 5070: 3.6)

HEX = ["", "00", "fF", " 0a \n", "00" * 5000]
NO_HEX = ["0", "0x00", "gg", "0 0", "\u0660\u0660"]
BASE64 = ["", "AQ==", "AQ ==", "A Q\n= =", "AAAA" * 5000]
NO_BASE64 = ["A", "AQ=", "AQ==A", "====", "A-_=", "\u0410Q=="]
MOMENTS = [
    "2026-11-21T09:00:00Z", "2026-11-21T09:00:00", " 2026-11-21T09:00:00Z\n", "2026-11-21T09:00:00.123456789+14:00",
    "2026-11-21T24:00:00Z", "2026-11-21T24:00:00.000Z", "-0044-03-15T00:00:00Z", "2024-02-29T00:00:00Z",
    "2000-02-29T00:00:00-13:59", "12026-01-01T00:00:00Z", "1" * 20_000 + "-01-01T00:00:00Z",
]  # fmt: skip
NO_MOMENTS = [
    "", "2026-11-21", "2026-11-21 09:00:00Z", "26-11-21T09:00:00Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-11-00T00:00:00Z", "2026-00-01T00:00:00Z",
    "2026-11-21T25:00:00Z", "2026-11-21T24:00:01Z", "2026-11-21T24:00:00.5Z", "2026-11-21T24:01:00Z",
    "2026-11-21T09:60:00Z", "2026-11-21T09:00:60Z", "2026-11-21T09:00:00+15:00", "2026-11-21T09:00:00+14:01",
    "2026-11-21T09:00:00+09:60", "2026-11-21T09:00:00z", "2026-11-21T09:00:00.", "02026-11-21T09:00:00Z",
    "\u20032026-11-21T09:00:00Z", "\u0662026-11-21T09:00:00Z", "+2026-11-21T09:00:00Z",
    "1" * 20_000 + "-13-01T00:00:00Z",
]  # fmt: skip

CONTENT: dict[str, tuple[list[str], list[str]]] = {
    "boolean": (
        ["true", "false", "0", "1", " true\n"],
        ["", "TRUE", "yes", "2", "\u00a0true", "true\u2003", "t rue"],
    ),
    "byte": (BASE64, NO_BASE64),
    "character": (["a", " ", "ä", "\U0001f4a9", " a\n"], ["", "ab", "a b"]),
    "date-time": (MOMENTS, NO_MOMENTS),
    "integer": (
        ["0", "-1", "+7", "007", " 42\t", "9" * 5000],
        ["", "1.0", "1e3", "x", "1 2", "--1", "+", "\u00a01", "\u0661", "1_000", "0x1F"],
    ),
    "portlist": (["80", "1-2,3", " 80\n"], ["", "80,", "80, 81", "1-2-3", "-1", "a", "\u0661"]),
    "real": (
        ["0", "-1.5e-10", ".5", "5.", "INF", "-INF", "NaN", " 1 ", "1e999999999"],
        ["", ".", "1,5", "1e", "e1", "inf", "nan", "Infinity", "0x1p3", "1_0", "\u0661", "1d", "\u00a01"],
    ),
    "file": (BASE64, NO_BASE64),
    "frame": (HEX, NO_HEX),
    "packet": (HEX, NO_HEX),
    "ipv4-packet": (HEX, NO_HEX),
    "ipv6-packet": (HEX, NO_HEX),
    "url": (["", "http://a/", " urn:a \n", "../b?c#d", "http://[2001:db8::1]/"], ["http://[", "a b", "http://a]/"]),
    "string": (["", "anything < >".replace("<", "&lt;"), "\u00a0"], []),
    "path": (["", "C:\\a b", "/a"], []),
    "csv": (["", "a,b\n1,2"], []),
    "winreg": (["", "HKLM\\a"], []),
    "xml": (["", '<a xmlns=""/>', "text"], []),
}


@BOTH
@pytest.mark.parametrize("dtype", CONTENT)
def test_content_that_fits_its_dtype(dtype: str, document: Document) -> None:
    for number, text in enumerate(CONTENT[dtype][0]):
        assert told(document(after=extension(text, dtype))) == [], (number, text[:40])


@BOTH
@pytest.mark.parametrize("dtype", CONTENT)
def test_content_that_does_not_fit_its_dtype(dtype: str, document: Document) -> None:
    for text in CONTENT[dtype][1]:
        path, message = alone(document(after=extension(text, dtype)))
        assert path == "AdditionalData"
        assert message.startswith("found ") and message.endswith(f" (dtype '{dtype}')"), message[:200]
        assert len(message) < 200


@BOTH
@pytest.mark.parametrize("dtype", sorted(CONTENT.keys() - {"xml"}))
def test_elements_in_an_extension_that_is_no_xml(dtype: str, document: Document) -> None:
    found = told(document(after=extension('1<a xmlns="urn:u"/>', dtype)))
    assert (
        f"{INCIDENT}/AdditionalData/a",
        f"found an element; the content of AdditionalData is of dtype '{dtype}'",
    ) in (found)


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32), st.integers(0, 25), st.integers(0, 61))
def test_moments_are_those_of_xml_schema(year: int, month: int, day: int, hour: int, minute: int) -> None:
    """An extension of dtype date-time has the dates that the schema accepts for a GenerationTime."""
    text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"
    as_time = told(document_v2().replace("2026-11-21T09:00:00Z", text))
    assert (told(document_v2(after=extension(text, "date-time"))) == []) == (as_time == [])


# ext-value and ext- attributes (7970: 5.1.1; 5070: 5.1)


@BOTH
@pytest.mark.parametrize(
    ("attributes", "wrong", "message"),
    [
        ('role="admin"', "", ""),
        ('role="ext-value" ext-role="x"', "", ""),
        ('role=" ext-value " ext-role=" x "', "", ""),
        ('role="ext-value"', "role", "found 'ext-value'; expected the value in the attribute ext-role as well"),
        (
            'role="ext-value" ext-role=""',
            "role",
            "found 'ext-value'; expected the value in the attribute ext-role as well",
        ),
        (
            'role="ext-value" ext-role=" "',
            "role",
            "found 'ext-value'; expected the value in the attribute ext-role as well",
        ),
        ('role="admin" ext-role="x"', "ext-role", "found ext-role; it is allowed only beside role='ext-value'"),
        ('role="admin" ext-role=""', "ext-role", "found ext-role; it is allowed only beside role='ext-value'"),
    ],
)
def test_extended_attributes(attributes: str, wrong: str, message: str, document: Document) -> None:
    contact = f'<Contact {attributes} type="person"><ContactName>A</ContactName></Contact>'
    expected = [(f"{INCIDENT}/Contact[2]/@{wrong}", message)] if wrong else []
    assert told(document(after=contact)) == expected
    hidden = document(after=contact.replace("ext-", "&#101;xt-") if "ext-role" not in attributes else contact)
    assert told(hidden) == expected


def test_extended_attributes_of_others_are_theirs() -> None:
    assert told(document_v2(after=extension('<a xmlns="urn:u" role="ext-value" ext-type="x"/>'))) == []
    assert told(document_v2('<Description xml:lang="en">ext-value</Description>')) == []
    assert told(document_v2().replace("csirt.example.com", "ext-value")) == []


# Ports (7970: 2.9, 3.20; 5070: 2.10, 3.17)


def service(ports: str, attributes: str | None = None, document: Document = document_v2) -> str:
    if attributes is None:
        attributes = 'ip-protocol="6"' if document is document_v2 else 'ip_protocol="6"'
    return f"<Service {attributes}>{ports}</Service>"


def system(inside: str, category: str = "source") -> str:
    return f'<System category="{category}">{NODE}{inside}</System>'


def flow(*systems: str, document: Document = document_v2) -> str:
    parts = f"<EventData><Flow>{''.join(systems)}</Flow></EventData>"
    return document(after=parts)


SERVICE = "EventData/Flow/System/Service"


@BOTH
@pytest.mark.parametrize("text", ["0", "80", "65535", "1-2", "1-1", "0-65535", "80,81", "00080", "0" * 30 + "80"])
def test_ports(text: str, document: Document) -> None:
    assert told(flow(system(service(f"<Portlist>{text}</Portlist>", document=document)), document=document)) == []


@BOTH
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("65536", "found '65536'; expected ports from 0 to 65535"),
        ("80,70000", "found '70000'; expected ports from 0 to 65535"),
        ("1-65536", "found '1-65536'; expected ports from 0 to 65535"),
        ("9" * 50, f"found '{'9' * 50}'; expected ports from 0 to 65535"),
        ("9" * 5000, f"found '{'9' * 79}…'; expected ports from 0 to 65535"),
        ("90-80", "found '90-80'; expected the lower port first"),
        ("1,2,90-80,3", "found '90-80'; expected the lower port first"),
    ],
)
def test_wrong_ports(text: str, message: str, document: Document) -> None:
    source = flow(system(service(f"<Portlist>{text}</Portlist>", document=document)), document=document)
    assert alone(source) == (f"{SERVICE}/Portlist", message)


@pytest.mark.parametrize("text", ["\u0661", "80\u00a0", "\uff18\uff10", "1-\u0662"])
def test_ports_in_other_digits(text: str) -> None:
    assert told(flow(system(service(f"<Portlist>{text}</Portlist>"))))


def listed(*ports: str, document: Document) -> str:
    """A flow between systems with these ports; ``>`` between sources and targets."""
    sources, targets = ports[: ports.index(">")], ports[ports.index(">") + 1 :]
    named = [("source", text) for text in sources] + [("target", text) for text in targets]
    made = [
        system(service(f"<Portlist>{text}</Portlist>" if text else "<Port>1</Port>", document=document), side)
        for side, text in named
    ]
    return flow(*made, document=document)


@BOTH
@pytest.mark.parametrize(
    "ports",
    [
        "80 > 80",
        "80,81 > 90,91",
        "1-3 > 7,8,9",
        "80 > 80 80",
        "80 80 > 80",
        "80,81 >",
        "> 80,81",
        "1-10 > -",
        "- > 1-9",
    ],
)
def test_ports_that_correspond(ports: str, document: Document) -> None:
    names = ["" if name == "-" else name for name in ports.split()]
    assert told(listed(*names, document=document)) == []


@pytest.mark.parametrize("ports", ["1,2 > 3,4 5,6", "1,2 3,4 > 5,6", "1,2 3,4 > 5,6 7,8", "1-3 > 1,2,3 4-6"])
def test_ports_of_several_systems(ports: str) -> None:
    """5070, 3.17: the symmetry applies one to one, one to many, many to many; 7970, 3.20: one to one."""
    assert told(listed(*ports.split(), document=document_v1)) == []
    (problem,) = told(listed(*ports.split(), document=document_v2))
    assert "expected one source and one target in the Flow" in problem[1]


@BOTH
@pytest.mark.parametrize(
    "ports", ["80 > 80,81", "80,81 > 80", "1-3 > 1-2", "1,2 > 3,4 5", "1 2,3 > 4", "1-65535 > 1"]
)
def test_ports_that_do_not_correspond(ports: str, document: Document) -> None:
    found = told(listed(*ports.split(), document=document))
    assert any("; expected as many as " in message for _, message in found)
    assert all(path.startswith(f"{INCIDENT}/{SERVICE.partition('System')[0]}System[") for path, _ in found)


def test_ports_of_others_do_not_count() -> None:
    theirs = extension('<Service ip-protocol="6"><Portlist>1-9</Portlist></Service>')
    source = f'<System category="source">{NODE}{service("<Portlist>1,2</Portlist>")}{theirs}</System>'
    target = system(service("<Portlist>3,4</Portlist>"), "target")
    assert told(flow(source, target)) == []
    other = system(service("<Portlist>1-50</Portlist>"), "intermediate")
    assert told(flow(system(service("<Portlist>1,2</Portlist>")), target, other)) == []


@pytest.mark.parametrize("number", ["0", "6", "255", " 6 ", "+6", "006", "0000000000000006"])
def test_protocols(number: str) -> None:
    assert told(flow(system(service("<Port>1</Port>", f'ip-protocol="{number}"')))) == []


@pytest.mark.parametrize("number", ["256", "-1", "99999999999", "1000"])
def test_protocols_that_iana_has_not(number: str) -> None:
    found = alone(flow(system(service("<Port>1</Port>", f'ip-protocol="{number}"'))))
    assert found == (f"{SERVICE}/@ip-protocol", f"found '{number}'; expected a protocol from 0 to 255")


@pytest.mark.parametrize("part", ["Port", "Portlist", "ProtoCode", "ProtoType", "ProtoField"])
def test_numbers_without_a_protocol(part: str) -> None:
    found = alone(flow(system(service(f"<{part}>1</{part}>", ""))))
    assert found == (SERVICE, f"{part} without the attribute ip-protocol; it is required with it") or found == (
        SERVICE,
        f"found {part} without the attribute ip-protocol; it is required with it",
    )


# Confidence (7970: 3.12.5; 5070: 3.10.4)


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        ('<Confidence rating="numeric">50</Confidence>', ""),
        ('<Confidence rating="numeric"> 0.5\n</Confidence>', ""),
        ('<Confidence rating="low"/>', ""),
        ('<Confidence rating="low"> \n</Confidence>', ""),
        ('<Confidence rating="ext-value" ext-rating="x"/>', ""),
        ('<Confidence rating="numeric"/>', "Confidence is empty; with rating 'numeric' expected a number"),
        (
            '<Confidence rating="numeric"> </Confidence>',
            "Confidence is empty; with rating 'numeric' expected a number",
        ),
        (
            '<Confidence rating="high">1</Confidence>',
            "found '1'; expected nothing, because the rating is not 'numeric'",
        ),
    ],
)
def test_confidence(confidence: str, message: str) -> None:
    source = document_v2(f'<Assessment><BusinessImpact type="unknown"/>{confidence}</Assessment>')
    assert told(source) == ([(f"{INCIDENT}/Assessment/Confidence", message)] if message else [])


# Patterns, hashes, bulk observables, software, actions (7970: 3.22.2, 3.26, 3.29.3.1, 2.15.1, 3.13.1, 3.15)

DS = f'xmlns:ds="{PREFIXES["ds"]}"'
DIGEST = f'<ds:DigestMethod {DS} Algorithm="u"/><ds:DigestValue {DS}>AQ==</ds:DigestValue>'
TOOL = "<Application><Description>d</Description></Application>"


ITEM = '<RecordItem dtype="string">x</RecordItem>'


def record(inside: str) -> str:
    return document_v2(after=f"<EventData><Record><RecordData>{inside}</RecordData></Record></EventData>")


def hashes(scope: str, target: str = "", tool: str = "") -> str:
    target = f"<HashTargetID>{target}</HashTargetID>" if target else ""
    data = f'<HashData scope="{scope}">{target}<Hash>{DIGEST}{tool}</Hash></HashData>'
    return record(f"<FileData><File>{data}</File></FileData>")


RECORD = "EventData/Record/RecordData"
HASHED = f"{RECORD}/FileData/File/HashData"
BULK = "IndicatorData/Indicator/Observable/BulkObservable"


def indicator(inside: str, identifier: str = "i", more: str = "") -> str:
    return (
        f'<Indicator><IndicatorID name="a.example" version="1">{identifier}</IndicatorID>{inside}</Indicator>{more}'
    )


def indicators(*each: str) -> str:
    return document_v2(after=f"<IndicatorData>{''.join(each)}</IndicatorData>")


def bulk(kind: str, form: str = "") -> str:
    listing = "<BulkObservableList>a</BulkObservableList>"
    form = f"<BulkObservableFormat>{form}</BulkObservableFormat>" if form else ""
    inside = f'<Observable><BulkObservable type="{kind}">{form}{listing}</BulkObservable></Observable>'
    return indicators(indicator(inside))


SPECIFIED = (
    "<EventData><Flow><System>{}<OperatingSystem><SoftwareReference {}>x</SoftwareReference></OperatingSystem>"
    "</System></Flow></EventData>"
)
EXPECTATION = '<EventData><Expectation action="defined-coa">{}</Expectation></EventData>'
COA = "<DefinedCOA>a</DefinedCOA>"
DONE = '<History><HistoryItem action="defined-coa"><DateTime>2026-11-21T09:00:00Z</DateTime></HistoryItem></History>'


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        (record('<RecordPattern type="binary">0aFF</RecordPattern>' + ITEM), "", ""),
        (record('<RecordPattern type="regex">.*</RecordPattern>' + ITEM), "", ""),
        (
            record('<RecordPattern type="binary">0x0a</RecordPattern>' + ITEM),
            f"{RECORD}/RecordPattern",
            "found '0x0a'; expected pairs of hexadecimal digits (type 'binary')",
        ),
        (hashes("file-contents"), "", ""),
        (hashes("file-pe-section", target="t"), "", ""),
        *(
            (
                hashes(scope),
                f"{HASHED}/@scope",
                f"found '{scope}'; expected a HashTargetID in this element as well",
            )
            for scope in ("file-pe-section", "file-pe-resource", "file-pdf-object")
        ),
        (hashes("file-pe-section", target=" "), f"{HASHED}/@scope", "HashTargetID"),
        (hashes("file-pe-iat", tool=TOOL), "", ""),
        (
            hashes("file-pe-iat"),
            f"{HASHED}/Hash",
            "found no Application; expected the tool, because the scope is 'file-pe-iat'",
        ),
        (bulk("ipv4-addr"), "", ""),
        (bulk("file-hash", f"<Hash>{DIGEST}</Hash>"), "", ""),
        (
            bulk("file-hash"),
            f"{BULK}/@type",
            "found 'file-hash'; expected a Hash in BulkObservableFormat as well",
        ),
        (
            bulk("file-hash", extension("a", "string")),
            f"{BULK}/@type",
            "found 'file-hash'; expected a Hash in BulkObservableFormat as well",
        ),
        (document_v2(after=SPECIFIED.format(NODE, 'spec-name="custom" dtype="string"')), "", ""),
        (document_v2(after=SPECIFIED.format(NODE, 'spec-name="cpe"')), "", ""),
        (
            document_v2(after=SPECIFIED.format(NODE, 'spec-name="custom"')),
            "EventData/Flow/System/OperatingSystem/SoftwareReference",
            "found spec-name 'custom'; expected the attribute dtype as well",
        ),
        (
            document_v2(after=EXPECTATION.format(COA)),
            "",
            "",
        ),
        (
            document_v2(after=EXPECTATION.format('')),
            "EventData/Expectation/@action",
            "found 'defined-coa'; expected a DefinedCOA in this element as well",
        ),
        (
            document_v2(after=DONE),
            "History/HistoryItem/@action",
            "found 'defined-coa'; expected a DefinedCOA in this element as well",
        ),
    ],
)  # fmt: skip
def test_rules_of_single_classes(source: str, path: str, message: str) -> None:
    if not path:
        assert told(source) == []
    else:
        found = alone(source)
        assert found[0] == path
        assert message == found[1] or (message.isalpha() and message in found[1])


# Private enumerations (7970: 3.1, 5.3)


@pytest.mark.parametrize(
    ("attributes", "good"),
    [
        ("", True),
        (' private-enum-name="a.example"', True),
        (' private-enum-name="a.example" private-enum-id="1"', True),
        (' private-enum-id="1"', False),
        (' private-enum-id="1" private-enum-name=""', False),
        (' private-enum-id="1" private-enum-name=" "', False),
    ],
)
def test_private_enumerations(attributes: str, good: bool) -> None:
    found = told(document_v2(root=attributes))
    message = "found private-enum-id; expected private-enum-name as well"
    assert found == ([] if good else [("/IODEF-Document/@private-enum-id", message)])


# Identifiers and references (7970: 2.14, 3.29)

OBSERVABLE = '<Observable><Address category="ipv4-addr">192.0.2.1</Address></Observable>'


def named(name: str) -> str:
    return OBSERVABLE.replace("<Address", f'<Address observable-id="{name}"')


POINTER = '<ObservableReference uid-ref="{}"/>'
THEIRS = extension('<a xmlns="urn:u" observable-id="x"/>')
REFERENCES = {
    "an observable": (
        indicators(indicator(named("o"), more=indicator('<ObservableReference uid-ref="o"/>', "j"))),
        "",
    ),
    "an observable that comes later": (
        indicators(indicator('<ObservableReference uid-ref="o"/>', "j"), indicator(named("o"))),
        "",
    ),
    "an observable elsewhere": (
        indicators(indicator(POINTER.format("o"))).replace("<Incident ", '<Incident observable-id="o" '),
        "",
    ),
    "an indicator": (indicators(indicator(OBSERVABLE), indicator('<IndicatorReference uid-ref="i"/>', "j")), ""),
    "itself": (indicators(indicator('<IndicatorReference uid-ref="i"/>')), ""),
    "an indicator elsewhere": (indicators(indicator('<IndicatorReference euid-ref="x"/>')), ""),
    "blanks": (indicators(indicator(OBSERVABLE, " i\n"), indicator('<IndicatorReference uid-ref=" i "/>', "j")), ""),
    "nothing": (indicators(indicator('<IndicatorReference uid-ref="x"/>')), "an IndicatorID of this document"),
    "no observable": (
        indicators(indicator('<ObservableReference uid-ref="x"/>')),
        "an observable-id of this document",
    ),
    "an indicator for an observable": (
        indicators(indicator('<ObservableReference uid-ref="i"/>')),
        "an observable-id of this document",
    ),
    "an observable for an indicator": (
        indicators(indicator(named("o")), indicator('<IndicatorReference uid-ref="o"/>', "j")),
        "an IndicatorID of this document",
    ),
    "neither": (indicators(indicator("<IndicatorReference/>")), "expected one of them"),
    "an empty name": (indicators(indicator('<IndicatorReference euid-ref=""/>')), "expected"),
    "an extension's": (
        indicators(indicator(POINTER.format("x"))).replace("</Incident>", f"{THEIRS}</Incident>"),
        "an observable-id of this document",
    ),
}


@pytest.mark.parametrize(("source", "expected"), REFERENCES.values(), ids=REFERENCES)
def test_references(source: str, expected: str) -> None:
    found = told(source)
    if expected:
        assert any(expected in message and "Reference" in path for path, message in found), found
    else:
        assert found == []


@pytest.mark.parametrize(
    ("first", "second", "good"), [("a", "b", True), ("a", "a", False), ("a", " a\n", False), ("a", "A", True)]
)
def test_indicators_have_identifiers_of_their_own(first: str, second: str, good: bool) -> None:
    found = told(indicators(indicator(OBSERVABLE, first), indicator(OBSERVABLE, second)))
    path = f"{INCIDENT}/IndicatorData/Indicator[2]/IndicatorID"
    assert found == ([] if good else [(path, f"found {first!r} a second time; expected an identifier of its own")])


def test_identifiers_are_of_the_whole_document() -> None:
    """7970, 2.14: an identifier names one thing of a document, whichever the Incident and the kind."""
    inside = f"<IndicatorData>{indicator(OBSERVABLE)}</IndicatorData>"
    twice = document_v2(after=inside).replace("</Incident>", f"</Incident>{_incident(inside)}")
    assert [path for path, _ in told(twice)] == ["/IODEF-Document/Incident[2]/IndicatorData/Indicator/IndicatorID"]
    both = told(indicators(indicator(named("i"))))
    assert len(both) == 1
    assert "'i'" in both[0][1]


def _incident(after: str) -> str:
    whole = document_v2(after=after)
    return whole[whole.index("<Incident ") : whole.index("</IODEF-Document>")]


EXPRESSION = "<IndicatorExpression{}>{}</IndicatorExpression>"


@pytest.mark.parametrize(
    ("attributes", "inside", "expected"),
    [
        ("", OBSERVABLE, ""),
        ("", OBSERVABLE * 3, ""),
        (' operator="or"', OBSERVABLE * 2, ""),
        (' operator="not"', OBSERVABLE, ""),
        (' operator="not"', EXPRESSION.format("", OBSERVABLE * 2), ""),
        (' operator="not"', OBSERVABLE * 2, "'not' with 2 operands; expected one"),
        (' operator="not"', OBSERVABLE + '<IndicatorReference euid-ref="x"/>', "'not' with 2 operands; expected one"),
        ("", "", "nothing to operate on"),
        (' operator="not"', "", "nothing to operate on"),
        ("", '<Confidence rating="low"/>', "nothing to operate on"),
    ],
)
def test_expressions(attributes: str, inside: str, expected: str) -> None:
    found = told(indicators(indicator(EXPRESSION.format(attributes, inside))))
    if expected:
        assert [expected in message for _, message in found] == [True]
    else:
        assert found == []


# Rules look at what is not valid by the schema, too


@given(st.data())
def test_rules_expect_nothing(data: st.DataObject) -> None:
    """Whatever is missing, doubled or at another place: problems, but no exception."""
    sources = [source for source, _ in REFERENCES.values()] + [
        hashes("file-pe-iat"),
        bulk("file-hash"),
        listed("1,2", ">", "3", document=document_v2),
        listed("1,2", ">", "3", document=document_v1),
    ]
    tree = iodef.parse(data.draw(st.sampled_from(sources)).encode())
    elements = list(tree.getroot().iter())[1:]
    for _ in range(data.draw(st.integers(1, 4))):
        element = data.draw(st.sampled_from(elements))
        parent = element.getparent()
        action = data.draw(st.sampled_from(["drop", "empty", "move", "attributes", "text", "value"]))
        if action == "drop" and parent is not None:
            parent.remove(element)
        elif action == "empty":
            del element[:]
            element.text = None
        elif action == "move":
            other = data.draw(st.sampled_from(elements))
            if element not in (other, *other.iterancestors()):
                other.append(element)
        elif action == "attributes":
            element.attrib.clear()
        elif action == "text":
            element.text = data.draw(st.text("0123456789-, a\u0661", max_size=5))
        else:
            for name in element.attrib:
                element.set(name, data.draw(st.sampled_from(["", " ", "x", "ext-value", "9" * 30])))
    assert all(problem.path.startswith("/IODEF-Document") for problem in iodef.validate(tree))


# Work


def many(kind: str, number: int) -> bytes:
    """Documents of which a part is there so many times."""
    each = range(number)
    observed = "".join(indicator(named(f"o{n}"), f"i{n}") for n in each)
    match kind:
        case "references to indicators":
            inside = observed + "".join(indicator(f'<IndicatorReference uid-ref="i{n}"/>', f"j{n}") for n in each)
        case "references to observables":
            inside = observed + "".join(indicator(f'<ObservableReference uid-ref="o{n}"/>', f"j{n}") for n in each)
        case "references to nothing":
            inside = observed + "".join(indicator(f'<ObservableReference uid-ref="x{n}"/>', f"j{n}") for n in each)
        case "references in one indicator":
            references = "".join(f'<IndicatorReference uid-ref="i{n}"/>' for n in each)
            inside = observed + indicator(EXPRESSION.format("", references), "j")
        case "indicators of one name":
            inside = "".join(indicator(OBSERVABLE, "same") for n in each)
        case _:
            return _others(kind, number).encode()
    return indicators(inside).encode()


def _others(kind: str, number: int) -> str:
    ports = system(service("<Portlist>80</Portlist>"))
    target = system(service("<Portlist>80</Portlist>"), "target")
    wrong = '<Contact role="zz" type="person"><ContactName>A</ContactName></Contact>'
    return {
        "port lists of sources": lambda: flow(ports * number, target),
        "port lists of targets": lambda: flow(ports, target * number),
        "port lists of both": lambda: flow(ports * number, target * number),
        "port lists that are wrong": lambda: flow(ports * number, target.replace("80", "80,81") * number),
        "port lists in one system": lambda: flow(system(service("<Portlist>1</Portlist>") * number), target),
        "wrong contacts": lambda: document_v2(after=wrong * number),
        "wrong languages": lambda: document_v2('<Description xml:lang="!!"/>' * number),
        "wrong extensions": lambda: document_v2(after=extension("x", "integer") * number),
        "the same identifier": lambda: document_v2(
            after='<EventData observable-id="a"><Description/></EventData>' * number
        ),
        "wrong extended attributes": lambda: document_v2(after=wrong.replace('"zz"', '"ext-value"') * number),
        "foreign types": lambda: document_v2(
            after=extension(f'<a xmlns="u" xmlns:i="{XSI}" i:type="x"/>') * number
        ),
        "elements out of order": lambda: document_v2(after="<Description/>" * number),
        "empty incidents": lambda: document_v2().replace("</Incident>", "</Incident>" + "<Incident/>" * number),
        "hashes": lambda: record("<FileData>" + "".join(
            f'<File><HashData scope="file-pe-iat"><Hash>{DIGEST}</Hash></HashData></File>' for _ in range(number)
        ) + "</FileData>"),
        "extensions": lambda: document_v2(after=extension("1", "integer") * number),
    }[kind]()  # fmt: skip


KINDS = [
    "references to indicators", "references to observables", "references to nothing", "references in one indicator",
    "indicators of one name", "port lists of sources", "port lists of targets", "port lists of both",
    "port lists that are wrong", "port lists in one system", "wrong contacts", "wrong languages", "wrong extensions",
    "the same identifier", "wrong extended attributes", "foreign types", "elements out of order", "empty incidents",
    "hashes", "extensions",
]  # fmt: skip
SMALL = 750
FACTOR = 4


def cost(source: bytes) -> float:
    """Processor time of a check, without that of a garbage collector who looks at everything else."""
    gc.disable()
    try:
        start = time.process_time()
        with suppress(iodef.Invalid):
            iodef.check(source)
        return time.process_time() - start
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_work_grows_with_the_document(kind: str) -> None:
    """Four times as much takes four times as long, not sixteen times; the best of some attempts decides."""
    small, large = (many(kind, number) for number in (SMALL, SMALL * FACTOR))
    cost(small)
    least = min(cost(small) for _ in range(3))
    most = FACTOR * 2.25
    assert any(cost(large) < most * least + 0.002 for _ in range(6))
