"""Leaving out of a document what RFC 8727 has no place for, until what remains is valid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grid.iodef import v2
from grid.iodef.json import schema
from grid.iodef.json.decode import Decoder
from grid.iodef.json.rules import broken
from grid.iodef.json.text import Limits, faults

Steps = tuple[str | int, ...]


def pruned(made: dict[str, Any], limits: Limits) -> bool:
    """Take out of a document, in place, what the schema or RFC 7970 has against it.

    What needs a part that is gone goes with it.

    :returns: False when nothing valid remains.
    """
    while True:
        doomed = set(_doomed(made, limits)) or set(_incomplete(made))
        if not doomed:
            return True
        if () in doomed:
            return False
        for steps in sorted(doomed, key=_order, reverse=True):  # from the end, so that indices stay right
            _remove(made, steps)


def _order(steps: Steps) -> list[str]:
    return [str(step).rjust(9, "0") for step in steps]


def _doomed(made: dict[str, Any], limits: Limits) -> Iterator[Steps]:
    """The places that the schema refuses; of keys that exclude each other, all but the first."""
    for problem in faults(made, limits):
        yield _steps(problem.path)
    for finding in schema.findings(made):
        present = [key for key in finding.alternatives if key in finding.found]
        yield from ((*finding.steps, key) for key in present[1:])
        if not present:
            yield finding.steps


def _incomplete(made: dict[str, Any]) -> Iterator[Steps]:
    """The places that are not valid any more for want of what has gone."""
    decoder = Decoder()
    document = decoder.object(v2.Document, made, None)
    for problem in decoder.problems or broken(document, made):
        yield _steps(problem.path)


def _steps(path: str) -> Steps:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _remove(made: dict[str, Any], steps: Steps) -> None:
    """Take a value away, and the list that it leaves empty."""
    *way, last = steps
    holder: Any = made
    try:
        for step in way:
            holder = holder[step]
        del holder[last]
    except (KeyError, IndexError, TypeError):
        return  # it went with what held it
    if isinstance(holder, list) and not holder:
        _remove(made, tuple(way))
