"""What is wrong with an incident, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lxml import etree

from component.base.errors import InputError
from grid.iodef.places import Places

MOST = 200
"""So many problems of one document are told: nobody reads more, and a hostile one has millions."""

SHOWN = 20
"""So many problems are named in the text of an `Invalid`; all are in its `problems`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    :ivar line: of the source, counted from 1; 0 when it is not known.
    :ivar path: of the element or attribute, like ``/IODEF-Document/Incident[2]/Contact/@role``; in JSON a pointer
        (RFC 6901). Empty for the source as a whole.
    :ivar message: what was found and what was expected.
    """

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (f"line {self.line}" if self.line else "", self.path) if part)
        return _readable(f"{place}: {self.message}" if place else self.message)


class Invalid(InputError):
    """A source is not what it should be.

    :ivar problems: at least one, in the order of the source.
    """

    def __init__(self, problems: Sequence[Problem], what: str = "This is not a valid incident document.") -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN} more")
        super().__init__(what, details=lines)

    def __str__(self) -> str:
        return " ".join((self.message, *self.details))


def path_of(element: etree._Element, attribute: str = "") -> str:
    """The path of an element, or of one of its attributes; for many of a document see `grid.iodef.places`."""
    return Places().path(element, attribute)


def _readable(text: str) -> str:
    """A text whose characters all show: a name in a path may hold what ends a line or turns a terminal over."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
