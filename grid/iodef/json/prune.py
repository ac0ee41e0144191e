"""Leaving out of a document what RFC 8727 has no place for, until what remains is valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from grid.iodef import v2
from grid.iodef.fields import Class, fields_of, is_class
from grid.iodef.json import restrictions, schema
from grid.iodef.json.decode import Decoder
from grid.iodef.json.mapping import Key, Way, plan_of
from grid.iodef.json.origins import Steps
from grid.iodef.json.places import Cell, steps_of
from grid.iodef.json.quick import satisfied
from grid.iodef.json.rules import broken
from grid.iodef.json.text import Limits, faults
from grid.iodef.names import local

CHECKS = 8
"""So often what remains is checked as XML; each time at most `MOST` places are told."""


class Pruning:
    """Takes out of a document, in place, what the schema or RFC 7970 has against it.

    What needs a part that is gone goes with it. What has a restriction that cannot stay goes as a whole: without it,
    it would be less restricted.

    :ivar omitted: what has been taken out, with the reason; keys and indices are those of the beginning.
    :ivar failure: why nothing valid remains.
    """

    def __init__(self, made: dict[str, Any], limits: Limits, reasons: Mapping[Steps, str]) -> None:
        """
        :param reasons: why values are null.
        """
        self.omitted: dict[Steps, str] = {}
        self.failure = ""
        self._made = made
        self._limits = limits
        self._reasons = reasons
        self._kept: dict[int, tuple[list[Any], list[int]]] = {}

    def run(self) -> bool:
        """:returns: False when nothing valid remains."""
        checks = 0
        while True:
            doomed = dict(self._refused())
            if not doomed:
                _lacking(v2.Document, self._made, None, doomed)
            if not doomed:
                doomed = dict(self._incomplete())
                checks += 1
            if not doomed:
                return True
            if checks > CHECKS:
                doomed = {(): "too much depends on what has no place in JSON"}
            if () in doomed:
                self.failure = doomed[()]
                return False
            holders: dict[Steps, set[str | int]] = {}
            for steps in sorted(doomed, key=_order, reverse=True):  # from the end, so that indices stay right
                first = self._first(steps)
                self.omitted[first] = self._reasons.get(first, doomed[steps])
                holders.setdefault(steps[:-1], set()).add(steps[-1])
            for steps in sorted(holders, key=_order, reverse=True):
                self._remove(steps, holders[steps])

    def told(self) -> list[tuple[Steps, str]]:
        """What has been left out, in order, and why: of a whole whose parts went before it did, the first of them."""
        turns = {steps: turn for turn, steps in enumerate(self.omitted)}
        told: list[tuple[Steps, Steps]] = []
        for steps in sorted(self.omitted, key=_order):
            if told and told[-1][0] == steps[: len(told[-1][0])]:
                outer, first = told[-1]
                told[-1] = outer, min(first, steps, key=turns.__getitem__)
            else:
                told.append((steps, steps))
        return [(outer, f"{_within(first[len(outer) :])}{self.omitted[first]}") for outer, first in told]

    def _refused(self) -> Iterator[tuple[Steps, str]]:
        """The places that the schema refuses; of keys that exclude each other, all but the first."""
        for problem in faults(self._made, self._limits, inf):
            yield _whole(_steps(problem.path)), problem.message
        if satisfied(self._made):
            return
        for finding in schema.findings(self._made):
            reason = next((problem.message for problem in schema.told(finding)), "it has no place in RFC 8727")
            present = [key for key in finding.alternatives if key in finding.found]
            if finding.rule == "oneOf" and len(present) > 1:
                yield from ((_whole((*finding.steps, key)), reason) for key in present[1:])
            else:
                yield _whole(finding.steps), reason

    def _incomplete(self) -> Iterator[tuple[Steps, str]]:
        """The places that are not valid any more for want of what has gone."""
        decoder = Decoder()
        document = decoder.object(v2.Document, self._made, None)
        for problem in decoder.problems or broken(document, self._made):
            yield _whole(_steps(problem.path)), problem.message

    def _first(self, steps: Steps) -> Steps:
        """A place as it was at the beginning."""
        found: list[str | int] = []
        holder: Any = self._made
        for step in steps:
            original = self._kept.get(id(holder))
            found.append(original[1][int(step)] if original else step)
            try:
                holder = holder[step]
            except (KeyError, IndexError, TypeError):
                holder = None
        return tuple(found)

    def _remove(self, way: Steps, gone: set[str | int]) -> None:
        """Take values away, and the list that they leave empty."""
        holder: Any = self._made
        try:
            for step in way:
                holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return  # it went with what held it
        if isinstance(holder, dict):
            for key in gone:
                holder.pop(key, None)
        elif isinstance(holder, list):
            # the list itself is kept with its indices, lest another gets its id
            indices = self._kept.setdefault(id(holder), (holder, list(range(len(holder)))))[1]
            for each in (holder, indices):
                each[:] = [value for at, value in enumerate(each) if at not in gone]
            if not holder:
                self._remove(way[:-1], {way[-1]})


def _lacking(declared: type[Class], value: dict[str, Any], cell: Cell, found: dict[Steps, str]) -> bool:
    """Whether a class has none of several children of which RFC 7970 demands one, or none that may stay itself.

    :param found: takes all such places within, with the reason.
    """
    plan = plan_of(declared)
    kept = {key for key, held in value.items() if _stays(plan.by_name[key], held, (cell, key), found)}
    for group in fields_of(declared).any_of:
        if not any(key.name in kept for key in plan.keys if key.item.name in group):
            names = ", ".join(local(name) for name in group)
            found[steps_of(cell)] = f"none of {names} remains; {plan.definition} requires one of them"
            return True
    return False


def _stays(key: Key, held: Any, cell: Cell, found: dict[Steps, str]) -> bool:
    """Whether something remains of the value of a key, of which each item is looked at."""
    type_ = (key.inner or key.item).type
    if key.way in {Way.IMPACT, Way.OTHER_ID} or not is_class(type_):
        return True
    if isinstance(held, dict):
        return not _lacking(type_, held, cell, found)
    if not isinstance(held, list):
        return True
    gone = [isinstance(each, dict) and _lacking(type_, each, (cell, at), found) for at, each in enumerate(held)]
    return not all(gone)


def _whole(steps: Steps) -> Steps:
    return steps[:-1] if steps and steps[-1] in restrictions.KEYS else steps


def _order(steps: Steps) -> list[str]:
    return [str(step).rjust(9, "0") if isinstance(step, int) else step for step in steps]


def _within(steps: Steps) -> str:
    names = [str(step) for step in steps if isinstance(step, str)]
    return f"{'/'.join(names)}: " if names else ""


def _steps(path: str) -> Steps:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    return tuple(int(part) if part.isdecimal() else part for part in parts)
