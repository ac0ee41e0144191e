"""The JSON schema itself, and that it and the model of RFC 7970 leave nothing of each other out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from grid.iodef import v2
from grid.iodef.fields import Class, fields_of
from grid.iodef.json import schema
from grid.iodef.json.mapping import DISSOLVED, Way, plan_of
from grid.iodef.names import local

DEFINITIONS = schema.document()["$defs"]
DISSOLVED_OR_RAW = {*DISSOLVED, v2.RawData}
CLASSES = [
    each
    for each in vars(v2).values()
    if isinstance(each, type) and issubclass(each, Class) and each not in DISSOLVED_OR_RAW
]


def test_it_is_a_schema_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(schema.document())
    assert schema.document()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_it_refers_to_nothing_outside_of_itself() -> None:
    references = re.findall(r'"\$(?:ref|dynamicRef)": "([^"]*)"', json.dumps(schema.document()))
    assert references
    assert {each.removeprefix("#/$defs/") for each in references} <= set(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_definition_names_its_section(name: str) -> None:
    assert re.match(r"RFC \d{4}(?:, sections? \d+(?:\.\d+)*)?", DEFINITIONS[name]["description"])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_object_is_closed_and_each_list_has_an_item(name: str) -> None:
    for part in _parts(DEFINITIONS[name]):
        kinds = part.get("type", [])
        if "properties" in part and "type" in part:
            assert "object" in kinds
            assert part["additionalProperties"] is False
        if kinds == "array":
            assert part["minItems"] == 1


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_definition_is_used(name: str) -> None:
    """Every one but the root's is referred to."""
    assert f'"#/$defs/{name}"' in json.dumps(schema.document())


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _parts(each)


def test_every_field_of_the_model_has_a_key_but_for_these() -> None:
    nowhere = {
        (declared.__name__, key.item.python)
        for declared in CLASSES
        for key in plan_of(declared).keys
        if key.way is Way.NOWHERE
    }
    assert nowhere == {
        ("HashData", "ext_scope"),  # RFC 8727, Table 3 and section 6
        ("Weakness", "restriction"),  # Table 3 has it, the CDDL does not
        ("Weakness", "ext_restriction"),
    }


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_every_key_has_a_field(declared: type[Class]) -> None:
    plan = plan_of(declared)
    assert set(plan.by_name) == set(DEFINITIONS[plan.definition]["properties"])


def test_every_definition_of_an_object_has_a_class() -> None:
    objects = {name for name, node in DEFINITIONS.items() if "properties" in node}
    assert objects == {plan_of(declared).definition for declared in CLASSES}


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_a_list_is_a_list_on_both_sides(declared: type[Class]) -> None:
    for key in plan_of(declared).keys:
        if key.way is not Way.NOWHERE:
            assert key.many == (key.item.many or (key.inner is not None and key.inner.many)), key.name


def test_what_is_required_differs_only_here() -> None:
    different = set()
    for declared in CLASSES:
        plan = plan_of(declared)
        required = set(DEFINITIONS[plan.definition].get("required", ()))
        for key in plan.keys:
            if key.name and key.item.required != (key.name in required):
                different.add((declared.__name__, key.name))
    assert different == {
        ("Assessment", "Impact"),  # one of five lists in XML
        ("Confidence", "value"),  # empty in XML unless rating is numeric
        ("SoftwareReference", "value"),  # an element is there in XML, be it empty
    }


def test_enumerations_differ_only_here() -> None:
    different: dict[tuple[str, str], set[str]] = {}
    for declared in CLASSES:
        properties = DEFINITIONS[plan_of(declared).definition]["properties"]
        for key in plan_of(declared).keys:
            values = schema.resolved(properties[key.name]).get("enum", ()) if key.name else ()
            if values and set(values) != set(key.item.values):
                different[declared.__name__, key.name] = set(values) ^ set(key.item.values)
    assert different == {
        ("Extension", "dtype"): {"json"},
        ("NodeRole", "category"): {"anonymization", "anomyzation"},
        ("IndicatorExpression", "operator"): {"ext-value"},
    }


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_a_definition_names_the_section_of_its_class(declared: type[Class]) -> None:
    section = fields_of(declared).section
    told = DEFINITIONS[plan_of(declared).definition]["description"]
    assert section.startswith("RFC") or re.search(rf"RFC 7970, section {re.escape(section)}(?!\d|\.\d)", told)


def test_names_of_xml_that_a_message_explains_are_not_keys() -> None:
    keys = {key for node in DEFINITIONS.values() for key in node.get("properties", {})}
    impacts = set(DEFINITIONS["Assessment"]["properties"]["Impact"]["items"]["properties"])
    assert not keys & set(schema.INSTEAD)
    assert set(schema.INSTEAD.values()) <= keys
    assert {local(key.item.name) for key in plan_of(v2.Assessment).impacts.values()} == impacts
