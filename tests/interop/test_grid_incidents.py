"""XEP-0268 over the wire: what a node tells the controller arrives at the subscribers of the topic of incidents."""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET

import pytest

from tests.interop.clients import Answer
from tests.interop.conftest import Sandbox
from tests.interop.plain import (
    CONTROLLER,
    EVENT,
    FINE,
    FORBIDDEN,
    IODEF,
    NOT_FOUND,
    Office,
    events,
    items,
    office,
    refusal,
    settled,
    subscribe,
)
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient

pytestmark = pytest.mark.timeout(60)

TOPIC = "IODEF-1.0"
INC, IODEF1 = "urn:xmpp:incident:2", "urn:ietf:params:xml:ns:iodef-1.0"


def incident(number: str, *, expectation: str = "") -> str:
    """An incident of RFC 5070, as XEP-0268 carries it: without the document around it."""
    return (
        f"<Incident xmlns='{IODEF1}' purpose='reporting'><IncidentID name='soc.grid.test'>{number}</IncidentID>"
        "<ReportTime>2026-03-13T23:19:24+00:00</ReportTime><Assessment><Impact type='dos'/></Assessment>"
        "<Contact role='creator' type='organization'><Email>irt@grid.test</Email></Contact>"
        "<EventData><Flow><System category='source'><Node><Address category='ipv4-addr'>192.0.2.7</Address></Node>"
        f"</System></Flow>{expectation}</EventData></Incident>"
    )


async def tell(client: RawClient, content: str, kind: str = "set") -> Answer:
    """Send the controller a payload."""
    id = client.new_id()
    return await client.send_raw_iq(f"<iq type='{kind}' id='{id}' to='{CONTROLLER}'>{content}</iq>", id=id)


def wrapped(name: str, content: str) -> str:
    """A payload of XEP-0268."""
    return f"<{name} xmlns='{INC}'>{content}</{name}>"


def documents(client: RawClient) -> list[ET.Element]:
    """The documents of the topic that a client was told of."""
    return [
        document
        for stanza in client.stanzas
        for found in stanza.iter(f"{{{EVENT}}}items")
        if found.get("node") == TOPIC
        for document in found.iter(f"{{{IODEF}}}IODEF-Document")
    ]


def reports(client: RawClient) -> list[ET.Element]:
    """Reports that the controller has sent in stanzas of their own."""
    return [
        stanza[0]
        for stanza in client.stanzas
        if stanza.get("from") == CONTROLLER and stanza.get("type") == "set" and stanza[0].tag == f"{{{INC}}}report"
    ]


async def people(desk: Office) -> tuple[str, str, str]:
    """One that reports, one that subscribes and reads, one without rights."""
    reporter, reader, outsider = [await desk.node() for _ in range(3)]
    await desk.permit(reporter, "publish", TOPIC)
    await desk.permit(reader, "subscribe", TOPIC)
    await desk.permit(reader, "read", TOPIC)
    return reporter, reader, outsider


async def test_incidents_become_items_of_the_topic(sandbox: Sandbox) -> None:
    async with office(sandbox) as desk:
        who, first, second = await people(desk), secrets.token_hex(4), secrets.token_hex(4)
        async with desk.online(who[0]) as reporter, desk.online(who[1]) as reader, desk.online(who[2]) as outsider:
            assert refusal(await subscribe(reader, TOPIC)) == FINE

            # report, request, response
            block = "<Expectation action='block-host'/>"
            for name, kind, content in (
                ("report", "set", incident(first)),
                ("request", "get", incident(second, expectation=block)),
                ("response", "set", incident(second, expectation=block)),
            ):
                answer = await tell(reporter, wrapped(name, content), kind)
                assert (refusal(answer), answer.payload) == (FINE, ""), name
            await until(lambda: len(documents(reader)) >= 3)
            await settled(reader)
            found = documents(reader)
            assert [item.get("version") for item in found] == ["2.00"] * 3
            assert [item.findtext(f".//{{{IODEF}}}IncidentID") for item in found] == [first, second, second]
            assert found[1].find(f".//{{{IODEF}}}Expectation[@action='block-host']") is not None
            named = events(reader, TOPIC)
            assert len(set(named)) == 3 and all(name.startswith("xep0268-") for name in named)

            # the same incident again is the same item
            assert refusal(await tell(reporter, wrapped("report", incident(first)))) == FINE
            await until(lambda: len(documents(reader)) >= 4)
            assert events(reader, TOPIC) == [*named, named[0]]

            # inquiry: the result, then what was told of it
            asked = f"<IncidentID xmlns='{IODEF1}' name='soc.grid.test'>{first}</IncidentID>"
            mention = f"<Incident xmlns='{IODEF1}' purpose='traceback'>{asked}</Incident>"
            for inquiry in (mention, incident(first)):
                reader.stanzas.clear()
                answer = await tell(reader, wrapped("inquiry", inquiry), "get")
                assert (refusal(answer), answer.payload) == (FINE, "")
                await until(lambda: reports(reader))
                (report,) = reports(reader)
                assert report.findtext(f".//{{{IODEF1}}}IncidentID") == first
            assert refusal(await tell(reader, wrapped("inquiry", incident(f"{first}0")), "get")) == NOT_FOUND

            # who may not
            assert refusal(await tell(reader, wrapped("report", incident("3")))) == FORBIDDEN
            assert refusal(await tell(reporter, wrapped("inquiry", incident(first)), "get")) == FORBIDDEN
            for name, kind in (("report", "set"), ("request", "get"), ("response", "set"), ("inquiry", "get")):
                assert refusal(await tell(outsider, wrapped(name, incident(first)), kind)) == NOT_FOUND, name
            await settled(reader)
            assert events(reader, TOPIC) == []

            # nor when it is malformed
            for content, kind in (
                (wrapped("report", ""), "set"),
                (wrapped("report", incident("4") * 2), "set"),
                (wrapped("report", incident("4").replace("ReportTime", "Time")), "set"),
                (wrapped("report", incident("4").replace("2026-03-13", "yesterday")), "set"),
                (wrapped("report", incident("4")), "get"),
                (wrapped("request", incident("4")), "set"),
                (wrapped("response", "<Incident xmlns='urn:test'/>"), "set"),
            ):
                answer = await tell(reporter, content, kind)
                assert refusal(answer) == ("modify", "bad-request", ""), content
                assert answer.text


async def test_a_disabled_node_reports_nothing(sandbox: Sandbox) -> None:
    async with office(sandbox) as desk:
        jid = await desk.node()
        async with desk.online(jid) as client:
            await desk.decide(jid, "disable")
            await until(lambda: client.ended)
            client.cut()
        async with desk.online(jid) as again:
            assert refusal(await tell(again, wrapped("report", incident("9")))) == FORBIDDEN
            assert refusal(await items(again, TOPIC)) == FORBIDDEN
