"""The rules of RFC 7970 and RFC 5070 that a schema cannot say; each names its section.

A rule looks at one element and yields what breaks it. Elements of documents that break the schema come here, too: a
rule must not expect anything. `grid.iodef.rules` knows which rules hold for which element.
"""

from __future__ import annotations

import binascii
import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from lxml import etree

from grid.iodef.names import PREFIXES, V2, local, split
from grid.iodef.types import PortList
from grid.iodef.wording import shown


class Broken(NamedTuple):
    """A rule is broken here; `attribute` is empty when it is the element itself."""

    element: etree._Element
    attribute: str
    message: str


Rule = Callable[[etree._Element], Sequence[Broken]]
"""Mostly it finds nothing, and is fast then."""

NOTHING: tuple[Broken, ...] = ()

EXT = "ext-value"
HIGHEST_PORT = 65535

_OBSERVABLE = etree.XPath("descendant-or-self::*[normalize-space(@observable-id) = $id]")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_PORTS = re.compile(r"\+?\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*", re.ASCII)
_DATE_TIME = re.compile(r"(-?\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|-?INF|NaN", re.ASCII)


def _name(element: etree._Element) -> str:
    return local(str(element.tag))


def _value(element: etree._Element, attribute: str) -> str:
    return (element.get(attribute) or "").strip()


def _found(element: etree._Element, what: str, attribute: str = "") -> list[Broken]:
    return [Broken(element, attribute, f"found {what}")]


def _part(element: etree._Element, name: str) -> etree._Element | None:
    return element.find(f"{{{split(str(element.tag))[0]}}}{name}")


_RAW = f"{{{PREFIXES['sci']}}}RawData"

EXTENSIBLE = frozenset(
    {"action", "category", "domain-status", "dtype", "duration", "metric", "offsetunit", "operator"}
    | {"ownership", "purpose", "rating", "registry", "registryaction", "restriction", "role", "scope", "severity"}
    | {"source", "spec-name", "status", "system-status", "type", "unit"}
)
"""The attributes that have an ext- partner, here or there. None of them is free text anywhere."""


def extensions(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §5.1.1, RFC 5070 §5.1: an ext- attribute goes with ext-value, and ext-value with an ext- attribute."""
    found = []
    for key, value in element.attrib.items():
        name = str(key)
        if name == "dtype" and element.tag == _RAW:  # it has no partner
            continue
        partner = name.removeprefix("ext-")
        if name in EXTENSIBLE and value.strip() == EXT and not _value(element, f"ext-{name}"):
            found.append(
                Broken(element, name, f"found {EXT!r}; expected the value in the attribute ext-{name} as well")
            )
        if partner != name and partner in EXTENSIBLE and _value(element, partner) != EXT:
            found.append(Broken(element, name, f"found {name}; it is allowed only beside {partner}={EXT!r}"))
    return found


def _is(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text.strip()) is not None


def _base64(text: str) -> bool:
    try:
        binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date_time(text: str) -> bool:
    found = _DATE_TIME.fullmatch(text.strip())
    if found is None:
        return False
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    leap = year % 400 or 400  # years of four hundred are alike, and Python's calendar ends with 9999
    if not (1 <= month <= 12 and 1 <= day <= monthrange(leap, month)[1] and minute < 60 and second < 60):
        return False
    return hour < 24 or (hour == 24 and not minute and not second)


def _url(text: str) -> bool:
    try:
        urlsplit(text.strip())
    except ValueError:
        return False
    return not re.search(r"\s", text.strip())


_FITS: dict[str, tuple[Callable[[str], bool], str]] = {
    "boolean": (lambda text: text.strip() in {"true", "false", "0", "1"}, "true or false"),
    "byte": (_base64, "base64"),
    "bytes": (_is(_HEX), "pairs of hexadecimal digits"),
    "character": (lambda text: len(text) == 1 or len(text.strip()) == 1, "one character"),
    "date-time": (_date_time, "a date and time like 2026-11-21T09:00:00Z"),
    "ntpstamp": (_date_time, "a date and time like 2026-11-21T09:00:00Z"),
    "integer": (_is(_INTEGER), "a whole number"),
    "portlist": (_is(_PORTS), "ports and ranges like 22,80,8000-8080"),
    "real": (_is(_REAL), "a number"),
    "file": (_base64, "base64"),
    "url": (_url, "a URL"),
    "frame": (_is(_HEX), "pairs of hexadecimal digits"),
    "packet": (_is(_HEX), "pairs of hexadecimal digits"),
    "ipv4-packet": (_is(_HEX), "pairs of hexadecimal digits"),
    "ipv6-packet": (_is(_HEX), "pairs of hexadecimal digits"),
}
"""What text of a dtype looks like; other texts are free."""


def typed_content(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.15.1, §2.16 and §5.2, RFC 5070 §3.6 and §5.2: an extension has the content that its dtype names."""
    dtype = element.get("dtype")
    if dtype == "string" and not len(element):
        return NOTHING
    dtype = (dtype or "string").strip()
    if dtype not in {"xml", EXT} and len(element):
        what = f"found an element; the content of {_name(element)} is of dtype {dtype!r}"
        return [Broken(element[0], "", what)]
    if dtype in _FITS and not _FITS[dtype][0](element.text or ""):
        return _found(element, f"{shown(element.text or '')}; expected {_FITS[dtype][1]} (dtype {dtype!r})")
    return NOTHING


def ports(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.9 and §3.20: ports are numbers that a port can have, ranges go upwards."""
    text = (element.text or "").strip()
    if text.isdecimal() and text.isascii() and len(text) < 5:
        return NOTHING
    if not _PORTS.fullmatch(text):
        if re.fullmatch(r"[-+\d,]+", text):  # anything else is for the schema to refuse
            return _found(element, f"{shown(text)}; expected ports from 0 to {HIGHEST_PORT}, in ASCII digits")
        return NOTHING
    for part in text.removeprefix("+").split(","):
        first, _, last = part.partition("-")
        if max(int(first), int(last or first)) > HIGHEST_PORT:
            return _found(element, f"{shown(part)}; expected ports from 0 to {HIGHEST_PORT}")
        if last and int(last) < int(first):
            return _found(element, f"{shown(part)}; expected the lower port first")
    return NOTHING


def port_pairs(portlist: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.20, RFC 5070 §3.17: the ports of source and target correspond one by one."""
    system = portlist.getparent()
    system = system.getparent() if system is not None else None
    flow = system.getparent() if system is not None else None
    if system is None or flow is None or _name(flow) != "Flow" or _value(system, "category") != "source":
        return NOTHING
    lists: dict[str, list[etree._Element]] = {"source": [], "target": []}
    systems = {"source": 0, "target": 0}
    for each in flow:
        category = _value(each, "category")
        if category in lists:
            systems[category] += 1
            lists[category] += each.iter(str(portlist.tag))
    if not lists["target"] or lists["source"][0] is not portlist:
        return NOTHING
    ours, theirs = (sum(_ports_in(found) for found in lists[side]) for side in ("source", "target"))
    if 0 < ours != theirs:
        return _found(portlist, f"{ours} ports; expected as many as the target of the Flow lists: {theirs}")
    if ours > 1 and max(systems.values()) > 1:
        return _found(
            portlist, f"{ours} ports that correspond to others; expected one source and one target in the Flow"
        )
    return NOTHING


def _ports_in(portlist: etree._Element) -> int:
    try:
        return sum(last - first + 1 for first, last in PortList((portlist.text or "").strip()).ranges)
    except ValueError:
        return 0


def pattern(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.22.2, RFC 5070 §3.19.2: a binary pattern is written in hexadecimal digits."""
    if _value(element, "type") != "binary" or _FITS["bytes"][0](element.text or ""):
        return NOTHING
    return _found(element, f"{shown(element.text or '')}; expected {_FITS['bytes'][1]} (type 'binary')")


def confidence(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.12.5, RFC 5070 §3.10.4: a number when the rating is numeric, otherwise nothing."""
    numeric = _value(element, "rating") == "numeric"
    text = (element.text or "").strip()
    if numeric and not text:
        return [Broken(element, "", "Confidence is empty; with rating 'numeric' expected a number")]
    if text and not numeric:
        return _found(element, f"{shown(text)}; expected nothing, because the rating is not 'numeric'")
    return NOTHING


def private(root: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.1: private-enum-id goes with private-enum-name."""
    if root.get("private-enum-id") is None or _value(root, "private-enum-name"):
        return NOTHING
    return _found(root, "private-enum-id; expected private-enum-name as well", "private-enum-id")


def custom_software(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.15.1: a custom specification says of what data type it is."""
    if _value(element, "spec-name") == "custom" and element.get("dtype") is None:
        return _found(element, "spec-name 'custom'; expected the attribute dtype as well")
    return NOTHING


def course_of_action(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.13.1 and §3.15: the action defined-coa refers to a course of action."""
    if _value(element, "action") == "defined-coa" and _part(element, "DefinedCOA") is None:
        return _found(element, "'defined-coa'; expected a DefinedCOA in this element as well", "action")
    return NOTHING


_NUMBERED = ("Port", "Portlist", "ProtoCode", "ProtoType", "ProtoField")


def protocol(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.20: ports and codes mean something with a protocol only."""
    if element.get("ip-protocol") is not None:
        return NOTHING
    numbered = next((name for name in _NUMBERED if _part(element, name) is not None), None)
    if numbered is None:
        return NOTHING
    return _found(element, f"{numbered} without the attribute ip-protocol; it is required with it")


_TARGETED = frozenset({"file-pe-section", "file-pe-resource", "file-pdf-object"})


def hashed(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.26: what has been hashed is named, and with which tool where that matters."""
    scope = _value(element, "scope")
    if scope in _TARGETED and _part(element, "HashTargetID") is None:
        return _found(element, f"{shown(scope)}; expected a HashTargetID in this element as well", "scope")
    if scope != "file-pe-iat":
        return NOTHING
    hashes = (part for part in element if _name(part) in {"Hash", "FuzzyHash"})
    what = "found no Application; expected the tool, because the scope is 'file-pe-iat'"
    return [Broken(part, "", what) for part in hashes if _part(part, "Application") is None]


def bulk(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.29.3.1: a list of hashes says of which kind they are."""
    if _value(element, "type") != "file-hash":
        return NOTHING
    form = _part(element, "BulkObservableFormat")
    if form is not None and _part(form, "Hash") is not None:
        return NOTHING
    return _found(element, "'file-hash'; expected a Hash in BulkObservableFormat as well", "type")


def reference(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.14, §3.29.6 and §3.29.7: a reference names something of this document."""
    observable = _name(element) == "ObservableReference"
    uid = element.get("uid-ref")
    if uid is None:
        if observable or element.get("euid-ref") is not None:
            return NOTHING
        return _found(element, "neither uid-ref nor euid-ref; expected one of them")
    root = element.getroottree().getroot()
    if _OBSERVABLE(root, id=uid.strip()):
        return NOTHING
    indicators = root.iter(f"{{{V2}}}IndicatorID")
    if not observable and any((found.text or "").strip() == uid.strip() for found in indicators):
        return NOTHING
    what = "an observable-id" if observable else "an indicator"
    return _found(element, f"{shown(uid)}; expected {what} of this document", "uid-ref")


def distinct(indicators: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.14 and §3.29.1: an IndicatorID identifies one indicator of the document."""
    seen: set[str] = set()
    found: list[Broken] = []
    for indicator in indicators.iterfind(f"{{{V2}}}Indicator"):
        identifier = _part(indicator, "IndicatorID")
        text = (identifier.text or "").strip() if identifier is not None else ""
        if identifier is not None and text in seen:
            found += _found(identifier, f"{shown(text)} a second time; expected an identifier of its own")
        seen.add(text)
    return found


_OPERANDS = ("IndicatorExpression", "Observable", "ObservableReference", "IndicatorReference")


def expression(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.29.5: no algebraic expression that is none."""
    operands = sum(1 for part in element if _name(part) in _OPERANDS)
    if not len(element):
        return _found(element, f"nothing to operate on; expected one of: {', '.join(_OPERANDS)}")
    if operands > 1 and _value(element, "operator") == "not":
        return _found(element, f"'not' with {operands} operands; expected one", "operator")
    return NOTHING
