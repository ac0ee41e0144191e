"""What is written is well-formed, means what the model says, and is what was read."""

from __future__ import annotations

import dataclasses
import sys
from types import FrameType
from typing import Any

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import codec, v1, v2
from grid.iodef.errors import Invalid
from grid.iodef.names import PREFIXES, V2, XMLNS, XSI
from grid.iodef.types import Foreign
from tests.unit.iodef.minimal_v2 import MINIMAL, again, minimal

XSI_DECLARED = f'xmlns:xsi="{XSI}"'


def written(document: v2.Document) -> etree._Element:
    return etree.fromstring(iodef.dump(document))


def of(more: Any) -> v2.Document:
    """A document made by hand, whose incident has something more."""
    document = minimal()
    return dataclasses.replace(document, incident=(dataclasses.replace(document.incident[0], **more),))


def told(more: str, root: str = "") -> v2.Document:
    """A document that was read, with something more before the contact of its incident."""
    source = MINIMAL.format(more="", root=root).replace("<Contact", f"{more}<Contact", 1)
    document = iodef.load(source.encode())
    assert isinstance(document, v2.Document)
    return document


# Prefixes


TYPED = "q:MLStringType"
PREFIXED = {
    "at the element": f'<Description xmlns:q="{V2}" {XSI_DECLARED} xsi:type="{TYPED}">x</Description>',
    "as the default namespace": f'<i:Description xmlns:i="{V2}" xmlns="{V2}" {XSI_DECLARED} xsi:type="{TYPED[2:]}"/>',
    "above it": f'<Discovery xmlns:q="{V2}"><Description {XSI_DECLARED} xsi:type="{TYPED}"/></Discovery>',
    "with a prefix of its own for the attribute": f'<Description xmlns:q="{V2}" xmlns:z="{XSI}" z:type="{TYPED}"/>',
    "with a usual prefix that means something else": (
        f'<Description xmlns:xsi="{V2}" xmlns:z="{XSI}" z:type="xsi:MLStringType"/>'
    ),
}


@pytest.mark.parametrize("more", PREFIXED.values(), ids=PREFIXED.keys())
def test_a_type_keeps_its_prefix(more: str):
    document = told(more)
    assert again(document) == document
    (found,) = written(document).iter(f"{{{V2}}}Description")
    prefix, _, name = found.attrib[f"{{{XSI}}}type"].rpartition(":")
    assert (found.nsmap[prefix or None], name) == (V2, "MLStringType")


def test_values_keep_the_prefixes_that_their_element_declares():
    pattern = '<RecordPattern type="xpath" xmlns:q="urn:q">//q:a</RecordPattern>'
    pattern += '<RecordItem dtype="string">a</RecordItem>'
    note = '<AdditionalData dtype="string" xmlns:q="urn:other">q:name</AdditionalData>'
    document = minimal(f"<EventData><Record><RecordData>{pattern}</RecordData></Record></EventData>{note}")
    assert again(document) == document
    root = written(document)
    assert next(root.iter(f"{{{V2}}}RecordPattern")).nsmap["q"] == "urn:q"
    assert next(root.iter(f"{{{V2}}}AdditionalData")).nsmap["q"] == "urn:other"
    assert "q" not in root.nsmap


def test_a_declaration_holds_for_what_is_inside_of_the_element_alone():
    inner = f'<j:Description xmlns:i="urn:o" xmlns:j="{V2}">i:x</j:Description>'
    event = f'<i:EventData xmlns="urn:o" xmlns:i="{V2}">{inner}</i:EventData>'
    document = minimal(f'{event}<AdditionalData dtype="xml"><x/></AdditionalData>')
    assert again(document) == document
    root = written(document)
    (found,) = root.iter(f"{{{V2}}}Description")
    assert (found.nsmap["i"], found.nsmap[None]) == ("urn:o", "urn:o")
    assert next(root.iter(f"{{{V2}}}x")).nsmap == {None: V2}


def test_what_only_names_the_element_is_not_kept():
    """So that a document that was read equals the same one made by hand."""
    sci = PREFIXES["sci"]
    pattern = f'<sci:AttackPattern xmlns:sci="{sci}" SpecID="urn:x"><sci:RawData dtype="string">a</sci:RawData>'
    description = f'<Description xmlns="{V2}" {XSI_DECLARED} xsi:type="MLStringType"/>'
    document = told(f"{description}<Method>{pattern}</sci:AttackPattern></Method>")
    incident = document.incident[0]
    assert incident.method == (
        v2.Method(
            attack_pattern=(
                v2.AttackPattern(spec_id="urn:x", raw_data=(v2.RawData(dtype="string", content=("a",)),)),
            )
        ),
    )
    assert incident.description == (v2.MLString(value="", foreign=((f"{{{XSI}}}type", "MLStringType"),)),)
    assert again(document) == document


def test_the_usual_prefix_may_mean_something_else():
    sci = PREFIXES["sci"]
    pattern = f'<AttackPattern xmlns="{sci}" SpecID="urn:x"><RawData dtype="xml"><a xmlns="urn:u"/></RawData>'
    document = told(f"<Method>{pattern}</AttackPattern></Method>", root=' xmlns:sci="urn:other"')
    (read,) = document.incident[0].method[0].attack_pattern
    for made in (read, dataclasses.replace(read, foreign=())):
        method = v2.Method(attack_pattern=(made,))
        incident = dataclasses.replace(document.incident[0], method=(method,))
        root = written(dataclasses.replace(document, incident=(incident,)))
        assert root.nsmap["sci"] == "urn:other"
        assert len(list(root.iter(f"{{{sci}}}AttackPattern"))) == len(list(root.iter(f"{{{sci}}}RawData"))) == 1


def test_an_extension_without_namespace_stays_without():
    document = minimal(
        '<AdditionalData dtype="xml"><x xmlns="" a=" xmlns=" b="1"><y/></x>t<z xmlns=""/></AdditionalData>'
    )
    assert again(document) == document
    by_hand = Foreign(b"<x a='1' xmlns:b='urn:b' b:c='>' xmlns='urn:x'><y/></x>")
    made = of({"additional_data": (v2.Extension(dtype="xml", content=(by_hand, Foreign(b"<x/>"))),)})
    extension = next(written(made).iter(f"{{{V2}}}AdditionalData"))
    assert [part.tag for part in extension] == ["{urn:x}x", "x"]


def test_a_document_asks_for_no_more_memory_than_is_reasonable(monkeypatch: pytest.MonkeyPatch):
    """Each of the small elements would be kept with the long declaration around it."""
    extensions = '<AdditionalData dtype="xml">' + '<a xmlns=""/>' * 100 + "</AdditionalData>"
    document = minimal(extensions, root=f' xmlns:q="urn:{"q" * 1000}"')
    source = iodef.dump(document)
    monkeypatch.setattr(codec, "FOREIGN", 100_000)
    with pytest.raises(Invalid, match="more than 100000 octets"):
        iodef.load(source)
    monkeypatch.setattr(codec, "FOREIGN", 200_000)
    assert iodef.load(source) == document


# Attributes of other namespaces


def test_attributes_of_several_namespaces():
    foreign = (
        ("{urn:1}a", "1"),
        ("{urn:2}a", "2"),
        ("{urn:3}b", "3"),
        (f"{{{XSI}}}nil", "false"),
        ("{urn:x?a&b}a", '"<&'),
    )
    root = written(of({"foreign": foreign}))
    assert {name: root[0].get(name) for name, _ in foreign} == dict(foreign)


@pytest.mark.parametrize(
    "name",
    [
        'a="1"><x/>',
        '{urn:u}a="1"><x/>',
        "{urn:u}a b",
        "{urn:u}a:b",
        "{urn:u}",
        "{urn:u}1",
        "{urn:u}a\n",
        "purpose",
        "",
        f"{{{XMLNS}}}a b",
        f"{{{XMLNS}}}",
        f"{{{XMLNS}}}xml",
    ],
)
def test_an_attribute_needs_a_name_with_namespace(name: str):
    with pytest.raises(Invalid):
        iodef.dump(of({"foreign": ((name, "urn:v"),)}))


@pytest.mark.parametrize(
    "foreign",
    [
        (("{urn:u}a", "1"), ("{urn:u}a", "2")),
        ((f"{{{XMLNS}}}p", "urn:1"), (f"{{{XMLNS}}}p", "urn:2")),
        ((f"{{{XMLNS}}}p", ""),),
        ((f"{{{XMLNS}}}p", XMLNS),),
        ((f"{{{XMLNS}}}p", PREFIXES["xml"]),),
        ((f"{{{PREFIXES['xml']}}}lang", "de"),),
        (("{urn:u}a", "\0"),),
    ],
    ids=["twice", "prefix twice", "prefix of nothing", "xmlns", "xml", "one of the class", "a character"],
)
def test_what_would_not_be_well_formed_is_refused(foreign: tuple[tuple[str, str], ...]):
    with pytest.raises(Invalid):
        iodef.dump(of({"foreign": foreign}))


def test_names_of_attributes_may_be_of_any_script():
    foreign = (("{urn:u}größe", "1"), ("{urn:u}大小", "2"), (f"{{{XMLNS}}}größe", "urn:v"))
    root = written(of({"foreign": foreign}))
    assert (root[0].get("{urn:u}größe"), root[0].get("{urn:u}大小"), root[0].nsmap["größe"]) == ("1", "2", "urn:v")


# Characters


ODD = "a\tb\nc\rd\r\n  e <&> \"' ]]> ä \U0001f4a9"


def test_white_space_is_kept_in_attributes_and_texts():
    document = of({"purpose": "ext-value", "ext_purpose": ODD, "description": (v2.MLString(value=ODD),)})
    (incident,) = again(document).incident
    assert incident.ext_purpose == incident.description[0].value == ODD
    assert b'ext-purpose="a&#9;b&#10;c&#13;d&#13;&#10;  e &lt;&amp;&gt; &quot;' in iodef.dump(document)


@pytest.mark.parametrize("character", ["\0", "\x1b", "\ud800", "\ufffe"])
@pytest.mark.parametrize("place", ["ext_purpose", "description"])
def test_what_xml_cannot_carry_is_refused(character: str, place: str):
    value = character if place == "ext_purpose" else (v2.MLString(value=character),)
    with pytest.raises(Invalid, match=f"U\\+{ord(character):04X} cannot be written in XML"):
        iodef.dump(of({place: value}))


def test_an_element_of_any_size_is_made():
    text = "x" * 11_000_000
    root = codec.write(of({"description": (v2.MLString(value=text),)}))
    assert root.findtext(f".//{{{V2}}}Description") == text


# Fields that hold something else


def contact(**fields: Any) -> v2.Contact:
    return v2.Contact(role="creator", type="person", **fields)


def impact(made: Any) -> v1.Assessment:
    return v1.Assessment(impact=(made,))


def extension(content: Any) -> v2.Extension:
    return v2.Extension(dtype="string", content=content)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (contact(contact_name="Anna"), "Contact.contact_name: found str; expected a tuple"),
        (contact(contact_name=("Anna",)), "Contact.contact_name: found str; expected MLString"),
        (contact(contact_name=None), "Contact.contact_name: found NoneType; expected a tuple"),
        (contact(timezone=v2.MLString(value="Z")), "Contact.timezone: found MLString; expected Timezone"),
        (extension("abc"), "Extension.content: found str; expected a tuple"),
        (extension((5,)), "Extension.content: found int; expected str or Foreign"),
        (impact(v1.Contact(role="irt", type="person")), "Assessment.impact: found Contact; expected Impact"),
        ("<a/>", "instance must be of a class of IODEF, not str"),
        (None, "instance must be of a class of IODEF, not NoneType"),
    ],
)
def test_what_does_not_fit_its_field_is_not_written(made: Any, message: str):
    with pytest.raises(TypeError, match=message.replace(".", r"\.")):
        codec.dump(made, "{urn:x}x")


# Impacts in any order


def steps(document: v2.Document) -> int:
    """How many steps of Python's interpreter it takes to write a document."""
    found = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal found
        frame.f_trace_opcodes = True
        found += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        iodef.dump(document)
    finally:
        sys.settrace(before)
    return found


def mixed(number: int) -> v2.Document:
    """Impacts of two kinds in turn, the later kind first."""
    assessment = v2.Assessment(
        system_impact=tuple(v2.SystemImpact(type="unknown") for _ in range(number)),
        monetary_impact=tuple(v2.MonetaryImpact(value=number) for _ in range(number)),  # type: ignore[arg-type]
        order=("MonetaryImpact", "SystemImpact") * number,
    )
    return of({"assessment": (assessment,)})


def test_mixed_impacts_are_written_in_their_order():
    root = written(mixed(3))
    (assessment,) = root.iter(f"{{{V2}}}Assessment")
    assert [str(part.tag).rpartition("}")[2] for part in assessment] == ["MonetaryImpact", "SystemImpact"] * 3
    assert again(mixed(3)).incident[0].assessment[0].order == ("MonetaryImpact", "SystemImpact") * 3


def test_many_mixed_impacts_take_steps_in_proportion_to_their_number():
    assert steps(mixed(400)) < 6 * steps(mixed(100))
