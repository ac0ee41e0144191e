"""The model of RFC 7970: complete, the same as the schema, immutable, and able to hold whatever a document holds."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import codec, v2
from grid.iodef.fields import Class, fields_of
from grid.iodef.names import V2, local
from tests.unit.iodef import languages
from tests.unit.iodef.comparison import differences
from tests.unit.iodef.languages import alt, one, seq, star
from tests.unit.iodef.minimal_v2 import MINIMAL, canonical, minimal
from tests.unit.iodef.samples import full
from tests.unit.iodef.xsd import Schema

HERE = Path(__file__).parent
SCHEMA = HERE.parents[2] / "schemas" / "iodef-2.0.xsd"
DOCUMENTS = [path for path in sorted(HERE.glob("documents/*.xml")) if V2.encode() in path.read_bytes()]
VALID = [path for path in DOCUMENTS if "as-printed" not in path.name]
"""The example of RFC 7970 §7.2 is also there as it is printed, with its mistake."""

CLASSES: list[type[Class]] = [getattr(v2, name) for name in v2.__all__ if name != "NAMESPACE"]
TYPES = {v2.MLString, v2.Software, v2.Extension}
"""Classes that elements of several names share."""

SUBSECTIONS = {
    "2": 16, "2.15": 1,
    "3": 29, "3.3": 2, "3.9": 4, "3.10": 1, "3.11": 1, "3.12": 5, "3.13": 1, "3.14": 2, "3.18": 3, "3.19": 2,
    "3.20": 2, "3.22": 2, "3.23": 1, "3.24": 1, "3.25": 1, "3.26": 2, "3.29": 8, "3.29.3": 1, "3.29.3.1": 1,
}  # fmt: skip
"""How many sections lie below a section, in the RFC's table of contents and (3.29.3.1.1) in its text."""

WITHOUT_CLASS = {"3.3", "3.3.1", "3.3.2", "3.14.1", "3.14.2", "3.29.5"}
"""The sections of chapter 3 that tell about attributes and use and bring no class of their own."""

EXPECTED = {
    # the model has the class of 3.18.1 here; 3.19.1 allows two of its categories, and so no other in ext-category
    "Nameservers/Address: @category values",
    "Nameservers/Address: @ext-category is in the model only",
    # the model has EXTENSION here (2.16); 3.20.2 and 3.21 demand more of its attributes
    "ApplicationHeader/ApplicationHeaderField: @name required",
    "EmailData/EmailHeaderField: @name required",
    "EmailData/EmailHeaderField: @dtype values",
    "EmailData/EmailHeaderField: @ext-dtype is in the model only",
}
"""Where schema and model are known to differ, and why."""


def as_child(declared: type[Class], source: bytes) -> Class:
    """The model of an element that is not the root, whose `foreign` has the declarations of the document too."""
    (element,) = etree.fromstring(b"<parent>" + source + b"</parent>")
    return codec.read(declared, element)


def exclusive(source: bytes) -> bytes:
    """Exclusive Canonical XML: without namespace declarations that nothing uses."""
    return etree.tostring(etree.fromstring(source), method="c14n", exclusive=True)


# The standard, the schema and the model


def sections() -> set[str]:
    """Every section number of chapters 2 and 3."""
    return {f"{above}.{number}" for above, below in SUBSECTIONS.items() for number in range(1, below + 1)}


def test_every_section_that_brings_a_class_has_it_in_the_model():
    modelled = {fields_of(declared).section for declared in CLASSES}
    of_rfc = {section for section in modelled if not section.startswith("RFC ")}
    assert of_rfc == {s for s in sections() if s[0] == "3"} - WITHOUT_CLASS | {"2.4", "2.15", "2.15.1", "2.16"}
    companions = {fields_of(c).section: c.__name__ for c in CLASSES if fields_of(c).section.startswith("RFC ")}
    assert all(re.fullmatch(r"RFC (7203, section 4\.4(\.\d)?|7495)", section) for section in companions)


def test_every_class_is_documented():
    # a dataclass without docstring gets its signature as one
    assert [c for c in CLASSES if not c.__doc__ or c.__doc__.startswith(f"{c.__name__}(")] == []


def test_the_schema_names_the_same_section_for_each_class():
    schema = Schema(SCHEMA)
    wrong = []
    for declared in CLASSES:
        shape = fields_of(declared)
        if shape.element and not shape.section.startswith("RFC "):
            told = schema.element(schema.elements[shape.element]).section
            if f"RFC 7970, section {shape.section}. " not in told:
                wrong.append((shape.element, shape.section, told))
    assert wrong == []


def test_schema_and_model_agree():
    """Written apart from the same standard: names, types, cardinalities, order, enumerations, defaults, groups."""
    found = differences(Schema(SCHEMA), v2.Document)
    told = {what for what in found if not any(what.startswith(expected) for expected in EXPECTED)}
    assert told == set()
    assert len(found) == len(EXPECTED)  # and none of the expected ones is out of date


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        (seq(one("a"), star(one("b"))), alt((one("a"), seq(one("a"), one("b"), star(one("b"))))), None),
        (star(alt((one("a"), one("b")))), star(seq(star(one("a")), star(one("b")))), None),
        (seq(one("a"), one("b")), alt((seq(one("a"), one("b")), seq(one("b"), one("a")))), (["b", "a"], "right")),
        (star(one("a")), one("a"), ([], "left")),
    ],
)
def test_content_models_are_compared_as_languages(left, right, found):
    assert languages.difference(left, right, {"a", "b"}) == found


# Reading and writing


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_examples_of_the_standards_round_trip(path: Path):
    source = path.read_bytes()
    document = iodef.load(source)
    written = iodef.dump(document)
    assert canonical(written) == canonical(source)
    assert iodef.load(written) == document
    assert iodef.dump(iodef.load(written)) == written


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_every_class_holds_all_that_it_can_have(declared: type[Class]):
    instance = full(declared)
    element = fields_of(declared).element or f"{{{V2}}}Something"
    written = codec.dump(instance, element)
    read = as_child(declared, written)
    assert exclusive(codec.dump(read, element)) == exclusive(written)
    # what is foreign has taken in the namespace declarations of its new place; then it stays as it is
    assert as_child(declared, codec.dump(read, element)) == read
    kept = [item.python for item in fields_of(declared).attributes]
    assert [getattr(read, name) for name in kept] == [getattr(instance, name) for name in kept]


def test_a_default_of_the_standard_is_known_but_not_filled_in():
    document = minimal(
        '<EventData><Flow><System><Node><Address category="mac">a</Address></Node></System></Flow><Expectation/>'
        "</EventData>"
    )
    (incident,) = document.incident
    (event,) = incident.event_data
    assert (incident.restriction, event.restriction, event.expectation[0].action) == (None, None, None)
    assert event.flow[0].system[0].spoofed is None
    implied = {local(item.name): item.implied for item in fields_of(v2.System).attributes if item.implied}
    assert implied == {"spoofed": "unknown", "virtual": "unknown"}
    assert b"restriction" not in iodef.dump(document) and b"spoofed" not in iodef.dump(document)


def test_what_is_written_in_several_ways_stays_as_it_was():
    source = MINIMAL.format(root="", more="<EventData><DetectTime>2015-07-18T24:00:00Z</DetectTime></EventData>")
    impact = '<Assessment><MonetaryImpact currency="EUR">10000.00</MonetaryImpact></Assessment>'
    document = iodef.load(source.replace("<Contact ", impact + "<Contact ").encode())
    assert isinstance(document, v2.Document)
    assert str(document.incident[0].assessment[0].monetary_impact[0].value) == "10000.00"
    written = iodef.dump(document)
    assert b">10000.00<" in written and b">2015-07-18T24:00:00Z<" in written


def test_a_confidence_without_number_may_be_laid_out():
    indicator = '<IndicatorID name="a" version="1">i1</IndicatorID><Confidence rating="low">\n </Confidence>'
    indicator += '<IndicatorReference euid-ref="i2"/>'
    document = minimal(f"<IndicatorData><Indicator>{indicator}</Indicator></IndicatorData>")
    indicators = document.incident[0].indicator_data
    assert indicators is not None and indicators.indicator[0].confidence == v2.Confidence(rating="low")


@pytest.mark.parametrize(
    ("kinds", "order"),
    [
        ("SystemImpact SystemImpact BusinessImpact IntendedImpact", ()),
        ("BusinessImpact SystemImpact", ("BusinessImpact", "SystemImpact")),
        ("SystemImpact IntendedImpact SystemImpact", ("SystemImpact", "IntendedImpact", "SystemImpact")),
    ],
)
def test_impacts_keep_their_order(kinds: str, order: tuple[str, ...]):
    """Section 3.12 speaks of one set of five, and RFC 8727 has one list of them: they may be mixed."""
    impacts = "".join(
        f"<{kind} type='unknown'><Description>{i}</Description></{kind}>" for i, kind in enumerate(kinds.split())
    )
    source = MINIMAL.format(root="", more="").replace("<Contact ", f"<Assessment>{impacts}</Assessment><Contact ", 1)
    document = iodef.load(source.encode())
    assert isinstance(document, v2.Document)
    assert document.incident[0].assessment[0].order == order
    assert canonical(iodef.dump(document)) == canonical(source.encode())


# Values


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_instances_are_immutable_and_compared_by_value(declared: type[Class]):
    first, second = full(declared), full(declared)
    assert first is not second and first == second and hash(first) == hash(second)
    assert len({first, second}) == 1
    for field in dataclasses.fields(declared):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(first, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(first, field.name)
        changed = dataclasses.replace(first, **{field.name: "other"})
        assert changed != first and first == second
    assert not hasattr(first, "__dict__")


def test_classes_with_the_same_fields_are_not_equal():
    assert v2.Email(email_to="a@example.com") != v2.Telephone(telephone_number="a@example.com")
    assert v2.Platform(spec_id="private") != v2.Scoring(spec_id="private")


@pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)
def test_what_is_required_has_to_be_given_by_name(declared: type[Class]):
    shape = fields_of(declared)
    parts = [*shape.attributes, *shape.children, *([shape.content] if shape.content else [])]
    instance = full(declared)
    required = {part.python: getattr(instance, part.python) for part in parts if part.required}
    least = declared(**required)
    optional = {part.python for part in parts} - set(required)
    assert {getattr(least, name) for name in optional} <= {None, ()}
    for name in required:
        with pytest.raises(TypeError):
            declared(**{other: value for other, value in required.items() if other != name})
    with pytest.raises(TypeError):
        declared("by position")
