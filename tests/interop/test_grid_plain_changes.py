"""What changes of rights, topics and nodes do to those who publish and receive at that moment, on both servers.

A change has returned when the server obeys: what is published after that is neither delivered nor kept. `settled`
asks the server for an answer on the same stream, behind everything that it had for that session before.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Awaitable

import pytest

from tests.interop.conftest import Sandbox
from tests.interop.dataplane import hanging_up
from tests.interop.plain import (
    EVENT,
    FINE,
    FORBIDDEN,
    INCIDENT,
    NOT_FOUND,
    OWNER,
    Scene,
    ask,
    bare,
    events,
    ids,
    info,
    items,
    options,
    publish,
    received,
    refusal,
    scene,
    settled,
    states,
    subscribe,
    subscription,
    topics,
)
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient

pytestmark = pytest.mark.timeout(60)


async def pouring(play: Scene, count: int) -> list[str]:
    """Publish items as fast as they are answered, until one is refused; the ids of those that were taken."""
    taken: list[str] = []
    for number in range(count):
        answer = await publish(play.publisher, play.topic, f"p{number}")
        if refusal(answer) != FINE:
            assert answer.error_type in ("auth", "cancel"), answer
            return taken
        taken.append(f"p{number}")
    return taken


async def poured(play: Scene, change: Awaitable[object]) -> list[str]:
    """Publish until a change has had its effect; what was taken."""
    task = asyncio.ensure_future(pouring(play, 100_000))  # noqa: TID251
    await until(lambda: len(events(play.subscriber, play.topic)) > 20)
    await change
    return await task


async def test_a_publisher_is_refused_in_the_middle_of_publishing(sandbox: Sandbox) -> None:
    async with scene(sandbox, persist_items="1", max_items="256") as play:
        me, name = bare(play.publisher), play.topic
        await play.subscribe()
        await play.desk.permit(bare(play.subscriber), "read", name)
        taken = await poured(play, play.desk.permit(me, "publish", name, "forbid"))
        for number in range(20):
            assert refusal(await publish(play.publisher, name, f"after-{number}"))[0] in ("auth", "cancel")
        item = f"<publish node='{name}'><item id='after-x'>{INCIDENT}</item></publish>"
        assert refusal(await ask(play.publisher, item + options(persist_items="1")))[0] in ("auth", "cancel")
        await received(play.subscriber, name, *taken)
        assert ids(await items(play.subscriber, name)) == taken[-256:]


@pytest.mark.parametrize("kind", ["forbid", "disable", "delete"])
async def test_a_subscriber_loses_it_in_the_middle_of_publishing(sandbox: Sandbox, kind: str) -> None:
    """What was answered after the change had returned is not delivered, now or later; a rule, or the whole node."""
    async with scene(sandbox) as play:
        me, name, desk = bare(play.subscriber), play.topic, play.desk
        await play.subscribe()
        stop = asyncio.Event()

        async def flow() -> None:
            number = 0
            while not stop.is_set():
                await play.publish(f"p{number}")
                number += 1

        task = asyncio.ensure_future(flow())  # noqa: TID251
        await until(lambda: len(events(play.subscriber, name)) > 20)
        if kind == "forbid":
            await desk.permit(me, "subscribe", name, "forbid")
        elif kind == "disable":
            await desk.decide(me, "disable")
        else:
            await desk.forget(me)
        if kind == "forbid":
            await settled(play.subscriber)
        else:
            await hanging_up(play.subscriber)
        seen = events(play.subscriber, name)
        await play.publish("marker")
        stop.set()
        await task
        await play.publish("last")
        if kind == "forbid":
            await settled(play.subscriber)
            await until(lambda: states(play.subscriber, name) == ["none"])
        assert events(play.subscriber, name) == seen == [f"p{number}" for number in range(len(seen))]
        assert (await desk.told(name))["subscribers"] == []

        if kind == "disable":  # nor does it get what was published meanwhile, once it may come back
            await desk.decide(me, "enable")
            async with desk.online(me) as again:
                assert refusal(await subscribe(again, name)) == FINE
                await play.publish("new")
                await received(again, name, "new")


async def test_what_was_stored_for_somebody_who_is_away_is_not_delivered_after_a_revocation(sandbox: Sandbox) -> None:
    async with scene(sandbox) as play:
        me, name, desk = bare(play.outsider), play.topic, play.desk
        kept = desk.name()
        for topic in (name, kept):
            await desk.permit(me, "subscribe", topic)
        await desk.permit(bare(play.publisher), "publish", kept)
        assert refusal(await ask(play.publisher, f"<create node='{kept}'/>")) == FINE
        for topic in (name, kept):
            assert refusal(await subscribe(play.outsider, topic)) == FINE
        await play.outsider.send_raw("<presence type='unavailable'/>")
        await settled(play.outsider)
        await play.publish("stored")
        assert refusal(await publish(play.publisher, kept, "mine")) == FINE
        rule = await desk.permit(me, "subscribe", name, "forbid")
        await desk.remove(rule)  # back again: the subscription is not, nor what was published before
        async with desk.online(me, "later") as later:
            await received(later, kept, "mine")
            assert events(later, name) == []
            assert refusal(await subscribe(later, name)) == FINE
            await play.publish("new")
            await received(later, name, "new")


async def test_rules_take_effect_on_those_who_are_there(sandbox: Sandbox) -> None:
    """A node waits until it is permitted, one is refused and has lost its subscription; a group is its members."""
    async with scene(sandbox, access_model="authorize") as play:
        name, desk, group = play.topic, play.desk, f"g{play.topic.lower()}"
        waiting = play.outsider
        assert subscription(await subscribe(waiting, name))["subscription"] == "pending"
        await play.subscribe()
        await play.publish("one")
        rule = await desk.permit(f"group:{group}", "subscribe", name)
        assert states(waiting, name) == []
        await desk.group(bare(waiting), group)
        await until(lambda: states(waiting, name) == ["subscribed"])
        await play.publish("two")
        await received(waiting, name, "two")
        await received(play.subscriber, name, "one", "two")

        await desk.remove(rule)
        await until(lambda: states(waiting, name) == ["subscribed", "none"])
        await play.publish("three")
        await received(play.subscriber, name, "one", "two", "three")
        await received(waiting, name, "two")
        assert await topics(waiting) == [name]  # it may ask again
        assert subscription(await subscribe(waiting, name))["subscription"] == "pending"
        await desk.permit(bare(waiting), "subscribe", name, "forbid")  # which is an answer, too
        await until(lambda: states(waiting, name)[2:] == ["none"])
        assert (await desk.told(name))["pending"] == []

        await desk.permit(f"group:{group}", "publish", name)
        await desk.group(bare(play.subscriber), group)
        assert refusal(await publish(play.subscriber, name, "four")) == FINE
        await received(play.subscriber, name, "one", "two", "three", "four")
        await desk.group(bare(play.subscriber), group, "DELETE")
        assert refusal(await publish(play.subscriber, name, "five")) == FORBIDDEN
        await desk.group(bare(waiting), group, "DELETE")


async def hidden(client: RawClient, name: str) -> None:
    """Nothing of a topic is there for a client."""
    assert name not in await topics(client)
    assert refusal(await info(client, name)) == NOT_FOUND
    assert refusal(await subscribe(client, name)) == NOT_FOUND
    assert refusal(await items(client, name)) == NOT_FOUND
    assert refusal(await ask(client, f"<configure node='{name}'/>", "get", ns=OWNER)) == NOT_FOUND
    assert refusal(await publish(client, name, "hidden"))[0] in ("auth", "cancel")


async def test_a_topic_is_disabled_and_enabled(sandbox: Sandbox) -> None:
    """Nobody sees it or uses it, whatever his rights; then everything is as it was."""
    async with scene(sandbox, access_model="authorize", persist_items="1") as play:
        name, desk = play.topic, play.desk
        await desk.permit(bare(play.subscriber), "read", name)
        await play.subscribe()
        assert subscription(await subscribe(play.outsider, name))["subscription"] == "pending"
        await play.publish("before")
        await desk.change(name, enabled=False)
        for client in (play.publisher, play.subscriber, play.outsider):
            await hidden(client, name)
        again = await ask(play.publisher, f"<create node='{name}'/>")
        assert refusal(again)[0] in ("auth", "cancel")
        told = await desk.told(name)
        assert (told["enabled"], told["subscribers"], told["pending"]) == (
            False, [bare(play.subscriber)], [bare(play.outsider)],
        )  # fmt: skip
        await desk.change(name, enabled=True)
        await play.publish("after")
        await received(play.subscriber, name, "before", "after")
        assert states(play.subscriber, name) == []
        assert ids(await items(play.subscriber, name))[-1:] == ["after"]
        assert subscription(await subscribe(play.outsider, name))["subscription"] == "pending"


async def test_a_topic_is_deleted(sandbox: Sandbox) -> None:
    """Its subscribers are told; the name may be used again, and nobody is subscribed to that."""
    async with scene(sandbox, persist_items="1") as play:
        name = play.topic
        await play.subscribe()
        await play.publish("before")
        assert refusal(await ask(play.publisher, f"<delete node='{name}'/>", ns=OWNER)) == FINE
        for client in (play.publisher, play.subscriber):
            await hidden(client, name)
        assert refusal(await ask(play.publisher, f"<create node='{name}'/>")) == FINE
        await play.publish("again")
        await received(play.subscriber, name, "before")
        lists = await ask(play.subscriber, "<subscriptions/>", "get")
        assert name not in lists.payload
        await play.subscribe()
        await play.publish("more")
        await received(play.subscriber, name, "before", "more")


async def test_subscribers_are_told_that_a_topic_is_deleted(sandbox: Sandbox) -> None:
    async with scene(sandbox) as play:
        await play.subscribe()
        assert refusal(await ask(play.publisher, f"<delete node='{play.topic}'/>", ns=OWNER)) == FINE
        await until(lambda: deleted(play.subscriber) == [play.topic])


def deleted(client: RawClient) -> list[str]:
    """The topics that a client was told are gone."""
    found: list[ET.Element] = [item for stanza in client.stanzas for item in stanza.iter(f"{{{EVENT}}}delete")]
    return [item.get("node", "") for item in found]


async def test_a_publisher_is_disabled(sandbox: Sandbox) -> None:
    """Its session ends, its topics stay, its subscribers stay; enabled again it publishes."""
    async with scene(sandbox) as play:
        me, name = bare(play.publisher), play.topic
        await play.subscribe()
        await play.publish("before")
        await play.desk.decide(me, "disable")
        await hanging_up(play.publisher)
        async with play.desk.online(me) as again:
            assert refusal(await publish(again, name, "no"))[0] == "auth"
            assert refusal(await ask(again, f"<configure node='{name}'/>", "get", ns=OWNER))[:2] == FORBIDDEN[:2]
            await play.desk.decide(me, "enable")
            assert refusal(await publish(again, name, "after")) == FINE
            await received(play.subscriber, name, "before", "after")
