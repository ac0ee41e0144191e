"""Documents for the tests of JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from grid.iodef import v2
from grid.iodef.json import Lossy, from_json, to_json, to_object
from grid.iodef.names import PREFIXES
from grid.iodef.types import ID, DateTime, Foreign, NMToken

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


def hash_data(value: Foreign) -> v2.HashData:
    method = Foreign(f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="urn:example:sha"></ds:DigestMethod>'.encode())
    return v2.HashData(scope="file-contents", hash=(v2.Hash(digest_method=method, digest_value=value),))


def digest(inside: str, attributes: str = "") -> Foreign:
    return Foreign(f'<ds:DigestValue xmlns:ds="{DS}"{attributes}>{inside}</ds:DigestValue>'.encode())


def weakness(**parts: Any) -> v2.Document:
    made = v2.Weakness(**({"spec_id": NMToken("private"), "ext_spec_id": "urn:example:spec"} | parts))
    return document(method=(v2.Method(weakness=(made,)),))
