"""What RFC 8727 does otherwise than XML (its sections 2 and 3.2), one by one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grid.iodef import v2
from grid.iodef.errors import Invalid
from grid.iodef.json import Lossy, from_json, from_object, to_json, to_object
from grid.iodef.names import PREFIXES, XSI
from grid.iodef.types import ID, DateTime, Foreign, IDRef, Language, NMToken

DS = PREFIXES["ds"]
LOCAL = v2.Address(value="192.0.2.1", category="ipv4-addr")


def incident(**parts: Any) -> v2.Incident:
    """An incident with these parts besides those that it must have."""
    needed: dict[str, Any] = {
        "purpose": "reporting",
        "incident_id": v2.IncidentID(value="1", name="csirt.example.com"),
        "generation_time": DateTime("2026-11-21T09:00:00Z"),
        "contact": (v2.Contact(role="creator", type="person", email=(v2.Email(email_to="a@example.com"),)),),
    }
    return v2.Incident(**(needed | parts))


def document(**parts: Any) -> v2.Document:
    """A document with one such incident."""
    return v2.Document(version="2.00", incident=(incident(**parts),))


def carried(made: v2.Document) -> dict[str, Any]:
    """The incident as plain values, after a look that it comes back as it was."""
    assert from_json(to_json(made)) == made
    found: dict[str, Any] = to_object(made)["Incident"][0]
    return found


def lost(made: v2.Document) -> dict[str, str]:
    """What is said to be lost, by place."""
    with pytest.raises(Lossy) as refused:
        to_json(made)
    return {problem.path: problem.message for problem in refused.value.problems}


def system(address: str) -> v2.System:
    return v2.System(node=v2.Node(address=(replace(LOCAL, value=address),)))


def extension(dtype: Any, *content: str | Foreign) -> v2.Extension:
    return v2.Extension(dtype=dtype, content=content)


def indicator(**parts: Any) -> v2.IndicatorData:
    made = v2.Indicator(
        indicator_id=v2.IndicatorID(value=ID("G1"), name="x", version="1"),
        **({"observable": v2.Observable(address=LOCAL)} | parts),
    )
    return v2.IndicatorData(indicator=(made,))


def file(**parts: Any) -> v2.Document:
    held = v2.File(file_name="a", **parts)
    return document(indicator_data=indicator(observable=v2.Observable(file_data=v2.FileData(file=(held,)))))


def file_of(found: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = found["Indicator"][0]["Observable"]["FileData"]["File"][0]
    return made


def signature(text: str) -> Foreign:
    return Foreign(
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="urn:example:c14n">'
        '</ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="urn:example:rsa"></ds:SignatureMethod>'
        '<ds:Reference URI=""><ds:DigestMethod Algorithm="urn:example:sha"></ds:DigestMethod>'
        f"<ds:DigestValue>3q2+7w==</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        f"<ds:SignatureValue>{text}</ds:SignatureValue></ds:Signature>".encode()
    )


def test_one_flow_and_one_record_dissolve_and_come_back() -> None:
    record = v2.Record(record_data=(v2.RecordData(record_item=(extension("string", "a line"),)),))
    event = v2.EventData(flow=(v2.Flow(system=(system("192.0.2.1"), system("192.0.2.2"))),), record=record)
    found = carried(document(event_data=(event,)))["EventData"][0]
    assert [each["Node"]["Address"][0]["value"] for each in found["System"]] == ["192.0.2.1", "192.0.2.2"]
    assert found["RecordData"] == [{"RecordItem": [{"value": "a line", "dtype": "string"}]}]


def test_several_flows_are_a_loss() -> None:
    event = v2.EventData(flow=tuple(v2.Flow(system=(system(f"192.0.2.{last}"),)) for last in (1, 2)))
    made = document(event_data=(event,))
    assert lost(made) == {"/Incident/0/EventData/0/System": "2 Flow: which System belongs to which would be lost"}
    merged = from_json(to_json(made, lossy=True)).incident[0].event_data[0].flow
    assert [len(flow.system) for flow in merged] == [2]


def test_a_restriction_of_record_is_a_loss() -> None:
    item = v2.RecordData(record_item=(extension("string", "a"),))
    event = v2.EventData(record=v2.Record(restriction="amber", record_data=(item,)))
    assert "restriction" in lost(document(event_data=(event,)))["/Incident/0/EventData/0/RecordData"]


def test_references_to_observables_become_uid_ref() -> None:
    one = v2.ObservableReference(uid_ref=IDRef("here"))
    expression = v2.IndicatorExpression(observable_reference=(one, one))
    node = v2.System(observable_id=ID("here"), node=v2.Node(address=(LOCAL,)))
    event = v2.EventData(flow=(v2.Flow(system=(node,)),))
    first = indicator(observable=None, observable_reference=one).indicator[0]
    second = replace(first, indicator_id=v2.IndicatorID(value=ID("G2"), name="x", version="1"))
    second = replace(second, observable_reference=None, indicator_expression=expression)
    both = v2.IndicatorData(indicator=(first, second))
    found = carried(document(event_data=(event,), indicator_data=both))["Indicator"]
    assert found[0]["uid-ref"] == "here"
    assert found[1]["IndicatorExpression"] == {"uid-ref": ["here", "here"]}


def test_impacts_are_one_list() -> None:
    assessment = v2.Assessment(
        system_impact=(v2.SystemImpact(type="policy"), v2.SystemImpact(type="unknown")),
        monetary_impact=(v2.MonetaryImpact(value=Decimal("10000.00"), currency="EUR"),),
        intended_impact=(v2.BusinessImpact(type="legal"),),
    )
    assert carried(document(assessment=(assessment,)))["Assessment"] == [
        {
            "Impact": [
                {"SystemImpact": {"type": "policy"}},
                {"SystemImpact": {"type": "unknown"}},
                {"MonetaryImpact": {"value": Decimal("10000.00"), "currency": "EUR"}},
                {"IntendedImpact": {"type": "legal"}},
            ]
        }
    ]


def test_an_operator_of_an_extension_needs_no_announcement() -> None:
    expression = v2.IndicatorExpression(
        operator="ext-value", ext_operator="nand", observable=(v2.Observable(address=LOCAL),)
    )
    found = carried(document(indicator_data=indicator(observable=None, indicator_expression=expression)))
    assert set(found["Indicator"][0]["IndicatorExpression"]) == {"ext-operator", "Observable"}


def test_impacts_keep_their_order() -> None:
    kinds = ("MonetaryImpact", "SystemImpact", "MonetaryImpact")
    money = tuple(v2.MonetaryImpact(value=Decimal(value)) for value in (1, 2))
    assessment = v2.Assessment(order=kinds, system_impact=(v2.SystemImpact(type="policy"),), monetary_impact=money)
    assert carried(document(assessment=(assessment,)))["Assessment"][0]["Impact"] == [
        {"MonetaryImpact": {"value": Decimal(1)}},
        {"SystemImpact": {"type": "policy"}},
        {"MonetaryImpact": {"value": Decimal(2)}},
    ]


@pytest.mark.parametrize("written", ["10000.00", "0.10", "1E+2", "5", "3.14159265358979323846264338327950288", "-0"])
def test_a_real_keeps_its_digits(written: str) -> None:
    counter = v2.Counter(value=Decimal(written), type="count", unit="byte")
    made = replace(system("192.0.2.1"), counter=(counter,))
    whole = document(event_data=(v2.EventData(flow=(v2.Flow(system=(made,)),)),))
    carried(whole)
    assert f'"value": {written},' in to_json(whole)
    back = from_json(to_json(whole)).incident[0].event_data[0].flow[0].system[0].counter[0].value
    assert str(back) == written


@pytest.mark.parametrize("value", ["0", "-1", "Infinity", "NaN", "1E+39"])
def test_a_number_that_json_or_rfc_8727_does_not_have_is_a_loss(value: str) -> None:
    impact = v2.MonetaryImpact(value=Decimal(value))
    assessment = v2.Assessment(monetary_impact=(impact,), system_impact=(v2.SystemImpact(type="policy"),))
    made = document(assessment=(assessment,))
    assert "/Incident/0/Assessment/0/Impact/1/MonetaryImpact/value" in lost(made)
    assert to_object(made, lossy=True)["Incident"][0]["Assessment"][0]["Impact"] == [
        {"SystemImpact": {"type": "policy"}}
    ]


@pytest.mark.parametrize(("value", "rating"), [(None, "high"), (Decimal(80), "numeric"), (Decimal(0), "numeric")])
def test_a_confidence_without_number_has_0_in_json(value: Decimal | None, rating: Any) -> None:
    found = carried(document(indicator_data=indicator(confidence=v2.Confidence(value=value, rating=rating))))
    assert found["Indicator"][0]["Confidence"] == {"value": value or 0, "rating": rating}


def test_a_number_beside_another_rating_is_refused() -> None:
    made = to_object(document(indicator_data=indicator(confidence=v2.Confidence(rating="high"))))
    made["Incident"][0]["Indicator"][0]["Confidence"]["value"] = 80
    with pytest.raises(Invalid) as refused:
        from_object(made)
    assert [problem.path for problem in refused.value.problems] == ["/Incident/0/Indicator/0/Confidence"]


@pytest.mark.parametrize(
    ("around", "text", "expected"),
    [
        (None, v2.MLString(value="a"), "a"),
        ("en-US", v2.MLString(value="a"), "a"),
        ("de", v2.MLString(value="a"), {"value": "a"}),
        ("", v2.MLString(value="a"), {"value": "a"}),
        ("de", v2.MLString(value="a", lang=Language("en")), {"value": "a", "lang": "en"}),
        (None, v2.MLString(value="a", translation_id="t"), {"value": "a", "translation-id": "t"}),
        (None, v2.MLString(value=""), ""),
    ],
)
def test_text_for_people_is_a_bare_string_where_that_can_be_taken_for_english(
    around: str | None, text: v2.MLString, expected: Any
) -> None:
    lang = None if around is None else Language(around)
    event = v2.EventData(description=(text, v2.MLString(value="b", lang=Language("fr"))))
    made = document(lang=lang, event_data=(event,)) if text.value else document(lang=lang)
    if text.value:
        assert carried(made)["EventData"][0]["Description"][0] == expected
    else:
        assert to_object(document(description=(text,)))["Incident"][0]["Description"] == [expected]


def test_the_language_of_the_document_counts_too() -> None:
    made = replace(document(description=(v2.MLString(value="a"),)), lang=Language("ja"))
    assert carried(made)["Description"] == [{"value": "a"}]


def test_the_language_of_a_related_activity_is_a_loss() -> None:
    activity = v2.RelatedActivity(description=(v2.MLString(value="a", lang=Language("de")),))
    made = document(related_activity=(activity,))
    assert lost(made) == {
        "/Incident/0/RelatedActivity/0/Description/0": "lang has no place: this is plain text in RFC 8727"
    }
    assert to_object(made, lossy=True)["Incident"][0]["RelatedActivity"] == [{"Description": ["a"]}]


def test_xml_in_an_extension_is_text() -> None:
    element = Foreign(b'<a xmlns="urn:example:a" b="1">&lt;<c></c></a>')
    found = carried(document(additional_data=(extension("xml", "1 < 2 & \r", element, "tail"),)))
    assert found["AdditionalData"] == [
        {"value": '1 &lt; 2 &amp; &#13;<a xmlns="urn:example:a" b="1">&lt;<c></c></a>tail', "dtype": "xml"}
    ]


def test_text_in_other_extensions_is_not_touched() -> None:
    found = carried(document(additional_data=(extension("string", "<a>&amp;"),)))
    assert found["AdditionalData"] == [{"value": "<a>&amp;", "dtype": "string"}]


def test_xml_in_other_extensions_is_a_loss() -> None:
    made = document(additional_data=(extension("string", Foreign(b"<a></a>")),))
    assert lost(made) == {
        "/Incident/0/AdditionalData/0/value": "XML has no place in a value of the type string, only in one of xml"
    }
    assert to_object(made, lossy=True)["Incident"][0]["AdditionalData"][0]["value"] == "<a></a>"


@pytest.mark.parametrize("value", ["<a>", "</x><x>", "&nbsp;", "<!DOCTYPE a><a/>", "<p:a/>"])
def test_what_is_not_xml_is_refused(value: str) -> None:
    made = to_object(document(additional_data=(extension("xml", "a"),)))
    made["Incident"][0]["AdditionalData"][0]["value"] = value
    with pytest.raises(Invalid) as refused:
        from_object(made)
    assert [problem.path for problem in refused.value.problems] == ["/Incident/0/AdditionalData/0/value"]
    assert "not well-formed XML" in refused.value.problems[0].message


def test_the_type_json_of_extensions_is_private_in_xml() -> None:
    made = to_object(document(additional_data=(extension("string", '{"a": 1}'),)))
    made["Incident"][0]["AdditionalData"][0]["dtype"] = "json"
    found = from_object(made).incident[0].additional_data[0]
    assert (found.dtype, found.ext_dtype, found.content) == ("ext-value", "json", ('{"a": 1}',))


def test_signatures_are_base64_of_their_element() -> None:
    made = file(signature_data=v2.SignatureData(signature=(signature("aaaa"), signature("bbbb"))))
    found = file_of(carried(made))["Signature"]
    assert [base64.b64decode(each) for each in found] == [signature("aaaa").xml, signature("bbbb").xml]


def _hash(value: Foreign) -> v2.HashData:
    method = Foreign(f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="urn:example:sha"></ds:DigestMethod>'.encode())
    return v2.HashData(scope="file-contents", hash=(v2.Hash(digest_method=method, digest_value=value),))


def _digest(inside: str, attributes: str = "") -> Foreign:
    return Foreign(f'<ds:DigestValue xmlns:ds="{DS}"{attributes}>{inside}</ds:DigestValue>'.encode())


def test_a_digest_is_its_own_base64() -> None:
    found = file_of(carried(file(hash_data=_hash(_digest("3q2+7w==")))))["HashData"]["Hash"][0]
    assert found["DigestValue"] == "3q2+7w=="
    assert base64.b64decode(found["DigestMethod"]).startswith(b"<ds:DigestMethod ")


def test_white_space_in_a_digest_means_nothing() -> None:
    back = from_json(to_json(file(hash_data=_hash(_digest("\n3q2+\n7w==\n")))))
    assert back == file(hash_data=_hash(_digest("3q2+7w==")))


def test_the_uri_of_an_algorithm_is_understood() -> None:
    made = to_object(file(hash_data=_hash(_digest("3q2+7w=="))))
    held = file_of(made["Incident"][0])["HashData"]["Hash"][0]
    held["DigestMethod"] = base64.b64encode(b"urn:example:sha").decode()
    assert from_object(made) == file(hash_data=_hash(_digest("3q2+7w==")))


def _certificate(data: Foreign) -> v2.Document:
    held = v2.CertificateData(certificate=(v2.Certificate(x509_data=data),))
    return document(indicator_data=indicator(observable=v2.Observable(certificate_data=held)))


def test_a_certificate_in_der_is_understood() -> None:
    der = base64.b64encode(b"\x30\x03\x02\x01\x01").decode()
    inner = f"<ds:X509Certificate>{der}</ds:X509Certificate>"
    expected = _certificate(Foreign(f'<ds:X509Data xmlns:ds="{DS}">{inner}</ds:X509Data>'.encode()))
    made = to_object(expected)
    made["Incident"][0]["Indicator"][0]["Observable"]["CertificateData"]["Certificate"][0]["X509Data"] = der
    assert from_object(made) == expected


@pytest.mark.parametrize("octets", [b"text", b"<a/>", b"\xff", b"<!DOCTYPE a><a/>", b""])
def test_other_octets_in_the_place_of_an_element_are_refused(octets: bytes) -> None:
    made = to_object(file(signature_data=v2.SignatureData(signature=(signature("aaaa"),))))
    file_of(made["Incident"][0])["Signature"] = [base64.b64encode(octets).decode()]
    with pytest.raises(Invalid) as refused:
        from_object(made)
    (problem,) = refused.value.problems
    assert problem.path.endswith("/File/0/Signature/0")
    assert "ds:Signature" in problem.message


def _weakness(**parts: Any) -> v2.Document:
    made = v2.Weakness(**({"spec_id": NMToken("private"), "ext_spec_id": "urn:example:spec"} | parts))
    return document(method=(v2.Method(weakness=(made,)),))


RAW: list[tuple[Any, tuple[str | Foreign, ...]]] = [
    ("string", ("CWE & 89",)),
    ("string", ("1 < 2",)),
    ("string", ()),
    ("xml", (Foreign(b"<a></a>"),)),
    ("xml", ("\n", Foreign(b"<a></a>"), "\n")),
    ("file", ("/w==",)),
    ("file", ("AAE=",)),
]


@pytest.mark.parametrize(("dtype", "content"), RAW)
def test_raw_data_is_base64_of_what_it_holds(dtype: Any, content: tuple[str | Foreign, ...]) -> None:
    carried(_weakness(raw_data=(v2.RawData(dtype=dtype, content=content),)))


@pytest.mark.parametrize(
    ("dtype", "content"),
    [(None, ("a",)), ("csv", ("a",)), ("string", ("<a/>",)), ("file", ("YQ==",)), ("xml", ("a",))],
)
def test_raw_data_of_another_type_is_a_loss(dtype: Any, content: tuple[str | Foreign, ...]) -> None:
    made = _weakness(raw_data=(v2.RawData(dtype=dtype, content=content),))
    (message,) = lost(made).values()
    assert f"of the type {dtype or '(none)'} has no place" in message
    assert to_object(made, lossy=True)["Incident"][0]["Method"][0]["Weakness"][0]["RawData"]


@pytest.mark.parametrize(
    ("octets", "dtype", "content"),
    [
        (b"1 < 2", "string", ("1 < 2",)),
        (b'<?xml version="1.0"?>\n<a/>\n', "xml", (Foreign(b"<a></a>"),)),
        (b"<!DOCTYPE a><a/>", "string", ("<!DOCTYPE a><a/>",)),
        (b"", "string", ()),
        (b"\xff", "file", ("/w==",)),
        (b"\0", "file", ("AA==",)),
    ],
)
def test_raw_data_of_others_is_understood(octets: bytes, dtype: Any, content: tuple[str | Foreign, ...]) -> None:
    made = to_object(_weakness(raw_data=(v2.RawData(dtype="string", content=("a",)),)))
    made["Incident"][0]["Method"][0]["Weakness"][0]["RawData"] = [base64.b64encode(octets).decode()]
    assert from_object(made).incident[0].method[0].weakness[0].raw_data == (v2.RawData(dtype=dtype, content=content),)


def test_an_indicator_of_others_is_named_by_name_and_id() -> None:
    other = v2.IndicatorReference(euid_ref="csirt.example.com/G2", version="3")
    made = indicator(alternative_indicator_id=(v2.AlternativeIndicatorID(indicator_reference=(other,)),))
    found = carried(document(indicator_data=made))["Indicator"][0]["AlternativeIndicatorID"]
    assert found == [{"IndicatorID": [{"id": "G2", "name": "csirt.example.com", "version": "3"}]}]


@pytest.mark.parametrize(
    "other",
    [
        v2.IndicatorReference(uid_ref=IDRef("G1"), version="3"),
        v2.IndicatorReference(euid_ref="G2", version="3"),
        v2.IndicatorReference(euid_ref="a/b c", version="3"),
        v2.IndicatorReference(euid_ref="a/G2"),
    ],
)
def test_another_reference_there_is_a_loss(other: v2.IndicatorReference) -> None:
    made = indicator(alternative_indicator_id=(v2.AlternativeIndicatorID(indicator_reference=(other,)),))
    places = lost(document(indicator_data=made))
    assert all(path.startswith("/Incident/0/Indicator/0/AlternativeIndicatorID/0/IndicatorID/0") for path in places)


def test_a_value_that_the_cddl_spells_otherwise() -> None:
    role = v2.NodeRole(category="anonymization")
    assert carried(document(indicator_data=indicator(node_role=(role,))))["Indicator"][0]["NodeRole"] == [
        {"category": "anomyzation"}
    ]


LOSSES: list[tuple[Callable[[], v2.Document], str, str]] = [
    (
        lambda: file(hash_data=replace(_hash(_digest("3q2+7w==")), scope="ext-value", ext_scope="x")),
        "HashData",
        "ext-scope",
    ),
    (lambda: file(hash_data=_hash(_digest("3q2+7w==", ' a="1"'))), "DigestValue", "more than text"),
    (lambda: _weakness(restriction="amber"), "Weakness/0", "restriction"),
    (lambda: _weakness(spec_id=NMToken("urn:example:spec"), ext_spec_id=None), "SpecID", "urn:example:spec"),
    (lambda: document(detect_time=DateTime("2026-11-21T09:00:00")), "DetectTime", "time zone"),
    (lambda: document(detect_time=DateTime("2026-11-21T24:00:00Z")), "DetectTime", "RFC 3339"),
    (lambda: document(observable_id=ID("größe")), "observable-id", "of ASCII"),
    (lambda: document(foreign=((f"{{{XSI}}}type", "x"),)), "/Incident/0", "another namespace"),
    (lambda: document(description=(v2.MLString(value="x\0"),)), "Description/0", "U+0000"),
]


@pytest.mark.parametrize(("make", "place", "message"), LOSSES)
def test_what_has_no_place_is_named(make: Callable[[], v2.Document], place: str, message: str) -> None:
    found = lost(make())
    assert any(path.endswith(place) and message in told for path, told in found.items()), found


@pytest.mark.parametrize(("make", "place", "message"), LOSSES)
def test_without_it_the_rest_is_valid(make: Callable[[], v2.Document], place: str, message: str) -> None:
    rest = to_json(make(), lossy=True)
    assert to_json(from_json(rest)) == rest


def test_a_node_has_names_or_addresses() -> None:
    name = v2.DomainData(system_status="unknown", domain_status="unknown", name="example.com")
    both = v2.System(node=v2.Node(domain_data=(name,), address=(LOCAL,)))
    made = document(event_data=(v2.EventData(flow=(v2.Flow(system=(both,)),)),))
    assert lost(made) == {
        "/Incident/0/EventData/0/System/0/Node": "found DomainData and Address together; Node has only one of: "
        "DomainData, Address"
    }


def test_what_every_document_needs_cannot_be_left_out() -> None:
    with pytest.raises(Lossy):
        to_json(document(generation_time=DateTime("2026-11-21T09:00:00")), lossy=True)


def test_declarations_and_hints_of_xml_are_no_information() -> None:
    hints = ((f"{{{XSI}}}schemaLocation", "a b"), ("{http://www.w3.org/2000/xmlns/}xsi", XSI))
    assert to_json(replace(document(), foreign=hints)) == to_json(document())


def test_nesting_has_a_bound_on_both_ways() -> None:
    event = v2.EventData(description=(v2.MLString(value="innermost"),))
    for _ in range(40):
        event = v2.EventData(event_data=(event,))
    carried(document(event_data=(event,)))
    for _ in range(400):
        event = v2.EventData(event_data=(event,))
    assert any("nested too deep" in told for told in lost(document(event_data=(event,))).values())


@pytest.mark.parametrize("version", ["2.0", "2.00"])
def test_both_ways_to_write_the_version_are_understood(version: str) -> None:
    made = to_object(document())
    assert made["version"] == "2.0"
    assert from_object(made | {"version": version}).version == "2.00"


def test_plain_numbers_of_python_are_understood() -> None:
    assessment = v2.Assessment(time_impact=(v2.TimeImpact(value=Decimal("1.5"), metric="labor"),))
    made = document(assessment=(assessment,))
    assert from_object(json.loads(to_json(made))) == made
