"""What RFC 7970 has no place for: extensions (section 5.2), foreign attributes, comments."""

from __future__ import annotations

import dataclasses

import pytest
from lxml import etree

from grid import iodef
from grid.iodef.names import V2
from grid.iodef.types import Foreign
from tests.unit.iodef.minimal_v2 import MINIMAL, again, minimal

EXTENSIONS = {
    "another namespace": '<x:New xmlns:x="urn:x" x:a="1" b="2"><x:Part/> text </x:New>',
    "its default namespace": '<New xmlns="urn:x"><Part xml:lang="de"/></New>',
    "no namespace": '<New xmlns=""><Part/></New>',
    "no namespace within another": '<New xmlns="urn:x"><Part xmlns=""><In/></Part></New>',
    "mixed text": 'one <x:b xmlns:x="urn:x">two</x:b> three <x:b xmlns:x="urn:x"/> four &amp; \U0001f4a9',
    "two elements and white space": '\n  <x:a xmlns:x="urn:x"/>\n\t<y:a xmlns:y="urn:y"/>  ',
    "IODEF itself": '<IncidentID name="a.example"> 7 </IncidentID>',
    "a prefix of the root in a value": '<x:New xmlns:x="urn:x" kind="p:Kind">p:name</x:New>',
    "a type that nobody knows": '<x:New xmlns:x="urn:x" xsi:type="p:Kind">p:name</x:New>',
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
