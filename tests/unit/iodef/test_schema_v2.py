"""The schema of IODEF 2.0 (RFC 7970) on its own: what it accepts, what it refuses, and what it says of itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from tests.unit.iodef import schema_v2_cases as cases
from tests.unit.iodef import schema_v2_technical_cases as technical
from tests.unit.iodef.schema_v2_cases import Case
from tests.unit.iodef.xsd import Schema

SCHEMAS = Path(__file__).parents[3] / "schemas"
DOCUMENTS = Path(__file__).parent / "documents"
COMPANIONS = ("xml.xsd", "xmldsig.xsd", "iodef-enum-1.0.xsd", "iodef-sci-1.0.xsd")
XS = "{http://www.w3.org/2001/XMLSchema}"
IODEF = "{urn:ietf:params:xml:ns:iodef-2.0}"
PREFIXES = {
    "enum": "urn:ietf:params:xml:ns:iodef-enum-1.0",
    "sci": "urn:ietf:params:xml:ns:iodef-sci-1.0",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
CASES = (
    *cases.OF_SECTION_2, *cases.OF_DOCUMENT, *cases.OF_CONTACT, *cases.OF_METHOD, *cases.OF_EVENT,
    *technical.OF_SYSTEM, *technical.OF_SERVICE, *technical.OF_RECORD, *technical.OF_INDICATOR,
)  # fmt: skip


class OnlyTheFolder(etree.Resolver):
    """Serves the schemas of the folder and refuses everything else."""

    def __init__(self) -> None:
        self.served: set[str] = set()

    def resolve(self, system_url: str, public_id: str, context: object) -> object:
        """Nothing but a file of the folder may be asked for."""
        path = Path(system_url.removeprefix("file://"))
        if path.parent.resolve() != SCHEMAS.resolve():
            raise PermissionError(f"the schema asks for {system_url}")
        self.served.add(path.name)
        return self.resolve_string(path.read_bytes(), context, base_url=system_url)


@cache
def schema() -> etree.XMLSchema:
    """The schema, compiled."""
    return etree.XMLSchema(etree.parse(SCHEMAS / "iodef-2.0.xsd"))


def faults(element: etree._Element) -> list[str]:
    """What the schema says against an element."""
    compiled = schema()
    compiled.validate(element)
    return [f"{entry.line}: {entry.message}" for entry in compiled.error_log]


def fragment(text: str) -> etree._Element:
    """An element from a fragment of the tables, with the prefixes that they use."""
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in PREFIXES.items())
    return etree.fromstring(f'<all xmlns="{IODEF[1:-1]}" {declared}>{text}</all>')[0]


def test_compiles_from_the_folder_alone() -> None:
    resolver = OnlyTheFolder()
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(resolver)
    compiled = etree.XMLSchema(etree.parse(SCHEMAS / "iodef-2.0.xsd", parser))
    assert compiled.validate(etree.parse(DOCUMENTS / "rfc7970-7.1.xml"))
    assert resolver.served == {"iodef-2.0.xsd", *COMPANIONS}


@pytest.mark.parametrize("name", ["iodef-2.0.xsd", *COMPANIONS])
def test_names_only_its_neighbours(name: str) -> None:
    for statement in etree.parse(SCHEMAS / name).iter(f"{XS}import", f"{XS}include", f"{XS}redefine"):
        assert (SCHEMAS / statement.attrib["schemaLocation"]).is_file()
        assert "/" not in statement.attrib["schemaLocation"]


@pytest.mark.parametrize("name", COMPANIONS)
def test_each_companion_compiles_alone(name: str) -> None:
    etree.XMLSchema(etree.parse(SCHEMAS / name))
    for component in etree.parse(SCHEMAS / name).getroot().iterchildren(f"{XS}element", f"{XS}complexType"):
        assert component.findtext(f"{XS}annotation/{XS}documentation"), component.get("name")


def _named() -> list[etree._Element]:
    parts = ("element", "simpleType", "complexType", "group", "attributeGroup")
    return list(etree.parse(SCHEMAS / "iodef-2.0.xsd").getroot().iterchildren(*(XS + part for part in parts)))


@pytest.mark.parametrize("component", _named(), ids=lambda c: f"{etree.QName(c).localname} {c.get('name')}")
def test_each_type_and_element_names_its_section(component: etree._Element) -> None:
    said = component.findtext(f"{XS}annotation/{XS}documentation") or ""
    assert re.match(
        r"RFC 7970, sections? [23]\.\d+(\.\d+)*(, \d+(\.\d+)+)*( and \d+(\.\d+)+)?\. \S", " ".join(said.split())
    )


@pytest.mark.parametrize("name", ["rfc7970-7.1", "rfc7970-7.2", "rfc8600-publish", "rfc8600-notification"])
def test_the_examples_of_the_standards_are_valid(name: str) -> None:
    assert faults(etree.parse(DOCUMENTS / f"{name}.xml").getroot()) == []


def test_the_second_example_as_printed_is_refused_at_one_place() -> None:
    """RFC 7970 §7.2: ThreatActor/Description is right by §3.7, BulkObservable/@type is not by §3.29.3.1."""
    printed = etree.parse(DOCUMENTS / "rfc7970-7.2-as-printed.xml").getroot()
    (fault,) = faults(printed)
    assert "BulkObservable', attribute 'type'" in fault
    assert "'fqdn'" in fault
    printed.find(f".//{IODEF}BulkObservable").set("type", "domain-name")  # type: ignore[union-attr]
    assert faults(printed) == []


def _everything() -> etree._Element:
    return etree.parse(DOCUMENTS / "everything-2.0.xml").getroot()


def test_the_rich_document_is_valid() -> None:
    assert faults(_everything()) == []


def test_the_rich_document_uses_every_class_and_every_attribute() -> None:
    read = Schema(SCHEMAS / "iodef-2.0.xsd")
    used: dict[str, set[str]] = {}
    for element in _everything().iter(f"{IODEF}*"):
        used.setdefault(str(element.tag), set()).update(map(str, element.attrib))
    declared = {name: node for name, node in read.elements.items() if name.startswith(IODEF)}
    assert set(used) == set(declared)
    free = {"iodef:MLStringType", "iodef:ExtensionType"}  # many classes have these types; it is enough to see one
    for name, declaration in declared.items():
        if declaration.get("type") not in free:
            assert read.element(declaration).attributes.keys() <= used[name], name
    for kind in free:
        of_kind = {name: node for name, node in declared.items() if node.get("type") == kind}
        (attributes,) = {frozenset(read.element(node).attributes) for node in of_kind.values()}
        assert attributes == set().union(*(used[name] for name in of_kind)), kind


def test_every_class_has_cases() -> None:
    inside = {
        etree.QName(element).localname
        for case in CASES
        for text in case.good
        for element in fragment(text).iter(f"{IODEF}*")
    }
    root = etree.parse(SCHEMAS / "iodef-2.0.xsd").getroot()
    classes = {e.attrib["name"] for e in root.iterchildren(f"{XS}element") if e.find(f"{XS}complexType") is not None}
    assert classes <= inside
    assert [case.section for case in CASES] == sorted(
        (case.section for case in CASES), key=lambda section: [int(part) for part in section.split(".")]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.section)
def test_accepts(case: Case) -> None:
    assert {text: faults(fragment(text)) for text in case.good} == {text: [] for text in case.good}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.section)
def test_refuses(case: Case) -> None:
    assert [text for text in case.bad if not faults(fragment(text))] == []


@pytest.mark.parametrize(
    "namespace", ["urn:ietf:params:xml:ns:iodef-1.0", "urn:ietf:params:xml:schema:iodef-2.0", ""]
)
def test_refuses_another_namespace(namespace: str) -> None:
    source = (DOCUMENTS / "rfc7970-7.1.xml").read_bytes()
    assert faults(etree.fromstring(source.replace(IODEF[1:-1].encode(), namespace.encode())))


def test_refuses_identifiers_that_are_given_twice() -> None:
    """RFC 7970 §2.14: an identifier is unique in the document."""
    twice = "".join(f'<Reference observable-id="r">{cases.URL}</Reference>' for _ in range(2))
    assert faults(fragment(f"<Method>{twice}</Method>"))
    once = twice.replace('"r"', '"s"', 1)
    assert faults(fragment(f"<Method>{once}</Method>")) == []
