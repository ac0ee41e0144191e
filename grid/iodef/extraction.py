"""From the tree of an incident to what `grid.iodef.attributes` tells of it, as fast as lxml allows.

A look at an element costs 50 ns, its name or one of its attributes 100 ns, and the parse of a document of 1 kB 7 µs.
So an element is asked for its name only when it has children, `getchildren` is used because iterating costs twice,
and of many elements libxml2 picks those that matter. Either way follows the same paths from class to class, those of
`INSIDE`; whatever else a document holds (extensions, classes in the wrong place) is not looked into. Trees may come
from other parsers too: with comments, processing instructions and references to entities, which have no children and
no attributes, and as deep as memory allows, so that nothing here calls itself.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from lxml import etree

from grid.iodef.names import V1, V2, clark
from grid.iodef.networks import INTERNET
from grid.iodef.text import BLANKS, EXT_VALUE

Fields: TypeAlias = tuple[Any, ...]
"""What there is to tell of an incident, in the order of the fields of `Attributes`."""

_Element: TypeAlias = Any  # etree._Element: lxml's stubs do not know all that is used here
_Addresses: TypeAlias = list[tuple[str, str]]
_Found: TypeAlias = tuple[list[str], list[str], list[str], list[str], _Addresses]
"""Lists of severities, types, categories, methods and addresses, while they are gathered."""

INSIDE: Final = {
    "Incident": ("EventData", "IndicatorData"),
    "EventData": ("Flow", "EventData"),
    "Flow": ("System",),
    "IndicatorData": ("Indicator",),
    "Indicator": ("Observable", "IndicatorExpression"),
    "IndicatorExpression": ("Observable", "IndicatorExpression"),
    "Observable": ("System", "EventData", "Incident"),
}
"""The ways to a System (RFC 7970; RFC 5070 has the first three): what a class holds that is one or leads to one."""

_SYSTEMS = {
    "Incident": "i:EventData/i:Flow/i:System",
    "EventData": "i:Flow/i:System",
    "Flow": "i:System",
    "IndicatorData": "i:Indicator/i:Observable/i:System",
}
"""Of those that may have many parts: where their systems stand as a rule."""

_ADDRESSES = "[normalize-space(@category) = 'source']/i:Node/*[self::i:Address or self::i:DomainData[i:Nameservers]]"
"""From systems to the addresses of those that are sources, and to domains that may have some."""

_ELSEWHERE = {
    "Incident": "i:EventData/i:EventData or i:IndicatorData/i:Indicator",
    "EventData": "i:EventData",
    "Flow": "false()",
    "IndicatorData": "i:Indicator/i:IndicatorExpression or i:Indicator/i:Observable/i:EventData"
    " or i:Indicator/i:Observable/i:Incident",
}
"""Whether there may be systems elsewhere."""

_MANY = 8
"""From so many parts on it pays to let libxml2 look for the few that matter, at 1 µs for the question."""

_STRUCTURED = frozenset(clark(f"sci:{name}", "") for name in ("AttackPattern", "Vulnerability", "Weakness"))


class _Version:
    """How incidents of one version are read."""

    def __init__(self, namespace: str) -> None:
        def name(local: str) -> str:
            return clark(local, namespace)

        self.first = namespace == V1
        self.identifier, self.event, self.flow, self.system, self.node, self.address = map(
            name, ("IncidentID", "EventData", "Flow", "System", "Node", "Address")
        )
        self.domain, self.servers = name("DomainData"), name("Nameservers")
        self.indicators, self.assessment, self.method = map(name, ("IndicatorData", "Assessment", "Method"))
        self.category = "" if self.first else name("IncidentCategory")
        self.counter = name("Counter")
        self.reference, self.description = name("Reference"), name("Description")
        self.reference_name = name("ReferenceName") if self.first else clark("enum:ReferenceName", "")
        self.reference_id = clark("enum:ID", "")
        self.inside = {name(outer): frozenset(map(name, inner)) for outer, inner in INSIDE.items()}
        self.parts = {
            self.event: self._of_event,
            self.method: self._of_method,
            self.assessment: self._of_assessment,
            self.indicators: self._of_indicators,
        }
        known: dict[str, Any] = {"namespaces": {"i": namespace}, "regexp": False}
        self.found = {
            name(outer): etree.XPath(f"self::*[not({_ELSEWHERE[outer]})]/{path}{_ADDRESSES}", **known)
            for outer, path in _SYSTEMS.items()
        }
        self.elsewhere = {name(outer): etree.XPath(question, **known) for outer, question in _ELSEWHERE.items()}

    def judge(self, parts: list[_Element]) -> _Found | None:
        """What the parts of an Incident say; None when they say nothing."""
        found: _Found | None = None
        known = self.parts
        for part in parts:
            if len(part) and (take := known.get(part.tag)) is not None:
                if found is None:
                    found = ([], [], [], [], [])
                take(part, found)
        return found

    def _of_event(self, event: _Element, found: _Found) -> None:
        """What an EventData and those within it say."""
        levels = [iter((event,))]
        while levels:
            for part in levels[-1]:
                if not len(part):
                    continue
                tag = part.tag
                if tag == self.flow:
                    self._of_flow(part, found[4])
                elif tag == self.event:
                    if len(part) > _MANY:
                        self.judge_many(part, found)
                        continue
                    levels.append(iter(part.getchildren()))
                    break
                elif tag == self.assessment:
                    self._of_assessment(part, found)
                elif tag == self.method:
                    self._of_method(part, found)
            else:
                levels.pop()

    def judge_many(self, container: _Element, found: _Found) -> None:
        """The same, and that of `judge`, for an Incident or EventData of many parts."""
        event = self.event
        for part in container.iter(self.assessment, self.method):
            within = part.getparent()
            while within is not container and within.tag == event:
                within = within.getparent()
            if within is container and len(part):
                (self._of_assessment if part.tag == self.assessment else self._of_method)(part, found)
        self._sources_of_many(container, found[4])

    def _of_indicators(self, indicators: _Element, found: _Found) -> None:
        """The source systems of an IndicatorData; nothing else there counts."""
        if len(indicators) > _MANY:
            self._sources_of_many(indicators, found[4])
        else:
            self._sources(indicators, found[4])

    def _of_flow(self, flow: _Element, addresses: _Addresses) -> None:
        if len(flow) > _MANY:
            self._sources_of_many(flow, addresses)
            return
        for system in flow.getchildren():
            category = system.get("category")
            if category is None or category != "source" != category.strip(BLANKS):
                continue
            if len(system) and system.tag == self.system:
                self._of_source(system, addresses)

    def _sources_of_many(self, container: _Element, addresses: _Addresses) -> None:
        """The addresses of every source system of a class of `_SYSTEMS`, by way of libxml2 if nothing is unusual."""
        tag = container.tag
        found = self.found[tag](container)
        if not found and self.elsewhere[tag](container):
            self._sources(container, addresses)
            return
        for part in found:
            category = part.get("category")
            if category in INTERNET and not len(part):
                addresses.append((category, part.text or ""))
            elif len(part) and part.tag != self.address:
                self._of_domain(part, addresses)
            else:
                addresses.append(_address(part))

    def _sources(self, container: _Element, addresses: _Addresses) -> None:
        """The same for a class of `INSIDE`, step by step."""
        rest = [container]
        while rest:
            part = rest.pop()
            tag = part.tag
            if tag == self.flow:
                self._of_flow(part, addresses)
            elif tag == self.system:
                if part.get("category", "").strip(BLANKS) == "source":
                    self._of_source(part, addresses)
            else:
                inside = self.inside[tag]
                rest += [inner for inner in reversed(part.getchildren()) if len(inner) and inner.tag in inside]

    def _of_source(self, system: _Element, addresses: _Addresses) -> None:
        """The addresses of a system, those of name servers included."""
        for node in system.getchildren():
            if not len(node) or node.tag != self.node:
                continue
            for part in node.getchildren():
                tag = part.tag
                if tag == self.address:
                    addresses.append(_address(part))
                elif tag == self.domain and len(part):
                    self._of_domain(part, addresses)

    def _of_domain(self, domain: _Element, addresses: _Addresses) -> None:
        """The addresses of its name servers."""
        for servers in domain.iterchildren(self.servers):
            addresses += [_address(address) for address in servers.iterchildren(self.address)]

    def _of_assessment(self, assessment: _Element, found: _Found) -> None:
        """In version 1.0 the type of an impact is what categorizes an incident (RFC 5070 §3.10.1, RFC 7970 §4.4)."""
        severities, types, categories, _, _ = found
        before = len(types)
        for part in assessment.getchildren():
            severity = part.get("severity")
            kind = part.get("type")
            if severity is not None:
                severity = severity.strip()
                severities.append(severity if severity != EXT_VALUE else part.get("ext-severity", severity))
            elif kind is None:
                if part.tag == self.category:
                    categories.append(" ".join(_text(part).split()))
                continue
            elif part.tag == self.counter:  # its type is a unit
                continue
            if kind is not None:
                kind = kind.strip()
                types.append(kind if kind != EXT_VALUE else part.get("ext-type", kind))
        if self.first:
            categories += types[before:]

    def _of_method(self, method: _Element, found: _Found) -> None:
        """Its identifiers, or its descriptions when it has none."""
        known: list[str] = []
        descriptions: list[str] = []
        for part in method.getchildren():
            tag = part.tag
            if tag == self.reference:
                known += self._references(part)
            elif tag == self.description:
                descriptions.append(_text(part))
            elif tag in _STRUCTURED:
                known.append(part.get("ContentID", ""))
                for reference in part.iterchildren(self.reference):
                    known += self._references(reference)
        found[3].extend([" ".join(text.split()) for text in known or descriptions if text])

    def _references(self, reference: _Element) -> list[str]:
        """The identifiers of a Reference: text of ReferenceName in version 1.0, of the ID within it in 2.0."""
        names = [part for part in reference.getchildren() if part.tag == self.reference_name]
        if self.first:
            return [_text(name) for name in names]
        return [_text(part) for name in names for part in name.getchildren() if part.tag == self.reference_id]


_OF = {clark("Incident", namespace): _Version(namespace) for namespace in (V2, V1)}

INCIDENT: Final = frozenset(_OF)


def fields(incident: _Element) -> Fields:
    """What there is to tell of an Incident, of either version. It never fails."""
    purpose = incident.get("purpose", "").strip()
    if purpose == EXT_VALUE:
        purpose = incident.get("ext-purpose", purpose).strip()
    restriction = incident.get("restriction", "private").strip()
    if restriction == EXT_VALUE:
        restriction = incident.get("ext-restriction", restriction).strip()
    version = _OF[incident.tag]
    found: _Found | None
    if len(incident) > _MANY:
        identifier, found = incident[0], ([], [], [], [], [])
        version.judge_many(incident, found)
    else:
        parts = incident.getchildren()
        identifier, found = parts[0] if parts else None, version.judge(parts)
    authority = number = ""
    if identifier is None or identifier.tag != version.identifier:
        identifier = next(incident.iterchildren(version.identifier), None)
    if identifier is not None:
        authority = identifier.get("name", "").strip()
        number = (_text(identifier) if len(identifier) else identifier.text or "").strip()
    if found is None:
        return (authority, number, purpose, restriction, (), (), (), (), ())
    lists = [tuple(values) if len(values) < 2 else tuple(dict.fromkeys(values)) for values in found[:4]]
    return (authority, number, purpose, restriction, *lists, tuple(found[4]))


def _text(element: _Element) -> str:
    """The text of an element, without what stands within it: comments, for example."""
    return "".join([element.text or "", *(part.tail or "" for part in element.getchildren())])


def _address(address: _Element) -> tuple[str, str]:
    """Category and text of an Address."""
    category: str = address.get("category", "")
    if category not in INTERNET:
        category = category.strip()
        if category == EXT_VALUE:
            category = address.get("ext-category", category)
    return category, (_text(address) if len(address) else address.text or "")
