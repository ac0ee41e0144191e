"""How far information may go (RFC 7970 §3.3.1), where a class that says so has no place for it in JSON.

What a document in JSON lets its readers pass on must never be more than what its source did. So a restriction without
a place is pushed down to what it covers; where that is impossible, what it covers is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from grid.iodef import v2
from grid.iodef.attributes import disclosure
from grid.iodef.fields import Class

KEYS = ("restriction", "ext-restriction")

_FIELDS = ("restriction", "ext_restriction")
_STRICTER = ("public", "partner", "need-to-know", "private")
"""The values that have an order; ``default`` and those of extensions have none."""


class Restriction(NamedTuple):
    """What a class says: its value, and that of ``ext-restriction``."""

    value: str | None
    ext: str | None

    def __str__(self) -> str:
        return " ".join(repr(each) for each in self if each is not None)


def own(instance: Class) -> Restriction | None:
    """What a class says itself; None, when it leaves that to what holds it."""
    value, ext = (getattr(instance, name, None) for name in _FIELDS)
    if value is None and ext is None:
        return Restriction("private", None) if isinstance(instance, v2.Incident) else None
    return Restriction(value, ext)


def covers(around: Restriction | None, inner: Restriction) -> bool:
    """Whether what is in force anyway is at least as strict as something else."""
    if around is None:
        return False
    if around == inner:
        return True
    values = [disclosure(each.value or "") for each in (around, inner)]
    if any(each.ext is not None for each in (around, inner)) or not set(values) <= set(_STRICTER):
        return False
    return _STRICTER.index(values[0]) >= _STRICTER.index(values[1])


def pushed(restriction: Restriction, held: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a holder holds, with the holder's restriction where it has none of its own."""
    return tuple(
        each
        if own(each) is not None
        else replace(each, restriction=restriction.value, ext_restriction=restriction.ext)
        for each in held
    )
