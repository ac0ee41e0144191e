"""What somebody wants to know of an incident first, taken from its elements; IODEF 1.0 and 2.0 alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stanzagate.cli.iodef_parts import (
    Contact,
    Expectation,
    HistoryItem,
    Impact,
    additional,
    assessment,
    contact,
    discovery,
    expectation,
    history_item,
    identity,
    impacts,
    method,
    record,
    related,
    worst,
)
from stanzagate.cli.iodef_reading import (
    Moment,
    Note,
    child,
    children,
    choice,
    descriptions,
    language,
    moment,
    notes,
    restriction,
    stricter,
    text,
    texts,
)
from stanzagate.cli.iodef_traits import Indicator, System, indicator, system

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

TIMES = ("DetectTime", "StartTime", "EndTime", "RecoveryTime", "ReportTime", "GenerationTime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of the incident (RFC 7970 §3.14), without those inside it, which follow it.

    :ivar number: ``1``, ``2``, ``2.1`` …; systems say by it where they belong.
    """

    number: str
    times: dict[str, Moment]
    description: tuple[str, ...]
    records: tuple[Note, ...]
    restriction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident.

    :ivar restriction: the handling that its sender expects.
    :ivar restriction_stated: whether the document says so; else it is the standard's default.
    :ivar stricter: a stricter restriction of some part of it, or empty.
    :ivar severity: the highest that is named; empty when none is.
    """

    id: str
    id_restriction: str
    name: str
    instance: str
    also_known_as: tuple[Note, ...]
    purpose: str
    status: str
    language: str
    restriction: str
    restriction_stated: bool
    stricter: str
    severity: str
    severity_restriction: str
    times: dict[str, Moment]
    description: tuple[str, ...]
    categories: tuple[Note, ...]
    impacts: tuple[Impact, ...]
    assessment: tuple[Note, ...]
    methods: tuple[Note, ...]
    expectations: tuple[Expectation, ...]
    systems: tuple[System, ...]
    events: tuple[Event, ...]
    indicators: tuple[Indicator, ...]
    contacts: tuple[Contact, ...]
    discovery: tuple[Note, ...]
    related: tuple[Note, ...]
    history: tuple[HistoryItem, ...]
    additional: tuple[Note, ...]


def incidents(document: Element) -> list[Incident]:
    """All incidents of a document."""
    return [incident(each) for each in children(document, "Incident")]


def incident(element: Element) -> Incident:
    """What is in an ``Incident`` element (RFC 7970 §3.2, RFC 5070 §3.2)."""
    number = child(element, "IncidentID")
    events = list(_numbered(element))
    labelled = [(label if len(events) > 1 else "", each) for label, each in events]
    within = [element, *(each for _, each in events)]
    assessments = [each for part in within for each in children(part, "Assessment")]
    found = tuple(each for part in assessments for each in impacts(part))
    highest = worst(found)
    return Incident(
        id=text(number),
        id_restriction=restriction(element if number is None else number),
        name=(number.get("name") or "") if number is not None else "",
        instance=(number.get("instance") or "") if number is not None else "",
        also_known_as=_all(_within(children(element, "AlternativeID"), "IncidentID"), lambda each: [identity(each)]),
        purpose=choice(element, "purpose"),
        status=choice(element, "status"),
        language=language(element),
        restriction=restriction(element),
        restriction_stated=bool(choice(element, "restriction")),
        stricter=stricter(element),
        severity=highest.severity if highest else "",
        severity_restriction=highest.restriction if highest else "",
        times=_times(element),
        description=descriptions(element),
        categories=_all(assessments, lambda each: texts(each, "IncidentCategory")),
        impacts=found,
        assessment=_all(assessments, assessment),
        methods=_all(_within(within, "Method"), method),
        expectations=tuple(_expectations(labelled)),
        systems=tuple(_systems(labelled)),
        events=tuple(_event(number, each) for number, each in events),
        indicators=tuple(map(indicator, _within(children(element, "IndicatorData"), "Indicator"))),
        contacts=tuple(map(contact, _within(within, "Contact"))),
        discovery=_all(_within(within, "Discovery"), discovery),
        related=_all(children(element, "RelatedActivity"), related),
        history=tuple(history_item(each) for each in _within(children(element, "History"), "HistoryItem")),
        additional=_all(_within(within, "AdditionalData"), lambda each: [additional(each)]),
    )


def _within(parts: Iterable[Element], name: str) -> Iterator[Element]:
    return (each for part in parts for each in children(part, name))


def _all(elements: Iterable[Element], lines: Callable[[Element], Iterable[str]]) -> tuple[Note, ...]:
    """What is to be said of each of some elements, with the restriction of each."""
    return tuple(note for each in elements for note in notes(each, lines(each)))


def _times(element: Element) -> dict[str, Moment]:
    """The times of an incident or event, by what happened then: ``detect``, ``start`` …"""
    found = ((name.removesuffix("Time").lower(), moment(child(element, name))) for name in TIMES)
    return {name: time for name, time in found if time is not None}


def _numbered(element: Element, before: str = "") -> Iterator[tuple[str, Element]]:
    for count, each in enumerate(children(element, "EventData"), 1):
        yield f"{before}{count}", each
        yield from _numbered(each, f"{before}{count}.")


def _expectations(events: list[tuple[str, Element]]) -> Iterator[Expectation]:
    return (expectation(each, label) for label, event in events for each in children(event, "Expectation"))


def _systems(events: list[tuple[str, Element]]) -> Iterator[System]:
    for label, event in events:
        yield from (system(each, label) for each in _within(children(event, "Flow"), "System"))


def _event(number: str, element: Element) -> Event:
    return Event(
        number=number,
        times=_times(element),
        description=descriptions(element),
        records=_all(_within(children(element, "Record"), "RecordData"), record),
        restriction=restriction(element),
    )
