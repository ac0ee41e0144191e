"""What extraction should find, by asking every element where it stands; and random incidents to ask it of."""

from __future__ import annotations

import random
import re

from lxml import etree

from grid.iodef.names import V1, V2

ENUM, SCI = "urn:ietf:params:xml:ns:iodef-enum-1.0", "urn:ietf:params:xml:ns:iodef-sci-1.0"

_WATCHED = "IndicatorData/Indicator/(IndicatorExpression/)*Observable/"
_ATTACK = "(EventData/)+Flow/System/"
ATTACKER = re.compile(
    f"({_WATCHED}Incident/)*({_ATTACK}|{_WATCHED}System/|{_WATCHED}{_ATTACK})Node/(DomainData/Nameservers/)?Address"
)
"""The ways from an Incident to the address of a system (RFC 7970 §3.2 and on)."""


def _names(element: etree._Element, incident: etree._Element) -> list[str]:
    """The way to an element; what is of another namespace keeps it."""
    namespace = etree.QName(incident).namespace
    way = []
    while element is not incident:
        name = etree.QName(element)
        way.append(name.localname if name.namespace == namespace else name.text)
        parent = element.getparent()
        assert parent is not None
        element = parent
    return way[::-1]


def _text(element: etree._Element) -> str:
    return "".join([element.text or "", *(part.tail or "" for part in element)])


def _resolved(element: etree._Element, name: str) -> str:
    value = element.get(name, "").strip(" \t\r\n")
    return element.get(f"ext-{name}", value) if value == "ext-value" else value


def plainly(incident: etree._Element) -> tuple[list[str], list[str], list[str], list[str], list[tuple[str, str]]]:
    """Severities, types, categories, methods and addresses of an Incident, as often as they are there."""
    severities: list[str] = []
    types: list[str] = []
    categories: list[str] = []
    methods: list[str] = []
    addresses: list[tuple[str, str]] = []
    first = etree.QName(incident).namespace == V1
    for element in incident.iter("*"):
        way = _names(element, incident)
        if ATTACKER.fullmatch("/".join(way)):
            (system, *_) = [each for each in element.iterancestors() if etree.QName(each).localname == "System"]
            if system.get("category", "").strip(" \t\r\n") == "source":
                addresses.append((_resolved(element, "category"), _text(element)))
        *events, parent, name = ("", "", *way)
        if set(events) - {"", "EventData"}:
            continue
        if name == "Method" and parent in ("", "EventData"):
            methods += _method(element, first)
        elif parent == "Assessment":
            if element.get("severity") is not None:
                severities.append(_resolved(element, "severity"))
            if element.get("type") is not None and (name != "Counter" or element.get("severity") is not None):
                types.append(_resolved(element, "type"))
                categories += types[-1:] if first else []
            elif name == "IncidentCategory" and not first and element.get("severity") is None:
                categories.append(" ".join(_text(element).split()))
    return severities, types, categories, methods, addresses


def _method(method: etree._Element, first: bool) -> list[str]:
    namespace = V1 if first else V2
    known: list[str] = []
    for part in method:
        if part.tag in (f"{{{SCI}}}AttackPattern", f"{{{SCI}}}Weakness", f"{{{SCI}}}Vulnerability"):
            known.append(part.get("ContentID", ""))
            references = part.findall(f"{{{namespace}}}Reference")
        else:
            references = [part] if part.tag == f"{{{namespace}}}Reference" else []
        path = f"{{{V1}}}ReferenceName" if first else f"{{{ENUM}}}ReferenceName/{{{ENUM}}}ID"
        known += [_text(each) for reference in references for each in reference.findall(path)]
    texts = known or [_text(each) for each in method.findall(f"{{{namespace}}}Description")]
    return [" ".join(text.split()) for text in texts if text]


HOLDS = {
    "Incident": ("EventData", "EventData", "EventData", "IndicatorData", "Assessment", "Method", "Description"),
    "EventData": ("Flow", "Flow", "Flow", "EventData", "Assessment", "Method", "Discovery"),
    "Flow": ("System",),
    "System": ("Node", "Node", "Service"),
    "Node": ("Address", "Address", "DomainData"),
    "DomainData": ("Nameservers", "RelatedDNS"),
    "Nameservers": ("Address",),
    "IndicatorData": ("Indicator",),
    "Indicator": ("Observable", "Observable", "IndicatorExpression"),
    "IndicatorExpression": ("Observable", "IndicatorExpression"),
    "Observable": ("System", "EventData", "Incident", "Address"),
    "Assessment": ("SystemImpact", "Impact", "IncidentCategory", "Counter"),
    "Method": ("Reference", "Description", "sci:AttackPattern"),
    "sci:AttackPattern": ("Reference", "sci:RawData"),
    "Reference": ("enum:ReferenceName", "ReferenceName"),
    "enum:ReferenceName": ("enum:ID",),
    "Service": ("SoftwareReference",),
    "Discovery": ("SoftwareReference",),
}
"""Classes that lead to something, and some that must not."""

ANYTHING = ("AdditionalData", "SoftwareReference", "sci:RawData", "RelatedDNS", "x:y")
"""What may hold anything."""

_EVERY = (*HOLDS, *ANYTHING, "Address")
_ATTRIBUTES: tuple[str, ...] = (
    "",
    "",
    ' category="source"',
    ' category=" source&#10;"',
    ' category="&#160;source"',
    ' category="mac"',
)
_ADDRESS = (' category="ipv4-addr"', ' category="ext-value" ext-category="e"', ' category=" mac "', "")
_IMPACT = (' severity="high"', ' type="policy"', ' severity="low" type="ext-value" ext-type="t"', "")
_BETWEEN = ("", "", "", "<!-- c -->", "<?p i?>", "&e;", "t")


def draw(seed: int) -> etree._Element:
    """An incident; often like those of the standard, sometimes not at all."""
    rng = random.Random(seed)
    left = [rng.choice((30, 100, 300))]
    odd = rng.choice((0.0, 0.05, 0.2))
    breadth = rng.choice((2, 4, 16))

    def element(name: str, depth: int) -> str:
        left[0] -= 1
        parts = []
        choices = HOLDS.get(name, _EVERY if name in ANYTHING else ())
        count = rng.randint(0, breadth) if depth < 14 and (choices or odd) else 0
        for _ in range(count):
            if left[0] <= 0:
                break
            strange = not choices or rng.random() < odd
            parts.append(element(rng.choice(_EVERY if strange else choices), depth + 1))
            parts.append(rng.choice(_BETWEEN) if odd else "")
        attributes = _ATTRIBUTES[1:] if name == "System" else _ATTRIBUTES
        if name == "Address":
            attributes = _ADDRESS
        elif name in ("SystemImpact", "Impact", "Counter"):
            attributes = _IMPACT
        text = f"t{left[0]}" if name not in HOLDS else ""
        content = f' ContentID="c{left[0]}"' if name == "sci:AttackPattern" else ""
        return f"<{name}{rng.choice(attributes)}{content}>{text}{''.join(parts)}</{name}>"

    inside = "".join(element(rng.choice(HOLDS["Incident"]), 1) for _ in range(rng.choice((3, 8, 20))))
    source = (
        f'<!DOCTYPE Incident [<!ENTITY e "v"><!-- c -->]><Incident xmlns="{rng.choice((V2, V2, V1))}" xmlns:x="urn:x"'
        f' xmlns:enum="{ENUM}" xmlns:sci="{SCI}">{inside}</Incident>'
    )
    return etree.fromstring(source, etree.XMLParser(resolve_entities=False))
