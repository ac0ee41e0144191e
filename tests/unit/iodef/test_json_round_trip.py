"""Documents of every kind through JSON and back: nothing is lost that is not named."""

from __future__ import annotations

import copy
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree

from grid.iodef import codec, v2
from grid.iodef.errors import Invalid
from grid.iodef.fields import Class
from grid.iodef.json import Lossy, from_json, from_object, schema, to_json, to_object
from grid.iodef.json.quick import satisfied
from grid.iodef.names import local
from grid.iodef.parsing import parse
from grid.iodef.validation import validate
from tests.unit.iodef import generator

CLASSES = [each for each in vars(v2).values() if isinstance(each, type) and issubclass(each, Class)]
ZONED = re.compile(r"\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
STRUCTURAL = (
    "has no such key",
    "together; ",
    "has no place in",
    "is moved to each",
    "has one of its own",
    "is not kept",
    "this is plain text",
    "does not tell types",
    "has no XML",
)
"""Losses that lie in the structure of a document, not in the form of its values."""


def carriable(root: etree._Element) -> etree._Element:
    """A document with values in forms that RFC 8727 has: dates with time zone, ASCII in identifiers, and so on."""
    for element in root.iter():
        name = local(str(element.tag))
        text = (element.text or "").strip()
        if name in {"DateTime", "DateDomainWasChecked"} or (name.endswith(("Time", "Date")) and not len(element)):
            element.text = text if ZONED.fullmatch(text) else "2015-07-18T09:00:00Z"
        elif name in {"TimeImpact", "MonetaryImpact", "Counter", "Confidence"} and re.search("INF|NaN", text):
            element.text = "1"
        elif name == "AlternativeIndicatorID":
            for reference in element:
                reference.attrib.clear()
                reference.attrib.update({"euid-ref": "csirt.example.com/G1", "version": "1"})
        elif name in {"IndicatorID", "ID"}:
            element.text = _ascii(text)
        for attribute in ("observable-id", "uid-ref"):
            if attribute in element.attrib:
                element.set(attribute, _ascii(str(element.get(attribute))))
    return root


def _ascii(identifier: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"_{ord(found[0]):X}", identifier.strip())


def documents(name: str, number: int) -> Iterator[v2.Document]:
    """Valid documents, of different sizes.

    :param name: of the source of chance.
    """
    source = random.Random(name)
    for _ in range(number):
        size = source.choice([15, 40, 120])
        root = carriable(generator.by_chance(v2.Document, source, size=size, plain=source.random() < 0.3))
        tree = parse(generator.written(root))
        if not validate(tree):
            yield codec.read(v2.Document, tree.getroot())


def bare(document: v2.Document) -> v2.Document:
    """Without what belongs to XML: its declarations."""
    return replace(document, foreign=())


@pytest.mark.parametrize("name", range(6))
def test_xml_to_json_to_xml_is_the_same_document_or_every_loss_is_named(name: int) -> None:
    outcome = Counter[bool]()
    for document in documents(f"whole {name}", 60):
        try:
            text = to_json(document)
        except Lossy as refused:
            outcome[False] += 1
            for problem in refused.problems:
                assert any(told in problem.message for told in STRUCTURAL), problem
        else:
            outcome[True] += 1
            back = from_json(text)
            assert back == bare(document)
            assert codec.dump(back) == codec.dump(bare(document))
    assert outcome[True] > 10


@pytest.mark.parametrize("name", range(6))
def test_what_remains_of_a_lossy_document_is_valid_and_comes_back(name: int) -> None:
    rests = 0
    for document in documents(f"rest {name}", 40):
        try:
            rest = to_json(document, lossy=True)
        except Lossy:
            continue  # what every document must have, an IndicatorID for example, cannot be carried
        back = from_json(rest)
        assert to_json(back) == rest
        rests += 1
    assert rests > 10


def test_every_key_is_written_and_read() -> None:
    """Nothing of RFC 8727 stays untried."""
    seen: set[tuple[str, str]] = set()
    source, used = random.Random("keys"), Counter[Any]()
    for declared in CLASSES:
        for root in generator.covering(v2.Document, declared, source, used):
            tree = parse(generator.written(carriable(root)))
            if validate(tree):
                continue
            made = to_object(codec.read(v2.Document, tree.getroot()), lossy=True)
            seen.update(_keys("IODEF-Document", schema.document(), made))
    every = {(name, key) for name, node in schema.document()["$defs"].items() for key in node.get("properties", ())}
    assert every - seen == set()


def _keys(name: str, node: Any, value: Any) -> Iterator[tuple[str, str]]:
    """Definition and key of each member of a value."""
    while "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        node = schema.definition(name)
    if isinstance(value, dict):
        for key, each in value.items():
            if name in schema.document()["$defs"]:
                yield name, key
            yield from _keys(f"{name}/{key}", node["properties"][key], each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(f"{name}/", node["items"], each)


DATE = "2015-07-18T09:00:00Z"
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 5, 1.5, 2.0, Decimal("0.0"), Decimal("NaN")),
    *("", "x", "ext-value", "en\n", DATE, f"{DATE}\n", "1-2,3", "AA==", "AA", "\0"),
    *([], ["x"], [[]], {}, {"value": "x"}, {"value": 1}, {"x": 1}),
)
KEYS = sorted({key for node in schema.document()["$defs"].values() for key in node.get("properties", ())})


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value: what holds it, and the key or index there."""
    for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(each, dict | list):
            yield from _places(each)


def _mutated(value: Any, source: random.Random) -> Any:
    changed = copy.deepcopy(value)
    holder, key = source.choice(list(_places(changed)))
    kind = source.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[source.choice([*KEYS, "odd"])] = holder[key] if source.random() < 0.5 else source.choice(JUNK)
    elif kind == 2 and isinstance(holder, list):
        holder.append(source.choice(JUNK))
    else:
        holder[key] = source.choice(JUNK)
    return changed


@pytest.mark.parametrize("name", range(4))
def test_the_fast_look_and_the_library_agree_and_nothing_ends_in_another_error(name: int) -> None:
    """Whatever is done to a document, it is read or refused with at least one problem, at a place that exists."""
    source = random.Random(f"mutations {name}")
    outcome = Counter[bool]()
    for document in documents(f"mutated {name}", 12):
        try:
            value = to_object(document, lossy=True)
        except Lossy:
            continue
        for _ in range(12):
            mutated = _mutated(value, source)
            found = schema.problems(mutated)
            assert not (found and satisfied(mutated))
            if not found:
                assert satisfied(mutated) or re.search(r"\d\.0\b", repr(mutated))  # 2.0 is an integer, 1.5 a float
            try:
                from_object(mutated)
            except Invalid as refused:
                outcome[False] += 1
                for problem in refused.problems:
                    assert _exists(mutated, problem.path), problem
            else:
                assert not found
                outcome[True] += 1
    assert outcome[False] > 30
    assert outcome[True] > 3


def _exists(value: Any, path: str) -> bool:
    for step in path.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True
