"""The agent and the real controller, on both servers: providers, capabilities, incidents of XEP-0268."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator

import pytest

from grid.agent import Agent, Forbidden, NoSuchTopic, Question
from grid.iodef import incident, v1
from grid.protocol.requests import Offer
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import Identity, World, fresh, grid
from tests.interop.puppet import until

TOPIC = "IODEF-1.0"
QUERY = "urn:test:sessions"


def agent(world: World, who: Identity, **more: object) -> Agent:
    """A node's agent."""
    host, port = world.sandbox.address
    return Agent(who.jid, host=host, port=port, ca=world.sandbox.info["ca"], password=who.password, **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def rights(world: World, *given: tuple[Identity, str, str]) -> AsyncIterator[None]:
    """Rights, for as long as the block lasts."""
    rules = [await world.permit(*each) for each in given]
    try:
        yield
    finally:
        for rule in rules:
            await world.call("DELETE", f"access/{rule}")


async def test_a_provider_and_those_who_use_it(sandbox: Sandbox) -> None:
    """A provider makes a capability, is seen by those who may use it, and publishes to whoever subscribed to it."""
    moves: list[tuple[str, tuple[str, ...], bool]] = []

    async def sessions(question: Question) -> str:
        user = question.sender.partition("@")[0]
        return f"<getSessionsResponse xmlns='{QUERY}'><user>{user}</user></getSessionsResponse>"

    async with grid(sandbox) as world:
        capability = fresh("Session")
        topic, service = f"{capability}-1.0", fresh("getSessions")
        one, other, stranger = [await world.member() for _ in range(3)]
        given = [(one, "publish", topic), (other, "subscribe", topic), (other, "read", topic)]
        async with rights(world, *given), agent(world, other, on_provider=lambda *each: moves.append(each)) as sink:
            async with agent(world, one) as source, agent(world, stranger) as nobody:
                offer = Offer(type="urn:test", queries=(service,))
                assert await source.provide(capability, "1.0", offers=[offer]) == (topic,)
                await until(lambda: moves)
                assert sink.providers == {one.jid: (topic,)}
                assert nobody.providers == {}
                assert await sink.find(service) == (source.jid,)
                assert (capability, topic) in [(each.capability, each.topic) for each in await sink.capabilities()]
                stream = await sink.subscribe(capability=capability, version="1.0").open()
                id = await source.publish(topic, {"n": 1})
                item = await anext(stream)
                assert (item.topic, item.id, item.json) == (topic, id, {"n": 1})
                with pytest.raises(NoSuchTopic):
                    await nobody.subscribe(capability=capability, version="1.0").open()
                source.answer(service, sessions, service=topic)
                asked = ET.fromstring(f"<{service} xmlns='{QUERY}'/>")
                answer = await sink.query(service, asked)  # the source asks the controller, and answers
                assert answer.findtext(f"{{{QUERY}}}user") == other.name
                with pytest.raises((Forbidden, NoSuchTopic)):
                    await nobody.query(source.jid, asked)
            await until(lambda: len(moves) > 1)
            assert moves == [(one.jid, (topic,), True), (one.jid, (topic,), False)]
            assert sink.providers == {}


async def test_a_capability_of_several_topics(sandbox: Sandbox) -> None:
    """Topics that are told apart by labels are one subscription for whoever asks for the capability."""
    async with grid(sandbox) as world:
        capability = fresh("Session")
        pattern = f"{capability}-*"
        one, other = [await world.member() for _ in range(2)]
        async with (
            rights(world, (one, "publish", pattern), (other, "subscribe", pattern)),
            agent(world, one) as source,
            agent(world, other) as sink,
        ):
            topics = await source.provide(capability, "1.0", offers=[Offer(label="a"), Offer(label="b")])
            stream = await sink.subscribe(capability=capability, version="1.0").open()
            assert (len(topics), sorted(stream.topics)) == (2, sorted(topics))
            for topic in topics:
                await source.publish(topic, topic)
            assert {(await anext(stream)).text for _ in topics} == set(topics)
            await stream.unsubscribe()


async def test_incidents_of_xep_0268(sandbox: Sandbox) -> None:
    """What one node reports reaches the subscribers; who inquires gets the report."""
    heard: list[tuple[incident.Exchange, str]] = []

    async def take(exchange: incident.Exchange, sender: str) -> None:
        heard.append((exchange, sender))

    async with grid(sandbox) as world:
        one, other = [await world.member() for _ in range(2)]
        number = fresh("incident")
        given = [(one, "publish", TOPIC), (other, "subscribe", TOPIC), (other, "read", TOPIC)]
        async with rights(world, *given), agent(world, one) as source, agent(world, other) as sink:
            stream = await sink.subscribe(TOPIC).open()
            sink.incidents(take)
            await source.tell(incident.Report(told(number)))
            async with asyncio.timeout(10):
                item = await anext(stream)
            assert item.iodef.incident[0].incident_id.value == number
            inquiry = incident.Inquiry(incident.Mention(v1.IncidentID(name="soc.grid.test", value=number)))
            await sink.tell(inquiry)
            await until(lambda: heard)
            report, sender = heard[0]
            assert isinstance(report, incident.Report)
            assert (report.incident.incident_id.value, sender) == (number, sink.controller)
            with pytest.raises(Forbidden):
                await source.tell(inquiry)
            with pytest.raises(Forbidden):
                await sink.tell(incident.Report(told(number)))
            await stream.unsubscribe()


def told(number: str) -> v1.Incident:
    """An incident of RFC 5070."""
    document = (
        "<Incident xmlns='urn:ietf:params:xml:ns:iodef-1.0' purpose='reporting' restriction='public'>"
        f"<IncidentID name='soc.grid.test'>{number}</IncidentID><ReportTime>2026-03-13T23:19:24+00:00</ReportTime>"
        "<Assessment><Impact type='dos'/></Assessment><Contact role='creator' type='organization'>"
        "<Email>irt@grid.test</Email></Contact></Incident>"
    )
    exchange = incident.parse(ET.fromstring(f"<report xmlns='urn:xmpp:incident:2'>{document}</report>"))
    assert isinstance(exchange, incident.Report)
    return exchange.incident
