"""Parts of an incident that are told in words: who, what it did, what is asked, what was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grid.iodef.attributes import SEVERITIES
from stanzagate.cli.iodef_reading import (
    Moment,
    child,
    children,
    choice,
    descriptions,
    facts,
    handling,
    local,
    moment,
    prose,
    raw,
    restriction,
    text,
    texts,
)
from stanzagate.cli.iodef_traits import contents, counter

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

IMPACTS = {
    "Impact": "impact", "SystemImpact": "system", "BusinessImpact": "business", "IntendedImpact": "intended",
    "TimeImpact": "time", "MonetaryImpact": "money",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Somebody to speak to (RFC 7970 §3.9)."""

    role: str
    type: str
    names: tuple[str, ...]
    email: tuple[str, ...]
    telephone: tuple[str, ...]
    more: tuple[str, ...]
    description: tuple[str, ...]
    restriction: str
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What the incident did, or would have done (RFC 7970 §3.12).

    :ivar kind: one of `IMPACTS`.
    :ivar value: hours, or money, of a time or monetary impact.
    """

    kind: str
    severity: str
    type: str
    completion: str
    value: str
    description: tuple[str, ...]
    restriction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the sender asks the recipient to do (RFC 7970 §3.15).

    :ivar event: number of the event whose systems it is about, or empty when there is only one.
    """

    event: str
    action: str
    severity: str
    start: Moment | None
    end: Moment | None
    description: tuple[str, ...]
    contact: Contact | None
    restriction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """What was done about it (RFC 7970 §3.13.1)."""

    time: Moment | None
    action: str
    by: str
    description: tuple[str, ...]
    restriction: str


def contact(element: Element) -> Contact:
    """A ``Contact`` element, with those inside it."""
    names = (*texts(element, "ContactName"), *texts(element, "ContactTitle"))
    registry = [f"{choice(each, 'registry')} {text(each)}".strip() for each in children(element, "RegistryHandle")]
    postal = [_inner(each, "PAddress") for each in children(element, "PostalAddress")]
    fax = [f"fax {each}" for each in texts(element, "Fax")]
    zone = [f"time zone {each}" for each in texts(element, "Timezone")]
    return Contact(
        role=choice(element, "role"),
        type=choice(element, "type"),
        names=names,
        email=tuple(_inner(each, "EmailTo") for each in children(element, "Email")),
        telephone=tuple(_inner(each, "TelephoneNumber") for each in children(element, "Telephone")),
        more=tuple(filter(None, (*fax, *registry, *postal, *zone))),
        description=descriptions(element),
        restriction=restriction(element),
        contacts=tuple(contact(each) for each in children(element, "Contact")),
    )


def _inner(element: Element, name: str) -> str:
    """RFC 7970 has a child where RFC 5070 has text."""
    inner = child(element, name)
    return text(element if inner is None else inner).replace("$", ", " if name == "PAddress" else "$")


def identity(element: Element | None) -> str:
    if element is None:
        return ""
    instance = f" ({element.get('instance')})" if element.get("instance") else ""
    return f"{element.get('name') or ''} {text(element)}{instance}".strip()


def impacts(assessment: Element) -> Iterator[Impact]:
    for each in children(assessment, *IMPACTS):
        kind = local(each)
        value = text(each) if kind in {"TimeImpact", "MonetaryImpact"} else ""
        unit = _unit(each)
        own = (prose(each),) if kind == "Impact" and text(each) else ()
        yield Impact(
            kind=IMPACTS[kind],
            severity=choice(each, "severity"),
            type=choice(each, "type") or choice(each, "metric"),
            completion=choice(each, "completion"),
            value=f"{value} {unit}".strip() if value else "",
            description=own or descriptions(each),
            restriction=restriction(each),
        )


def _unit(element: Element) -> str:
    """What the number of an impact counts."""
    if local(element) == "TimeImpact":
        return choice(element, "duration") or "hour"
    return element.get("currency") or ""


def worst(impacts: tuple[Impact, ...]) -> Impact | None:
    """The one with the highest severity; one that was only intended when nothing else names a severity."""
    named = [each for each in impacts if each.severity]
    happened = [each for each in named if each.kind != "intended"]
    return max(happened or named, key=lambda each: _rank(each.severity), default=None)


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def assessment(element: Element) -> Iterator[str]:
    if occurrence := choice(element, "occurrence"):
        yield f"occurrence: {occurrence}"
    for name in ("MitigatingFactor", "Cause"):
        yield from (
            f"{'mitigating factor' if name[0] == 'M' else 'cause'}: {one}" for one in descriptions(element, name)
        )
    yield from (f"counter: {counter(each)}" for each in children(element, "Counter"))
    confidence = child(element, "Confidence")
    if confidence is not None:
        yield f"confidence: {' '.join(filter(None, (choice(confidence, 'rating'), text(confidence))))}"


def method(element: Element) -> Iterator[str]:
    yield from descriptions(element)
    for reference in children(element, "Reference"):
        name = child(reference, "ReferenceName")
        yield " - ".join(filter(None, (text(name), *texts(reference, "URL"), *descriptions(reference))))
    for each in children(element, "AttackPattern", "Vulnerability", "Weakness"):
        yield f"{local(each)}: {'; '.join(facts(each))}"
    yield from (additional(each) for each in children(element, "AdditionalData"))


def expectation(element: Element, event: str) -> Expectation:
    """An ``Expectation`` element."""
    party = child(element, "Contact")
    courses = (f"course of action {each}" for each in texts(element, "DefinedCOA"))
    return Expectation(
        event=event,
        action=choice(element, "action") or "other",
        severity=choice(element, "severity"),
        start=moment(child(element, "StartTime")),
        end=moment(child(element, "EndTime")),
        description=(*descriptions(element), *courses),
        contact=None if party is None else contact(party),
        restriction=handling(element),
    )


def record(element: Element) -> Iterator[str]:
    """A log excerpt: what it is, then its lines as they are."""
    time = moment(child(element, "DateTime"))
    heading = " - ".join(filter(None, (time.given if time else "", *descriptions(element))))
    if heading:
        yield heading
    for each in children(element, "RecordItem"):
        yield from (line.strip() for line in raw(each).split("\n") if line.strip())
    rest = [each for each in element if local(each) in {"FileData", "CertificateData", "WindowsRegistryKeysModified"}]
    for each in rest:
        yield from contents(each)
    yield from texts(element, "URL")


def discovery(element: Element) -> Iterator[str]:
    source = choice(element, "source")
    yield ": ".join(filter(None, (source, " ".join(descriptions(element)))))
    for pattern in children(element, "DetectionPattern"):
        yield "; ".join(facts(pattern))


def related(element: Element) -> Iterator[str]:
    for each in element:
        match local(each):
            case "IncidentID":
                yield f"incident {identity(each)}"
            case "IndicatorID":
                yield f"indicator {identity(each)}"
            case "ThreatActor":
                names = (*texts(each, "ThreatActorID"), *descriptions(each), *texts(each, "URL"))
                yield f"threat actor {' - '.join(names)}"
            case "Campaign":
                names = (*texts(each, "CampaignID"), *descriptions(each), *texts(each, "URL"))
                yield f"campaign {' - '.join(names)}"
            case "URL" | "Description":
                yield prose(each)


def history_item(element: Element) -> HistoryItem:
    party, number = child(element, "Contact"), child(element, "IncidentID")
    courses = (f"course of action {each}" for each in texts(element, "DefinedCOA"))
    by = ", ".join(contact(party).names or contact(party).email) if party is not None else identity(number)
    return HistoryItem(
        time=moment(child(element, "DateTime")),
        action=choice(element, "action"),
        by=by,
        description=(*descriptions(element), *courses),
        restriction=handling(element),
    )


def additional(element: Element) -> str:
    name = element.get("name") or element.get("meaning") or choice(element, "dtype")
    return f"{name}: {text(element) or '; '.join(facts(element))}"
