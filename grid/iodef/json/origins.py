"""From a place in JSON back to the place in the document that it was made of."""

from __future__ import annotations

from typing import Any

from grid.iodef import v2
from grid.iodef.fields import Class, Item, Part
from grid.iodef.json.mapping import Key, Way, plan_of
from grid.iodef.names import local

Steps = tuple[str | int, ...]


def ordered(assessment: v2.Assessment) -> list[tuple[Key, int]]:
    """The impacts of an Assessment as one list, in the order of the document: field, and number among its kind."""
    impacts = plan_of(type(assessment)).impacts
    by_kind = [name for name, key in impacts.items() for _ in getattr(assessment, key.item.python)]
    order = assessment.order if sorted(assessment.order) == sorted(by_kind) else by_kind
    seen = dict.fromkeys(impacts, -1)
    found = []
    for name in order:
        seen[name] += 1
        found.append((impacts[name], seen[name]))
    return found


def origin(document: v2.Document, steps: Steps) -> str:
    """The path of a place in terms of RFC 7970, as `grid.iodef.errors.path_of` has it for XML.

    :param steps: keys and indices in the JSON that was made of the document.
    :returns: like ``/IODEF-Document/Incident[2]/EventData/Flow/System/Node``; of the nearest thing that holds it,
        when it is no element or attribute itself.
    """
    walk = _Walk(document, steps)
    while walk.waiting and isinstance(walk.current, Class):
        if not walk.follow():
            break
    return walk.path


class _Walk:
    """The way through a document; `waiting` are the steps still to go, the last of them first."""

    def __init__(self, document: v2.Document, steps: Steps) -> None:
        self.path = "/IODEF-Document"
        self.waiting = list(reversed(steps))
        self.current: Any = document

    def follow(self) -> bool:
        key = plan_of(type(self.current)).by_name.get(str(self.waiting.pop()))
        if key is None:
            return False
        index = int(self.waiting.pop()) if key.many and self.waiting else None
        if key.way is Way.IMPACT:
            return index is not None and self._impact(index)
        value = getattr(self.current, key.item.python)
        if key.inner is not None:
            return self._dissolved(key, key.inner, value if key.item.many else (value,), index)
        return self._into(key.item, value, index)

    def _into(self, item: Item, value: Any, index: int | None) -> bool:
        if value is None:
            return False
        if item.part is Part.ATTRIBUTE:
            self.path += f"/@{local(item.name)}"
        elif item.part is Part.CHILD:
            several = item.many and len(value) > 1 and index is not None
            self.path += f"/{local(item.name)}" + (f"[{index + 1}]" if several and index is not None else "")
        if item.many:
            self.current = None if index is None else value[index]
        else:
            self.current = value
        return self.current is not None

    def _impact(self, index: int) -> bool:
        key, number = ordered(self.current)[index]
        if self.waiting:
            self.waiting.pop()  # its name, which the order has told already
        return self._into(key.item, getattr(self.current, key.item.python), number)

    def _dissolved(self, key: Key, inner: Item, holders: tuple[Any, ...], index: int | None) -> bool:
        """Through a class that JSON does not have."""
        for at, holder in enumerate(holders):
            held = getattr(holder, inner.python)
            size = len(held) if inner.many else 1
            if index is None and len(holders) > 1:
                return False
            if index is None or index < size:
                self._into(key.item, holders if key.item.many else holder, at)
                self.current = holder
                return (index is not None or not inner.many) and self._into(inner, held, index)
            index -= size
        return False
