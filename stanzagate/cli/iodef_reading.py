"""Looking into an incident's elements, whichever version of IODEF they are of, and whether they are valid or not.

The page of an incident must be readable at night even when a partner uses an enumeration value that our schema does
not know yet, so it is made from the elements and not from the model. What is not there is empty, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from grid.iodef.attributes import disclosure
from grid.iodef.text import EXT_VALUE
from grid.iodef.types import DateTime

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

LANG = "{http://www.w3.org/XML/1998/namespace}lang"

STRICTNESS = ("public", "partner", "need-to-know", "private")
"""The restrictions that can be compared, from the least to the most strict (RFC 7970 §3.3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in time, as it was written and in UTC.

    :ivar utc: None when it has no time zone, or is no date that the calendar has.
    """

    given: str
    utc: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line of text, and the handling that its sender expects for it."""

    text: str
    restriction: str


def notes(element: Element, lines: Iterable[str]) -> tuple[Note, ...]:
    """Lines that come from an element, with the handling of it; without empty ones."""
    handled = handling(element)
    return tuple(Note(text=line, restriction=handled) for line in lines if line)


def children(element: Element | None, *names: str) -> Iterator[Element]:
    """The children of these names, in the order of the document."""
    for child in element if element is not None else ():
        if local(child) in names:
            yield child


def child(element: Element | None, name: str) -> Element | None:
    """The first child of this name."""
    return next(children(element, name), None)


def local(element: Element) -> str:
    """The name without namespace; empty for comments and processing instructions."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def text(element: Element | None) -> str:
    """All text of an element, with white space as a page has it."""
    return " ".join(raw(element).split())


def raw(element: Element | None) -> str:
    """All text of an element as it is, without comments."""
    return "" if element is None else str(element.xpath("string()"))


def prose(element: Element | None) -> str:
    """Text of an element where an empty line begins a new paragraph."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n[^\S\n]*\n", raw(element)))
    return "\n".join(part for part in paragraphs if part)


def texts(element: Element | None, *names: str) -> tuple[str, ...]:
    """The texts of the children of these names, without empty ones."""
    return tuple(found for each in children(element, *names) if (found := text(each)))


def descriptions(element: Element | None, name: str = "Description") -> tuple[str, ...]:
    """Free-form texts; one in another language than its surroundings begins with the language in brackets."""
    return tuple(_in_language(each, found) for each in children(element, name) if (found := prose(each)))


def _in_language(element: Element, found: str) -> str:
    own = language(element)
    around = next((tag for each in _ancestors(element.getparent()) if (tag := language(each))), "")
    return f"[{own}] {found}" if own and around and own.lower() != around.lower() else found


def language(element: Element) -> str:
    """The language that an element itself names: ``xml:lang``, or ``lang`` in RFC 5070."""
    return str(element.get(LANG) or element.get("lang") or "")


def _ancestors(element: Element | None) -> Iterator[Element]:
    while element is not None:
        yield element
        element = element.getparent()


def choice(element: Element | None, name: str) -> str:
    """The value of an enumerated attribute; of its ``ext-`` partner where that has it (RFC 7970 §5.1.1)."""
    if element is None:
        return ""
    value = (element.get(name) or "").strip()
    extended = (element.get(f"ext-{name}") or "").strip()
    return extended if value == EXT_VALUE and extended else value


def restriction(element: Element | None) -> str:
    """The restriction in force here: the closest ancestor's that has one, else private (RFC 7970 §3.3.1)."""
    for each in _ancestors(element):
        if local(each) != "IODEF-Document" and (found := choice(each, "restriction")):
            return found
    return "private"


def stricter(element: Element) -> str:
    """The strictest restriction within an element, when it is stricter than the element's own, else empty.

    One that has no place in the standard's order (``default``, an extension) is taken for less strict than
    ``need-to-know``, so that it hides no stricter part and no laxer part stands for it.
    """
    found = {disclosure(choice(each, "restriction")) for each in element.iter("{*}*")}
    strictest = max(found.intersection(STRICTNESS), key=STRICTNESS.index, default="")
    own = disclosure(restriction(element))
    if not strictest or STRICTNESS.index(strictest) <= STRICTNESS.index(own if own in STRICTNESS else "partner"):
        return ""
    return strictest


def handling(element: Element) -> str:
    """How text is to be handled that tells of a whole element: as the strictest part of it."""
    return stricter(element) or restriction(element)


def moment(element: Element | None) -> Moment | None:
    """The time that an element holds."""
    given = text(element)
    if not given:
        return None
    try:
        found = DateTime(given).moment
        utc = None if found.tzinfo is None else found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        utc = None
    return Moment(given=given, utc=utc)


def facts(element: Element | None) -> tuple[str, ...]:
    """Everything in an element as ``name: value``, for what the page has no better form for."""
    found = []
    for each in element.iter("{*}*") if element is not None else ():
        notes = [f"{key.rpartition('}')[2]}={value}" for key, value in each.items() if _telling(key, value)]
        value = " ".join((each.text or "").split()) if len(each) else text(each)
        if value or notes:
            name = "" if each is element else f"{local(each)}: "
            found.append(f"{name}{' '.join(filter(None, [value, *notes]))}")
    return tuple(found)


def _telling(key: str, value: str) -> bool:
    return bool(value.strip()) and not key.endswith(("observable-id", "restriction", "}lang", "translation-id"))
