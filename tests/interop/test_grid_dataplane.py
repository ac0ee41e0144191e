"""Topics on both servers: made, shaped, revoked, removed, and what nodes get of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from grid.dataplane.pubsub import Misconfigured
from grid.model import Subscribed
from tests.interop.conftest import Sandbox
from tests.interop.dataplane import ACTOR, Plane, dataplane, jid, publish, published, received
from tests.interop.rawclient import online


async def flowing(plane: Plane, topic: str) -> None:
    """soc1 publishes, soc2 has subscribed."""
    await plane.join("soc1", "soc2")
    await plane.topic(topic)
    await plane.may("soc1", "publish", topic)
    await plane.subscribe("soc2", topic)
    await plane.programmer.topic(topic)


async def test_a_topic_is_made_as_it_should_be_and_a_second_run_changes_nothing(
    server: Sandbox, tmp_path: Path
) -> None:
    async with dataplane(server, tmp_path) as plane:
        await flowing(plane, "T1")
        assert await plane.seen("T1") == ({jid("soc1"): "publisher", jid("soc2"): "member"}, {jid("soc2")})
        config = await plane.pubsub.configuration("T1")
        assert config["type"] == "urn:test:item"
        assert (config["access_model"], config["publish_model"]) == ("whitelist", "publishers")
        assert (config["notification_type"], config["persist_items"]) == ("normal", "0")
        assert config["send_last_published_item"] == "never"
        requests = plane.pubsub.requests
        assert await plane.settled("T1") == 0
        await plane.programmer.node(jid("soc2"))
        assert plane.pubsub.requests == requests  # nothing was even asked
        report = await plane.programmer.reconcile()
        assert [line for line in report.lines if " T1" in line] == []
        assert await plane.settled("T1") == 0


async def test_items_reach_subscribers_and_a_revocation_ends_that_for_every_resource(
    server: Sandbox, tmp_path: Path
) -> None:
    async with (
        dataplane(server, tmp_path) as plane,
        online(server, "soc1", "a") as soc1,
        online(server, "soc2", "a") as soc2,
        online(server, "soc3", "a") as soc3,
    ):
        await flowing(plane, "T2")
        await plane.join("soc3")
        await plane.subscribe("soc3", "T2")
        await plane.programmer.topic("T2")
        # Behind our back, so that a full JID is subscribed, too.
        await plane.pubsub.subscribe("T2", [soc2.jid])
        await soc2.send_raw("<presence/>")
        await soc3.send_raw("<presence/>")
        plane.programmer._shaper.forget()

        sent = 0

        async def keep_publishing() -> None:
            nonlocal sent
            while True:
                sent += 1
                assert await publish(soc1, "T2", str(sent)) == ""

        publishing = asyncio.ensure_future(keep_publishing())  # noqa: TID251
        try:
            await received(soc2, "T2", 5)
            await plane.may_not("soc2", "subscribe", "T2")
            await plane.programmer.topic("T2", [jid("soc2")])
            revoked = sent + 1
            await received(soc3, "T2", len(published(soc3, "T2")) + 20)
        finally:
            publishing.cancel()
        assert await plane.seen("T2") == ({jid("soc1"): "publisher", jid("soc3"): "member"}, {jid("soc3")})
        assert all(int(item) <= revoked for item in published(soc2, "T2"))
        assert plane.told.count((jid("soc2"), "T2", False)) == 2
        await plane.may("soc2", "subscribe", "T2")
        await plane.programmer.topic("T2", [jid("soc2")])
        assert plane.told[-1] == (jid("soc2"), "T2", True)
        assert await publish(soc1, "T2", "again") == ""
        while "again" not in published(soc2, "T2"):
            await received(soc2, "T2", len(published(soc2, "T2")) + 1)


async def test_who_loses_the_right_to_publish_cannot(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane, online(server, "soc1", "a") as soc1:
        await flowing(plane, "T3")
        assert await publish(soc1, "T3", "1") == ""
        await plane.may_not("soc1", "publish", "T3")
        await plane.programmer.topic("T3")
        assert await publish(soc1, "T3", "2") == "forbidden"
        assert await plane.seen("T3") == ({jid("soc2"): "member"}, {jid("soc2")})


async def test_a_disabled_topic_has_subscribers_and_no_publishers(server: Sandbox, tmp_path: Path) -> None:
    async with (
        dataplane(server, tmp_path) as plane,
        online(server, "soc1", "a") as soc1,
        online(server, "soc2", "a") as soc2,
    ):
        await soc2.send_raw("<presence/>")
        await flowing(plane, "T4")
        await plane.topics.disable(ACTOR, "T4")
        await plane.programmer.topic("T4")
        assert await plane.seen("T4") == ({jid("soc2"): "member"}, {jid("soc2")})
        assert await publish(soc1, "T4", "1") == "forbidden"
        await plane.topics.enable(ACTOR, "T4")
        await plane.programmer.topic("T4")
        assert await publish(soc1, "T4", "2") == ""
        assert await received(soc2, "T4", 1) == ["2"]
        assert plane.told == [(jid("soc2"), "T4", True)]  # nobody has lost anything


async def test_a_topic_that_was_deleted_and_made_again_has_real_subscribers(server: Sandbox, tmp_path: Path) -> None:
    async with (
        dataplane(server, tmp_path) as plane,
        online(server, "soc1", "a") as soc1,
        online(server, "soc2", "a") as soc2,
    ):
        await soc2.send_raw("<presence/>")
        await flowing(plane, "T5")
        await plane.topics.delete(ACTOR, "T5")
        await plane.programmer.topic("T5")
        assert "T5" not in await plane.pubsub.nodes()
        await plane.topic("T5")
        await plane.programmer.topic("T5")
        assert await plane.seen("T5") == ({jid("soc1"): "publisher"}, set())
        await plane.topics.subscribe(jid("soc2"), "T5", Subscribed.SUBSCRIBED)
        await plane.programmer.topic("T5", [jid("soc2")])
        assert await publish(soc1, "T5", "1") == ""
        assert await received(soc2, "T5", 1) == ["1"]


async def test_nodes_that_are_away_get_it_later_unless_it_is_not_cacheable(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane, online(server, "soc1", "a") as soc1:
        await flowing(plane, "Kept")
        await plane.topic("Gone", cacheable=False)
        await plane.may("soc1", "publish", "Gone")
        await plane.subscribe("soc2", "Gone")
        await plane.programmer.topic("Gone")
        assert await publish(soc1, "Gone", "0") == ""
        assert await publish(soc1, "Kept", "1") == ""
        async with online(server, "soc2", "a") as soc2:
            await soc2.send_raw("<presence/>")
            assert await received(soc2, "Kept", 1) == ["1"]
            assert published(soc2, "Gone") == []
        changed = replace(plane.topics.known("Kept"), cacheable=False, title="Other")
        await plane.topics.configure(ACTOR, changed)
        assert await plane.settled("Kept") == 1
        config = await plane.pubsub.configuration("Kept")
        assert (config["notification_type"], config["title"]) == ("headline", "Other")


async def test_what_the_server_keeps_is_bounded_by_what_it_can(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        await plane.topic("T7", persist=3)
        await plane.programmer.topic("T7")
        for number in range(5):
            await plane.pubsub.publish("T7", str(number), "<i xmlns='urn:test:item'/>")
        assert {item.get("id") for item in await plane.pubsub.items("T7")} == {"2", "3", "4"}
        assert [item.get("id") for item in await plane.pubsub.items("T7", ["3"])] == ["3"]
        await plane.pubsub.retract("T7", "3")
        assert {item.get("id") for item in await plane.pubsub.items("T7")} == {"2", "4"}
        with pytest.raises(Misconfigured, match="does not take the configuration") as caught:
            await plane.pubsub.configure("T7", {"max_items": "100000"})
        assert "pubsub_max_items" in caught.value.hint
        await plane.topics.configure(ACTOR, replace(plane.topics.known("T7"), persist=0))
        await plane.programmer.topic("T7")
        assert await plane.pubsub.items("T7") == ()
