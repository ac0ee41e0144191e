"""The subset, in which no rule can be broken: whatever fits it is valid, rules included."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from grid.iodef import parse, v1, v2
from grid.iodef.demands import distinct
from grid.iodef.names import V1, V2, split
from grid.iodef.rules import problems
from grid.iodef.validation import schemas
from tests.unit.iodef import generator

DOCUMENTS = Path(__file__).parent / "documents"
PLAIN = ["rfc7970-7.1.xml", "rfc7970-7.2.xml", "rfc8600-publish.xml", "v1-bot-net.xml", "v1-watch-list.xml"]
EDITS = 400

VALUES = [
    *("ext-value", "numeric", "custom", "defined-coa", "file-hash", "binary", "not", "file-pe-iat", "string", "xml"),
    *(
        "integer",
        "url",
        "0",
        "-1",
        "256",
        "6",
        "70000",
        "443",
        "1-3",
        "5-1",
        "low",
        "high",
        "",
        " ",
        "x",
        "2026-13-01",
    ),
]


def root_of(name: str) -> Any:
    return parse((DOCUMENTS / name).read_bytes()).getroot()


def fits(root: Any) -> bool:
    """Whether a document is accepted after one look."""
    return schemas(split(str(root.tag))[0]).subset.validate(root) and not any(distinct(root))


def right(root: Any) -> bool:
    """Whether it is valid, rules included, after a look in full."""
    namespace = split(str(root.tag))[0]
    return schemas(namespace).full.validate(root) and not problems(root, namespace)


def edited(root: Any, chance: random.Random) -> Iterator[Any]:
    """Copies of a document with a value or two exchanged, an extended attribute, or a part from elsewhere in it."""
    for _ in range(EDITS):
        made = copy.deepcopy(root)
        for _ in range(chance.choice([1, 1, 2])):
            elements = list(made.iter())
            element = chance.choice(elements)
            kind = chance.randrange(4)
            if kind == 0 and element.attrib:
                element.set(chance.choice(sorted(element.attrib)), chance.choice(VALUES))
            elif kind == 1 and not len(element):
                element.text = chance.choice(VALUES)
            elif kind == 2:
                element.set(chance.choice(["ext-type", "ext-purpose", "private-enum-id", "dtype"]), "x")
            elif element is not made:
                part = copy.deepcopy(chance.choice(elements[1:]))
                element.getparent().insert(element.getparent().index(element), part)
        yield made


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_documents_fit(name: str) -> None:
    assert fits(root_of(name))


@pytest.mark.parametrize("name", ["everything-2.0.xml", "everything-1.0.xml", "v1-extension.xml"])
def test_what_rules_look_after_does_not_fit_and_is_valid(name: str) -> None:
    assert not fits(root_of(name))
    assert right(root_of(name))


@pytest.mark.parametrize("name", PLAIN)
def test_what_fits_is_valid(name: str) -> None:
    fitted = 0
    for made in edited(root_of(name), random.Random(name)):
        if fits(made):
            fitted += 1
            assert right(made), etree.tostring(made).decode()
    assert 0 < fitted < EDITS


@pytest.mark.parametrize("model", [v2, v1], ids=["v2", "v1"])
def test_what_fits_is_valid_by_chance(model: Any) -> None:
    chance = random.Random(7970)
    fitted = 0
    for _ in range(120):
        made = generator.by_chance(model.Document, chance, size=chance.choice([3, 10, 40]), plain=True)
        for root in [made, *list(edited(made, chance))[:10]]:
            if fits(root):
                fitted += 1
                assert right(root), etree.tostring(root).decode()
    assert fitted > 10


def test_an_indicator_that_is_there_twice_is_found() -> None:
    root = root_of("rfc7970-7.2.xml")
    indicator = root.find(f".//{{{V2}}}Indicator")
    indicator.addnext(copy.deepcopy(indicator))
    assert schemas(V2).subset.validate(root)
    assert not fits(root)
    assert not right(root)


def test_the_subset_knows_no_extension_at_all() -> None:
    for namespace in (V1, V2):
        root = root_of("v1-bot-net.xml" if namespace == V1 else "rfc7970-7.1.xml")
        incident = root.find(f"{{{namespace}}}Incident")
        incident.set("purpose", "ext-value")
        incident.set("ext-purpose", "exercise")
        assert not fits(root)
        assert right(root)
