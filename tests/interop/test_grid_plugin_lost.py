"""Events of a topic that a node has lost, on both servers and with their own pubsub: live ones and stored ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from component.base.ns import POLICY
from grid.ns import CLIENT, PUBSUB
from tests.interop.cast import PASSED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    TOPIC,
    Controller,
    account,
    caught_up,
    controller,
    publish,
    received_items,
)
from tests.interop.puppet import element, until
from tests.interop.rawclient import RawClient, online

EVENT = f"{PUBSUB}#event"


@asynccontextmanager
async def topics(server: Sandbox, *names: str) -> AsyncIterator[tuple[Controller, RawClient]]:
    """The controller and the publisher soc1; soc2 is subscribed to these topics. Both are active."""
    async with controller(server) as grid, online(server, "soc1") as soc1:
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        async with back(server):
            pass  # takes what earlier tests have left stored for it
        for name in names:
            await grid.topic(name, publisher="soc1", subscriber="soc2")
        try:
            yield grid, soc1
        finally:
            for name in names:
                await grid.no_topic(name)


async def published(soc1: RawClient, *ids: str, topic: str = TOPIC) -> None:
    """Publish items; the broker takes them."""
    for id in ids:
        assert outcome(await soc1.send_raw_iq(publish(id, topic=topic))) == PASSED


async def next_second() -> None:
    """The server's clock says another second: what is stored is dated by whole ones."""
    now = int(time.time())
    while int(time.time()) == now:
        await asyncio.sleep(0.01)


@asynccontextmanager
async def back(server: Sandbox) -> AsyncIterator[RawClient]:
    """soc2 comes online and has been handed what was stored for it."""
    async with online(server, "soc2", "app") as soc2:
        await soc2.send_raw("<presence/>")
        await until(lambda: any(one.tag == f"{{{CLIENT}}}presence" for one in soc2.stanzas))
        await caught_up(soc2, "stored")
        yield soc2


async def test_live_events_of_a_lost_topic_do_not_arrive(server: Sandbox) -> None:
    names = (TOPIC, f"{TOPIC}/abc", f"{TOPIC}x", "Other-1.0")
    async with topics(server, *names) as (grid, soc1), back(server) as soc2:
        for name in names:
            await published(soc1, f"1{name}", topic=name)
        await until(lambda: len(received_items(soc2.stanzas)) == 4)
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        for name in names:
            await published(soc1, f"2{name}", topic=name)
        await until(lambda: f"2{names[3]}" in received_items(soc2.stanzas))
        assert received_items(soc2.stanzas)[4:] == [f"2{names[2]}", f"2{names[3]}"]
        await grid.order("lost", jid=account("soc2"), node=TOPIC, regained="true", epoch=1)  # stale
        await published(soc1, "3")
        await grid.order("lost", jid=account("soc2"), node=TOPIC, regained="true")
        for name in names:
            await published(soc1, f"4{name}", topic=name)
        await until(lambda: len(received_items(soc2.stanzas)) == 10)
        assert received_items(soc2.stanzas)[6:] == [f"4{name}" for name in names]
        assert (await grid.status()).refused["lost"] >= 3


async def test_a_loss_is_the_node_s_own(server: Sandbox) -> None:
    async with topics(server, TOPIC) as (grid, soc1), back(server) as soc2:
        await grid.order("lost", jid=account("soc3"), node=TOPIC)
        await grid.order("lost", jid="soc2@far.test", node=TOPIC)
        await published(soc1, "1")
        await until(lambda: received_items(soc2.stanzas) == ["1"])


async def test_what_was_stored_before_is_delivered_if_nothing_was_lost(server: Sandbox) -> None:
    async with topics(server, TOPIC) as (_, soc1):
        await published(soc1, "1", "2", "3")
        async with back(server) as soc2:
            assert received_items(soc2.stanzas) == ["1", "2", "3"]


async def test_stored_events_of_a_lost_topic_are_dropped(server: Sandbox) -> None:
    async with topics(server, TOPIC, f"{TOPIC}/abc", "Other-1.0") as (grid, soc1):
        await published(soc1, "1")
        await published(soc1, "2", topic=f"{TOPIC}/abc")
        await published(soc1, "3", topic="Other-1.0")
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        await published(soc1, "4")
        async with back(server) as soc2:
            assert received_items(soc2.stanzas) == ["3"]


async def test_what_was_stored_before_a_loss_stays_dropped_when_the_topic_is_regained(server: Sandbox) -> None:
    async with topics(server, TOPIC) as (grid, soc1):
        await published(soc1, "1")
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        await published(soc1, "2")
        await next_second()
        await grid.order("lost", jid=account("soc2"), node=TOPIC, regained="true")
        await published(soc1, "3")
        async with back(server) as soc2:
            assert received_items(soc2.stanzas) == ["3"]


async def test_stored_events_of_topics_lost_by_changes_are_dropped_although_the_node_is_active(
    server: Sandbox,
) -> None:
    async with topics(server, TOPIC, "Other-1.0") as (grid, soc1):
        await published(soc1, "1")
        await published(soc1, "2", topic="Other-1.0")
        losses = "".join(
            element("lost", jid=account("soc2"), node=name, epoch=grid.next_epoch()) for name in (TOPIC, "Other-1.0")
        )
        await grid.tell(f"<changes xmlns='{POLICY}' epoch='{grid.epoch}' since='1'>{losses}</changes>")
        async with back(server) as soc2:
            assert received_items(soc2.stanzas) == []


async def test_nothing_stored_reaches_a_node_that_is_not_active(server: Sandbox) -> None:
    async with topics(server, TOPIC) as (grid, soc1):
        await soc1.send_raw(f"<message type='chat' id='m' to='{account('soc2')}'><body>stored</body></message>")
        await caught_up(soc1, "sent")
        await grid.node("soc2", "disabled")
        async with back(server) as soc2:
            assert not [one for one in soc2.stanzas if one.get("from") == soc1.jid]
        await grid.node("soc2", "active")
        async with back(server):  # what the server has kept for it, if anything
            pass


async def test_an_item_that_looks_like_a_lost_event_arrives(server: Sandbox) -> None:
    async with topics(server, TOPIC) as (grid, soc1), back(server) as soc2:
        await grid.order("lost", jid=account("soc2"), node="private")
        event = f"<event xmlns='{EVENT}'><items node='private'><item id='%s'/></items></event>"
        assert outcome(await soc1.send_raw_iq(publish("1", content=event % "x"))) == PASSED
        await until(lambda: received_items(soc2.stanzas)[:1] == ["1"])
