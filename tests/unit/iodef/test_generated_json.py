"""Documents that obey the model through JSON (RFC 8727) and back: what JSON can carry comes back whole."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import v2
from grid.iodef.fields import Class
from grid.iodef.json import Lossy, from_json, to_json
from tests.unit.iodef import generator, walk
from tests.unit.iodef.test_generated import meaning, valid

EXAMPLES = int(os.environ.get("IODEF_EXAMPLES", "0"))
SEED = random.SystemRandom().randrange(1 << 32) if EXAMPLES else 8727
CLASSES = [pytest.param(declared, id=declared.__name__) for declared in walk.shortest_paths(v2.Document)]


def through_json(root: etree._Element) -> bool:
    """A valid document goes to JSON and back.

    :returns: whether JSON could carry all of it; then it means the same. Otherwise what JSON can carry must be a
        valid document that JSON carries whole; or nothing is left that a document could be made of.
    """
    document = iodef.load(valid(root))
    assert isinstance(document, v2.Document)
    try:
        text = to_json(document)
    except Lossy as loss:
        assert loss.problems
        rest = what_is_left(document)
        if rest is not None:
            again = from_json(rest)
            assert from_json(to_json(again)) == again
            valid(etree.fromstring(iodef.dump(again)))
        return False
    assert said(from_json(text)) == said(document)
    assert from_json(text.encode()) == from_json(text)
    return True


def what_is_left(document: v2.Document) -> str | None:
    """The JSON of what JSON can carry; None when something is lost that every document must have."""
    try:
        return to_json(document, lossy=True)
    except Lossy:
        return None


def said(document: v2.Document) -> Any:
    """The meaning of a document, as its XML tells it."""
    return meaning(etree.fromstring(iodef.dump(document)), v2.Document)


@pytest.mark.parametrize("declared", CLASSES)
def test_smallest_and_full(declared: type[Class]) -> None:
    for edge in walk.places_of(v2.Document, declared) or (walk.Edge(None, walk.root_item(v2.Document)),):
        path = walk.path_of_edge(v2.Document, edge)
        through_json(generator.minimal(v2.Document, path))
        through_json(generator.full(v2.Document, path))


def test_by_chance() -> None:
    source = random.Random(SEED)
    number = EXAMPLES or 150
    whole = [
        through_json(generator.by_chance(v2.Document, source, size=source.randrange(100), plain=bool(each % 4)))
        for each in range(number)
    ]
    assert sum(whole) > number / 3, "most of these documents are made to be carried whole"
