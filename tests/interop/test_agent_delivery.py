"""What the agent promises about items, on both servers, with connections that break in the middle."""

from __future__ import annotations

import asyncio
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Coroutine
from typing import Any

import pytest

from grid.agent import InvalidPayload, Item, Refused, Stream
from tests.interop.agentkit import INCIDENT, Wire, agent, hasten, puppet, wire
from tests.interop.conftest import Sandbox
from tests.interop.puppet import until
from tests.interop.rawclient import online

PATIENCE = 30.0

NUMBERS = itertools.count(1)


@pytest.fixture
def topic() -> str:
    """A name that no test has used: the server tells nodes that were away of topics that were deleted."""
    return f"Topic{next(NUMBERS)}-1.0"


async def taken(stream: Stream, count: int) -> list[Item]:
    """The next items of a stream."""
    items = []
    async with asyncio.timeout(PATIENCE):
        while len(items) < count:
            items.append(await anext(stream))
    return items


@pytest.mark.parametrize("controlled", [True, False], ids=["controller", "plain broker"])
async def test_an_incident_is_published_and_received(server: Sandbox, topic: str, controlled: bool) -> None:
    more = {} if controlled else {"controller": None}
    async with puppet(server, "soc1", "soc2") as grid:
        await grid.topic_of(topic, publishers=("soc1",), subscribers=("soc2",))
        try:
            async with agent(server, "soc1", **more) as source, agent(server, "soc2", **more) as sink:
                stream = await sink.subscribe(topic).open()
                id = await source.publish(topic, INCIDENT.format(7))
                await source.publish(topic, ET.fromstring(INCIDENT.format(8)), "mine")
                items = await taken(stream, 2)
                assert [item.id for item in items] == [id, "mine"]
                assert [item.iodef.incident[0].incident_id.value for item in items] == ["7", "8"]
                with pytest.raises(InvalidPayload, match="nothing was sent"):
                    await source.publish(topic, INCIDENT.format(9).replace("reporting", "singing"))
                with pytest.raises(Refused):
                    await sink.publish(topic, INCIDENT.format(9))
                assert sink.counters["repeated"] == 0
        finally:
            await grid.no_topic(topic)


async def test_nothing_is_lost_or_repeated_when_connections_break(server: Sandbox, topic: str) -> None:
    """The publisher's and the subscriber's connections break in both directions while items are on their way."""
    async with puppet(server, "soc1", "soc2") as grid, wire(server) as one, wire(server) as other:
        await grid.topic_of(topic, publishers=("soc1",), subscribers=("soc2",))
        try:
            async with (
                agent(server, "soc1", **one.end) as source,
                agent(server, "soc2", **other.end) as sink,
            ):
                hasten(source, sink)
                stream = await sink.subscribe(topic).open()
                await source.publish(topic, "begin")
                ids: list[str] = []
                for round, breakage in enumerate(["deaf", "mute", "cut"] * 3):
                    new = [f"{round}-{n}" for n in range(20)]
                    await broken(one, other, breakage, [source.publish(topic, {"n": id}, id) for id in new])
                    await until(lambda: sink.connected)
                    ids += new
                items = await taken(stream, len(ids) + 1)
                last = await source.publish(topic, "the end")
                assert (await taken(stream, 1))[0].id == last  # nothing else has come meanwhile
                assert sorted(item.id for item in items[1:]) == sorted(ids)
                assert source.counters["resumptions"] >= 5
                assert sink.counters["resumptions"] >= 5
        finally:
            await grid.no_topic(topic)


async def broken(one: Wire, other: Wire, breakage: str, work: list[Coroutine[Any, Any, str]]) -> None:
    """Do work while both ways break: what comes back is lost, or what goes there, or both at once."""
    if breakage != "cut":
        setattr(one, breakage, True)
        other.deaf = True
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
        await (one.until_sent(1000) if breakage == "cut" else one.until_lost())
        one.cut()
        if breakage != "cut":
            await other.until_lost()
        other.cut()


async def test_a_session_that_the_server_has_forgotten(server: Sandbox, topic: str) -> None:
    """What was not acknowledged is published again with the same id; what was not handled waits, and comes once."""
    async with puppet(server, "soc1", "soc2") as grid, wire(server) as one, wire(server) as other:
        await grid.topic_of(topic, publishers=("soc1",), subscribers=("soc2",))
        try:
            async with (
                agent(server, "soc1", **one.end) as source,
                agent(server, "soc2", **other.end) as sink,
            ):
                hasten(source, sink)
                stream = await sink.subscribe(topic).open()
                await source.publish(topic, "begin", "f-begin")
                one.closed = other.closed = True
                ids = [f"f-{n}" for n in range(20)]
                one.deaf = other.deaf = True
                async with asyncio.TaskGroup() as group:
                    for id in ids:
                        group.create_task(source.publish(topic, {"n": id}, id))
                    await one.until_lost()
                    await other.until_lost()
                    one.cut()
                    other.cut()
                    for name in ("soc1", "soc2"):
                        async with online(server, name, "agent", external=True):
                            pass  # takes the place of the session, which ends it
                    one.closed = other.closed = False
                items = await taken(stream, 1 + len(ids))
                last = await source.publish(topic, "the end")
                assert (await taken(stream, 1))[0].id == last
                assert sorted(item.id for item in items) == sorted(["f-begin", *ids])  # resent ones come later
                assert source.counters["resumptions"] == sink.counters["resumptions"] == 0
        finally:
            await grid.no_topic(topic)


async def test_two_applications_share_a_subscription(server: Sandbox, topic: str) -> None:
    async with puppet(server, "soc1", "soc2") as grid:
        await grid.topic_of(topic, publishers=("soc1",), subscribers=("soc2",))
        try:
            async with agent(server, "soc1") as source, agent(server, "soc2") as sink:
                one, other = await asyncio.gather(sink.subscribe(topic).open(), sink.subscribe(topic).open())
                ids = [await source.publish(topic, {"n": n}) for n in range(5)]
                assert [item.id for item in await taken(one, 5)] == ids
                assert [item.json for item in await taken(other, 5)] == [{"n": n} for n in range(5)]
                asked = [_name(each.inner) for each in grid.delegated]
                assert asked.count("subscribe") <= 1  # none where the plugin is not there
                await one.unsubscribe()
                last = await source.publish(topic, "still")
                assert [item.id for item in await taken(other, 1)] == [last]
                assert [item async for item in one] == []
                assert "unsubscribe" not in [_name(each.inner) for each in grid.delegated]
                await other.unsubscribe()
        finally:
            await grid.no_topic(topic)


async def test_what_was_not_handled_comes_again(server: Sandbox, topic: str) -> None:
    """A consumer that fails does not lose the item that it had; one that is done does not get it again."""
    async with puppet(server, "soc1", "soc2") as grid:
        await grid.topic_of(topic, publishers=("soc1",), subscribers=("soc2",))
        try:
            async with agent(server, "soc1") as source:
                ids = [await source.publish(topic, {"n": n}, f"h-{n}") for n in range(3)]
                with pytest.raises(ZeroDivisionError):
                    async with agent(server, "soc2") as sink:
                        stream = sink.subscribe(topic)
                        assert [item.id for item in await taken(stream, 2)] == ids[:2]
                        raise ZeroDivisionError
                async with agent(server, "soc2") as sink:
                    assert [item.id for item in await taken(sink.subscribe(topic), 2)] == ids[1:]
                last = await source.publish(topic, "the end")
                async with agent(server, "soc2") as sink:
                    assert [item.id for item in await taken(sink.subscribe(topic), 1)] == [last]
        finally:
            await grid.no_topic(topic)


def _name(iq: ET.Element) -> str:
    return iq[0][0].tag.rpartition("}")[2] if len(iq) and len(iq[0]) else ""
