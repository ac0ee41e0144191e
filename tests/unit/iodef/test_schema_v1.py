"""The schema of IODEF 1.0 against the text of RFC 5070, part by part, with nothing of the product but the schema."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from lxml import etree

from grid.iodef.names import V1, local
from tests.unit.iodef import rfc5070
from tests.unit.iodef.xsd import Schema

HERE = Path(__file__).parent
FILE = HERE.parents[2] / "schemas" / "iodef-1.0.xsd"
VALIDATOR = etree.XMLSchema(etree.parse(FILE))
SCHEMA = Schema(FILE)
CLASSES = rfc5070.classes()
ENUMERATIONS = rfc5070.enumerations()
DOCUMENTS = [*sorted(HERE.glob("documents/v1-*.xml")), HERE / "documents" / "everything-1.0.xml"]
EVERYTHING = etree.parse(HERE / "documents" / "everything-1.0.xml", etree.XMLParser(remove_comments=True)).getroot()
MIXED = {"AdditionalData", "RecordItem"}
XS = "{http://www.w3.org/2001/XMLSchema}"

Element = etree._Element
each_class = pytest.mark.parametrize("described", CLASSES.values(), ids=CLASSES.keys())


def valid(root: Element) -> bool:
    """What libxml2 says of the document; the element is validated where it stands now."""
    return bool(VALIDATOR.validate(root))


def copies(name: str) -> Iterator[tuple[Element, Element]]:
    """For each element of this name in the document of everything: a copy of the document, and the element in it."""
    count = len(list(EVERYTHING.iter(f"{{{V1}}}{name}")))
    for index in range(count):
        root = deepcopy(EVERYTHING)
        yield root, list(root.iter(f"{{{V1}}}{name}"))[index]


def holding(name: str, child: str) -> tuple[Element, Element, list[Element]]:
    """A copy of the document, the first element of this name in it that has such a child, and those children."""
    for root, element in copies(name):
        found = element.findall(f"{{{V1}}}{child}")
        if found:
            return root, element, found
    raise AssertionError(f"{name} without {child}")


# Declarations


@each_class
def test_attributes_elements_and_section_are_those_of_the_text(described: rfc5070.Described):
    found = SCHEMA.element(SCHEMA.elements[f"{{{V1}}}{described.name}"])
    assert found.section.split(":")[0].split(" and ")[0].rstrip(".").replace("sections", "section") == (
        f"RFC 5070, section {described.section}"
    )
    assert {name: attribute.required for name, attribute in found.attributes.items()} == described.attributes
    values = {name: attribute.values for name, attribute in found.attributes.items() if attribute.values}
    expected = {name: ENUMERATIONS.get(f"{described.name}@{name}") for name in described.attributes}
    expected |= {"version": ("1.00",)} if described.name == "IODEF-Document" else {}
    assert values == {name: value for name, value in expected.items() if value}
    defaults = {f"{described.name}@{name}": attribute.default for name, attribute in found.attributes.items()}
    assert {key: value for key, value in defaults.items() if value} == {
        key: value for key, value in rfc5070.DEFAULTS.items() if key.startswith(f"{described.name}@")
    }
    if described.name not in MIXED:
        assert [local(name) for name in found.children] == list(described.children)


def test_every_class_and_every_part_is_a_global_element():
    parts = {name for described in CLASSES.values() for name in described.children}
    # 3.8.5: DateTime is one of the parts
    assert {local(name) for name in SCHEMA.elements} == set(CLASSES) | parts


def test_everything_that_is_declared_names_its_section_and_nothing_is_imported():
    root = etree.parse(FILE).getroot()
    declared = [node for kind in ("element", "complexType", "simpleType") for node in root.iterchildren(XS + kind)]
    undocumented = [
        node.get("name")
        for node in declared
        if "RFC 5070, section" not in str(node.findtext(f"{XS}annotation/{XS}documentation"))
    ]
    assert len(declared) > len(CLASSES) and undocumented == []
    assert [*root.iter(f"{XS}import", f"{XS}include", f"{XS}redefine")] == []
    assert root.get("targetNamespace") == V1


# Documents


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path):
    VALIDATOR.assertValid(etree.parse(path))


def test_the_document_of_everything_has_every_attribute_and_every_element_of_every_class():
    missing = []
    for described in CLASSES.values():
        found = list(EVERYTHING.iter(f"{{{V1}}}{described.name}"))
        attributes = {name for element in found for name in element.attrib}
        children = {local(str(child.tag)) for element in found for child in element}
        missing += [f"{described.name}@{name}" for name in described.attributes if name not in attributes]
        missing += [f"{described.name}/{name}" for name in described.children if name not in children]
    assert missing == []


SECTION_4_2 = """<?xml version="1.0" ?>
<IODEF-Document
      version="1.00" lang="en-US"
      xmlns:iodef="urn:ietf:params:xml:ns:iodef-1.0"
      xsi:schemaLocation="urn:ietf:params:xmls:schema:iodef-1.0"></IODEF-Document>"""

SECTION_5_2 = """<IODEF-Document
           version="1.00" lang="en-US"
           xmlns="urn:ietf:params:xml:ns:iodef-1.0"
           xmlns:iodef=" urn:ietf:params:xml:ns:iodef-1.0"
           xmlns:iodef-extension1="iodef-extension1.xsd"
           xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
           xsi:schemaLocation="iodef-extension1.xsd">
          <Incident purpose="reporting">
          ...
          <AdditionalData dtype="xml" meaning="xml">
            <iodef-extension1:newdata>
               Field that could not be represented elsewhere
            </iodef-extension1:newdata>
          </AdditionalData>
          </Incident>
      </IODEF-Document>"""


def test_the_root_printed_in_section_4_2_is_refused_for_its_namespaces_only():
    with pytest.raises(etree.XMLSyntaxError, match="prefix xsi"):
        etree.fromstring(SECTION_4_2)
    declared = SECTION_4_2.replace(" xsi:schema", ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schema')
    assert not valid(etree.fromstring(declared))  # the only namespace that it declares is for a prefix that it lacks
    corrected = etree.fromstring(declared.replace("xmlns:iodef=", "xmlns="))
    corrected.append(deepcopy(EVERYTHING[0]))
    assert valid(corrected)


def test_the_excerpt_printed_in_section_5_2_is_refused_for_what_it_leaves_out_only():
    with pytest.raises(etree.XMLSyntaxError, match="not a valid URI"):
        etree.fromstring(SECTION_5_2)  # a blank in the declaration of the prefix iodef, which it does not use
    printed = etree.fromstring(
        SECTION_5_2.replace(' urn:ietf:params:xml:ns:iodef-1.0"', 'urn:ietf:params:xml:ns:iodef-1.0"')
    )
    assert not valid(printed)
    (incident,) = printed
    assert incident.text is not None and incident.text.strip() == "..."
    incident.text = None
    assert not valid(printed)
    complete = etree.parse(HERE / "documents" / "v1-bot-net.xml").getroot()[0]
    incident[:0] = [deepcopy(child) for child in complete if local(str(child.tag)) != "EventData"]
    assert valid(printed)


# Attributes and elements


@each_class
def test_a_required_attribute_may_not_be_missing_and_others_may(described: rfc5070.Described):
    for name, required in described.attributes.items():
        for root, element in copies(described.name):
            if name in element.attrib:
                del element.attrib[name]
                assert valid(root) is not required, (described.name, name)


@each_class
def test_an_attribute_that_the_text_does_not_name_is_refused(described: rfc5070.Described):
    for name in ("no-such", "{http://www.w3.org/XML/1998/namespace}lang", "{urn:example:x}a", "xml-lang"):
        root, element = next(copies(described.name))
        element.set(name, "en")
        assert not valid(root), name


@pytest.mark.parametrize("key", ENUMERATIONS)
def test_an_enumeration_has_its_values_and_no_others(key: str):
    name, _, attribute = key.partition("@")
    root, element = next(copies(name))
    for value in ENUMERATIONS[key]:
        element.set(attribute, value)
        assert valid(root), value
    for wrong in ("", "other-", ENUMERATIONS[key][0].upper(), f"{ENUMERATIONS[key][0]} x", "no such"):
        element.set(attribute, wrong)
        assert not valid(root), wrong


def test_the_default_of_the_impact_type_is_not_one_of_its_values():
    """Erratum of 3.10.1: the default value is "other", the list does not have it."""
    root, impact = next(copies("Impact"))
    impact.set("type", "other")
    assert not valid(root)


@each_class
def test_elements_occur_as_often_as_the_text_says(described: rfc5070.Described):
    grouped = {*described.at_least_one(), *described.exactly_one()}
    for name, mark in described.children.items():
        root, element, found = holding(described.name, name)
        again = deepcopy(found[-1])
        again.tail = None
        found[-1].addnext(again)
        assert valid(root) is (mark in {"*", "+"}), (described.name, name, "twice")
        if name not in grouped:
            root, element, found = holding(described.name, name)
            for each in found:
                element.remove(each)
            assert valid(root) is (mark in {"?", "*"}), (described.name, name, "never")


@each_class
def test_elements_have_the_order_of_the_figure_but_for_the_impacts(described: rfc5070.Described):
    swapped = 0
    for index in range(len(list(copies(described.name)))):
        length = len(list(EVERYTHING.iter(f"{{{V1}}}{described.name}"))[index])
        for position in range(length - 1):
            root = deepcopy(EVERYTHING)
            element = list(root.iter(f"{{{V1}}}{described.name}"))[index]
            first, second = element[position], element[position + 1]
            if described.name not in MIXED and first.tag != second.tag:
                second.addnext(first)
                free = {local(str(first.tag)), local(str(second.tag))} <= rfc5070.IN_ANY_ORDER
                assert valid(root) is free, (described.name, first.tag, second.tag)
                swapped += 1
    several = len(described.children) - len(described.exactly_one()) // 2 > 1
    assert bool(swapped) is several


@each_class
def test_nothing_else_stands_in_a_class_that_is_not_for_extensions(described: rfc5070.Described):
    foreign = '<x xmlns="urn:example:x"/>'
    for content in (foreign, f'<x xmlns="{V1}"/>', f'<Description xmlns="{V1}">again</Description>'):
        for at in (0, -1):
            root, element = next(copies(described.name))
            last_description = at == -1 and described.children and list(described.children)[-1] == "Description"
            if "Description" in content and (described.name in {"EventData", "Expectation"} or last_description):
                continue  # there it begins or ends the order
            element.insert(0 if at == 0 else len(element), etree.fromstring(content))
            assert valid(root) is (described.name in MIXED), (content, at)
    if described.name in MIXED:
        root, element = next(copies(described.name))
        element.extend(etree.fromstring(foreign) for _ in range(3))
        assert valid(root)
    if described.children:
        root, element = next(copies(described.name))
        element.text = "text"
        assert not valid(root)


@pytest.mark.parametrize("name", [*rfc5070.AT_LEAST_ONE, *rfc5070.EXACTLY_ONE])
def test_groups_of_which_one_must_be_there(name: str):
    described = CLASSES[name]
    group = described.at_least_one() or described.exactly_one()
    only_one = bool(described.exactly_one())
    parts = {each: holding(name, each)[2][0] for each in described.children}
    others = [each for each, mark in described.children.items() if each not in group and mark in {"", "+"}]

    def with_only(*chosen: str) -> bool:
        root, element = next(copies(name))
        for child in list(element):
            element.remove(child)
        names = sorted([*chosen, *others], key=list(described.children).index)
        element.extend(deepcopy(parts[each]) for each in names)
        return valid(root)

    assert not with_only()
    assert not any(with_only(each) for each in described.children if each not in group)
    for index, each in enumerate(group):
        assert with_only(each)
        for other in group[index + 1 :]:
            assert with_only(each, other) is not only_one
        for other, mark in described.children.items():
            if each != other and not (only_one and other in group):
                assert with_only(each, other, other) is (mark in {"*", "+"}), (each, other)
        assert with_only(each, each) is (described.children[each] in {"*", "+"})
    assert only_one or with_only(*described.children)


@each_class
def test_every_class_can_be_the_root(described: rfc5070.Described):
    """Other protocols carry an Incident, or less, without the document around it (XEP-0268)."""
    root = etree.fromstring(etree.tostring(next(copies(described.name))[1], with_tail=False))
    assert valid(root)


# Data types


VALUES = {
    # 2.1
    "Port": (("0", "80", " 443 "), ("", "x", "80.0", "0x50", "8 0")),
    "Service@ip_protocol": (("6", "255"), ("", "tcp", "6.0")),
    "RecordPattern@offset": (("-1", "12"), ("", "1.5")),
    "RecordPattern@instance": (("1",), ("one",)),
    "ProtoCode": (("0",), ("", "x")),
    "ProtoType": (("8",), ("", "echo")),
    "ProtoFlags": (("2",), ("", "S")),
    # 2.2
    "Counter": (("57", "0", "-1", "2.5", "1E4", ".5", "5."), ("", "many", "1,5", "1E", "0x1", "1 2", ".")),
    # 2.2, 3.10.2, 3.10.3: "positive"
    "TimeImpact": (("1", "0.5", "1E-3"), ("0", "-1", "0.0", "", "long", "NaN")),
    "MonetaryImpact": (("10000.00",), ("0", "-0.01", "", "a lot")),
    "MonetaryImpact@currency": (("USD", "EUR", "840"), ("", "US", "usd", "dollar", "$")),
    # 3.10.4
    "Confidence": (("", " ", "0.75", "1"), ("high", "75%")),
    # 2.8
    "ReportTime": (
        ("2001-09-13T23:19:24+00:00", "2001-09-13T23:19:24Z", "2000-02-29T23:19:24.25-05:00"),
        ("", "2001-09-13", "23:19:24Z", "2001-02-29T00:00:00Z", "2001-09-13 23:19:24Z", "2001-09-13T25:00:00Z"),
    ),
    # 2.9
    "Timezone": (
        ("Z", "+00:00", "-05:00", "+14:59", "+09:30"),
        ("", "UTC", "+15:00", "05:00", "+5:00", "+01:60", " Z"),
    ),
    # 2.10
    "Portlist": (
        ("80", "2,5-15,30,32,40-50,55-60"),
        ("", ",", "80,", "80-", "-80", "80;81", "80 81", "80, 81", "http", "1-2-3"),
    ),
    # 2.15
    "URL": (("http://example.com/a?b=c#d", "urn:x:y"), ("http://[",)),
    # 3.1
    "IODEF-Document@version": (("1.00",), ("", "1.0", "1", "2.00", "1.00 ")),
    "IODEF-Document@lang": (("en", "de-CH"), ("", "e_n", "en US", "de-morethaneight")),
    "Incident@lang": (("fr",), ("",)),
    "Description@lang": (("de",), ("-",)),
    "Impact@lang": (("de",), ("-",)),
    "PostalAddress@lang": (("de",), ("-",)),
    "NodeRole@lang": (("de",), ("-",)),
    # free text
    "Impact": (("", "any text"), ()),
    "NodeRole": (("", "any text"), ()),
    "Address@vlan-num": (("17", "0x11"), ()),
    "Email@meaning": (("any text",), ()),
}


@pytest.mark.parametrize("key", VALUES)
def test_data_types(key: str):
    name, _, attribute = key.partition("@")
    right, wrong = VALUES[key]
    for value, expected in [*((value, True) for value in right), *((value, False) for value in wrong)]:
        root, element = next(copies(name))
        if attribute:
            element.set(attribute, value)
        else:
            element.text = value
        assert valid(root) is expected, value
