"""Every constraint of the model, broken: refused, at its place, in words that tell what is wrong."""

from __future__ import annotations

from types import ModuleType

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import v1, v2
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class
from tests.unit.iodef import (
    broken_demands,
    generator,
    mutations,
    mutations_document,
    mutations_prose,
    prose,
    sites,
    walk,
)
from tests.unit.iodef.mutations import Constraint

MODELS = [pytest.param(v2, id="v2"), pytest.param(v1, id="v1")]
CASES = [
    pytest.param(model.Document, constraint, id=f"{model.__name__[-2:]}-{constraint}")
    for model in (v2, v1)
    for constraint in mutations.constraints(model.Document)
]
DEMANDS = [
    pytest.param(model, demand, id=f"{model.__name__[-2:]}-{demand}")
    for demand in broken_demands.of(mutations_document, mutations_prose)
    for model in demand.models
]


@pytest.mark.parametrize(("document", "constraint"), CASES)
def test_constraint(document: type[Class], constraint: Constraint) -> None:
    check(list(mutations.mutations(document, constraint)))


@pytest.mark.parametrize(("model", "demand"), DEMANDS)
def test_demand_of_the_prose(model: ModuleType, demand: broken_demands.Demand) -> None:
    check(list(demand.mutations(model)))


def check(made: list[sites.Mutation]) -> None:
    """Each mutation is refused as it should be; and there are some."""
    assert made, "nothing breaks this constraint"
    wrong = [complaint for mutation in made for complaint in complaints(mutation)]
    assert not wrong, "\n".join(wrong[:20])
    with pytest.raises(iodef.Invalid):
        iodef.load(generator.written(made[0].root))


def complaints(mutation: sites.Mutation) -> list[str]:
    """What is not as it should be about the way in which a mutation is refused."""
    source = generator.written(mutation.root).replace(b"><", b">\n<")  # each element on a line of its own
    tree = iodef.parse(source)
    problems = iodef.validate(tree, source=source)
    told = "; ".join(map(str, problems))
    if not problems:
        return [f"{mutation.what}: accepted, at {min(mutation.paths)}"]
    placed = [problem for problem in problems if problem.path in mutation.paths]
    if not placed:
        return [f"{mutation.what}: not told at {' or '.join(sorted(mutation.paths))}, but {told}"]
    if not any(word in problem.message for problem in placed for word in mutation.words):
        return [f"{mutation.what}: none of {mutation.words} in {told}"]
    return [
        f"{mutation.what}: line of {problem}" for problem in placed if problem.line not in lines_of(tree, problem)
    ]


def lines_of(tree: etree._ElementTree, problem: iodef.Problem) -> set[int | None]:
    """Where the elements of a problem's path begin: one, or several that differ in their namespaces alone."""
    path = problem.path.partition("/@")[0]
    return {element.sourceline for element in tree.getroot().iter() if sites.place(element) == path}


@pytest.mark.parametrize("model", MODELS)
def test_bases_are_valid(model: ModuleType) -> None:
    """What mutations start from: nothing is wrong with it, at any place."""
    for declared in walk.shortest_paths(model.Document):
        for site in sites.sites(model.Document, declared):
            source = etree.tostring(site.full().getroottree())
            assert iodef.validate(iodef.parse(source), source=source) == [], str(site.edge)


@pytest.mark.parametrize("model", MODELS)
def test_none_is_left_out(model: ModuleType) -> None:
    """Every class, at every place, with each of its parts that anything is said about, is among the constraints."""
    known = mutations.constraints(model.Document)
    assert len(known) == len(set(known)) > 500
    named = {(each.declared, item.name) for each in known for item in mutations.items_of(each.part)}
    kinds = {(each.declared, each.kind) for each in known}
    for declared in walk.shortest_paths(model.Document):
        shape = fields_of(declared)
        left = [
            item.name for item in shape.attributes if not free(shape, item) and (declared, item.name) not in named
        ]
        left += [
            item.name for item in shape.children if (declared, item.name) not in named and len(shape.children) > 1
        ]
        left += [kind for kind in ("unknown attribute", "foreign attribute") if (declared, kind) not in kinds]
        left += [kind for kind in expected_kinds(declared) if (declared, kind) not in kinds]
        assert not left, declared.__name__
    classes = {each.declared for each in known}
    assert classes == set(walk.shortest_paths(model.Document))
    places = [site.edge for declared in classes for site in sites.sites(model.Document, declared)]
    plain = [edge for edge in walk.edges(model.Document) if not is_class(edge.item.type)]
    assert sorted(map(str, [*places, *plain])) == sorted(map(str, walk.edges(model.Document)))


def free(shape: Shape, item: Item) -> bool:
    """An optional attribute of type STRING that extends no other: it may be absent and may be anything."""
    return not item.required and not item.values and item.type is str and prose.extended_by(shape, item) is None


def expected_kinds(declared: type[Class]) -> list[str]:
    """The kinds of constraints that a class must have because of what it is."""
    shape = fields_of(declared)
    kinds = ["any of"] if shape.any_of else []
    kinds += ["one of, none", "one of, two"] if shape.one_of else []
    kinds += ["no text", "unknown child", "foreign child"] if shape.content is None else []
    kinds += ["content is text"] if shape.content is not None and shape.content.part is Part.CONTENT else []
    return kinds


def test_a_demand_is_known_by_one_title() -> None:
    titles = [demand.title for demand in broken_demands.of(mutations_document, mutations_prose)]
    assert len(titles) == len(set(titles)) > 20
