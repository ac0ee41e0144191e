"""The rules of RFC 7970 and RFC 5070 that a schema cannot say; each names its section.

A rule looks at one element and yields what breaks it. Elements of documents that break the schema come here, too: a
rule must not expect anything. `grid.iodef.rules` knows which rules hold for which element.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import NamedTuple

from lxml import etree

from grid.iodef.content import FITS, PORTS
from grid.iodef.names import PREFIXES, V2, local, split
from grid.iodef.text import BLANKS, EXT_VALUE
from grid.iodef.wording import shown


class Broken(NamedTuple):
    """A rule is broken here; `attribute` is empty when it is the element itself."""

    element: etree._Element
    attribute: str
    message: str


Rule = Callable[[etree._Element], Sequence[Broken]]
"""Mostly it finds nothing, and is fast then."""

NOTHING: tuple[Broken, ...] = ()

HIGHEST_PORT = 65535
HIGHEST_PROTOCOL = 255

_OBSERVABLE = etree.XPath(f"descendant-or-self::*[@observable-id][namespace-uri() = '{V2}']")


def _name(element: etree._Element) -> str:
    return local(str(element.tag))


def _value(element: etree._Element, attribute: str) -> str:
    return (element.get(attribute) or "").strip(BLANKS)


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
        if name in EXTENSIBLE and value.strip(BLANKS) == EXT_VALUE and not _value(element, f"ext-{name}"):
            found.append(
                Broken(element, name, f"found {EXT_VALUE!r}; expected the value in the attribute ext-{name} as well")
            )
        if partner != name and partner in EXTENSIBLE and _value(element, partner) != EXT_VALUE:
            found.append(Broken(element, name, f"found {name}; it is allowed only beside {partner}={EXT_VALUE!r}"))
    return found


def typed_content(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.15.1, §2.16 and §5.2, RFC 5070 §3.6 and §5.2: an extension has the content that its dtype names."""
    dtype = element.get("dtype")
    if dtype == "string" and not len(element):
        return NOTHING
    dtype = (dtype or "string").strip()
    if dtype not in {"xml", EXT_VALUE} and len(element):
        what = f"found an element; the content of {_name(element)} is of dtype {dtype!r}"
        return [Broken(element[0], "", what)]
    if dtype in FITS and not FITS[dtype][0](element.text or ""):
        return _found(element, f"{shown(element.text or '')}; expected {FITS[dtype][1]} (dtype {dtype!r})")
    return NOTHING


def ports(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §2.9 and §3.20, RFC 5070 §2.10: ports are numbers that a port can have, ranges go upwards."""
    text = (element.text or "").strip(BLANKS)
    if not PORTS.fullmatch(text):
        if re.fullmatch(r"[-\d,]+", text):  # anything else is for the schema to refuse
            return _found(element, f"{shown(text)}; expected ports from 0 to {HIGHEST_PORT}, in ASCII digits")
        return NOTHING
    for part in text.split(","):
        first, last = _range(part)
        if max(first, last) > HIGHEST_PORT:
            return _found(element, f"{shown(part)}; expected ports from 0 to {HIGHEST_PORT}")
        if last < first:
            return _found(element, f"{shown(part)}; expected the lower port first")
    return NOTHING


def _range(part: str) -> tuple[int, int]:
    """First and last port; one that has too many digits for a port is above the highest."""
    ends = (number.lstrip("0") for number in part.split("-"))
    first, *last = (int(number or 0) if len(number) <= 5 else HIGHEST_PORT + 1 for number in ends)
    return first, last[0] if last else first


def port_pairs(portlists: Sequence[etree._Element]) -> Iterator[Broken]:
    """RFC 7970 §3.20, RFC 5070 §3.17: the ports of source and target correspond one by one.

    :param portlists: of a document, in its order.
    """
    flows: dict[etree._Element, list[tuple[etree._Element, etree._Element]]] = {}
    for portlist in portlists:
        service, system, flow = islice(chain(portlist.iterancestors(), repeat(None)), 3)
        within = [_name(each) if each is not None else "" for each in (service, system, flow)]
        if system is not None and flow is not None and within == ["Service", "System", "Flow"]:
            flows.setdefault(flow, []).append((portlist, system))
    for flow, listed in flows.items():
        yield from _pairs_of(flow, listed)


def _pairs_of(flow: etree._Element, listed: list[tuple[etree._Element, etree._Element]]) -> Iterator[Broken]:
    counts = {
        side: {portlist: _count(portlist) for portlist, system in listed if _value(system, "category") == side}
        for side in ("source", "target")
    }
    if not counts["source"] or not counts["target"]:
        return
    theirs = next(iter(counts["target"].values()))
    for portlist, ours in (*counts["source"].items(), *counts["target"].items()):
        if ours and theirs and ours != theirs:
            what = (
                f"{ours} {'port' if ours == 1 else 'ports'}; expected as many as a target of the Flow lists: {theirs}"
            )
            yield from _found(portlist, what)
    if theirs > 1 and split(str(flow.tag))[0] == V2:
        systems = [_value(system, "category") for system in flow]
        if systems.count("source") > 1 or systems.count("target") > 1:
            first = next(iter(counts["source"]))
            what = f"{theirs} ports that correspond to others; expected one source and one target in the Flow"
            yield from _found(first, what)


def _count(portlist: etree._Element) -> int:
    text = (portlist.text or "").strip(BLANKS)
    if not PORTS.fullmatch(text):
        return 0
    return sum(max(0, last - first + 1) for first, last in map(_range, text.split(",")))


def pattern(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.22.2, RFC 5070 §3.19.2: a binary pattern is written in hexadecimal digits."""
    if _value(element, "type") != "binary" or FITS["bytes"][0](element.text or ""):
        return NOTHING
    return _found(element, f"{shown(element.text or '')}; expected {FITS['bytes'][1]} (type 'binary')")


def confidence(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.12.5, RFC 5070 §3.10.4: a number when the rating is numeric, otherwise nothing."""
    numeric = _value(element, "rating") == "numeric"
    text = (element.text or "").strip(BLANKS)
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
    """RFC 7970 §3.20: ports and codes mean something with a protocol only; it is a number of IANA's registry."""
    number = element.get("ip-protocol")
    if number is not None:
        if number.isdecimal() and len(number) < 3:
            return NOTHING
        known = re.fullmatch(r"\+?0*(\d{1,3})", number.strip(BLANKS))
        if known and int(known[1]) <= HIGHEST_PROTOCOL:
            return NOTHING
        return _found(element, f"{shown(number)}; expected a protocol from 0 to {HIGHEST_PROTOCOL}", "ip-protocol")
    numbered = next((name for name in _NUMBERED if _part(element, name) is not None), None)
    if numbered is None:
        return NOTHING
    return _found(element, f"{numbered} without the attribute ip-protocol; it is required with it")


_TARGETED = frozenset({"file-pe-section", "file-pe-resource", "file-pdf-object"})


def hashed(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.26: what has been hashed is named, and with which tool where that matters."""
    scope = _value(element, "scope")
    target = _part(element, "HashTargetID")
    if scope in _TARGETED and (target is None or not (target.text or "").strip(BLANKS)):
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


def references(pointers: Sequence[etree._Element]) -> Iterator[Broken]:
    """RFC 7970 §2.14, §3.29.6 and §3.29.7: a reference names something of this document.

    :param pointers: ObservableReference and IndicatorReference of a document.
    """
    root = pointers[0].getroottree().getroot()
    indicators = {(found.text or "").strip(BLANKS) for found in root.iter(f"{{{V2}}}IndicatorID")}
    observables = {_value(found, "observable-id") for found in _OBSERVABLE(root)}
    for element in pointers:
        uid = element.get("uid-ref")
        observable = _name(element) == "ObservableReference"
        if uid is None and not observable and not _value(element, "euid-ref"):
            yield from _found(element, "neither uid-ref nor euid-ref; expected one of them")
        if uid is not None and uid.strip(BLANKS) not in (observables if observable else indicators):
            what = "an observable-id" if observable else "an IndicatorID"
            yield from _found(element, f"{shown(uid)}; expected {what} of this document", "uid-ref")


def distinct(root: etree._Element, *, attributes: bool = False) -> Iterator[Broken]:
    """RFC 7970 §2.14, §3.3.2 and §3.29.1: observable-id and IndicatorID each identify one thing of the document.

    :param attributes: look also whether an observable-id repeats another; libxml2 does, when it validates a tree.
    """
    seen: set[str] = set()
    for element in _OBSERVABLE(root):
        text = _value(element, "observable-id")
        if attributes and text in seen:
            yield from _found(element, f"{shown(text)} a second time; {_OWN}", "observable-id")
        seen.add(text)
    for indicator in root.iter(f"{{{V2}}}Indicator"):
        identifier = _part(indicator, "IndicatorID")
        text = (identifier.text or "").strip(BLANKS) if identifier is not None else ""
        if identifier is not None and text in seen:
            yield from _found(identifier, f"{shown(text)} a second time; {_OWN}")
        seen.add(text)


_OWN = "expected an identifier of its own"


_OPERANDS = ("IndicatorExpression", "Observable", "ObservableReference", "IndicatorReference")


def expression(element: etree._Element) -> Sequence[Broken]:
    """RFC 7970 §3.29.5: no algebraic expression that is none."""
    operands = sum(1 for part in element if _name(part) in _OPERANDS)
    if not operands and _part(element, "AdditionalData") is None:
        return _found(element, f"nothing to operate on; expected one of: {', '.join(_OPERANDS)}")
    if operands > 1 and _value(element, "operator") == "not":
        return _found(element, f"'not' with {operands} operands; expected one", "operator")
    return NOTHING
