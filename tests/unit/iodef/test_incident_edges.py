"""XEP-0268 at its edges: encodings, depth and length of what is received, and what must not be written."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from lxml import etree

from grid.iodef import Invalid
from grid.iodef.attributes import extract
from grid.iodef.incident import Inquiry, Mention, Report, Request, dump, parse, refusal, write
from grid.iodef.names import V1
from grid.iodef.types import Foreign
from tests.unit.iodef.test_incident import GOOD, INCIDENT, MENTION, NUMBER, carrying

DATA = "<AdditionalData dtype='xml'>"


def test_names_that_are_not_ascii() -> None:
    """Also from an element, which has no encoding of its own."""
    payload = carrying(GOOD.replace("<EventData>", f"<EventData>{DATA}<é xmlns='' à='1'>ß</é></AdditionalData>", 1))
    assert "é" in payload.decode()
    for received in (payload, etree.fromstring(payload), ET.fromstring(payload)):
        got = parse(received)
        assert isinstance(got.incident, type(INCIDENT))
        (data,) = got.incident.event_data[0].additional_data
        (part,) = data.content
        assert isinstance(part, Foreign) and (part.element.tag, part.element.text) == ("é", "ß")
        assert parse(write(got)) == got


def test_an_element_with_what_only_its_document_explains() -> None:
    source = b'<!DOCTYPE a [<!ENTITY e "v">]>' + carrying(GOOD.replace("IncidentID>", "IncidentID>&e;", 1))
    received = etree.fromstring(source, etree.XMLParser(resolve_entities=False))
    with pytest.raises(Invalid, match="not well-formed"):
        parse(received)
    (one,) = extract(received[0])
    assert one.authority == NUMBER.name


def test_comments_are_no_part_of_it() -> None:
    noisy = GOOD.replace("<Flow>", "<!-- c --><?p i?><Flow><!-- c -->")
    assert parse(etree.fromstring(carrying(noisy))) == Report(INCIDENT)
    (one,) = extract(etree.fromstring(carrying(noisy))[0])
    assert one.addresses == (("xmpp", "spam@rogue.example"),)


def test_an_element_of_the_standard_library_of_any_depth() -> None:
    root = ET.Element("report")
    inner = root
    for _ in range(100_000):
        inner = ET.SubElement(inner, "a")
    with pytest.raises(Invalid, match="nested more than"):
        parse(root)


@pytest.mark.parametrize("status", ["old", 'new" x="1', 'new" xmlns:x="u" x:y="1', "<", "&amp;", "\0", "\ud800", ""])
def test_a_status_is_one_of_three(status: Any) -> None:
    with pytest.raises(Invalid) as caught:
        dump(Report(INCIDENT, status))
    (problem,) = caught.value.problems
    assert problem.path == "/report/@status"
    assert problem.message == f"found {status!r}; expected one of: new, updated, resolved"


@pytest.mark.parametrize("purpose", ["\0", "\ud800", "hunt", ""])
def test_a_mention_is_checked_as_all_else_is(purpose: str) -> None:
    for mention in (Mention(NUMBER, purpose), Mention(NUMBER, "ext-value", purpose)):
        if purpose != "hunt" or mention.purpose == "hunt":
            with pytest.raises(Invalid):
                dump(Inquiry(mention))


def test_namespaces_are_declared_once() -> None:
    for exchange in (Inquiry(Mention(NUMBER)), Request(INCIDENT), Report(INCIDENT, "new")):
        assert dump(exchange).count(f'xmlns="{V1}"'.encode()) == 1


def test_what_is_answered_is_short() -> None:
    """However long the values are that it tells of."""
    long = "x" * 40_000
    jid = GOOD.replace("spam@rogue.example", "@" + "x" * 1_000_000)
    for payload in (
        carrying(GOOD, f" status='{long}'"),
        carrying(GOOD, f" {long}='1'"),
        carrying(f"<x xmlns='{'u' * 1_000_000}'/>"),
        carrying("", name=long),
        carrying(jid),
        carrying(MENTION, name="x" * 100),
    ):
        with pytest.raises(Invalid) as caught:
            parse(payload)
        assert len(caught.value.problems[0].message) < 500
        assert len(refusal(caught.value).text or "") <= 500
