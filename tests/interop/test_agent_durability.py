"""The agent over a kill of the controller and a restart of the server, in the middle of publishing and receiving."""

from __future__ import annotations

import asyncio
import itertools
import signal
from typing import Any

from grid.agent import Agent, Item, Stream
from tests.interop.agentkit import hasten
from tests.interop.gridkit import Identity, World, fresh
from tests.interop.owngrid import OwnGrid
from tests.interop.puppet import until
from tests.interop.rawclient import beside
from tests.interop.test_grid_durability import own, running

__all__ = ["own", "running"]

AT_ONCE = 5


def agent(own: OwnGrid, who: Identity, **more: Any) -> Agent:
    """A node's agent, which comes back at once."""
    host, port = own.sandbox.address
    secret = {"password": who.password} if who.password else {"cert": who.cert, "key": who.key}
    made = Agent(who.jid, host=host, port=port, ca=own.sandbox.info["ca"], **secret, **more)
    hasten(made)
    made._membership._uniform = lambda low, high: min(low, 0.05)  # type: ignore[union-attr]
    return made


class Traffic:
    """A publisher and a subscriber at work.

    :ivar acknowledged: ids of what the broker has taken, as `publish` says.
    :ivar received: what has come.
    """

    def __init__(self, source: Agent, topic: str, stream: Stream) -> None:
        self.acknowledged: list[str] = []
        self.received: list[Item] = []
        self.stopping = False
        self._source = source
        self._topic = topic
        self._stream = stream
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Publish, several items at once; return when `stopping` is set and all are acknowledged."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._publish())

    async def _publish(self) -> None:
        while not self.stopping:
            number = next(self._numbers)
            self.acknowledged.append(await self._source.publish(self._topic, {"n": number}, f"item-{number}"))

    async def receive(self) -> None:
        """Take what comes, until cancelled."""
        async for item in self._stream:
            self.received.append(item)

    async def goes_on(self) -> None:
        """Wait until more is acknowledged, and more has come."""
        count, more = len(self.acknowledged), len(self.received)
        await until(lambda: len(self.acknowledged) >= count + 20 and len(self.received) >= more + 20)


async def nodes(world: World, capability: str) -> tuple[Identity, Identity]:
    """A publisher that has a certificate, and a subscriber that has a password."""
    source, sink = await world.issued(), await world.member()
    await world.call("POST", "nodes", jid=source.jid)
    await world.topic(capability)
    await world.permit(source, "publish", f"{capability}-1.0")
    await world.permit(sink, "subscribe", f"{capability}-1.0")
    return source, sink


async def test_nothing_is_lost_or_repeated_when_everything_is_started_anew(own: OwnGrid) -> None:
    moves: list[tuple[str, tuple[str, ...], bool]] = []
    async with own.world() as world:
        capability = fresh("Session")
        one, other = await nodes(world, capability)
        watching = agent(own, other, on_provider=lambda *told: moves.append(told))
        async with agent(own, one) as source, watching as sink:
            (topic,) = await source.provide(capability, "1.0")
            stream = await sink.subscribe(capability=capability, version="1.0").open()
            traffic = Traffic(source, topic, stream)
            async with beside(traffic.receive()), asyncio.TaskGroup() as group:
                group.create_task(traffic.run())
                await traffic.goes_on()
                await asyncio.to_thread(own.serve.end, signal.SIGKILL)
                await traffic.goes_on()  # what is published needs no controller
                moves.clear()
                await own.start_serve()
                await until(lambda: (one.jid, (topic,), True) in moves)  # both have logged in again
                assert await sink.find(topic) == (source.jid,)
                await traffic.goes_on()
                begin = len(traffic.acknowledged)
                await asyncio.to_thread(own.server.end, signal.SIGTERM)
                end = len(traffic.acknowledged)
                moves.clear()
                await own.start_server()
                await traffic.goes_on()
                await own.served()
                await until(lambda: (one.jid, (topic,), True) in moves)
                assert await sink.find(topic) == (source.jid,)
                traffic.stopping = True
            last = await source.publish(topic, "the end")
            async with asyncio.timeout(30), beside(traffic.receive()):
                await until(lambda: last in [item.id for item in traffic.received])
        ids = [item.id for item in traffic.received]
        came = set(ids)
        assert len(came) == len(ids)
        lost = [(index, id) for index, id in enumerate(traffic.acknowledged) if id not in came]
        assert not lost, f"of {len(traffic.acknowledged)}; the server ended between {begin} and {end}"
        assert min(source.counters["connections"], sink.counters["connections"]) == 2
