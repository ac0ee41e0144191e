"""Walks over a typed model by the descriptions of its classes: what can stand where in a document, and how near.

Nothing here knows a class by name: the standard's two versions and the companions are all read from `fields_of`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class

Path = tuple[Item, ...]
"""Steps from the root of a document down to an element, one for each level below the root."""


@dataclass(frozen=True)
class Edge:
    """One kind of place: a child of a class, or the root when there is no parent."""

    parent: type[Class] | None
    item: Item

    @property
    def name(self) -> str:
        """The child's name in Clark notation."""
        return self.item.name

    def __str__(self) -> str:
        return f"{self.parent.__name__ if self.parent else ''}/{self.name.rpartition('}')[2]}"


@cache
def root_item(document: type[Class]) -> Item:
    """The root seen as a child of nothing."""
    return Item(Part.CHILD, fields_of(document).element, "", document, (), True, False, None)


@cache
def shortest_paths(document: type[Class]) -> dict[type[Class], Path]:
    """Every class that a document can hold, with its shortest path; in the order of their distance."""
    found: dict[type[Class], Path] = {document: ()}
    queue = deque([document])
    while queue:
        parent = queue.popleft()
        for item in fields_of(parent).children:
            if is_class(item.type) and item.type not in found:
                found[item.type] = (*found[parent], item)
                queue.append(item.type)
    return found


@cache
def edges(document: type[Class]) -> tuple[Edge, ...]:
    """Every kind of place in a document: the root, and each child of each class."""
    below = (Edge(parent, item) for parent in shortest_paths(document) for item in fields_of(parent).children)
    return (Edge(None, root_item(document)), *below)


@cache
def places_of(document: type[Class], declared: type[Class]) -> tuple[Edge, ...]:
    """Where a class can stand, nearest to the root first."""
    return tuple(edge for edge in edges(document) if edge.item.type is declared)


def path_of_edge(document: type[Class], edge: Edge) -> Path:
    """The shortest path to an element at that place."""
    return (*shortest_paths(document)[edge.parent], edge.item) if edge.parent else ()


@cache
def cost(type_: Any) -> int:
    """How many elements an instance needs at least; finite for every class that can exist at all."""
    return _costs(type_)[type_] if is_class(type_) else 1


def cheapest(shape: Shape, group: tuple[str, ...]) -> str:
    """The member of a group that needs the fewest elements, so that a smallest instance exists."""
    return min(group, key=lambda name: cost(shape.child_named[name].type))


def low_of(item: Item) -> int:
    """How often a child must be there, as far as its own cardinality says."""
    return 1 if item.required else 0


def _costs(start: type[Class]) -> dict[type[Class], int]:
    """The least fixed point over all classes that can be reached."""
    reached = list(shortest_paths(start))
    known: dict[type[Class], int] = {}
    for _ in reached:
        for declared in reached:
            shape = fields_of(declared)
            needed = [item.type for item in shape.children if item.required]
            sizes = [_size(type_, known) for type_ in needed]
            for group in (*shape.any_of, *shape.one_of):
                options = [_size(shape.child_named[name].type, known) for name in group]
                sizes.append(min((size for size in options if size), default=0))
            if all(sizes):
                known[declared] = min(1 + sum(sizes), known.get(declared, 1 << 30))
    return known


def _size(type_: Any, known: dict[type[Class], int]) -> int:
    """Zero while it is not known."""
    return known.get(type_, 0) if is_class(type_) else 1
