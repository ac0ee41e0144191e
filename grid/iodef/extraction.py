"""From the tree of an incident to what `grid.iodef.attributes` tells of it, as fast as lxml allows.

A look at an element costs 50 ns, its name or one of its attributes 100 ns, and the parse of a document of 1 kB 7 µs.
So an element is asked for its name only when it has children, `getchildren` is used because iterating costs twice,
and of many elements libxml2 picks those that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from lxml import etree

from grid.iodef.names import V1, V2, clark
from grid.iodef.networks import INTERNET

Fields: TypeAlias = tuple[Any, ...]
"""What there is to tell of an incident, in the order of the fields of `Attributes`."""

_Element: TypeAlias = Any  # etree._Element: lxml's stubs do not know all that is used here


def _names(name: str) -> frozenset[str]:
    return frozenset(clark(name, namespace) for namespace in (V2, V1))


INCIDENT, _IDENTIFIER, _EVENT, _SYSTEM, _NODE, _ADDRESS, _ADDITIONAL = map(
    _names, ("Incident", "IncidentID", "EventData", "System", "Node", "Address", "AdditionalData")
)
_JUDGED = {
    container: [clark(name, V1 if V1 in container else V2) for name in ("Assessment", "Method")]
    for container in INCIDENT | _EVENT
}
_CATEGORY = clark("IncidentCategory", V2)
_COUNTER = _names("Counter")
_DESCRIPTION = _names("Description")
_REFERENCE = _names("Reference")
_REFERENCE_NAME = frozenset((clark("enum:ReferenceName", ""), clark("ReferenceName", V1)))


_SOURCES = {
    clark(container, namespace): etree.XPath(
        "descendant::i:System[normalize-space(@category) = 'source']/i:Node/i:Address", namespaces={"i": namespace}
    )
    for namespace in (V2, V1)
    for container in ("Incident", "EventData", "Flow", "IndicatorData")
}
_RARE = {
    container: [clark(name, V1 if V1 in container else V2) for name in ("Nameservers", "AdditionalData")]
    for container in _SOURCES
}
_STRUCTURED = frozenset(clark(f"sci:{name}", "") for name in ("AttackPattern", "Vulnerability", "Weakness"))


_Found: TypeAlias = tuple[list[str], list[str], list[str], list[str], list[tuple[str, str]]]
"""Lists of severities, types, categories, methods and addresses, while they are gathered."""


def fields(incident: _Element) -> Fields:
    """What there is to tell of an Incident, of either version. It never fails."""
    purpose = incident.get("purpose", "").strip()
    if purpose == "ext-value":
        purpose = incident.get("ext-purpose", purpose).strip()
    restriction = incident.get("restriction", "private").strip()
    if restriction == "ext-value":
        restriction = incident.get("ext-restriction", restriction).strip()
    authority, number = _identifier(incident)
    found: _Found | None = None
    if len(incident) > _MANY:
        found = ([], [], [], [], [])
        _in_bulk(incident, found)
    else:
        for part in incident.getchildren():
            if len(part) and (take := _PARTS.get(part.tag)) is not None:
                if found is None:
                    found = ([], [], [], [], [])
                take(part, found)
    if found is None:
        return (authority, number, purpose, restriction, (), (), (), (), ())
    severities, types, categories, methods, addresses = found
    if len(severities) > 1 or len(types) > 1 or len(categories) > 1 or len(methods) > 1:
        severities, types, categories, methods = (list(dict.fromkeys(values)) for values in found[:4])
    lists = (tuple(severities), tuple(types), tuple(categories), tuple(methods), tuple(addresses))
    return (authority, number, purpose, restriction, *lists)


def _identifier(incident: _Element) -> tuple[str, str]:
    """Authority and number."""
    try:
        identifier = incident[0]
        return identifier.attrib["name"].strip(), (identifier.text or "").strip()
    except (IndexError, KeyError):  # not a valid document: IncidentID is not its first part
        found = next(incident.iterchildren(*_IDENTIFIER), None)
        return ("", "") if found is None else (found.get("name", "").strip(), (found.text or "").strip())


def _event(event: _Element, found: _Found) -> None:
    if len(event) > _MANY:
        _in_bulk(event, found)
        return
    for part in event.getchildren():
        if len(part) and (take := _PARTS.get(part.tag)) is not None:
            take(part, found)


def _flow(flow: _Element, found: _Found) -> None:
    if len(flow) > _MANY:
        _sources(flow, found[4])
        return
    for system in flow.getchildren():
        if system.get("category", "").strip() == "source" and len(system):
            _source(system, found[4])


_MANY = 12
"""From so many parts on it pays to let libxml2 look for the few that matter, at 1 µs for the question."""


def _in_bulk(container: _Element, found: _Found) -> None:
    """What `_PARTS` would find, for an Incident or EventData of many parts."""
    for part in container.iter(*_JUDGED[container.tag]):
        within = part.getparent()
        while within is not container and within.tag in _EVENT:
            within = within.getparent()
        if within is container:
            _PARTS[part.tag](part, found)
    _sources(container, found[4])


def _sources(container: _Element, addresses: list[tuple[str, str]]) -> None:
    """The addresses of every source system, wherever it is within."""
    tag = container.tag
    for part in container.iter(*_RARE[tag]):
        if len(part):
            _sources_with_care(container, addresses)
            return
    for address in _SOURCES[tag](container):
        category = address.get("category")
        addresses.append((category if category in INTERNET else _category(address), address.text or ""))


def _sources_with_care(container: _Element, addresses: list[tuple[str, str]]) -> None:
    """The same where there are name servers, which have addresses too, or extensions, which may hold anything."""
    for system in container.iter(*_SYSTEM):
        if system.get("category", "").strip() == "source":
            extension = next(system.iterancestors(*_ADDITIONAL), None)
            if extension is None:
                _source_in_full(system, addresses)


def _source(system: _Element, addresses: list[tuple[str, str]]) -> None:
    """The addresses within a system's Node, those of name servers included."""
    mark = len(addresses)
    for part in system[0].getchildren():
        category = part.get("category")
        if category not in INTERNET:
            break
        addresses.append((category, part.text or ""))
    else:
        if len(addresses) > mark:
            return
    del addresses[mark:]
    _source_in_full(system, addresses)


def _source_in_full(system: _Element, addresses: list[tuple[str, str]]) -> None:
    """The same for whatever `_source` finds to be out of the ordinary."""
    for node in system.iterchildren(*_NODE):
        addresses.extend([(_category(address), address.text or "") for address in node.iter(*_ADDRESS)])


def _category(address: _Element) -> str:
    category: str = address.get("category", "").strip()
    return address.get("ext-category", category) if category == "ext-value" else category


def _assessment(assessment: _Element, found: _Found) -> None:
    severities, types, categories, _, _ = found
    for part in assessment.getchildren():
        severity = part.get("severity")
        kind = part.get("type")
        if severity is not None:
            severities.append(_extended(part, "ext-severity", severity))
        elif kind is None:
            if part.tag == _CATEGORY:
                categories.append(" ".join((part.text or "").split()))
            continue
        elif part.tag in _COUNTER:  # its type is a unit
            continue
        if kind is not None:
            types.append(_extended(part, "ext-type", kind))


def _extended(part: _Element, name: str, value: str) -> str:
    """The value of an enumeration that may be extended by an attribute of this name."""
    value = value.strip()
    return part.get(name, value) if value == "ext-value" else value


def _assessment_v1(assessment: _Element, found: _Found) -> None:
    """In version 1.0 the type of an impact is what categorizes the incident (RFC 5070 §3.10.1, RFC 7970 §4.4)."""
    _, types, categories, _, _ = found
    before = len(types)
    _assessment(assessment, found)
    categories.extend(types[before:])


def _method(method: _Element, found: _Found) -> None:
    """Its identifiers, or its descriptions when it has none."""
    known: list[str | None] = []
    descriptions: list[str | None] = []
    for part in method.getchildren():
        tag = part.tag
        if tag in _REFERENCE:
            known += _references(part)
        elif tag in _DESCRIPTION:
            descriptions.append(part.text)
        elif tag in _STRUCTURED:
            known.append(part.get("ContentID"))
            for reference in part.iterchildren(*_REFERENCE):
                known += _references(reference)
    found[3].extend([" ".join(text.split()) for text in known or descriptions if text])


def _references(reference: _Element) -> list[str | None]:
    """The identifiers of a Reference: text of ReferenceName in version 1.0, of the ID within it in 2.0."""
    names = [part for part in reference.getchildren() if part.tag in _REFERENCE_NAME]
    return [name[0].text if len(name) else name.text for name in names]


def _indicators(indicators: _Element, found: _Found) -> None:
    _sources(indicators, found[4])


_PARTS: dict[str, Callable[[_Element, _Found], None]] = {
    **dict.fromkeys(_names("EventData"), _event),
    **dict.fromkeys(_names("Flow"), _flow),
    **dict.fromkeys(_names("Method"), _method),
    clark("Assessment", V2): _assessment,
    clark("Assessment", V1): _assessment_v1,
    clark("IndicatorData", V2): _indicators,
}
"""What is looked into, in an Incident and in an EventData."""
