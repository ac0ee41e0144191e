"""Prefixes: values may use them, so that each means in what is written what it meant in what was read."""

from __future__ import annotations

import dataclasses
import random

import pytest
from lxml import etree

from grid import iodef
from grid.iodef import codec, v2
from grid.iodef.errors import Invalid
from grid.iodef.names import PREFIXES, V2, XSI
from grid.iodef.types import Foreign
from tests.unit.iodef.minimal_v2 import MINIMAL, again, minimal

XSI_DECLARED = f'xmlns:xsi="{XSI}"'


def written(document: v2.Document) -> etree._Element:
    return etree.fromstring(iodef.dump(document))


def told(more: str, root: str = "") -> v2.Document:
    """A document that was read, with something more before the contact of its incident."""
    source = MINIMAL.format(more="", root=root).replace("<Contact", f"{more}<Contact", 1)
    document = iodef.load(source.encode())
    assert isinstance(document, v2.Document)
    return document


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


def declaring(source: random.Random, scope: dict[str, str]) -> tuple[dict[str, str], str]:
    """Declarations of an element, and its prefix: one that stands for the namespace of RFC 7970."""
    uris = (V2, V2, "urn:1", "urn:2", PREFIXES["sci"], XSI)
    made = {source.choice(("", "a", "b", "sci", "xsi", "iodef", "ns1")): source.choice(uris) for _ in range(2)}
    made = made if source.random() < 0.7 else {}
    if "" not in made and source.random() < 0.1:
        made[""] = ""
    able = [prefix for prefix, uri in (scope | made).items() if uri == V2]
    if not able:
        made["c"] = V2
    return made, source.choice(able or ["c"])


def events(source: random.Random, scope: dict[str, str], depth: int) -> str:
    """An event with events and descriptions, each with declarations of its own; some name their type."""
    made, prefix = declaring(source, scope)
    inside = scope | made
    tag = f"{prefix}:EventData" if prefix else "EventData"
    parts = []
    for _ in range(2):
        own, name = declaring(source, inside)
        here = inside | own
        kinds = [each for each, uri in here.items() if uri == XSI and each]
        types = [each for each, uri in here.items() if uri == V2]
        typed = source.random() < 0.5 and kinds
        type_ = f' {kinds[0]}:type="{source.choice(types)}:MLStringType"'.replace('":', '"') if typed else ""
        name = f"{name}:Description" if name else "Description"
        parts.append(f"<{name}{xmlns(own)}{type_}>x</{name}>")
    parts += [events(source, inside, depth - 1) for _ in range(2)] if depth else []
    return f"<{tag}{xmlns(made)}>{''.join(parts)}</{tag}>"


def xmlns(declared: dict[str, str]) -> str:
    return "".join(f' xmlns{":" if prefix else ""}{prefix}="{uri}"' for prefix, uri in declared.items())


@pytest.mark.parametrize("seed", range(60))
def test_every_prefix_means_what_it_meant(seed: int):
    source = MINIMAL.format(root="", more=events(random.Random(seed), {"": V2}, 2))
    document = iodef.load(source.encode())
    assert isinstance(document, v2.Document)
    assert again(document) == document
    names = (f"{{{V2}}}EventData", f"{{{V2}}}Description")
    pairs = zip(etree.fromstring(source).iter(*names), written(document).iter(*names), strict=True)
    for before, after in pairs:
        assert (before.tag, before.attrib, in_force(before)) == (after.tag, after.attrib, in_force(after))


def in_force(element: etree._Element) -> dict[str | None, str]:
    return {prefix: uri for prefix, uri in element.nsmap.items() if uri}


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
    holder = v2.Extension(dtype="xml", content=(by_hand, Foreign(b"<x/>")))
    incident = dataclasses.replace(document.incident[0], additional_data=(holder,))
    made = dataclasses.replace(document, incident=(incident,))
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
