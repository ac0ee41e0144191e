"""Whether what is published fits its topic."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from component.base.errors import InputError
from grid.errors import Refusal
from grid.iodef import V2
from grid.model import Payload, Topic
from grid.payloads import PAYLOAD_SIZE, SCHEMA_SIZE, Schemas

XSD = b"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x"
elementFormDefault="qualified">
<xs:element name="a"><xs:complexType><xs:sequence><xs:element name="n" type="xs:int"/></xs:sequence></xs:complexType>
</xs:element></xs:schema>"""
JSON = b'{"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}'
IODEF = f"""<IODEF-Document xmlns="{V2}" version="2.00" xml:lang="en">
 <Incident purpose="reporting">
  <IncidentID name="csirt.example">1</IncidentID>
  <GenerationTime>2026-11-21T09:00:00Z</GenerationTime>
  <Contact type="organization" role="creator"><Email><EmailTo>a@example</EmailTo></Email></Contact>
 </Incident>
</IODEF-Document>""".encode()


def refused(schemas: Schemas, topic: Topic, payload: bytes | ElementTree.Element) -> str:
    with pytest.raises(Refusal) as caught:
        schemas.check(topic, payload)
    assert (caught.value.kind, caught.value.condition) == ("modify", "bad-request")
    return caught.value.text


def test_xml_by_its_schema() -> None:
    schemas = Schemas()
    topic = Topic("X", "X", type="urn:x", schema=schemas.add(XSD))
    schemas.check(topic, b"<a xmlns='urn:x'><n>1</n></a>")
    received = ElementTree.fromstring("<item xmlns='p'><q:a xmlns:q='urn:x'><q:n>7</q:n></q:a> and more</item>")
    schemas.check(topic, received[0])
    text = refused(schemas, topic, b"<a xmlns='urn:x'>\n\n<n>x</n></a>")
    assert text.startswith("line 3: ") and "'x' is not a valid value" in text
    assert "found a of the namespace urn:y; expected urn:x" in refused(schemas, topic, b"<a xmlns='urn:y'/>")
    assert "without namespace" in refused(schemas, topic, b"<a/>")
    assert "line 1" in refused(schemas, topic, b"<a xmlns='urn:x'>")
    assert "DOCTYPE" in refused(schemas, topic, b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>")
    assert "more than" in refused(schemas, topic, b"<a xmlns='urn:x'>" + b" " * PAYLOAD_SIZE + b"</a>")


def test_xml_without_a_schema_has_its_namespace_at_least() -> None:
    schemas = Schemas()
    schemas.check(Topic("X", "X", type="urn:x"), b"<anything xmlns='urn:x'/>")
    schemas.check(Topic("X", "X"), b"<anything xmlns='urn:y'/>")
    assert "expected urn:x" in refused(schemas, Topic("X", "X", type="urn:x"), b"<anything xmlns='urn:y'/>")


def test_incidents_by_their_own_rules() -> None:
    schemas, topic = Schemas(), Topic("IODEF-1.0", "IODEF", "1.0", type=V2)
    schemas.check(topic, IODEF)
    schemas.check(topic, ElementTree.fromstring(IODEF))
    text = refused(schemas, topic, IODEF.replace(b' purpose="reporting"', b""))
    assert text == "line 2: /IODEF-Document/Incident: Incident has no attribute purpose; it is required"
    assert "expected IODEF-Document" in refused(schemas, topic, b"<a/>")


def test_json_by_its_schema() -> None:
    schemas = Schemas()
    topic = Topic("J", "J", payload=Payload.JSON, schema=schemas.add(JSON))
    schemas.check(topic, b'{"a": 1}')
    schemas.check(topic, ElementTree.fromstring("<json xmlns='urn:xmpp:json:0'>{\"a\": 1}</json>"))
    assert refused(schemas, topic, b'{"b": 2,\n "a": "x"}') == "line 2: /a: 'x' is not of type 'integer'"
    assert "line 1" in refused(schemas, topic, b'{"a": 1, "a": 2}')
    assert "expected json" in refused(schemas, topic, ElementTree.fromstring("<a xmlns='urn:xmpp:json:0'/>"))
    assert "found an element" in refused(
        schemas, topic, ElementTree.fromstring("<json xmlns='urn:xmpp:json:0'><a/></json>")
    )
    for bad in (b"", b"{", b"[" * 5000, b'{"a": NaN}', b"\xff", b"\xef\xbb\xbf{}"):
        refused(schemas, topic, bad)
    Schemas().check(Topic("J", "J", payload=Payload.JSON), b"[1]")


def test_text_is_not_looked_at() -> None:
    Schemas().check(Topic("T", "T", payload=Payload.TEXT), b"\xff<")


def test_what_cannot_be_checked_is_not_published() -> None:
    assert "not known" in refused(Schemas(), Topic("X", "X", schema="0" * 64), b"<a/>")


INCLUDE = XSD.replace(b'<xs:element name="a">', b"<xs:include schemaLocation='/etc/passwd'/><xs:element name=\"a\">")
IMPORT = XSD.replace(
    b'<xs:element name="a">',
    b"<xs:import namespace='urn:z' schemaLocation='http://127.0.0.1:1/z'/><xs:element name=\"a\">",
)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "empty"),
        (b"<a/>", "expected schema"),
        (b"<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'/>", "declares no element"),
        (XSD.replace(b"xs:int", b"xs:nope"), "does not resolve"),
        (INCLUDE, "one file"),
        (IMPORT, "one file"),
        (b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", "DOCTYPE"),
        (b"{", "line 1"),
        (b'{"type": 7}', "/type"),
        (b'{"$ref": "http://127.0.0.1:1/s"}', "one file"),
        (b'{"$ref": "#/nope"}', "leads nowhere"),
        (b"[]", "line 1"),
        (b" " * (SCHEMA_SIZE + 1), "At most"),
    ],
)
def test_a_schema_that_is_none_is_refused(source: bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        Schemas().add(source)
    assert reason in " ".join((caught.value.hint, *caught.value.details))
