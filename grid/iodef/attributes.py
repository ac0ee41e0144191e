"""What the grid filters incidents on, taken from the parsed tree of a document (draft-ietf-mile-xmpp-grid-01 §3).

::

    for found in extract(iodef.check(received)):
        if found.authority == "csirt.example.com" and "high" in found.severity:
            ...

It works on the tree rather than on the model because it runs for every document that is published; the table of what
comes from where is in ``docs/iodef-attributes.md``. What describes an incident stands in `Incident` itself and in its
`EventData`, at any depth. What stands in `IndicatorData` describes what to look for instead: an assessment or a
method there, or those of an incident within an `Observable`, do not count; only the addresses of systems of category
``source`` do, wherever they stand. `AdditionalData` is another vocabulary and is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias

from lxml import etree

from grid.iodef.names import V1, V2, clark
from grid.iodef.networks import INTERNET, Network, network

NAMES: Final = (
    "authority", "incident-id", "purpose", "restriction", "severity", "type", "category", "method", "attacker",
)  # fmt: skip
"""The attributes by the names that filters use, see `Attributes.values`."""

SEVERITIES: Final = ("none", "low", "medium", "high")
"""Values of severity from least to most; ``unknown`` and extensions have no place among them."""

_DISCLOSURE = {"white": "public", "green": "partner", "amber": "need-to-know", "red": "private"}


def disclosure(restriction: str) -> str:
    """The restriction in the words of IODEF: ``public``, ``partner``, ``need-to-know`` or ``private`` for the four
    colours (RFC 7970 §3.3.1); any other value, ``default`` for example, as it is."""
    return _DISCLOSURE.get(restriction, restriction)


class _Fields(NamedTuple):
    authority: str
    incident_id: str
    purpose: str
    restriction: str
    severity: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()


class Attributes(_Fields):
    """The attributes of one incident; immutable, compared by value. Several values are in the order of the document.

    Extended enumerations are resolved: where the document says ``ext-value``, the value of ``ext-…`` stands here.

    :ivar authority: who numbered the incident, a domain name.
    :ivar incident_id: its number there.
    :ivar purpose: such as ``reporting``.
    :ivar restriction: as written; ``private`` when nothing is (RFC 7970 §3.3.1, RFC 5070 §3.2).
    :ivar severity: of every impact that states one, each value once.
    :ivar type: of every impact that states one, each value once.
    :ivar category: texts of IncidentCategory, each once; version 1.0 has no such class.
    :ivar method: identifiers of what was used, each once: references, attack patterns, vulnerabilities, weaknesses.
    :ivar addresses: category and text of every address of a source system, as written.
    """

    @property
    def disclosure(self) -> str:
        """The `restriction` in one vocabulary, see the function of this name."""
        return disclosure(self.restriction)

    @cached_property
    def attackers(self) -> tuple[Network, ...]:
        """The Internet addresses and networks among `addresses`, normalised, each once."""
        found = (network(text) for category, text in self.addresses if category in INTERNET)
        return tuple(dict.fromkeys(each for each in found if each is not None))

    @cached_property
    def malformed(self) -> tuple[str, ...]:
        """The texts that should be Internet addresses by their category and are none."""
        return tuple(text for category, text in self.addresses if category in INTERNET and network(text) is None)

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an attribute as a filter compares them.

        :param name: one of `NAMES`. ``attacker`` gives Internet addresses in normal form, and addresses of other
            kinds, or malformed ones, as they are written.
        :raises KeyError: no such attribute.
        """
        return _VALUES[name](self)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"attributes of an incident cannot be changed: {name}")


def _attacker(found: Attributes) -> tuple[str, ...]:
    shown = (
        str(known) if category in INTERNET and (known := network(text)) is not None else text
        for category, text in found.addresses
    )
    return tuple(dict.fromkeys(shown))


_VALUES: dict[str, Callable[[Attributes], tuple[str, ...]]] = {
    "authority": lambda found: (found.authority,),
    "incident-id": lambda found: (found.incident_id,),
    "purpose": lambda found: (found.purpose,),
    "restriction": lambda found: (found.restriction,),
    "severity": lambda found: found.severity,
    "type": lambda found: found.type,
    "category": lambda found: found.category,
    "method": lambda found: found.method,
    "attacker": _attacker,
}


# Extraction. A document of 1 kB has 3 µs: a look at an element costs 50 ns, its name or one of its attributes 150 ns.
# So names are asked only of elements that have children, and getchildren() is used because iterating costs twice.

_Element: TypeAlias = Any  # etree._Element: lxml's stubs do not know all that is used here


def _names(name: str) -> frozenset[str]:
    return frozenset(clark(name, namespace) for namespace in (V2, V1))


_INCIDENT, _IDENTIFIER, _EVENT, _NODE, _ADDRESS = map(
    _names, ("Incident", "IncidentID", "EventData", "Node", "Address")
)
_JUDGED = _names("Assessment") | _names("Method")
_CATEGORY = clark("IncidentCategory", V2)
_COUNTER = _names("Counter")
_IDENTIFIERS_OF_METHOD = (clark("enum:ID", ""), clark("ReferenceName", V1))
_DESCRIPTION = _names("Description")


def _finder(path: str) -> dict[str, Callable[[_Element], list[_Element]]]:
    """A path compiled for each version, by the names of the elements that it can be asked of."""
    return {
        clark(container, namespace): etree.XPath(path, namespaces={"i": namespace})
        for namespace in (V2, V1)
        for container in ("Incident", "EventData", "Flow", "IndicatorData")
    }


_SOURCES = _finder("descendant::i:System[normalize-space(@category) = 'source']/i:Node/i:Address")
_NAME_SERVERS = _finder(
    "descendant::i:Nameservers[normalize-space(ancestor::i:System[1]/@category) = 'source']/i:Address"
)
_STRUCTURED = tuple(clark(f"sci:{name}", "") for name in ("AttackPattern", "Vulnerability", "Weakness"))


_Found: TypeAlias = tuple[list[str], list[str], list[str], list[str], list[tuple[str, str]]]
"""What is gathered of one incident, in the order of the fields of `Attributes`."""


def extract(tree: etree._ElementTree | etree._Element) -> tuple[Attributes, ...]:
    """The attributes of every incident of a document.

    :param tree: of a valid document of either version, from `grid.iodef.parse` or `check`; or an element: an
        IODEF-Document, or an Incident alone as XEP-0268 carries it. Of a document that is not valid it gives what it
        finds; it never fails.
    :returns: one for each Incident that is a child of the document, in its order.
    """
    root: _Element = tree if isinstance(tree, etree._Element) else tree.getroot()
    if root.tag in _INCIDENT:
        return (_incident(root),)
    return tuple([_incident(child) for child in root.getchildren() if child.tag in _INCIDENT])


def _incident(incident: _Element) -> Attributes:
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
        return _make(Attributes, (authority, number, purpose, restriction, (), (), (), (), ()))
    severities, types, categories, methods, addresses = found
    if len(severities) > 1 or len(types) > 1 or len(categories) > 1 or len(methods) > 1:
        severities, types, categories, methods = (list(dict.fromkeys(values)) for values in found[:4])
    lists = (tuple(severities), tuple(types), tuple(categories), tuple(methods), tuple(addresses))
    return _make(Attributes, (authority, number, purpose, restriction, *lists))


_make: Callable[..., Attributes] = tuple.__new__  # half the time of Attributes(…)


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
    for part in container.iter(*_JUDGED):
        within = part.getparent()
        while within is not container and within.tag in _EVENT:
            within = within.getparent()
        if within is container:
            _PARTS[part.tag](part, found)
    _sources(container, found[4])


def _sources(container: _Element, addresses: list[tuple[str, str]]) -> None:
    """The addresses of every source system, wherever it is within."""
    tag = container.tag
    for address in _SOURCES[tag](container) + _NAME_SERVERS[tag](container):
        category = address.get("category")
        addresses.append((category if category in INTERNET else _category(address), address.text or ""))


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
    texts = [part.text for part in method.iter(*_IDENTIFIERS_OF_METHOD)]
    texts += [part.get("ContentID") for part in method.iterchildren(*_STRUCTURED)]
    known = [" ".join(text.split()) for text in texts if text]
    if not known:
        known = [" ".join((part.text or "").split()) for part in method.iterchildren(*_DESCRIPTION)]
    found[3].extend(known)


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
