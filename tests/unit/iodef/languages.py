"""Regular languages over element names, so that two content models can be compared for good and not by example.

A term says which sequences of names are allowed. `difference` walks over both languages at once by Brzozowski's
derivatives ("Derivatives of Regular Expressions", 1964): what may follow after a first name. Terms are kept in a form
in which equal ones look equal as far as is needed for the walk to end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, reduce


@dataclass(frozen=True)
class Term:
    """A language: of `kind` none, empty, name, seq, alt, both or star, made of `parts`."""

    kind: str
    parts: frozenset[Term] | tuple[Term, ...] = ()
    name: str = ""


NONE = Term("none")
"""No sequence at all."""

EMPTY = Term("empty")
"""The sequence without names, only."""


def one(name: str) -> Term:
    """Just this name."""
    return Term("name", name=name)


def seq(*parts: Term) -> Term:
    """One after the other."""
    return reduce(lambda rest, part: _seq(part, rest), reversed(parts), EMPTY)


def alt(parts: Iterable[Term]) -> Term:
    """Any of them."""
    return _set("alt", parts, neutral=NONE)


def both(parts: Iterable[Term]) -> Term:
    """What is in all of them."""
    flat = _flat("both", parts)
    if NONE in flat:
        return NONE
    return next(iter(flat)) if len(flat) == 1 else Term("both", flat)


def star(part: Term) -> Term:
    """Any number of times."""
    return EMPTY if part in {NONE, EMPTY} else Term("star", (part,))


def times(part: Term, low: int, many: bool) -> Term:
    """At least `low` (0 or 1) times, at most once or without bound."""
    if many:
        return seq(part, star(part)) if low else star(part)
    return part if low else alt((EMPTY, part))


def difference(left: Term, right: Term, names: Iterable[str]) -> tuple[list[str], str] | None:
    """A shortest sequence that only one of two languages has, and which one has it; None when they are equal.

    :param names: all that occur in either.
    """
    alphabet = sorted(names)
    seen = {(left, right)}
    queue: deque[tuple[list[str], Term, Term]] = deque([([], left, right)])
    while queue:
        word, first, second = queue.popleft()
        if _nullable(first) != _nullable(second):
            return word, "left" if _nullable(first) else "right"
        for name in alphabet:
            pair = _after(first, name), _after(second, name)
            if pair not in seen:
                seen.add(pair)
                queue.append(([*word, name], *pair))
    return None


@cache
def _nullable(term: Term) -> bool:
    if term.kind in {"seq", "both"}:
        return all(map(_nullable, term.parts))
    if term.kind == "alt":
        return any(map(_nullable, term.parts))
    return term.kind in {"empty", "star"}


@cache
def _after(term: Term, name: str) -> Term:
    """What may follow when the first name is this one."""
    if term.kind == "name":
        return EMPTY if term.name == name else NONE
    if term.kind == "alt":
        return alt(_after(part, name) for part in term.parts)
    if term.kind == "both":
        return both(_after(part, name) for part in term.parts)
    if term.kind == "star":
        (part,) = term.parts
        return _seq(_after(part, name), term)
    if term.kind == "seq":
        first, rest = tuple(term.parts)
        taken = _seq(_after(first, name), rest)
        return alt((taken, _after(rest, name))) if _nullable(first) else taken
    return NONE


def _seq(first: Term, rest: Term) -> Term:
    if NONE in {first, rest}:
        return NONE
    if first == EMPTY:
        return rest
    if rest == EMPTY:
        return first
    if first.kind == "seq":
        head, tail = tuple(first.parts)
        return _seq(head, _seq(tail, rest))
    return Term("seq", (first, rest))


def _set(kind: str, parts: Iterable[Term], neutral: Term) -> Term:
    flat = _flat(kind, parts) - {neutral}
    if not flat:
        return neutral
    return next(iter(flat)) if len(flat) == 1 else Term(kind, flat)


def _flat(kind: str, parts: Iterable[Term]) -> frozenset[Term]:
    return frozenset(inner for part in parts for inner in (part.parts if part.kind == kind else (part,)))
