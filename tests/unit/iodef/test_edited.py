"""Random documents, edited at random: the schema and the model agree on what is still a document.

Unlike the mutations, which each break one constraint that is known, an edit may break many, or none. So this finds
both what the schema lets through and what it refuses without reason.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from types import ModuleType

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import v1, v2
from grid.iodef.fields import Class, Item, fields_of, is_class
from grid.iodef.validation import schemas
from tests.unit.iodef import generator, oracle
from tests.unit.iodef.mutations import with_new_identifiers

Element = etree._Element
MODELS = [pytest.param(v2, id="v2"), pytest.param(v1, id="v1")]
EXAMPLES = int(os.environ.get("IODEF_EXAMPLES", "0"))
SEED = random.SystemRandom().randrange(1 << 32) if EXAMPLES else 5070
Modelled = list[tuple[Element, type[Class]]]


def modelled(root: Element, document: type[Class]) -> Modelled:
    """The elements of a document that are classes, with their classes."""
    found = [(root, document)]
    for element, declared in found:  # grows while it is walked through
        shape = fields_of(declared)
        for child in element:
            item = shape.child_named.get(str(child.tag))
            if item is not None and is_class(item.type):
                found.append((child, item.type))
    return found


def new(source: random.Random) -> str:
    """The beginning of identifiers that no other element has."""
    return f"new{source.getrandbits(64)}-"


def drop(element: Element, declared: type[Class], source: random.Random) -> None:
    """Take a child away."""
    if len(element):
        element.remove(source.choice(list(element)))


def repeat(element: Element, declared: type[Class], source: random.Random) -> None:
    """Put a copy of a child somewhere among the children."""
    if len(element):
        element.insert(
            source.randint(0, len(element)), with_new_identifiers(source.choice(list(element)), new(source))
        )


def move(element: Element, declared: type[Class], source: random.Random) -> None:
    """Put a child elsewhere among the children."""
    if len(element):
        element.insert(source.randrange(len(element)), source.choice(list(element)))


def add(element: Element, declared: type[Class], source: random.Random) -> None:
    """Put a child of the class somewhere among the children."""
    shape = fields_of(declared)
    if shape.children:
        item: Item = source.choice(shape.children)
        document = v1.Document if shape.namespace == iodef.V1 else v2.Document
        made = generator.Builder(document, generator.Choices()).minimal(item)
        element.insert(source.randint(0, len(element)), with_new_identifiers(made, new(source)))


def set_attribute(element: Element, declared: type[Class], source: random.Random) -> None:
    """Give an enumerated attribute one of its values, or one of another attribute's."""
    enumerated = [item for item in fields_of(declared).attributes if item.values]
    if enumerated:
        element.set(source.choice(enumerated).name, source.choice(source.choice(enumerated).values))


def drop_attribute(element: Element, declared: type[Class], source: random.Random) -> None:
    """Take an attribute away."""
    if element.attrib:
        del element.attrib[source.choice(list(element.attrib))]


EDITS: list[Callable[[Element, type[Class], random.Random], None]]
EDITS = [drop, repeat, move, add, set_attribute, drop_attribute]


@pytest.mark.parametrize("model", MODELS)
def test_schema_and_model_agree(model: ModuleType) -> None:
    source = random.Random(SEED)
    document = model.Document
    verdicts = []
    for number in range(EXAMPLES or 400):
        root = generator.by_chance(document, source, size=source.randrange(120), plain=True)
        for _ in range(source.choice((0, 1, 1, 1, 2))):
            classes = [(each, kind) for each, kind in modelled(root, document) if fields_of(kind).content is None]
            source.choice(EDITS)(*source.choice(classes), source)
        tree = iodef.parse(generator.written(root))
        faults = list(oracle.faults(tree.getroot(), document))
        valid = schemas(fields_of(document).namespace).full.validate(tree.getroot())
        assert valid == (not faults), f"example {number} of seed {SEED}: {faults}\n{generator.written(root).decode()}"
        verdicts.append(valid)
    assert min(sum(verdicts), len(verdicts) - sum(verdicts)) > len(verdicts) / 6, "most edits do the same"
