"""The model of RFC 5070: complete, the same as text and schema, immutable, able to hold whatever a document holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import codec, v1
from grid.iodef.fields import Class, Item, fields_of
from grid.iodef.names import V1, local
from grid.iodef.types import DateTime, Foreign, Language
from tests.unit.iodef import rfc5070
from tests.unit.iodef.comparison import differences
from tests.unit.iodef.samples import full
from tests.unit.iodef.xsd import Schema

HERE = Path(__file__).parent
SCHEMA = HERE.parents[2] / "schemas" / "iodef-1.0.xsd"
EXAMPLES = sorted(HERE.glob("documents/v1-*.xml"))
DOCUMENTS = [*EXAMPLES, HERE / "documents" / "everything-1.0.xml"]

CLASSES: list[type[Class]] = [getattr(v1, name) for name in v1.__all__ if name != "NAMESPACE"]
SHARED = {
    "AdditionalData": v1.Extension,
    "RecordItem": v1.Extension,
    "Application": v1.Software,
    "OperatingSystem": v1.Software,
    "Telephone": v1.Phone,
    "Fax": v1.Phone,
}
"""Elements that have a class of the same definition in common."""

MINIMAL = """<IODEF-Document version="1.00" lang="en" xmlns="urn:ietf:params:xml:ns:iodef-1.0"{root}>
  <Incident purpose="reporting"><IncidentID name="csirt.example.com">1</IncidentID>
    <ReportTime>2001-09-13T23:19:24+00:00</ReportTime>{assessment}
    <Contact type="person" role="creator"><ContactName>A</ContactName></Contact>{more}</Incident>
</IODEF-Document>"""
IMPACT = '<Assessment><Impact type="dos"/></Assessment>'

each_class = pytest.mark.parametrize("declared", CLASSES, ids=lambda declared: declared.__name__)


def minimal(more: str = "", *, root: str = "", assessment: str = IMPACT) -> v1.Document:
    """A document with something more in its incident, and on its root."""
    document = iodef.load(MINIMAL.format(more=more, root=root, assessment=assessment).encode())
    assert isinstance(document, v1.Document)
    return document


def again(document: v1.Document) -> v1.Document:
    """Written and read."""
    read = iodef.load(iodef.dump(document))
    assert isinstance(read, v1.Document)
    return read


def form(source: bytes) -> str:
    """Canonical XML 2.0: unlike 1.0 it is defined for the namespaces of section 5.2, which are relative URIs."""
    return etree.canonicalize(source.decode())


def canonical(source: bytes) -> str:
    """Canonical XML without comments and without the white space between elements, which only lays out the source."""
    root = etree.fromstring(source, etree.XMLParser(remove_comments=True))
    for element in root.iter(f"{{{V1}}}*"):
        if len(element) and local(str(element.tag)) not in {"AdditionalData", "RecordItem"}:
            element.text = (element.text or "").strip()
            for child in element:
                child.tail = (child.tail or "").strip()
    return form(etree.tostring(root))


def as_child(declared: type[Class], source: bytes) -> Class:
    """The model of an element that is not the root, whose `foreign` has the declarations of the document too."""
    (element,) = etree.fromstring(b"<parent>" + source + b"</parent>")
    return codec.read(declared, element)


def parts(declared: type[Class]) -> list[Item]:
    """Every field of a class that stands in the document."""
    shape = fields_of(declared)
    return [*shape.attributes, *shape.children, *([shape.content] if shape.content else [])]


# The standard, the schema and the model


def by_name() -> dict[str, type[Class]]:
    """The class of each element that the standard describes as a class."""
    return {local(fields_of(c).element): c for c in CLASSES if fields_of(c).element} | SHARED


def test_every_class_of_the_text_is_in_the_model():
    assert by_name().keys() == rfc5070.classes().keys()
    assert {*by_name().values(), v1.MLString} == set(CLASSES)
    for name, declared in by_name().items():
        section = rfc5070.classes()[name].section
        assert fields_of(declared).section == {"OperatingSystem": "3.17.1", "RecordItem": "3.6"}.get(name, section)


@pytest.mark.parametrize("described", rfc5070.classes().values(), ids=rfc5070.classes().keys())
def test_attributes_and_elements_are_those_of_the_text(described: rfc5070.Described):
    shape = fields_of(by_name()[described.name])
    assert {item.name: item.required for item in shape.attributes} == described.attributes
    assert [local(item.name) for item in shape.children] == list(described.children)
    grouped = {*described.at_least_one(), *described.exactly_one()}
    marks = {(False, False): "?", (False, True): "*", (True, False): "", (True, True): "+"}
    for item in shape.children:
        mark = described.children[local(item.name)]
        if local(item.name) in grouped:  # the group makes one of them required
            mark = mark.replace("+", "*")
        assert marks[item.required, item.many] == mark, item.name
    values = {item.name: set(item.values) for item in shape.attributes if item.values and item.name != "version"}
    told = {name: set(rfc5070.enumerations().get(f"{described.name}@{name}", ())) for name in described.attributes}
    assert values == {name: value for name, value in told.items() if value}
    groups = (shape.any_of, shape.one_of)
    expected = (described.at_least_one(), described.exactly_one())
    assert [tuple(map(local, *group)) if group else () for group in groups] == list(expected)


def test_schema_and_model_agree():
    """Written apart from the same standard: names, types, cardinalities, order, enumerations, defaults, groups."""
    assert differences(Schema(SCHEMA), v1.Document) == []


@each_class
def test_every_class_is_documented_in_its_own_words(declared: type[Class]):
    assert len((declared.__doc__ or "").split()) > 3 and not (declared.__doc__ or "").startswith(
        f"{declared.__name__}("
    )


# Reading and writing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_examples_of_the_standard_round_trip(path: Path):
    source = path.read_bytes()
    document = iodef.load(source)
    written = iodef.dump(document)
    assert isinstance(document, v1.Document)
    assert canonical(written) == canonical(source)
    assert iodef.load(written) == document
    assert iodef.dump(iodef.load(written)) == written


@each_class
def test_every_class_holds_all_that_it_can_have(declared: type[Class]):
    instance = full(declared)
    element = fields_of(declared).element or f"{{{V1}}}Something"
    written = codec.dump(instance, element)
    read = as_child(declared, written)
    assert form(codec.dump(read, element)) == form(written)
    # what is foreign has taken in the namespace declarations of its new place; then it stays as it is
    assert as_child(declared, codec.dump(read, element)) == read
    for item in fields_of(declared).attributes:
        assert getattr(read, item.python) == getattr(instance, item.python)


def test_a_document_made_in_python_is_what_it_would_be_as_xml():
    made = v1.Document(
        version="1.00",
        lang=Language("en"),
        incident=(
            v1.Incident(
                purpose="reporting",
                incident_id=v1.IncidentID(value="1", name="csirt.example.com"),
                report_time=DateTime("2001-09-13T23:19:24+00:00"),
                assessment=(v1.Assessment(impact=(v1.Impact(type="dos"),)),),
                contact=(v1.Contact(role="creator", type="person", contact_name=v1.MLString(value="A")),),
            ),
        ),
    )
    assert iodef.validate(iodef.parse(iodef.dump(made))) == []
    assert again(made).incident == made.incident == minimal().incident


def test_the_worm_of_section_7_1_in_the_model():
    document = iodef.load((HERE / "documents" / "v1-worm.xml").read_bytes())
    assert isinstance(document, v1.Document)
    (incident,) = document.incident
    assert (incident.incident_id.name, incident.incident_id.value) == ("csirt.example.com", "189493")
    assert incident.report_time.moment.isoformat() == "2001-09-13T23:19:24+00:00"
    assert incident.assessment == (v1.Assessment(impact=(v1.Impact(type="admin", completion="failed"),)),)
    (event,) = incident.event_data
    source, target = event.flow[0].system
    assert source.node.address == (v1.Address(category="ipv4-addr", value="192.0.2.200"),)
    assert [(counter.type, int(counter.value)) for counter in source.node.counter] == [("event", 57)]
    assert target.service == (v1.Service(ip_protocol=6, port=80),)
    assert event.expectation == (v1.Expectation(action="block-host"),)
    assert event.record is not None and [item.dtype for item in event.record.record_data[0].record_item] == [
        "string",
        "url",
    ]


def test_port_lists_are_understood():
    document = iodef.load((HERE / "documents" / "v1-reconnaissance.xml").read_bytes())
    assert isinstance(document, v1.Document)
    lists = [
        service.portlist.ranges
        for flow in document.incident[0].event_data[0].flow
        for system in flow.system
        for service in system.service
        if service.portlist is not None
    ]
    assert lists == [
        ((60524, 60524), (60526, 60526), (60527, 60527), (60531, 60531)),
        ((137, 139), (445, 445)),
    ]


def test_a_default_of_the_standard_is_known_but_not_filled_in():
    document = minimal(
        '<EventData><Flow><System category="source"><Node><NodeName>a</NodeName></Node></System></Flow></EventData>'
    )
    (incident,) = document.incident
    system = incident.event_data[0].flow[0].system[0]
    assert (incident.restriction, incident.assessment[0].occurrence, system.spoofed) == (None, None, None)
    implied = {
        f"{name}@{item.name}": item.implied
        for name, declared in by_name().items()
        for item in fields_of(declared).attributes
        if item.implied
    }
    assert implied == {
        "Incident@restriction": "private",
        "AdditionalData@dtype": "string",
        "RecordItem@dtype": "string",
        "RegistryHandle@registry": "local",
        "Assessment@occurrence": "actual",
        "TimeImpact@duration": "hour",
        "System@spoofed": "unknown",
        "Address@category": "ipv4-addr",
        "RecordPattern@type": "regex",
        "RecordPattern@offsetunit": "line",
    }
    written = iodef.dump(document)
    assert not any(word in written for word in (b"restriction", b"spoofed", b"occurrence"))


def test_text_that_may_be_left_out_is_empty():
    document = minimal(assessment='<Assessment><Impact type="dos"/><Confidence rating="high"/></Assessment>')
    (assessment,) = document.incident[0].assessment
    assert assessment.impact[0].value == ""
    assert assessment.confidence == v1.Confidence(rating="high", value=None)
    assert b'<Impact type="dos"/>' in iodef.dump(document)


def test_numbers_and_dates_stay_as_they_were_written():
    assessment = '<Assessment><MonetaryImpact currency="USD">10000.00</MonetaryImpact></Assessment>'
    document = minimal("<EventData><EndTime>2001-09-13T24:00:00Z</EndTime></EventData>", assessment=assessment)
    written = iodef.dump(document)
    assert b">10000.00<" in written and b">2001-09-13T24:00:00Z<" in written


def test_impacts_keep_their_order():
    mixed = (
        '<Assessment><MonetaryImpact currency="USD">1</MonetaryImpact><Impact type="dos"/>'
        '<TimeImpact metric="labor" duration="hour">2</TimeImpact><Impact type="user"/></Assessment>'
    )
    document = minimal(assessment=mixed)
    (assessment,) = document.incident[0].assessment
    assert [impact.type for impact in assessment.impact] == ["dos", "user"]
    assert assessment.order == ("MonetaryImpact", "Impact", "TimeImpact", "Impact")
    assert mixed.encode() in iodef.dump(document)
    assert again(document) == document
    assert minimal().incident[0].assessment[0].order == ()


# Extensions

EXTENSIONS = {
    "another namespace": '<x:New xmlns:x="urn:x" x:a="1" b="2"><x:Part/> text </x:New>',
    "its default namespace": '<New xmlns="urn:x"><Part xml:lang="de"/></New>',
    "no namespace": '<New xmlns=""><Part/></New>',
    "a namespace that is a relative URI": '<r:newdata xmlns:r="iodef-extension1.xsd">5.2</r:newdata>',
    "mixed text": 'one <x:b xmlns:x="urn:x">two</x:b> three <x:b xmlns:x="urn:x"/> four &amp; \U0001f4a9',
    "IODEF itself": '<IncidentID name="a.example"> 7 </IncidentID>',
    "a prefix of the root in a value": '<x:New xmlns:x="urn:x" kind="p:Kind">p:name</x:New>',
}
HOLDERS = {
    "AdditionalData": '<AdditionalData dtype="xml">{}</AdditionalData>',
    "RecordItem": "<EventData><Record><RecordData><RecordItem dtype='xml'>{}</RecordItem></RecordData></Record>"
    "</EventData>",
}
ROOT = ' xmlns:p="urn:p" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:a b.xsd"'


@pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS.keys())
@pytest.mark.parametrize("holder", HOLDERS)
def test_unknown_extensions_are_kept_exactly(holder: str, extension: str):
    more = HOLDERS[holder].format(extension)
    document = minimal(more, root=ROOT)
    source = etree.fromstring(MINIMAL.format(more=more, root=ROOT, assessment=IMPACT))
    written = etree.fromstring(iodef.dump(document))
    before, after = (next(root.iter(f"{{{V1}}}{holder}")) for root in (source, written))
    assert form(etree.tostring(after, with_tail=False)) == form(etree.tostring(before, with_tail=False))
    assert [element.nsmap["p"] for element in after] == [element.nsmap["p"] for element in before]
    assert again(document) == document


def test_an_extension_is_an_element_that_can_be_looked_into():
    document = iodef.load((HERE / "documents" / "v1-extension.xml").read_bytes())
    (extension,) = document.incident[0].additional_data
    assert isinstance(extension, v1.Extension)
    (foreign,) = (part for part in extension.content if isinstance(part, Foreign))
    assert foreign.tag == "{iodef-extension1.xsd}newdata"
    assert (foreign.element.text or "").strip() == "Field that could not be represented elsewhere"


def test_attributes_of_other_namespaces_and_declarations_of_the_root_are_kept():
    document = again(minimal(root=ROOT))
    assert dict(document.foreign)["{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"] == "urn:a b.xsd"
    assert etree.fromstring(iodef.dump(document)).nsmap["p"] == "urn:p"


# Values


@each_class
def test_instances_are_immutable_and_compared_by_value(declared: type[Class]):
    first, second = full(declared), full(declared)
    assert first is not second and first == second and hash(first) == hash(second)
    for field in dataclasses.fields(declared):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(first, field.name, None)
        changed: dict[str, Any] = {field.name: "other"}
        assert dataclasses.replace(first, **changed) != first
    assert not hasattr(first, "__dict__")


def test_classes_with_the_same_fields_are_not_equal():
    assert v1.Email(value="a@example.com") != v1.Phone(value="a@example.com")


@each_class
def test_what_is_required_has_to_be_given_by_name(declared: type[Class]):
    instance = full(declared)
    required = {part.python: getattr(instance, part.python) for part in parts(declared) if part.required}
    least = declared(**required)
    optional = {part.python for part in parts(declared)} - set(required)
    assert {getattr(least, name) for name in optional} <= {None, (), ""}
    for name in required:
        with pytest.raises(TypeError):
            declared(**{key: value for key, value in required.items() if key != name})
