"""Demands of the standards' prose as tests know them: each has a title with its clause, and a way to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from lxml import etree

from grid.iodef import v1, v2
from tests.unit.iodef import generator
from tests.unit.iodef.sites import Element, Mutation, Site, sites


@dataclass(frozen=True)
class Demand:
    """One sentence of a standard, and how to break it.

    :ivar models: the versions in which it holds.
    """

    title: str
    models: tuple[ModuleType, ...]
    mutations: Callable[[ModuleType], Iterator[Mutation]]

    def __str__(self) -> str:
        return self.title.replace(" ", "_")


BOTH = (v2, v1)
_ENTERED: list[Demand] = []


def of(*modules: ModuleType) -> list[Demand]:
    """The demands that these modules break."""
    return [
        entered for entered in _ENTERED if entered.mutations.__module__ in {module.__name__ for module in modules}
    ]


def demand(
    title: str, *models: ModuleType
) -> Callable[[Callable[[ModuleType], Iterator[Mutation]]], Callable[[ModuleType], Iterator[Mutation]]]:
    """Remember a function as the way to break a demand.

    :param models: the versions of the standard; 2.0 alone when none is given.
    """

    def enter(function: Callable[[ModuleType], Iterator[Mutation]]) -> Callable[[ModuleType], Iterator[Mutation]]:
        _ENTERED.append(Demand(title, models or (v2,), function))
        return function

    return enter


def at(model: ModuleType, name: str) -> Site:
    """The first place of a class."""
    return sites(model.Document, getattr(model, name))[0]


def everywhere(model: ModuleType, name: str) -> tuple[Site, ...]:
    """All places of a class."""
    return sites(model.Document, getattr(model, name))


def part(element: Element, *path: str) -> Element:
    """The first descendant at a path of local names."""
    for step in path:
        element = next(child for child in element if etree.QName(child).localname == step)
    return element


def drop(element: Element, *names: str) -> None:
    """Take children of these local names away."""
    for child in [child for child in element if etree.QName(child).localname in names]:
        element.remove(child)


def minimal(model: ModuleType) -> Element:
    """The smallest document."""
    return generator.minimal(model.Document, ())


def typed(site: Site, dtype: str) -> Element:
    """An extension of this dtype, still without content."""
    element = site.full()
    element.set("dtype", dtype)
    element.attrib.pop("ext-dtype", None)
    if dtype == "ext-value":
        element.set("ext-dtype", "an-extension")
    for child in list(element):
        element.remove(child)
    return element


def fresh(element: Element) -> Element:
    """The same element in a copy of its document."""
    root = element.getroottree().getroot()
    number = list(root.iter()).index(element)
    return list(etree.fromstring(etree.tostring(root)).iter())[number]
