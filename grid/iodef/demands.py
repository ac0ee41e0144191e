"""The rules of RFC 7970 and RFC 5070 that a schema cannot say; each names its section.

A rule looks at a whole document and yields what breaks it. Documents that break the schema come here, too: a rule
must not expect anything.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lxml import etree

from grid.iodef.names import V2, local, split
from grid.iodef.wording import shown

Elements = Iterator[etree._Element]


class Broken(NamedTuple):
    """A rule is broken here."""

    element: etree._Element
    attribute: str
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    :ivar words: a source in ASCII that has none of them does not break it.
    :ivar look: finds what breaks it.
    """

    words: tuple[bytes, ...]
    look: Callable[[etree._Element], Iterator[Broken]]


EXT = "ext-value"
HIGHEST_PORT = 65535

_EXTENDED = etree.XPath("descendant-or-self::*[@*[. = 'ext-value' or starts-with(local-name(), 'ext-')]]")
_TYPED = etree.XPath("descendant-or-self::*[@dtype]")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_PORTS = re.compile(r"\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*", re.ASCII)
_DATE_TIME = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|-?INF|NaN", re.ASCII)


def _of_iodef(elements: list[etree._Element], root: etree._Element) -> Elements:
    """Those in the namespace of the document: extensions have attributes of their own."""
    namespace = split(str(root.tag))[0]
    return (element for element in elements if split(str(element.tag))[0] == namespace)


def _named(root: etree._Element, *names: str) -> Elements:
    namespace = split(str(root.tag))[0]
    return root.iter(*(f"{{{namespace}}}{name}" for name in names))


def _part(element: etree._Element, name: str) -> etree._Element | None:
    return element.find(f"{{{split(str(element.tag))[0]}}}{name}")


# Both versions


def _extensions(root: etree._Element) -> Iterator[Broken]:
    """RFC 7970 §5.1.1, RFC 5070 §5.1: an ext- attribute goes with ext-value, and ext-value with an ext- attribute."""
    for element in _of_iodef(_EXTENDED(root), root):
        for key, value in element.attrib.items():
            name = str(key)
            if value.strip() == EXT and not (element.get(f"ext-{name}") or "").strip():
                yield Broken(
                    element, name, f"found 'ext-value'; expected the value in the attribute ext-{name} as well"
                )
            partner = name.removeprefix("ext-")
            if partner != name and (element.get(partner) or "").strip() != EXT:
                yield Broken(element, name, f"found {name}; it is allowed only beside {partner}='ext-value'")


def _is(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text.strip()) is not None


def _base64(text: str) -> bool:
    try:
        binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


_FITS: dict[str, tuple[Callable[[str], bool], str]] = {
    "boolean": (lambda text: text.strip() in {"true", "false", "0", "1"}, "true or false"),
    "byte": (_base64, "base64"),
    "bytes": (_is(_HEX), "pairs of hexadecimal digits"),
    "character": (lambda text: len(text) == 1 or len(text.strip()) == 1, "one character"),
    "date-time": (_is(_DATE_TIME), "a date and time like 2026-11-21T09:00:00Z"),
    "ntpstamp": (_is(_DATE_TIME), "a date and time like 2026-11-21T09:00:00Z"),
    "integer": (_is(_INTEGER), "a whole number"),
    "portlist": (_is(_PORTS), "ports and ranges like 22,80,8000-8080"),
    "real": (_is(_REAL), "a number"),
    "file": (_base64, "base64"),
    "frame": (_is(_HEX), "pairs of hexadecimal digits"),
    "packet": (_is(_HEX), "pairs of hexadecimal digits"),
    "ipv4-packet": (_is(_HEX), "pairs of hexadecimal digits"),
    "ipv6-packet": (_is(_HEX), "pairs of hexadecimal digits"),
}
"""What text of a dtype looks like; other texts are free."""

_FITS_V1 = {**_FITS, "bytes": (_base64, "base64"), "ntpstamp": (_is(re.compile(r".*", re.DOTALL)), "")}
"""RFC 5070 §3.6 differs: BYTE[] for bytes, and a time stamp of NTP."""


def _typed_content(root: etree._Element) -> Iterator[Broken]:
    """RFC 7970 §2.16 and §5.2, RFC 5070 §3.6 and §5.2: an extension has the content that its dtype names."""
    fits = _FITS if split(str(root.tag))[0] == V2 else _FITS_V1
    for element in _of_iodef(_TYPED(root), root):
        dtype = (element.get("dtype") or "").strip()
        if dtype not in {"xml", EXT} and len(element):
            yield Broken(
                element[0], "", f"found an element; the content of {local(str(element.tag))} is of dtype {dtype!r}"
            )
        elif dtype in fits and not fits[dtype][0](element.text or ""):
            yield Broken(
                element, "", f"found {shown(element.text or '')}; expected {fits[dtype][1]} (dtype {dtype!r})"
            )


def _ports(root: etree._Element) -> Iterator[Broken]:
    """RFC 7970 §2.9 and §3.20: ports are numbers that a port can have, ranges go upwards."""
    for element in _named(root, "Port", "Portlist"):
        text = (element.text or "").strip()
        if not _PORTS.fullmatch(text):
            if re.fullmatch(r"[+-]?\d+", text):
                yield Broken(element, "", f"found {shown(text)}; expected a port from 0 to {HIGHEST_PORT}")
            continue
        for part in text.split(","):
            first, _, last = part.partition("-")
            if int(last or first) > HIGHEST_PORT or int(first) > HIGHEST_PORT:
                yield Broken(element, "", f"found {shown(part)}; expected ports from 0 to {HIGHEST_PORT}")
            elif last and int(last) < int(first):
                yield Broken(element, "", f"found {shown(part)}; expected the lower port first")


_IDENTIFYING = (
    "IncidentID", "IndicatorID", "EmailTo", "PAddress", "TelephoneNumber", "Address", "Name", "Server", "KeyName",
    "BulkObservableList",
)  # fmt: skip
"""Elements that are there for their text."""


def _empty_text(root: etree._Element) -> Iterator[Broken]:
    """RFC 7970 §3.4, RFC 5070 §3.3 and others: a text that is required says something."""
    for element in _named(root, *_IDENTIFYING):
        if not (element.text or "").strip() and not len(element):
            yield Broken(element, "", f"{local(str(element.tag))} is empty; expected text")
        if (element.get("name") or "-").strip() == "":
            yield Broken(element, "name", "the name is empty; expected the domain name of the CSIRT")


def _confidence(root: etree._Element) -> Iterator[Broken]:
    """RFC 7970 §3.12.5, RFC 5070 §3.10.4: a number when the rating is numeric, otherwise nothing."""
    for element in _named(root, "Confidence"):
        numeric = (element.get("rating") or "").strip() == "numeric"
        text = (element.text or "").strip()
        if numeric and not text:
            yield Broken(element, "", "Confidence is empty; with rating 'numeric' expected a number")
        elif text and not numeric:
            yield Broken(element, "", f"found {shown(text)}; expected nothing, because the rating is not 'numeric'")


COMMON = (
    Rule((b"ext-",), _extensions),
    Rule((b"dtype",), _typed_content),
    Rule((b"Port",), _ports),
    Rule((b"IncidentID",), _empty_text),
    Rule((b"Confidence",), _confidence),
)


# RFC 7970 alone


def _private(root: etree._Element) -> Iterator[Broken]:
    """§3.1: private-enum-id goes with private-enum-name."""
    if root.get("private-enum-id") is not None and not (root.get("private-enum-name") or "").strip():
        yield Broken(root, "private-enum-id", "found private-enum-id; expected private-enum-name as well")


def _custom_software(root: etree._Element) -> Iterator[Broken]:
    """§2.15.1: a custom specification says of what data type it is."""
    for element in _named(root, "SoftwareReference"):
        if (element.get("spec-name") or "").strip() == "custom" and element.get("dtype") is None:
            yield Broken(element, "", "found spec-name 'custom'; expected the attribute dtype as well")


def _courses_of_action(root: etree._Element) -> Iterator[Broken]:
    """§3.13.1 and §3.15: the action defined-coa refers to a course of action."""
    for element in _named(root, "HistoryItem", "Expectation"):
        if (element.get("action") or "").strip() == "defined-coa" and _part(element, "DefinedCOA") is None:
            yield Broken(element, "action", "found 'defined-coa'; expected a DefinedCOA in this element as well")


def _nameservers(root: etree._Element) -> Iterator[Broken]:
    """§3.19.1: a nameserver has an IP address."""
    for server in _named(root, "Nameservers"):
        for element in _named(server, "Address"):
            category = (element.get("category") or "").strip()
            if category not in {"ipv4-addr", "ipv6-addr", ""}:
                yield Broken(element, "category", f"found {shown(category)}; expected ipv4-addr or ipv6-addr")


_NUMBERED = ("Port", "Portlist", "ProtoCode", "ProtoType", "ProtoField")


def _protocols(root: etree._Element) -> Iterator[Broken]:
    """§3.20: ports and codes mean something with a protocol only."""
    for element in _named(root, "Service"):
        if element.get("ip-protocol") is None:
            found = next((name for name in _NUMBERED if _part(element, name) is not None), None)
            if found is not None:
                yield Broken(element, "", f"found {found} without the attribute ip-protocol; it is required with it")


def _headers(root: etree._Element) -> Iterator[Broken]:
    """§3.20.2 and §3.21: a field of a header has a name; that of an email is a string."""
    for element in _named(root, "ApplicationHeaderField", "EmailHeaderField"):
        if not (element.get("name") or "").strip():
            yield Broken(element, "", "found no name; expected the name of the header field in the attribute name")
        if local(str(element.tag)) == "EmailHeaderField" and (element.get("dtype") or "string").strip() != "string":
            yield Broken(element, "dtype", f"found {shown(element.get('dtype') or '')}; expected 'string'")


_TARGETED = frozenset({"file-pe-section", "file-pe-resource", "file-pdf-object"})


def _hashes(root: etree._Element) -> Iterator[Broken]:
    """§3.26: what has been hashed is named, and with which tool where that matters."""
    for element in _named(root, "HashData"):
        scope = (element.get("scope") or "").strip()
        if scope in _TARGETED and _part(element, "HashTargetID") is None:
            yield Broken(element, "scope", f"found {shown(scope)}; expected a HashTargetID in this element as well")
        if scope == "file-pe-iat":
            for hashed in element:
                if local(str(hashed.tag)) in {"Hash", "FuzzyHash"} and _part(hashed, "Application") is None:
                    yield Broken(
                        hashed, "", "found no Application; expected the tool, because the scope is 'file-pe-iat'"
                    )


def _bulk_hashes(root: etree._Element) -> Iterator[Broken]:
    """§3.29.3.1: a list of hashes says of which kind they are."""
    for element in _named(root, "BulkObservable"):
        if (element.get("type") or "").strip() == "file-hash":
            form = _part(element, "BulkObservableFormat")
            if form is None or _part(form, "Hash") is None:
                yield Broken(element, "type", "found 'file-hash'; expected a Hash in BulkObservableFormat as well")


def _references(root: etree._Element) -> Iterator[Broken]:
    """§2.14, §3.29.6 and §3.29.7: a reference names something of this document."""
    references = [*_named(root, "ObservableReference", "IndicatorReference")]
    if not references:
        return
    known = {str(value).strip() for value in root.xpath("descendant-or-self::*/@observable-id")}  # type: ignore[union-attr]
    indicators = {(element.text or "").strip() for element in _named(root, "IndicatorID")}
    for element in references:
        observable = local(str(element.tag)) == "ObservableReference"
        uid = element.get("uid-ref")
        if uid is None and not observable and element.get("euid-ref") is None:
            yield Broken(element, "", "found neither uid-ref nor euid-ref; expected one of them")
        if uid is not None and uid.strip() not in (known if observable else known | indicators):
            what = "an observable-id" if observable else "an indicator"
            yield Broken(element, "uid-ref", f"found {shown(uid)}; expected {what} of this document")


_OPERANDS = ("IndicatorExpression", "Observable", "ObservableReference", "IndicatorReference")


def _expressions(root: etree._Element) -> Iterator[Broken]:
    """§3.29.5: no algebraic expression that is none."""
    for element in _named(root, "IndicatorExpression"):
        operands = sum(1 for part in element if local(str(part.tag)) in _OPERANDS)
        if not operands and element.find("*") is None:
            yield Broken(element, "", f"found nothing to operate on; expected one of: {', '.join(_OPERANDS)}")
        elif operands > 1 and (element.get("operator") or "").strip() == "not":
            yield Broken(element, "operator", f"found 'not' with {operands} operands; expected one")


OF_V2 = (
    Rule((b"private-enum-id",), _private),
    Rule((b"custom",), _custom_software),
    Rule((b"defined-coa",), _courses_of_action),
    Rule((b"Nameservers",), _nameservers),
    Rule((b"Port", b"Proto"), _protocols),
    Rule((b"HeaderField",), _headers),
    Rule((b"file-p",), _hashes),
    Rule((b"file-hash",), _bulk_hashes),
    Rule((b"Reference",), _references),
    Rule((b"IndicatorExpression",), _expressions),
)
