"""What a node does not tell: attributes and elements that are taken out before anything is published.

A path names what goes, from the root of the payload: ``Incident/Contact``, ``Incident/@restriction``; ``//Contact``
and ``//@name`` mean anywhere, ``*`` any element. Names are local ones, of whatever namespace; in JSON they are keys,
and an array is passed through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lxml import etree

from component.base.errors import InputError

_STEP = re.compile(r"\*|[^\W\d][\w.-]*")


class Path:
    """One path.

    :raises InputError: it is malformed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._anywhere = text.startswith("//")
        *steps, last = text.removeprefix("//").removeprefix("./").split("/")
        self._attribute = last.removeprefix("@") if last.startswith("@") else ""
        self._names = [*steps] if self._attribute else [*steps, last]
        if not all(_STEP.fullmatch(name) for name in (*self._names, self._attribute or "*")):
            raise InputError(
                f"{text!r} is not a path to strip.",
                hint="Write Incident/Contact, Incident/@restriction or //Contact.",
            )
        self._xpath = self._compiled()

    def _compiled(self) -> etree.XPath:
        steps = ["*" if name == "*" else f"*[local-name() = '{name}']" for name in self._names]
        start = ".//" if self._anywhere else "./"
        if self._anywhere and not steps:
            return etree.XPath("descendant-or-self::*")
        return etree.XPath(start + "/".join(steps) if steps else ".")

    def of_tree(self, root: etree._Element) -> int:
        """Take it out of an XML tree; how often it was there."""
        found: Any = self._xpath(root)
        count = 0
        for element in found:
            if not self._attribute:
                if element.getparent() is not None:
                    _remove(element)
                    count += 1
                continue
            for name in [key for key in element.keys() if str(key).rpartition("}")[2] == self._attribute]:  # noqa: SIM118
                del element.attrib[name]
                count += 1
        return count

    def of_json(self, value: Any) -> int:
        """Take it out of a JSON value; how often it was there."""
        return _pruned(value, [*self._names, *([self._attribute] if self._attribute else [])], self._anywhere)


def paths(texts: Iterable[str]) -> tuple[Path, ...]:
    """Several paths.

    :raises InputError: one is malformed.
    """
    return tuple(map(Path, texts))


def _remove(element: etree._Element) -> None:
    """Without the text behind it: that belongs to what is around."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail
    if parent is None:
        return
    if tail and before is not None:
        before.tail = (before.tail or "") + tail
    elif tail:
        parent.text = (parent.text or "") + tail
    parent.remove(element)


def _pruned(value: Any, names: list[str], anywhere: bool) -> int:
    if isinstance(value, list):
        return sum(_pruned(entry, names, anywhere) for entry in value)
    if not isinstance(value, dict):
        return 0
    count = 0
    for key in [key for key in value if names[0] in ("*", key)]:
        if len(names) == 1:
            del value[key]
            count += 1
        else:
            count += _pruned(value[key], names[1:], False)
    if anywhere:
        count += sum(_pruned(entry, names, True) for entry in value.values())
    return count
