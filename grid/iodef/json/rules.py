"""The rules of RFC 7970 for a document that came in JSON: checked on its XML, told with places of the JSON."""

from __future__ import annotations

import re
from typing import Any

from grid.iodef import codec, v2
from grid.iodef.errors import Invalid, Problem
from grid.iodef.fields import Class, Item
from grid.iodef.json.mapping import Key, Way, plan_of
from grid.iodef.json.places import pointer
from grid.iodef.names import local
from grid.iodef.parsing import parse
from grid.iodef.validation import validate

_PREFIX = re.compile(r"\b(?:iodef|sci|enum|ds):(?=[A-Z])")
_STEP = re.compile(r"(@?)([^\[\]]+)(?:\[(\d+)\])?")


def broken(document: v2.Document, value: dict[str, Any]) -> list[Problem]:
    """What RFC 7970 has against a document.

    :param value: the plain values that it was made of.
    :returns: problems with JSON pointers.
    """
    try:
        source = codec.dump(document)
        found = validate(parse(source), source=source)
    except Invalid as error:
        found = list(error.problems)
    if len(found) > 1 and not found[-1].path:
        found[-1] = found[-2]  # it said that there are more than `MOST`; whoever tells them sees one beyond
    return [Problem(0, pointer(place(problem.path, value)), _worded(problem.message)) for problem in found]


def _worded(message: str) -> str:
    """A message about XML for readers of JSON; what was found stays as it is."""
    found, expected, wanted = message.partition("; expected ")
    return found + expected + _PREFIX.sub("", wanted).replace("the attribute ", "the key ")


def place(path: str, value: Any) -> list[str | int]:
    """The keys and indices of what a path in XML names; of the nearest thing that holds it, when JSON has none.

    :param path: like ``/IODEF-Document/Incident[2]/Contact/@role``.
    :param value: the document.
    """
    at = _Place(value)
    for told in path.split("/")[2:]:
        step = _STEP.fullmatch(told)
        if step is None or not at.go(step[2], int(step[3] or 1) - 1, attribute=bool(step[1])):
            break
    return at.steps


class _Place:
    """A place in the values, and the class that stands there."""

    def __init__(self, value: Any) -> None:
        self.steps: list[str | int] = []
        self._value = value
        self._type: type[Class] | None = v2.Document
        self._within: Key | None = None

    def go(self, name: str, index: int, *, attribute: bool) -> bool:
        """Follow one step of a path; False when it leads nowhere in JSON."""
        if self._within is not None:  # inside of a class that is dissolved: its key has been followed already
            key, self._within = self._within, None
            return self._into(key, key.inner or key.item, index)
        key_ = self._key(name, attribute)
        if key_ is None:
            return False
        if key_.way is Way.IMPACT:
            return self._impact(key_, name, index)
        if not self._follow(key_.name):
            return False
        if key_.inner is None:
            return self._into(key_, key_.item, index)
        if key_.inner.many:
            self._within = key_
            return True
        return self._into(key_, key_.inner, index)

    def _key(self, name: str, attribute: bool) -> Key | None:
        if self._type is None:
            return None
        kinds = ("attribute",) if attribute else ("child",)
        keys = plan_of(self._type).keys
        return next((key for key in keys if local(key.item.name) == name and key.item.part.value in kinds), None)

    def _into(self, key: Key, item: Item, index: int) -> bool:
        if key.many and not self._follow(index):
            return False
        self._type = item.type if isinstance(self._value, dict) else None
        return True

    def _impact(self, key: Key, name: str, index: int) -> bool:
        if not self._follow(key.name):
            return False
        places = [at for at, each in enumerate(self._value) if name in each]
        if index >= len(places):
            return False
        self._type = key.item.type
        return self._follow(places[index]) and self._follow(name)

    def _follow(self, step: str | int) -> bool:
        try:
            self._value = self._value[step]
        except (KeyError, IndexError, TypeError):
            return False
        self.steps.append(step)
        return True
