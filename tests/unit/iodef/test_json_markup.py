"""XML inside of JSON: extensions, signatures, digests, raw data (RFC 8727, section 3.2)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from grid.iodef import v2
from grid.iodef.errors import Invalid
from grid.iodef.json import from_json, from_object, to_json, to_object
from grid.iodef.types import Foreign
from tests.unit.iodef.json_documents import (
    DS,
    carried,
    digest,
    document,
    extension,
    file,
    file_of,
    hash_data,
    indicator,
    signature,
    weakness,
)


def test_xml_in_an_extension_is_text() -> None:
    element = Foreign(b'<a xmlns="urn:example:a" b="1">&lt;<c></c></a>')
    found = carried(document(additional_data=(extension("xml", "1 < 2 & \r", element, "tail"),)))
    assert found["AdditionalData"] == [
        {"value": '1 &lt; 2 &amp; &#13;<a xmlns="urn:example:a" b="1">&lt;<c></c></a>tail', "dtype": "xml"}
    ]


def test_text_in_other_extensions_is_not_touched() -> None:
    found = carried(document(additional_data=(extension("string", "<a>&amp;"),)))
    assert found["AdditionalData"] == [{"value": "<a>&amp;", "dtype": "string"}]


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


def test_a_digest_is_its_own_base64() -> None:
    found = file_of(carried(file(hash_data=hash_data(digest("3q2+7w==")))))["HashData"]["Hash"][0]
    assert found["DigestValue"] == "3q2+7w=="
    assert base64.b64decode(found["DigestMethod"]).startswith(b"<ds:DigestMethod ")


def test_white_space_in_a_digest_means_nothing() -> None:
    back = from_json(to_json(file(hash_data=hash_data(digest("\n3q2+\n7w==\n")))))
    assert back == file(hash_data=hash_data(digest("3q2+7w==")))


def test_the_uri_of_an_algorithm_is_understood() -> None:
    made = to_object(file(hash_data=hash_data(digest("3q2+7w=="))))
    held = file_of(made["Incident"][0])["HashData"]["Hash"][0]
    held["DigestMethod"] = base64.b64encode(b"urn:example:sha").decode()
    assert from_object(made) == file(hash_data=hash_data(digest("3q2+7w==")))


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
    carried(weakness(raw_data=(v2.RawData(dtype=dtype, content=content),)))


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
    made = to_object(weakness(raw_data=(v2.RawData(dtype="string", content=("a",)),)))
    made["Incident"][0]["Method"][0]["Weakness"][0]["RawData"] = [base64.b64encode(octets).decode()]
    assert from_object(made).incident[0].method[0].weakness[0].raw_data == (v2.RawData(dtype=dtype, content=content),)
