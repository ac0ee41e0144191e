"""Systems and indicators of an incident: by what an attacker, a victim or a threat is recognized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grid.iodef.protocols import NAMES
from stanzagate.cli.iodef_reading import (
    Moment,
    Note,
    child,
    children,
    choice,
    descriptions,
    facts,
    handling,
    local,
    moment,
    notes,
    raw,
    restriction,
    text,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

PLAIN_ADDRESSES = {"ipv4-addr", "ipv4-net", "ipv6-addr", "ipv6-net"}
SOFTWARE = ("vendor", "family", "name", "version", "patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of a node (RFC 7970 §3.18.1)."""

    value: str
    category: str


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A host or network of an event (RFC 7970 §3.17).

    :ivar event: number of the event, or empty when there is only one.
    """

    category: str
    event: str
    addresses: tuple[Address, ...]
    names: tuple[str, ...]
    services: tuple[str, ...]
    notes: tuple[str, ...]
    description: tuple[str, ...]
    restriction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """By what a threat is recognized (RFC 7970 §3.29).

    :ivar kind: the type of a list of observables; empty otherwise.
    :ivar values: what to look for, a line each; an expression is one line.
    """

    id: str
    name: str
    version: str
    kind: str
    values: tuple[Note, ...]
    start: Moment | None
    end: Moment | None
    confidence: str
    notes: tuple[str, ...]
    description: tuple[str, ...]
    restriction: str


def system(element: Element, event: str = "") -> System:
    """A ``System`` element."""
    node = child(element, "Node")
    names = (*texts(node, "NodeName"), *(text(child(each, "Name")) for each in children(node, "DomainData")))
    return System(
        category=choice(element, "category"),
        event=event,
        addresses=tuple(
            Address(value=text(each), category=choice(each, "category")) for each in children(node, "Address")
        ),
        names=tuple(filter(None, names)),
        services=tuple(filter(None, (service(each) for each in children(element, "Service")))),
        notes=tuple(filter(None, _notes(element, node))),
        description=descriptions(element),
        restriction=handling(element),
    )


def _notes(element: Element, node: Element | None) -> Iterator[str]:
    if choice(element, "spoofed") == "yes":
        yield "spoofed"
    for name in ("interface", "ownership", "virtual"):
        if value := choice(element, name):
            yield f"{name} {value}"
    roles = [each for where in (element, node) for each in children(where, "NodeRole")]
    yield ", ".join(_role(each) for each in roles)
    yield from (software(each) for each in children(element, "OperatingSystem"))
    yield from (f"location {each}" for each in texts(node, "Location"))
    yield from (f"asset {each}" for each in texts(element, "AssetID"))
    for where in (element, node):
        for each in children(where, "Counter"):
            yield counter(each)


def counter(element: Element) -> str:
    """Something that was counted (RFC 7970 §3.18.3): ``57 packet per minute``."""
    per = f" per {choice(element, 'duration')}" if choice(element, "duration") else ""
    unit = choice(element, "unit") or choice(element, "type")
    meaning = f" ({element.get('meaning')})" if element.get("meaning") else ""
    return f"{text(element)} {unit}{per}{meaning}"


def _role(element: Element) -> str:
    return " ".join(filter(None, (choice(element, "category"), *descriptions(element))))


def software(element: Element) -> str:
    """Software, by its attributes (RFC 5070 §3.17.1) or children (RFC 7970 §2.15)."""
    named = [value for name in SOFTWARE if (value := element.get(name))]
    return " ".join(named) or " - ".join(
        (*texts(element, "SoftwareReference"), *descriptions(element), *texts(element, "URL"))
    )


def service(element: Element) -> str:
    """Protocol and ports as people write them: ``tcp/22,80-90 ssh``."""
    number = (element.get("ip-protocol") or element.get("ip_protocol") or "").strip()
    protocol = NAMES.get(int(number), f"ip-protocol {number}") if _small(number) else number
    ports = ",".join((*texts(element, "Port"), *texts(element, "Portlist")))
    named = child(element, "ServiceName")
    first = f"{protocol or 'port'}/{ports}" if ports else protocol
    codes = (
        f"{name.removeprefix('Proto').lower()} {value}"
        for name in ("ProtoType", "ProtoCode", "ProtoField", "ProtoFlags")
        for value in texts(element, name)
    )
    rest = (*texts(named, "IANAService"), *descriptions(named), *map(software, children(element, "Application")))
    headers = (fact for name in ("ApplicationHeader", "EmailData") for fact in facts(child(element, name)))
    return " ".join(filter(None, (first, *codes, *rest, "; ".join(headers))))


def _small(number: str) -> bool:
    return number.isascii() and number.isdecimal() and len(number) <= 3


def indicator(element: Element) -> Indicator:
    """An ``Indicator`` element (RFC 7970 §3.29)."""
    number = child(element, "IndicatorID")
    bulk = child(child(element, "Observable"), "BulkObservable")
    return Indicator(
        id=text(number),
        name=(number.get("name") or "") if number is not None else "",
        version=(number.get("version") or "") if number is not None else "",
        kind=choice(bulk, "type"),
        values=tuple(_values(element)),
        start=moment(child(element, "StartTime")),
        end=moment(child(element, "EndTime")),
        confidence=_confidence(element),
        notes=tuple(_indicator_notes(element)),
        description=descriptions(element),
        restriction=restriction(element),
    )


def _confidence(element: Element) -> str:
    found = child(element, "Confidence")
    return " ".join(filter(None, (choice(found, "rating"), text(found))))


def _indicator_notes(element: Element) -> Iterator[str]:
    yield from (_role(each) for each in children(element, "NodeRole"))
    for each in children(element, "AttackPhase"):
        yield f"attack phase {'; '.join(facts(each))}"
    for each in children(element, "Reference"):
        yield " - ".join(filter(None, (text(child(each, "ReferenceName")), *texts(each, "URL"), *descriptions(each))))


def _values(element: Element) -> Iterator[Note]:
    for each in children(element, "Observable", "ObservableReference", "IndicatorReference", "IndicatorExpression"):
        yield from notes(each, _term(each))


def _term(element: Element) -> Iterator[str]:
    match local(element):
        case "Observable":
            for each in element:
                if local(each):
                    yield from contents(each)
        case "ObservableReference":
            yield f"what is marked {element.get('uid-ref') or '?'} in this document"
        case "IndicatorReference":
            named = element.get("euid-ref") or element.get("uid-ref") or "?"
            yield " ".join(filter(None, ("indicator", named, element.get("version"))))
        case "IndicatorExpression":
            yield _expression(element)


def _expression(element: Element) -> str:
    """A formula (RFC 7970 §3.29.5)."""
    operator = (choice(element, "operator") or "and").upper()
    terms = []
    for each in children(element, "IndicatorExpression", "Observable", "ObservableReference", "IndicatorReference"):
        found = list(_term(each))
        terms.append(found[0] if len(found) == 1 else f"({', '.join(found)})")
    confidence = f" [confidence {rating}]" if (rating := _confidence(element)) else ""
    joined = f"NOT {' '.join(terms)}" if operator == "NOT" else f" {operator} ".join(terms)
    return f"({joined}){confidence}"


def contents(element: Element) -> Iterator[str]:
    """What an observable is, a line for each thing to look for."""
    match local(element):
        case "BulkObservable":
            lines = raw(child(element, "BulkObservableList")).split("\n")
            yield from (line.strip() for line in lines if line.strip())
        case "Address":
            yield _address(Address(value=text(element), category=choice(element, "category")))
        case "System":
            found = system(element)
            where = (*map(_address, found.addresses), *found.names)
            yield " ".join(filter(None, (found.category, ", ".join(where), *found.services, *found.notes)))
        case "DomainData":
            yield f"domain {text(child(element, 'Name'))}"
        case "Service":
            yield f"service {service(element)}"
        case "FileData":
            yield from (_file(each) for each in children(element, "File"))
        case "Incident":
            number = child(element, "IncidentID")
            yield f"incident {(number.get('name') or '') if number is not None else ''} {text(number)}"
        case name:
            yield f"{name}: {'; '.join(facts(element)) or '-'}"


def _address(address: Address) -> str:
    plain = address.category in PLAIN_ADDRESSES or not address.category
    return address.value if plain else f"{address.category} {address.value}"


def _file(element: Element) -> str:
    size = [f"{each} bytes" for each in texts(element, "FileSize")]
    hashes = []
    for each in element.iter("{*}Hash"):
        method = child(each, "DigestMethod")
        algorithm = (method.get("Algorithm") or "") if method is not None else ""
        hashes.append(f"{algorithm.rpartition('#')[2]} {text(child(each, 'DigestValue'))}".strip())
    hashes += [f"fuzzy {text(each)}" for each in element.iter("{*}FuzzyHashValue")]
    found = (*texts(element, "FileName"), *texts(element, "FileType"), *size, *hashes, *texts(element, "URL"))
    return f"file {' '.join(found)}"
