"""A page of one incident for somebody who is called at night: what it is, who says so, what to do, what to look for.

What stands in an incident was written by others. Every character that is not printable (control characters, terminal
escapes, marks that reverse the direction of text) is shown as an escape, before lines are laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from grid.iodef.attributes import disclosure
from stanzagate.cli.iodef_layout import Line, begun, wrap
from stanzagate.cli.iodef_parts import Contact, Expectation, HistoryItem, Impact
from stanzagate.cli.iodef_reading import Moment, Note
from stanzagate.cli.iodef_summary import Event, Incident
from stanzagate.cli.iodef_traits import PLAIN_ADDRESSES, Indicator, System
from stanzagate.cli.output import plain

NARROW = 56
"""Below this width a label has a line of its own."""
SMALLEST = 20
WIDEST = 100
LABEL = 13
SHOWN = 12
"""So many entries of a long list are shown."""
ENOUGH = 300
"""So many characters of a service are shown among the addresses; it may tell of a whole mail."""
LONGEST = 4000
"""So many characters of one entry are shown; the body of a mail may have millions."""

T = TypeVar("T")
Row = tuple[str, str]
"""A label, which may be empty, and a text."""

HANDLING = {
    "public": "may be freely distributed",
    "partner": "for a closed community of partners or affected parties; not for publication",
    "need-to-know": "only within the organization, for those who need to know",
    "private": "may not be shared",
    "default": "as the parties have agreed beforehand",
}
"""RFC 7970 §3.3.1 in a few words."""

WHEN = {
    "start": "started", "end": "ended", "detect": "detected", "recovery": "recovered", "report": "reported",
    "generation": "written",
}  # fmt: skip


def page(incident: Incident, width: int, *, place: str = "", doubts: Sequence[str] = ()) -> Iterator[Line]:
    """The page, line by line; none is wider than `width` (20 at least, what is beyond 100 stays free).

    :param place: like ``1 of 3`` when the document has several.
    :param doubts: why the document is not valid.
    """
    return _Page(max(SMALLEST, min(width, WIDEST))).of(incident, place, doubts)


class _Page:
    def __init__(self, width: int) -> None:
        self.width = width
        self.narrow = width < NARROW
        self.handling = ""

    def of(self, incident: Incident, place: str, doubts: Sequence[str]) -> Iterator[Line]:
        self.handling = incident.restriction
        yield from self._head(incident, place, doubts)
        yield from self._section("What is asked of us", map(self._expectation, incident.expectations))
        yield from self._section("When", self._times(incident.times))
        yield from self._section("Impact", self._impacts(incident))
        for title, category in (("Sources", "source"), ("Targets", "target")):
            yield from self._list(
                title, [each for each in incident.systems if each.category == category], self._system
            )
        others = [each for each in incident.systems if each.category not in {"source", "target"}]
        yield from self._list("Other systems", others, self._other)
        yield from self._list("Indicators", incident.indicators, self._indicator)
        yield from self._list("Method", incident.methods, self._noted)
        yield from self._list("Events", [each for each in incident.events if _telling(each)], self._event)
        yield from self._list("Discovered by", incident.discovery, self._noted)
        yield from self._list("Related", incident.related, self._noted)
        yield from self._list("Contacts", incident.contacts, self._contact)
        yield from self._list("History", incident.history, self._history, latest=True)
        yield from self._list("Extensions", incident.additional, self._noted)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _head(self, incident: Incident, place: str, doubts: Sequence[str]) -> Iterator[Line]:
        yield Line("=" * self.width)
        count = f" ({place})" if place else ""
        for line in wrap(f"Incident {incident.id or '(without number)'}{count}", self.width):
            yield Line(line, strong=True)
        level = disclosure(incident.restriction)
        meaning = HANDLING.get(level, "a rule of its sender")
        also = "" if level == incident.restriction else f" ({level})"
        stated = "" if incident.restriction_stated else " (not stated; this is the default)"
        yield from self._row("HANDLING", f"{incident.restriction.upper()}{also}: {meaning}{stated}", strong=True)
        if incident.stricter:
            text = f"parts of it are {incident.stricter.upper()}; those are marked where they are shown"
            yield from self._row("", text, strong=True)
        yield Line("=" * self.width)
        if doubts:
            more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
            yield from self._row("NOT VALID", f"{doubts[0]}{more}", strong=True)
        yield from self._row("Reported by", self._reporter(incident))
        instance = f", instance {incident.instance}" if incident.instance else ""
        number = f"{incident.id} of {incident.name or '?'}{instance}"
        yield from self._row("Number", self._marked(number, incident.id_restriction))
        yield from self._row(
            "Also known as", ", ".join(self._marked(each.text, each.restriction) for each in incident.also_known_as)
        )
        yield from self._row("Purpose", ", ".join(filter(None, (incident.purpose, incident.status))))
        severity = self._marked(incident.severity.upper() or "not stated", incident.severity_restriction)
        yield from self._row("Severity", severity, strong=bool(incident.severity))
        yield from self._row(
            "Category", ", ".join(self._marked(each.text, each.restriction) for each in incident.categories)
        )
        yield from self._row("Summary", "\n".join(incident.description))

    def _reporter(self, incident: Incident) -> str:
        """Who made the document (RFC 7970 §3.9, role creator); else whose number it has (§3.4)."""
        creators = [each for each in incident.contacts if each.role == "creator" and _party(each)]
        return "; ".join(self._marked(_party(each), each.restriction) for each in creators) or incident.name or "?"

    def _times(self, times: dict[str, Moment]) -> Iterator[Row]:
        for name, label in WHEN.items():
            if name in times:
                yield label, _time(times[name])

    def _impacts(self, incident: Incident) -> Iterator[Row]:
        for each in incident.impacts:
            yield each.kind, self._impact(each)
        for note in incident.assessment:
            yield from self._noted(note)

    def _noted(self, note: Note) -> Iterator[Row]:
        yield "", self._marked(note.text, note.restriction)

    def _impact(self, impact: Impact) -> str:
        first = ", ".join(filter(None, (impact.severity, impact.type, impact.completion, impact.value)))
        return self._marked(
            ": ".join(filter(None, (first, "\n".join(impact.description)))) or "-", impact.restriction
        )

    def _expectation(self, wish: Expectation) -> Row:
        notes = [f"severity {wish.severity}"] if wish.severity else []
        notes += [f"event {wish.event}"] if wish.event else []
        about = f" ({', '.join(notes)})" if notes else ""
        by = f"\nby {_party(wish.contact) or wish.contact.role}" if wish.contact else ""
        span = [f"\n{name} {_time(time)}" for name, time in (("not before", wish.start), ("until", wish.end)) if time]
        text = "".join(f"\n{each}" for each in wish.description)
        return "", self._marked(f"{wish.action.upper()}{about}{text}{by}{''.join(span)}", wish.restriction)

    def _system(self, system: System) -> Iterator[Row]:
        yield "", self._marked(self._where(system), system.restriction)

    def _other(self, system: System) -> Iterator[Row]:
        text = f"{system.category or 'of unknown part'}: {self._where(system)}"
        yield "", self._marked(text, system.restriction)

    def _where(self, system: System) -> str:
        where = [*(_address(each.value, each.category) for each in system.addresses), *system.names]
        notes = [*system.notes, f"event {system.event}"] if system.event else system.notes
        services = "  ".join(begun(each, ENOUGH) for each in system.services)
        lines = (", ".join(where) or "(no address)", services, ", ".join(notes))
        return "\n".join(filter(None, (*lines, *system.description)))

    def _indicator(self, indicator: Indicator) -> Iterator[Row]:
        version = f" version {indicator.version}" if indicator.version else ""
        number = f"{indicator.id}{version} of {indicator.name}" if indicator.name else indicator.id
        text = " - ".join(filter(None, (" ".join(indicator.description), number)))
        yield "", self._marked(text or "(without number)", indicator.restriction)
        notes = [f"confidence {indicator.confidence}"] if indicator.confidence else []
        span = (("from", indicator.start), ("until", indicator.end))
        notes += [f"{name} {_time(time)}" for name, time in span if time]
        if len(indicator.values) > SHOWN:
            notes.append(f"{len(indicator.values)} entries")
        for note in (*notes, *indicator.notes):
            yield "", f"  {note}"
        kind = f"{indicator.kind}: " if indicator.kind else ""
        for value in indicator.values[:SHOWN]:
            yield "", f"  {self._marked(f'{kind}{value.text}', value.restriction, indicator.restriction)}"
        if len(indicator.values) > SHOWN:
            yield "", f"  {_more(len(indicator.values) - SHOWN)}"

    def _event(self, event: Event) -> Iterator[Row]:
        times = [f"{label} {_time(event.times[name])}" for name, label in WHEN.items() if name in event.times]
        records = [self._marked(each.text, each.restriction, event.restriction) for each in event.records[:SHOWN]]
        if len(event.records) > SHOWN:
            records.append(_more(len(event.records) - SHOWN))
        lines = [*event.description, *times, *records]
        yield f"event {event.number}", self._marked("\n".join(lines), event.restriction)

    def _contact(self, contact: Contact, depth: int = 0, around: str = "") -> Iterator[Row]:
        indent = "  " * min(depth, 4)
        kind = ", ".join(filter(None, (contact.role, contact.type)))
        told = [*contact.email, *contact.telephone, *contact.more, *contact.description]
        name = ", ".join(contact.names) or (told.pop(0) if told else "without name")
        text = f"{name} ({kind})" if kind else name
        yield "", indent + self._marked(text, contact.restriction, around)
        yield from (("", f"{indent}  {line}") for line in told)
        for each in contact.contacts:
            yield from self._contact(each, depth + 1, contact.restriction)

    def _history(self, item: HistoryItem) -> Iterator[Row]:
        by = f" by {item.by}" if item.by else ""
        text = "".join(f"\n{each}" for each in item.description)
        when = f"{_time(item.time)}\n" if item.time else ""
        yield "", self._marked(f"{when}{item.action}{by}{text}", item.restriction)

    # -- layout --------------------------------------------------------------------------------------------------

    def _section(self, title: str, rows: Iterable[Row]) -> Iterator[Line]:
        begun = False
        for label, text in rows:
            if not begun:
                yield Line("")
                for line in wrap(title.upper(), self.width):
                    yield Line(line, strong=True)
                begun = True
            yield from self._row(label, text, indent=2)

    def _row(self, label: str, text: str, *, indent: int = 0, strong: bool = False) -> Iterator[Line]:
        """A label and its text beside it; below it where there is little room. Nothing when there is no text."""
        if not text:
            return
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}\n... and {len(text) - LONGEST} more characters; --json shows all"
        beside = bool(label) and not self.narrow
        left = " " * indent
        if label and self.narrow:
            yield Line(f"{left}{plain(label)}", strong=True)
            left += "  "
        hanging = left + " " * (LABEL + 1 if beside or (not label and not indent and not self.narrow) else 0)
        first = f"{left}{plain(label):<{LABEL}} " if beside else hanging
        if not label and indent:
            hanging += "  "  # so that entries of several lines can be told apart
        for paragraph in text.split("\n"):
            own = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))]
            for line in wrap(paragraph.lstrip(" "), max(self.width - len(hanging) - len(own), SMALLEST // 2)):
                yield Line(f"{first}{own}{line}".rstrip(), strong)
                first = hanging

    def _list(
        self, title: str, items: Sequence[T], rows: Callable[[T], Iterator[Row]], *, latest: bool = False
    ) -> Iterator[Line]:
        """A section with the first entries, or the latest, of a list that may be long."""
        left_out = len(items) - SHOWN
        count = f" ({len(items)})" if len(items) > 1 else ""
        chosen = items[-SHOWN:] if latest else items[:SHOWN]
        before = [("", _more(left_out, "earlier"))] if left_out > 0 and latest else []
        after = [("", _more(left_out))] if left_out > 0 and not latest else []
        entries = (row for item in chosen for row in rows(item))
        yield from self._section(f"{title}{count}", chain(before, entries, after))

    def _marked(self, text: str, restriction: str, around: str = "") -> str:
        """With its own restriction in front, where that is another one than around it.

        :param around: the restriction of what it stands in; empty for the incident's.
        """
        around = around or self.handling
        same = not restriction or disclosure(restriction) == disclosure(around)
        return text if same else f"[{restriction.upper()}] {text}"


def _telling(event: Event) -> bool:
    """Whether there is something to say of it; its systems have sections of their own."""
    return bool(event.description or event.times or event.records)


def _party(contact: Contact) -> str:
    reach = (*contact.email, *contact.telephone)
    return ", ".join((*contact.names, *reach))


def _address(value: str, category: str) -> str:
    return value if category in PLAIN_ADDRESSES or not category else f"{value} ({category})"


def _time(time: Moment) -> str:
    """As it was written, and in UTC: ``2027-02-03 02:58:12 +01:00 = 01:58:12 UTC``; the date again if it differs."""
    date, _, clock = time.given.partition("T")
    if time.utc is None:
        return f"{date} {clock}".strip() + " (no time zone)" * bool(clock)
    bare = clock.removesuffix("Z")
    if bare != clock:
        return f"{date} {bare} UTC"
    utc_date, _, utc = time.utc.removesuffix("Z").partition("T")
    return f"{date} {clock[:-6]} {clock[-6:]} = {'' if utc_date == date else f'{utc_date} '}{utc} UTC"


def _more(count: int, which: str = "more") -> str:
    return f"... and {count} {which}; --json shows all"
