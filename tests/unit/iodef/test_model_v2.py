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
from grid.iodef.types import Foreign
from tests.unit.iodef import languages
from tests.unit.iodef.comparison import differences
from tests.unit.iodef.languages import alt, one, seq, star
from tests.unit.iodef.samples import full
from tests.unit.iodef.xsd import Schema

HERE = Path(__file__).parent
SCHEMA = HERE.parents[2] / "schemas" / "iodef-2.0.xsd"
DOCUMENTS = sorted(HERE.glob("documents/rfc7970-*.xml")) + sorted(HERE.glob("documents/rfc8600-*.xml"))
VALID = [path for path in DOCUMENTS if "as-printed" not in path.name]

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
    # the model has the class of 3.18.1 here; 3.19.1 allows two of its categories
    "Nameservers/Address: @category values",
    # the model has EXTENSION here (2.16); 3.20.2 and 3.21 demand more of its attributes
    "ApplicationHeader/ApplicationHeaderField: @name required",
    "EmailData/EmailHeaderField: @name required",
    "EmailData/EmailHeaderField: @dtype values",
    # the schema takes the five impacts in any order, as RFC 8727 does; the model groups them by kind
    "Incident/Assessment: only the schema allows ['BusinessImpact', 'SystemImpact']",
    # RFC 8727's CDDL has one of the two; the model cannot say "at most one kind"
    "Method/AttackPattern: only the model allows ['RawData', 'Reference']",
    "Method/Vulnerability: only the model allows ['RawData', 'Reference']",
    "Method/Weakness: only the model allows ['RawData', 'Reference']",
}
"""Where schema and model are known to differ, and why."""

MINIMAL = """<IODEF-Document version="2.00" xmlns="urn:ietf:params:xml:ns:iodef-2.0"{root}>
  <Incident purpose="watch"><IncidentID name="csirt.example.com">1</IncidentID>
    <GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime>
    <Contact type="person" role="creator"><ContactName>A</ContactName></Contact>{more}</Incident>
</IODEF-Document>"""


def minimal(more: str = "", root: str = "") -> v2.Document:
    """A document with something more in its incident, and on its root."""
    document = iodef.load(MINIMAL.format(more=more, root=root).encode())
    assert isinstance(document, v2.Document)
    return document


def canonical(source: bytes | etree._Element) -> bytes:
    """Canonical XML without comments, and without what only lays out the source: white space between elements, and
    around values that are tokens."""
    root = etree.fromstring(source) if isinstance(source, bytes) else source
    for element in root.iter(f"{{{V2}}}*"):
        if local(str(element.tag)) == "IndicatorID":
            element.text = " ".join((element.text or "").split())
        if len(element) and local(str(element.tag)) != "AdditionalData":
            element.text = (element.text or "").strip()
            for child in element:
                child.tail = (child.tail or "").strip()
    # of the tree: for a root with a comment before it, lxml 6.1 puts wrong declarations into the form of the element
    return etree.tostring(root.getroottree(), method="c14n", with_comments=False)


def again(document: v2.Document) -> v2.Document:
    """Written and read."""
    read = iodef.load(iodef.dump(document))
    assert isinstance(read, v2.Document)
    return read


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


# Extensions


EXTENSIONS = {
    "another namespace": '<x:New xmlns:x="urn:x" x:a="1" b="2"><x:Part/> text </x:New>',
    "its default namespace": '<New xmlns="urn:x"><Part xml:lang="de"/></New>',
    "no namespace": '<New xmlns=""><Part/></New>',
    "no namespace within another": '<New xmlns="urn:x"><Part xmlns=""><In/></Part></New>',
    "mixed text": 'one <x:b xmlns:x="urn:x">two</x:b> three <x:b xmlns:x="urn:x"/> four &amp; \U0001f4a9',
    "two elements and white space": '\n  <x:a xmlns:x="urn:x"/>\n\t<y:a xmlns:y="urn:y"/>  ',
    "IODEF itself": '<IncidentID name="a.example"> 7 </IncidentID>',
    "a prefix of the root in a value": '<x:New xmlns:x="urn:x" kind="p:Kind">p:name</x:New>',
    "a prefix of the root that means something else": '<p:New xmlns:p="urn:other"><p:In p:a="1"/></p:New>',
    "attributes with line ends": '<x:New xmlns:x="urn:x" a="&#10;&#9;&#13; &lt;"/>',
    "CDATA": '<x:New xmlns:x="urn:x"><![CDATA[<no> ]]>]]&gt;</x:New>',
}
ROOT = ' xmlns:p="urn:p" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:a b.xsd"'
HOLDERS = {
    "AdditionalData": "<AdditionalData dtype='xml'>{}</AdditionalData>",
    "RecordItem": "<EventData><Record><RecordData><RecordItem dtype='xml'>{}</RecordItem></RecordData></Record>"
    "</EventData>",
}


@pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS.keys())
@pytest.mark.parametrize("holder", HOLDERS)
def test_unknown_extensions_are_kept_exactly(holder: str, extension: str):
    more = HOLDERS[holder].format(extension)
    document = minimal(more, ROOT)
    source = etree.fromstring(MINIMAL.format(more=more, root=ROOT))
    written = etree.fromstring(iodef.dump(document))
    before, after = (next(root.iter(f"{{{V2}}}{holder}")) for root in (source, written))
    assert etree.tostring(after, method="c14n", with_tail=False) == etree.tostring(
        before, method="c14n", with_tail=False
    )
    assert [element.nsmap["p"] for element in after] == [element.nsmap["p"] for element in before]
    assert again(document) == document


def test_a_prefix_in_the_content_of_an_extension_keeps_its_meaning_elsewhere():
    """An extension can be taken out of one document and put into another whose prefixes are different."""
    more = HOLDERS["AdditionalData"].format(EXTENSIONS["a prefix of the root in a value"])
    (extension,) = minimal(more, ROOT).incident[0].additional_data
    other = minimal(root=' xmlns:p="urn:something:else"')
    incident = dataclasses.replace(other.incident[0], additional_data=(extension,))
    (read,) = again(dataclasses.replace(other, incident=(incident,))).incident[0].additional_data
    (foreign,) = (part for part in read.content if isinstance(part, Foreign))
    assert foreign.element.nsmap["p"] == "urn:p"


def test_comments_and_processing_instructions_go_and_leave_the_text_whole():
    document = minimal("<!-- a --><AdditionalData dtype='string'>one<!-- b --> two<?c d?> three</AdditionalData>")
    assert document.incident[0].additional_data[0].content == ("one two three",)
    assert b"<!--" not in iodef.dump(document)


def test_attributes_of_other_namespaces_and_declarations_of_the_root_are_kept():
    document = again(minimal(root=ROOT))
    assert dict(document.foreign)["{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"] == "urn:a b.xsd"
    assert etree.fromstring(iodef.dump(document)).nsmap["p"] == "urn:p"


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
