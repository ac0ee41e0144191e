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
from tests.unit.iodef.minimal_v2 import again, minimal


def written(document: v2.Document) -> etree._Element:
    return etree.fromstring(iodef.dump(document))


def of(more: Any) -> v2.Document:
    """A document made by hand, whose incident has something more."""
    document = minimal()
    return dataclasses.replace(document, incident=(dataclasses.replace(document.incident[0], **more),))


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
