"""Killing the controller, the server or the database in the middle of anything loses nothing that was acknowledged,
and opens nothing that was closed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from stanzagate.sandbox.wire import StreamFailed
from tests.interop.conftest import KINDS
from tests.interop.gridkit import Identity, Node, World, account, find, fresh, refused
from tests.interop.owngrid import OwnGrid
from tests.interop.puppet import until
from tests.interop.rawclient import beside

NOT_DONE = (httpx.TransportError, AssertionError)
"""How a request to the admin API fails: it was not acknowledged, and may have happened or not."""


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnGrid]:
    """Server and controller; what a test ends, the next one starts."""
    own = OwnGrid(tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield own
    finally:
        own.end()


@pytest.fixture
async def own(running: OwnGrid) -> AsyncIterator[OwnGrid]:
    """Everything runs."""
    if not running.server.alive():
        await running.start_server()
        if not running.seeded:
            await running.seed()
    if not running.serve.alive():
        await running.start_serve()
    yield running


class Traffic:
    """Everything that goes on in a grid at once; what was acknowledged is kept.

    :ivar members: nodes that were admitted.
    :ivar topics: topics that were made.
    :ivar rules: rules by number: who may publish where, or may not any more.
    :ivar items: what was published.
    """

    def __init__(self, world: World, topic: str, publisher: Identity) -> None:
        self.world = world
        self.publisher = publisher
        self.topic = topic
        self.members: list[Identity] = []
        self.topics: list[str] = []
        self.rules: dict[int, str] = {}
        self.items: list[str] = []

    async def admit(self) -> None:
        """Admit nodes, one after the other."""
        while True:
            self.members.append(await self.world.member("many"))

    async def shape(self) -> None:
        """Make topics; let nodes publish there and take it from them again."""
        while True:
            name = await self.world.topic()
            self.topics.append(name)
            for who in self.members[-2:]:
                self.rules[await self.world.permit(who, "publish", name)] = f"permit {who.jid} {name}"
                self.rules[await self.world.forbid(who, "publish", name)] = f"forbid {who.jid} {name}"

    async def publish(self, node: Node) -> None:
        """Publish, one item after the other."""
        while True:
            item = fresh("item")
            if refused(await node.publish(self.topic, item)) == ("", ""):
                self.items.append(item)

    async def run(self, node: Node) -> None:
        """All of it, until cancelled; a part ends when its request fails."""
        await asyncio.gather(*(_ending(part) for part in (self.admit(), self.shape(), self.publish(node))))

    async def busy(self) -> None:
        """Wait until everything is under way."""
        count = len(self.members), len(self.topics), len(self.rules), len(self.items)
        await until(
            lambda: all(
                now > before
                for now, before in zip(
                    (len(self.members), len(self.topics), len(self.rules), len(self.items)), count, strict=True
                )
            )
        )

    async def check(self) -> None:
        """Everything that was acknowledged is there."""
        known = {node["jid"]: node["state"] for node in (await self.world.call("GET", "nodes"))["nodes"]}
        assert {known.get(member.jid) for member in self.members} == {"active"}
        topics = {topic["name"] for topic in await self.world.call("GET", "topics")}
        assert topics >= set(self.topics)
        rules = {rule["id"]: rule["effect"] for rule in await self.world.call("GET", "access")}
        assert {number: text.split()[0] for number, text in self.rules.items()}.items() <= rules.items()


async def _ending(part: Any) -> None:
    with contextlib.suppress(*NOT_DONE, ConnectionError, StreamFailed, TimeoutError):
        await part


async def audited(world: World, action: str) -> list[dict[str, Any]]:
    """The rows of the record of a kind."""
    rows: list[dict[str, Any]] = await world.call("GET", f"audit?action={action}&limit=10000")
    return rows


async def reports(world: World) -> str:
    """What reconciliations have put right, for the message of a test that fails."""
    return "\n".join(str(row["detail"]) for row in await audited(world, "reconcile.done"))


@contextlib.asynccontextmanager
async def busy(own: OwnGrid, world: World) -> AsyncIterator[tuple[Traffic, Node, Node, Identity]]:
    """Traffic, its publisher and an online subscriber; another one is away."""
    topic = await world.topic()
    publisher, subscriber, away = [await world.member() for _ in range(3)]
    await world.permit(publisher, "publish", topic)
    for who in (subscriber, away):
        await world.permit(who, "subscribe", topic)
        async with world.online(who) as node:
            assert refused(await node.subscribe(topic)) == ("", "")
    async with world.online(publisher) as sending, world.online(subscriber) as listening:
        traffic = Traffic(world, topic, publisher)
        async with beside(traffic.run(sending)):
            await traffic.busy()
            yield traffic, sending, listening, away


async def received(world: World, who: Identity, items: list[str]) -> None:
    """A node that was away gets everything."""
    async with world.online(who) as node:
        await until(lambda: set(items) <= set(node.items))


async def test_the_controller_is_killed_in_the_middle_of_everything(own: OwnGrid) -> None:
    async with own.world() as world:
        before = len(await audited(world, "alert.drift"))
        async with busy(own, world) as (traffic, _sending, listening, away):
            await asyncio.sleep(random.uniform(0, 0.2))  # a moment that nobody has chosen
            own.serve.end(signal.SIGKILL)
            count = len(traffic.items)
            await until(lambda: len(traffic.items) > count + 5)  # what is published needs no controller
            await own.start_serve()
            await traffic.check()
            await until(lambda: set(traffic.items) <= set(listening.items))
        await received(world, away, traffic.items)
        async with world.online(traffic.members[-1]) as node:
            assert refused(await node.ask(account("login"))) == ("", "")
        for effect, jid, topic in (text.split() for text in traffic.rules.values() if text.startswith("forbid")):
            told = await world.call("GET", f"access/explanation?node={jid}&action=publish&topic={topic}")
            assert (effect, told["decision"]) == ("forbid", "deny")
        assert len(await audited(world, "alert.drift")) == before, await reports(world)
    done = await asyncio.to_thread(own.sandbox.run, "audit", "verify")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_server_ends_in_the_middle_of_everything(own: OwnGrid, number: int) -> None:
    if own.kind == "ejabberd" and number == signal.SIGTERM:
        pytest.skip("not run, to save time: an orderly end writes more than kill -9, which is run")
    async with own.world() as world:
        before = len(await audited(world, "alert.drift"))
        async with busy(own, world) as (traffic, sending, listening, away):
            own.server.end(number)
            await until(lambda: sending.ended and listening.ended)
            await own.start_server()
            await own.served()
        await traffic.check()
        await published(world, traffic, "now")
        async with world.online(traffic.members[-1]) as node:  # its password is kept by the server alone
            assert refused(await node.ask(account("login"))) == ("", "")
        await received(world, away, [*traffic.items, "now"])
        assert len(await audited(world, "alert.drift")) == before, await reports(world)


async def published(world: World, traffic: Traffic, item: str) -> None:
    """Publish, as soon as it is possible again."""
    async with world.online(traffic.publisher) as node, asyncio.timeout(20):
        while refused(await node.publish(traffic.topic, item)) != ("", ""):
            await asyncio.sleep(0.02)


async def test_what_was_taken_stays_taken_while_the_controller_is_away(own: OwnGrid) -> None:
    """Acknowledged, and killed in the same moment; the server is killed, too, and comes back alone."""
    async with own.world() as world:
        topic = await world.topic()
        publisher, former, loser, out = [await world.member() for _ in range(4)]
        revoked = await world.issued()
        for who in (publisher, former):
            await world.permit(who, "publish", topic)
        for who in (loser, out):
            await world.permit(who, "subscribe", topic)
            async with world.online(who) as node:
                await node.subscribe(topic)
        async with world.online(publisher) as node:
            await node.publish(topic, "before")  # stored for those two
        before = len(await audited(world, "alert.drift"))
        await world.forbid(loser, "subscribe", topic)
        await world.call("POST", f"nodes/{out.jid}/disable", reason="out")
        await world.forbid(former, "publish", topic)
        await world.call("POST", "ca/revocations", which=revoked.jid)
        own.serve.end(signal.SIGKILL)
        own.server.end(signal.SIGKILL)
        await own.start_server()
        await closed(world, topic, publisher, former, loser, out, revoked)
        await own.start_serve()
        await closed(world, topic, publisher, former, loser, out, revoked)
        assert len(await audited(world, "alert.drift")) == before, await reports(world)


async def closed(
    world: World, topic: str, publisher: Identity, former: Identity, loser: Identity, out: Identity, revoked: Identity
) -> None:
    """Nothing is open that was closed, and nothing closed that is open."""
    item = fresh("item")
    async with world.online(publisher) as sending, world.online(loser) as first, world.online(out) as second:
        assert refused(await sending.publish(topic, item)) == ("", "")
        assert refused(await second.publish(topic, item)) != ("", "")
        async with world.online(former) as node:
            assert refused(await node.publish(topic, item)) != ("", "")
        with pytest.raises(StreamFailed):
            await world.stream(revoked, external=True)
        for node in (first, second):
            await node.caught_up()
            assert node.items == []


async def test_the_database_fails_in_the_middle(own: OwnGrid) -> None:
    """Full, replaced, locked: what cannot be kept is refused, and what is in force stays in force."""
    if own.kind == "ejabberd":
        pytest.skip("not run twice: the controller's database is the same beside either server")
    async with own.world() as world:
        topic = await world.topic()
        publisher, other = [await world.member() for _ in range(2)]
        await world.permit(publisher, "publish", topic)
        async with world.online(publisher) as node, world.online(other) as stranger:
            for failing in (own.full, own.replaced):
                with failing():
                    for change in (world.member(), world.topic(), world.permit(other, "publish", topic)):
                        with pytest.raises(AssertionError, match="database"):
                            await change
                    assert refused(await node.publish(topic, fresh("item"))) == ("", "")
                    assert refused(await stranger.publish(topic, fresh("item"))) != ("", "")
                    assert refused(await node.ask(account("login"))) == ("", "")
                rule = await world.permit(other, "publish", topic)  # it goes on by itself
                assert refused(await stranger.publish(topic, fresh("item"))) == ("", "")
                await world.call("DELETE", f"access/{rule}")
                assert refused(await stranger.publish(topic, fresh("item"))) != ("", "")
        with own.locked():
            waiting = asyncio.ensure_future(world.forbid(publisher, "publish", topic))  # noqa: TID251
            async with world.online(publisher) as node:
                assert refused(await node.publish(topic, fresh("item"))) == ("", "")
            assert not waiting.done()
        await waiting
        own.serve.end(signal.SIGKILL)
        await own.start_serve()
        async with world.online(publisher) as node:
            assert refused(await node.publish(topic, fresh("item"))) != ("", "")


async def test_what_is_changed_while_the_server_is_away(own: OwnGrid) -> None:
    """It is said that it is not carried out yet; it is when the server is back, and is no drift.

    The controller is killed meanwhile on one of the servers.
    """
    async with own.world() as world:
        doomed, kept = await world.topic(), await world.topic()
        out, gone, loser, publisher = [await world.member() for _ in range(4)]
        for who in (out, gone, loser):
            for action in ("subscribe", "publish"):
                await world.permit(who, action, kept)
            async with world.online(who) as node:
                await node.subscribe(kept)
        await world.permit(publisher, "publish", "Topic*")
        before = len(await audited(world, "alert.drift"))
        own.server.end(signal.SIGTERM)
        changes = [
            world.call("POST", f"nodes/{out.jid}/disable", reason="out"), world.call("DELETE", f"nodes/{gone.jid}"),
            world.call("DELETE", f"topics/{doomed}"), world.forbid(loser, "subscribe", kept),
        ]  # fmt: skip
        for done in await asyncio.gather(*changes, return_exceptions=True):
            assert "not-confirmed" in str(done) or "NotConfirmed" in str(done), done
        if own.kind == "ejabberd":
            own.serve.end(signal.SIGKILL)
            await own.start_serve(attached=False)
        await own.start_server()
        await own.served()
        async with world.online(publisher) as node:
            assert refused(await node.publish(kept, "item")) == ("", "")
            assert refused(await node.publish(doomed, "item")) == ("cancel", "item-not-found")
        for who in (out, loser):
            async with world.online(who) as node:
                await node.caught_up()
                assert node.items == []
                assert (refused(await node.publish(kept, fresh("item"))) == ("", "")) is (who is loser)
        with pytest.raises(StreamFailed):
            await world.stream(gone)  # its account has gone, too
        assert len(await audited(world, "alert.drift")) == before, await reports(world)


async def test_logins_over_a_restart_of_the_controller(own: OwnGrid) -> None:
    """Who has logged in has to do so again; who has logged out stays so; publishing needs neither of them."""
    async with own.world() as world:
        topic = await world.topic()
        who = await world.member()
        await world.permit(who, "publish", topic)
        async with world.online(who) as one, world.online(who, "two") as two:
            for node in (one, two):
                assert refused(await node.ask(account("login"))) == ("", "")
            assert refused(await two.ask(account("logout"))) == ("", "")
            own.serve.end(signal.SIGKILL)
            for _ in range(2):
                assert refused(await one.publish(topic, fresh("item"))) == ("", "")
                assert refused(await two.publish(topic, fresh("item"))) == ("auth", "not-authorized")
                if not own.serve.alive():
                    await own.start_serve()
            assert refused(await one.ask(find(topic)))[1] == "not-authorized"
            for node in (one, two):
                assert refused(await node.ask(account("login"))) == ("", "")
                assert refused(await node.publish(topic, fresh("item"))) == ("", "")


async def test_an_older_database_makes_the_plugin_forget_what_came_later(own: OwnGrid) -> None:
    """Also when changes were made before the plugin was met again. What the backup does not know is said loudly."""
    async with own.world() as world:
        topic = await world.topic()
        early, late = await world.member(), Identity(f"{fresh('late')}@grid.test", fresh("password-"))
        for who in (early, late):
            await world.permit(who, "publish", topic)
        before = own.copy_database()
        await world.call("POST", f"nodes/{early.jid}/disable", reason="out")
        await world.call("POST", "nodes", jid=late.jid, password=late.password)
        own.serve.end(signal.SIGKILL)
        own.put_database(before)
        own.server.end(signal.SIGTERM)
        await own.start_serve(attached=False)
        for number in range(8):  # as many as there were
            with contextlib.suppress(*NOT_DONE):
                await world.call(
                    "POST", "access", effect="permit", subject="group:x", action="read", topic=f"X{number}"
                )
        own.serve.end(signal.SIGKILL)
        await own.start_serve(attached=False)
        await own.start_server()
        await own.served()
        async with world.online(early) as node:
            assert refused(await node.ask(account("login"))) == ("", "")
            assert refused(await node.publish(topic, "x")) == ("", "")
        async with world.online(late) as node:
            assert refused(await node.ask(account("login"))) == ("auth", "registration-required")
            assert refused(await node.publish(topic, "x")) != ("", "")
        assert any("older" in str(row["detail"]) for row in await audited(world, "alert.drift"))
