"""Where constraints are broken: a class at each of its places in a document; and what a mutation must be told as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property

from lxml import etree

from grid.iodef.fields import Class, Shape, fields_of
from tests.unit.iodef import generator, walk

Element = etree._Element


@dataclass(frozen=True)
class Mutation:
    """A document that breaks one constraint.

    :ivar what: has been done.
    :ivar root: of the document.
    :ivar paths: one of them must be the path of a problem.
    :ivar words: one of them must stand in the message of such a problem.
    """

    what: str
    root: Element
    paths: frozenset[str]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """A class at one place in a document, of which fresh copies can be had.

    :ivar thorough: break the constraint in every way here, not in one way only.
    """

    document: type[Class]
    edge: walk.Edge
    thorough: bool
    _bases: dict[tuple[str, ...], Element] = field(default_factory=dict, hash=False, compare=False)

    @cached_property
    def path(self) -> walk.Path:
        """From the root to the class."""
        return walk.path_of_edge(self.document, self.edge)

    @property
    def shape(self) -> Shape:
        """Of the class."""
        return fields_of(self.edge.item.type)

    def full(self, *but: str) -> Element:
        """The class with all its parts, but these, in a fresh document."""
        if but not in self._bases:
            self._bases[but] = generator.full(self.document, self.path, but)
        return self._fresh(self._bases[but])

    def with_parts(self, *names: str) -> Element:
        """The class with these children for sure, whichever groups they are in."""
        others = {name for group in self.shape.one_of if set(names) & set(group) for name in group}
        return self.full(*sorted(others - set(names)))

    def _fresh(self, root: Element) -> Element:
        copied = etree.fromstring(etree.tostring(root))
        return target(copied, self.path)


def target(root: Element, path: walk.Path) -> Element:
    """The element at the end of a path."""
    for item in path:
        (root, *_) = root.iterchildren(item.name)
    return root


def place(element: Element, attribute: str = "") -> str:
    """The path by which a problem of this element is to be known."""
    steps = []
    for each in (element, *element.iterancestors()):
        parent = each.getparent()
        namesakes = [] if parent is None else list(parent.iterchildren(str(each.tag)))
        index = f"[{namesakes.index(each) + 1}]" if len(namesakes) > 1 else ""
        steps.append(f"/{short(str(each.tag))}{index}")
    return "".join(reversed(steps)) + (f"/@{short(attribute)}" if attribute else "")


def broken(what: str, element: Element, *words: str, also: Iterable[Element] = (), attribute: str = "") -> Mutation:
    """A mutation whose error is told at an element (or an attribute of it), or at one of some others."""
    paths = {place(element, attribute), *map(place, also)}
    return Mutation(what, element.getroottree().getroot(), frozenset(paths), words)


def short(name: str) -> str:
    return name.rpartition("}")[2]


@cache
def sites(document: type[Class], declared: type[Class]) -> tuple[Site, ...]:
    """Every place of a class, the first of them thorough."""
    edges = walk.places_of(document, declared)
    return tuple(Site(document, edge, number == 0) for number, edge in enumerate(edges))
