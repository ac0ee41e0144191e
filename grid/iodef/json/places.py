"""Where in a JSON text something stands: the slow look, taken only at a document that is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from grid.iodef.errors import Problem

Cell = tuple[Any, str | int] | None
"""A place: that of what holds it, and the key or index there. None is the document."""

_TOKEN = re.compile(r'\s*+(?:("(?:[^"\\]++|\\.)*+")|([{}\[\],:])|([^\s{}\[\],:"]++))', re.DOTALL)
_CONSTANTS = {"NaN", "Infinity", "-Infinity"}
_LONGEST_NUMBER = 300


def pointer(steps: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of some keys and indices.

    What does not show, control characters and halves of characters for example, stands as in JSON strings:
    ``\\u000a``. So a pointer can be written anywhere, whatever the keys of others are.
    """
    return "".join("/" + _shown(str(step)).replace("~", "~0").replace("/", "~1") for step in steps)


def _shown(step: str) -> str:
    if step.isprintable():
        return step
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in step)


def pointer_of(cell: Cell) -> str:
    """The JSON pointer of a cell."""
    return pointer(steps_of(cell))


def steps_of(cell: Cell) -> tuple[str | int, ...]:
    """The keys and indices of a cell."""
    steps: list[str | int] = []
    while cell is not None:
        cell, step = cell
        steps.append(step)
    return tuple(reversed(steps))


@dataclass(slots=True)
class Scan:
    """What was found: the line of each place that was asked for, and what has a line of its own."""

    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: str) -> int:
        """The line of a place, or of the nearest one that holds it."""
        while path not in self.lines and path:
            path = path.rpartition("/")[0]
        return self.lines.get(path, 0)


@dataclass(slots=True)
class _Open:
    """A list or object that is not closed yet.

    :ivar step: the key or index that is being read.
    :ivar keys: of an object, those read so far.
    :ivar key_next: a string that comes now is a key.
    """

    step: str | int
    keys: set[str] | None
    key_next: bool


def scan(text: str, wanted: set[str], most: int) -> Scan:
    """Go through a text that is well-formed.

    :param wanted: pointers whose lines are asked for.
    :param most: so many problems are enough; 0, when there are none to be found.
    """
    wanted = wanted | {path[:end] for path in wanted for end in _ends(path)}
    found = Scan()
    stack: list[_Open] = []
    line, seen_to, at = 1, 0, 0
    while (token := _TOKEN.match(text, at)) is not None:
        start = token.start(token.lastindex or 0)
        line += text.count("\n", seen_to, start)
        seen_to, at = start, token.end()
        if token[2]:
            _punctuation(token[2], stack, found, wanted, line)
        elif token[1] and stack and stack[-1].key_next:
            _key(token[1], stack, found, wanted, line)
        else:
            _value(token, stack, found, wanted, line)
        if len(found.problems) >= most and (most or len(found.lines) == len(wanted)):
            break
    return found


def _ends(path: str) -> list[int]:
    return [0, *(place.start() for place in re.finditer("/", path))]


def _path(stack: list[_Open]) -> str:
    return pointer(each.step for each in stack)


def _punctuation(mark: str, stack: list[_Open], found: Scan, wanted: set[str], line: int) -> None:
    if mark in "{[":
        _remember(stack, found, wanted, line)
        stack.append(_Open("", set(), True) if mark == "{" else _Open(0, None, False))
    elif mark in "}]":
        stack.pop()
    elif mark == ",":
        top = stack[-1]
        top.key_next = top.keys is not None
        top.step = int(top.step) + 1 if top.keys is None else ""


def _key(raw: str, stack: list[_Open], found: Scan, wanted: set[str], line: int) -> None:
    top = stack[-1]
    top.step = str(json.loads(raw))
    top.key_next = False
    keys = top.keys if top.keys is not None else set()
    if top.step in keys:
        found.problems.append(Problem(line, _path(stack), "found this key a second time; each may stand once"))
    keys.add(top.step)
    _remember(stack, found, wanted, line)


def _value(token: re.Match[str], stack: list[_Open], found: Scan, wanted: set[str], line: int) -> None:
    _remember(stack, found, wanted, line)
    literal = token[3]
    if literal in _CONSTANTS:
        found.problems.append(
            Problem(line, _path(stack), f"found {literal}; expected a number (RFC 8259, section 6)")
        )
    elif literal and len(literal) <= _LONGEST_NUMBER and not _held(literal):
        told = "found a number with an exponent beyond all bounds"
        found.problems.append(Problem(line, _path(stack), told))
    elif literal and len(literal) > _LONGEST_NUMBER:
        told = f"found a number of {len(literal):,} characters; {_LONGEST_NUMBER} are allowed"
        found.problems.append(Problem(line, _path(stack), told))


def _held(literal: str) -> bool:
    """Whether a `Decimal` can hold a number; true, false and null are none."""
    try:
        if literal[0] in "-0123456789":
            Decimal(literal)
    except ArithmeticError:
        return False
    return True


def _remember(stack: list[_Open], found: Scan, wanted: set[str], line: int) -> None:
    if wanted:
        path = _path(stack)
        if path in wanted:
            found.lines.setdefault(path, line)
