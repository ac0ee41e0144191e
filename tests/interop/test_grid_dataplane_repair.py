"""What somebody else has changed at the server, or what it has lost, is found, put right and reported."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from component.base.enforcement import NotConfirmed
from component.base.link import LinkState
from grid.dataplane.report import RepairKind
from grid.model import NodeState, Subscribed
from grid.topics import BUILT_IN
from tests.interop.conftest import Sandbox
from tests.interop.dataplane import ACTOR, PATIENCE, Plane, dataplane, hanging_up, jid, publish, received
from tests.interop.rawclient import beside, online

EXTRA = 110
"""More nodes than ejabberd lists in disco#items."""


async def standing(plane: Plane, topic: str) -> None:
    """soc1 publishes, soc2 has subscribed, and the server is as it should be."""
    await plane.join("soc1", "soc2")
    await plane.topic(topic)
    await plane.may("soc1", "publish", topic)
    await plane.subscribe("soc2", topic)
    report = await plane.programmer.reconcile()
    assert report.complete and not report.failed, report
    assert report.counts == {RepairKind.MISSING_NODE: 2}
    assert BUILT_IN.name in await plane.pubsub.nodes()


async def test_what_is_right_is_left_alone(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        await standing(plane, "R1")
        before = plane.pubsub.changes
        report = await plane.programmer.reconcile()
        assert (report.drift, report.lines, report.failed, report.complete) == (0, (), (), True)
        assert (report.topics, report.accounts) == (2, 2)
        assert plane.pubsub.changes == before


async def test_drift_is_put_right_and_reported(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane, online(server, "soc1", "a") as soc1:
        await standing(plane, "R2")
        pubsub = plane.pubsub
        await pubsub.configure("R2", {"access_model": "open", "notification_type": "headline"})
        await pubsub.set_affiliations("R2", {jid("soc1"): "none", jid("soc4"): "publisher", jid("soc5"): "member"})
        await pubsub.subscribe("R2", [jid("soc5"), f"{jid('soc5')}/a", f"{jid('soc2')}/b"])
        gone = [item for item in await pubsub.subscriptions("R2") if item.jid == jid("soc2")]
        await pubsub.unsubscribe("R2", gone)
        await pubsub.delete(BUILT_IN.name)
        for number in range(EXTRA):
            await pubsub.create(f"foreign{number}", {"access_model": "open"})
        await plane.accounts.add(ACTOR, jid("drifter"))

        report = await plane.programmer.reconcile()

        assert await plane.seen("R2") == ({jid("soc1"): "publisher", jid("soc2"): "member"}, {jid("soc2")})
        config = await pubsub.configuration("R2")
        assert (config["access_model"], config["notification_type"]) == ("whitelist", "normal")
        assert await pubsub.nodes() == {"R2", BUILT_IN.name}
        assert report.counts == {
            RepairKind.CONFIGURATION: 1,
            RepairKind.AFFILIATION: 3,
            RepairKind.SUBSCRIPTION: 4,
            RepairKind.MISSING_NODE: 1,
            RepairKind.FOREIGN_NODE: EXTRA,
            RepairKind.ACCOUNT: 1,
        }
        assert f"{jid('soc5')}/a was subscribed to R2." in report.lines
        assert f"The account {jid('drifter')} was missing." in report.lines
        assert (jid("soc5"), "R2", False) in plane.told
        assert await publish(soc1, "R2", "1") == ""
        assert (await plane.programmer.reconcile()).drift == 0
        await plane.users.delete(jid("drifter"))


async def test_what_prosody_shows_of_an_earlier_node_is_not_taken_for_a_subscription(
    server: Sandbox, tmp_path: Path
) -> None:
    async with dataplane(server, tmp_path) as plane, online(server, "soc1", "a") as soc1:
        await standing(plane, "R3")
        await plane.join("soc3")
        await plane.pubsub.set_affiliations("R3", {jid("soc3"): "member"})
        await plane.pubsub.subscribe("R3", [jid("soc3")])
        await plane.pubsub.delete("R3")  # with its subscriptions: the index keeps them
        report = await plane.programmer.reconcile()
        assert report.counts == {RepairKind.MISSING_NODE: 1}
        assert (await plane.programmer.reconcile()).drift == 0  # whatever it shows
        async with online(server, "soc2", "a") as soc2:
            await soc2.send_raw("<presence/>")
            assert await publish(soc1, "R3", "1") == ""
            assert await received(soc2, "R3", 1) == ["1"]
        await plane.subscribe("soc3", "R3")
        await plane.programmer.topic("R3", [jid("soc3")])
        async with online(server, "soc3", "a") as soc3:
            await soc3.send_raw("<presence/>")
            assert await publish(soc1, "R3", "2") == ""
            assert await received(soc3, "R3", 1) == ["2"]


async def test_an_empty_database_deletes_nothing(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        await plane.pubsub.create("R4", {})
        plane.programmer.desired._topics = _NoTopics()  # type: ignore[assignment]
        report = await plane.programmer.reconcile()
        assert "left alone" in report.failed[0]
        assert "R4" in await plane.pubsub.nodes()


class _NoTopics:
    def all(self) -> tuple[()]:
        return ()


async def test_a_link_that_is_lost_in_the_middle(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        for number in range(100):
            await plane.pubsub.create(f"much{number}", {"access_model": "open"})
        asked = plane.pubsub.requests
        reconciling = asyncio.ensure_future(plane.programmer.reconcile())  # noqa: TID251
        while plane.pubsub.requests < asked + 30:
            await asyncio.sleep(0)
        plane.link.stream.abort()
        report = await reconciling
        assert not report.complete and report.failed
        await plane.link.attached.wait()
        assert (await plane.programmer.reconcile()).complete
        assert await plane.pubsub.nodes() == {BUILT_IN.name}


async def test_a_server_that_restarts_is_told_what_it_has_missed(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        await standing(plane, "R5")
        reports = asyncio.Queue()  # type: ignore[var-annotated]
        plane.programmer._on_report = reports.put_nowait
        running = asyncio.ensure_future(plane.programmer.run())  # noqa: TID251
        try:
            async with asyncio.timeout(PATIENCE):
                assert (await reports.get()).drift == 0
            server.restart_server()
            async with asyncio.timeout(PATIENCE):
                while plane.link.state is not LinkState.DETACHED:
                    await asyncio.sleep(0.01)
            await plane.may_not("soc2", "subscribe", "R5")
            with pytest.raises(NotConfirmed, match="is away"):
                await plane.programmer.topic("R5", [jid("soc2")])
            assert plane.told[-1] == (jid("soc2"), "R5", False)  # before anybody can fetch what is stored
            with pytest.raises(NotConfirmed):
                await plane.programmer.node(jid("soc1"))
            assert plane.programmer.owed == {"R5"}
            async with asyncio.timeout(PATIENCE):
                while not (report := await reports.get()).complete:
                    pass
                while plane.programmer.owed_nodes:
                    await asyncio.sleep(0.01)
            assert (report.drift, report.made_good) == (0, 2)
            assert not plane.programmer.owed
            assert await plane.seen("R5") == ({jid("soc1"): "publisher"}, set())
        finally:
            running.cancel()
    await _back(server, tmp_path)


async def _back(server: Sandbox, folder: Path) -> None:
    """Wait until clients can log in again, as other tests expect."""
    async with asyncio.timeout(PATIENCE), online(server, "soc1", "a"):
        pass


async def test_a_node_that_is_disabled_or_deleted_has_nothing_left(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane, online(server, "soc2", "a") as soc2:
        await standing(plane, "R6")
        before = plane.accounts.get(jid("soc2"))
        await plane.accounts.disable(ACTOR, jid("soc2"))
        async with beside(hanging_up(soc2)):
            await plane.programmer.node(jid("soc2"), before=before)
        assert soc2.ended
        assert await plane.seen("R6") == ({jid("soc1"): "publisher"}, set())
        assert await plane.users.sessions(jid("soc2")) == set()
        await plane.accounts.enable(ACTOR, jid("soc2"))
        await plane.programmer.node(jid("soc2"))
        assert await plane.seen("R6") == ({jid("soc1"): "publisher", jid("soc2"): "member"}, {jid("soc2")})


async def test_a_node_that_we_have_made_an_account_for_goes_with_it(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        await plane.topic("R7")
        await plane.accounts.add(ACTOR, jid("new"))
        await plane.subscribe("new", "R7")
        await plane.programmer.topic("R7")
        await plane.programmer.node(jid("new"))
        assert not await plane.users.add(jid("new"))
        before = plane.accounts.get(jid("new"))
        assert before is not None and before.account and before.state is NodeState.ACTIVE
        await plane.accounts.delete(ACTOR, jid("new"))
        assert [item.state for item in plane.topics.subscriptions(jid=jid("new"))] in ([], [Subscribed.SUBSCRIBED])
        await plane.programmer.node(jid("new"), before=before)
        assert await plane.seen("R7") == ({}, set())
        assert await plane.users.add(jid("new"))  # it was gone
        await plane.users.delete(jid("new"))
