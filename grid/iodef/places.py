"""Places in a document: paths that people can follow, and the elements that libxml2's paths mean.

Both ask where an element stands among its siblings. A hostile document has a hundred thousand of them and as many
problems, so the siblings of a parent are counted once.
"""

from __future__ import annotations

import re
from collections import Counter

from lxml import etree

from grid.iodef.names import local
from grid.iodef.text import shortened

_LONGEST = 200
"""Characters of a name that a path shows; no class of IODEF has as many."""

_STEP = re.compile(r"(?:([^:\[]+):)?([^:\[]+)(?:\[(\d+)\])?")
"""A step of libxml2's paths: prefix, name or ``*``, and number."""


class Places:
    """The places of one document, as long as it does not change."""

    def __init__(self) -> None:
        self._steps: dict[etree._Element, dict[etree._Element, str]] = {}
        self._children: dict[etree._Element, list[etree._Element]] = {}

    def path(self, element: etree._Element, attribute: str = "") -> str:
        """The path of an element, or of one of its attributes, without namespaces.

        :param attribute: its name; empty for the element itself.
        """
        steps = [f"/@{shortened(local(attribute), _LONGEST)}"] if attribute else []
        current: etree._Element | None = element
        while current is not None:
            steps.append(f"/{self._step(current)}")
            current = current.getparent()
        return "".join(reversed(steps))

    def find(self, root: etree._Element, path: str | None) -> etree._Element | None:
        """The element that libxml2 means.

        :param root: of the document; the path's first step is this element.
        :param path: like ``/*/*[2]/sci:Weakness``. A prefix is that of the element itself: what it stands for may
            change from element to element.
        """
        found = root
        for step in (path or "").split("/")[2:]:
            taken = self._take(found, step)
            if taken is None:
                return None
            found = taken
        return found

    def _step(self, element: etree._Element) -> str:
        parent = element.getparent()
        if parent is None:
            return shortened(local(str(element.tag)), _LONGEST)
        steps = self._steps.get(parent)
        if steps is None:
            steps = self._steps[parent] = _numbered(self._elements(parent))
        return steps[element]

    def _elements(self, parent: etree._Element) -> list[etree._Element]:
        children = self._children.get(parent)
        if children is None:
            children = self._children[parent] = list(parent.iterchildren(etree.Element))
        return children

    def _take(self, parent: etree._Element, step: str) -> etree._Element | None:
        form = _STEP.fullmatch(step)
        if form is None:
            return None
        prefix, name, number = form.groups()
        children = self._elements(parent)
        if name != "*":
            children = [child for child in children if child.prefix == prefix and local(str(child.tag)) == name]
        place = int(number or 1) - 1
        return children[place] if place < len(children) else None


def _numbered(children: list[etree._Element]) -> dict[etree._Element, str]:
    """The step to each child; with a number where there are several of that name."""
    tags = [str(child.tag) for child in children]
    several = Counter(tags)
    seen: Counter[str] = Counter()
    steps = {}
    for child, tag in zip(children, tags, strict=True):
        seen[tag] += 1
        name = shortened(local(tag), _LONGEST)
        steps[child] = f"{name}[{seen[tag]}]" if several[tag] > 1 else name
    return steps
