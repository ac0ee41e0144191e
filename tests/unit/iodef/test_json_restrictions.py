"""No part of a document is less restricted in JSON than it was (RFC 7970, section 3.3.1), whatever is left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from grid.iodef import codec, v2
from grid.iodef.json import Lossy, from_json, to_json, to_object
from grid.iodef.names import V2, local, split
from grid.iodef.parsing import parse
from grid.iodef.types import NMToken
from grid.iodef.validation import validate
from tests.unit.iodef import generator
from tests.unit.iodef.json_documents import document, extension, incident, lost, weakness
from tests.unit.iodef.test_json_round_trip import carriable

VALUES = ("public", "partner", "need-to-know", "private", "default", "white", "green", "amber", "red", "ext-value")
RANKS = {"public": 0, "white": 0, "partner": 1, "green": 1, "need-to-know": 2, "amber": 2, "private": 3, "red": 3}
RESTRICTED = {
    each.__name__
    for each in vars(v2).values()
    if isinstance(each, type) and "restriction" in getattr(each, "__dataclass_fields__", ())
}
MARKED = {"Description", "ContactName", "ContactTitle", "Location", "AssetID", "DetectionConfiguration", "RecordItem"}
ALWAYS = {"Record", "Weakness"}
"""Classes whose restriction has no place of its own."""


def marked(root: etree._Element, source: random.Random) -> etree._Element:
    """A document with restrictions by chance, whose texts can be told apart."""
    for number, element in enumerate(root.iter(etree.Element)):
        name = local(str(element.tag))
        if name in RESTRICTED and "iodef" in (split(str(element.tag))[0] or ""):
            element.attrib.pop("restriction", None)
            element.attrib.pop("ext-restriction", None)
            if name in ALWAYS or source.random() < 0.5:
                value = source.choice(VALUES)
                element.set("restriction", value)
                if value == "ext-value":
                    element.set("ext-restriction", source.choice("ab"))
        if name in MARKED and split(str(element.tag))[0] == V2:
            if name == "RecordItem":
                element.set("dtype", "string")
                element.attrib.pop("ext-dtype", None)
                for child in element:
                    element.remove(child)
            element.text = f"#{number}"
    return root


def in_force(root: etree._Element) -> dict[str, tuple[str, str | None]]:
    """The restriction of each marked text."""
    return {
        str(element.text): _own_or_inherited(element)
        for element in root.iter(etree.Element)
        if (element.text or "").startswith("#")
    }


def _own_or_inherited(element: etree._Element) -> tuple[str, str | None]:
    current: etree._Element | None = element
    while current is not None:
        value = current.get("restriction")
        if value is not None:
            return value, current.get("ext-restriction")
        if local(str(current.tag)) == "Incident":
            return "private", None
        current = current.getparent()
    return "", None


def at_least(now: tuple[str, str | None], before: tuple[str, str | None]) -> bool:
    """Whether one restriction is as strict as another."""
    ranks = RANKS.get(now[0], -1), RANKS.get(before[0], 9)
    return now == before or ranks[0] >= ranks[1]


def documents(name: str) -> Iterator[etree._Element]:
    source, used = random.Random(name), Counter[Any]()
    for declared in (v2.Record, v2.Weakness, v2.RecordData, v2.Method, v2.EventData):
        for root in generator.covering(v2.Document, declared, source, used):
            yield marked(carriable(root), source)
    for _ in range(40):
        root = generator.by_chance(v2.Document, source, size=150, plain=True)
        yield marked(carriable(root), source)


@pytest.mark.parametrize("name", range(4))
def test_nothing_is_less_restricted_than_it_was(name: int) -> None:
    seen = Counter[str]()
    for root in documents(f"restrictions {name}"):
        tree = parse(generator.written(root))
        if validate(tree):
            continue
        before = in_force(tree.getroot())
        try:
            rest = to_json(codec.read(v2.Document, tree.getroot()), lossy=True)
        except Lossy:
            continue
        now = in_force(parse(codec.dump(from_json(rest))).getroot())
        for text, restriction in now.items():
            assert at_least(restriction, before[text]), (text, before[text], restriction)
        for each in ALWAYS:
            seen[each] += sum(1 for _ in tree.getroot().iter(f"{{*}}{each}"))
        seen["texts"] += len(now)
    assert min(seen["texts"], seen["Record"], seen["Weakness"]) > 10, seen


def _log(outer: Any, *inner: Any) -> v2.Document:
    data = tuple(v2.RecordData(restriction=each, record_item=(extension("string", "a"),)) for each in inner)
    record = v2.Record(restriction=outer, record_data=data)
    return document(restriction="public", event_data=(v2.EventData(record=record),))


def test_the_restriction_of_a_record_is_moved_to_what_has_none() -> None:
    made = _log("amber", None, "public")
    assert lost(made) == {
        "/IODEF-Document/Incident/EventData/Record": "restriction 'amber' is moved to each RecordData that has none "
        "of its own"
    }
    found = to_object(made, lossy=True)["Incident"][0]["EventData"][0]["RecordData"]
    assert [each["restriction"] for each in found] == ["amber", "public"]


def test_the_restriction_of_a_record_of_which_every_part_has_its_own() -> None:
    (message,) = lost(_log("amber", "red", "public")).values()
    assert message == "restriction 'amber' is left out: each RecordData has one of its own"


def test_one_of_an_extension_is_moved_with_its_value() -> None:
    made = _log(None, None)
    record = made.incident[0].event_data[0].record
    assert record is not None
    record = replace(record, restriction="ext-value", ext_restriction="tlp:amber+strict")
    made = document(event_data=(v2.EventData(record=record),))
    (found,) = to_object(made, lossy=True)["Incident"][0]["EventData"][0]["RecordData"]
    assert (found["restriction"], found["ext-restriction"]) == ("ext-value", "tlp:amber+strict")


def _weak(around: Any, own: Any, ext: str | None = None) -> v2.Document:
    (method,) = weakness(restriction=own, ext_restriction=ext).incident[0].method
    return document(restriction=around, method=(method,))


@pytest.mark.parametrize(
    ("around", "own", "ext"),
    [
        ("public", "red", None),
        ("amber", "private", None),
        ("green", "need-to-know", None),
        ("default", "public", None),
        ("public", "default", None),
        ("private", "ext-value", "x"),
    ],
)
def test_a_weakness_that_would_be_less_restricted_is_left_out(around: Any, own: Any, ext: str | None) -> None:
    made = _weak(around, own, ext)
    assert lost(made)["/IODEF-Document/Incident/Method"].startswith(
        f"Method is left out: Weakness: its restriction '{own}'"
    )
    assert "Method" not in to_object(made, lossy=True)["Incident"][0]


@pytest.mark.parametrize(
    ("around", "own"),
    [("red", "private"), (None, "red"), ("amber", "green"), ("default", "default"), ("green", "public")],
)
def test_a_weakness_that_is_as_restricted_anyway_stays(around: Any, own: Any) -> None:
    made = _weak(around, own)
    (message,) = lost(made).values()
    assert message.startswith(f"restriction '{own}' is left out: STRUCTUREDINFO has no such key; ")
    assert to_object(made, lossy=True)["Incident"][0]["Method"][0]["Weakness"]


@pytest.mark.parametrize("ext", [None, "a\0b"])
def test_what_has_a_restriction_that_cannot_stay_goes_as_a_whole(ext: str | None) -> None:
    """Without it, it would have that of the public incident."""
    history = v2.History(
        restriction="ext-value",
        ext_restriction=ext,
        history_item=(v2.HistoryItem(action="nothing", date_time=incident().generation_time),),
    )
    made = document(restriction="public", history=history, observable_id=NMToken("größe"))
    assert "History" not in to_object(made, lossy=True)["Incident"][0]
