"""What survives, on both servers: a restart of the server, of the plugin; and the emergency bypass."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from stanzagate.sandbox.wire import StreamFailed
from tests.interop.cast import FORBIDDEN, GRID, PASSED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    TOPIC,
    Controller,
    account,
    caught_up,
    controller,
    messages,
    publish,
    received_items,
)
from tests.interop.puppet import PATIENCE, until
from tests.interop.rawclient import online
from tests.interop.shells import bypassed, reload_plugin, server_log
from tests.interop.test_grid_plugin_login import fingerprint
from tests.interop.test_grid_plugin_reach import pinged, refusal


@contextlib.asynccontextmanager
async def told(server: Sandbox) -> AsyncIterator[Controller]:
    """What is to survive: soc1 and soc2 are active, soc3 was; soc2 has lost a topic of which something is stored, and
    is bound to another certificate than it has."""
    async with controller(server, keep=True) as grid:
        await grid.reset()
        for name in ("soc1", "soc2", "soc3"):
            await grid.node(name, "active")
        await grid.topic(publisher="soc1", subscriber="soc2")
        async with online(server, "soc1") as soc1:
            assert outcome(await soc1.send_raw_iq(publish("stored"))) == PASSED
        await grid.node("soc3", "disabled")
        await grid.node("soc2", "active", "a1" * 32)
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1"))
        yield grid


async def assert_it_holds(server: Sandbox) -> None:
    """Everything that was told is in force; nobody has to tell it again."""
    async with online(server, "soc1") as soc1, online(server, "soc2") as soc2, online(server, "soc3") as soc3:
        await soc2.send_raw("<presence/>")
        await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
        await until(lambda: "m" in messages(soc2))
        await soc3.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
        assert await refusal(soc3, "m") == FORBIDDEN
        assert outcome(await soc1.send_raw_iq(publish("live"))) == PASSED
        await caught_up(soc2, "end")
        assert received_items(soc2.stanzas) == []
        async with online(server, "soc2", "x", external=True) as stranger:
            assert await pinged(stranger, account("soc1")) == FORBIDDEN
        with pytest.raises(StreamFailed):
            async with online(server, "soc1", "x", external=True):
                pass


async def test_what_was_told_holds_over_a_restart_of_the_server(server: Sandbox) -> None:
    async with told(server) as grid:
        epoch = grid.epoch
        server.restart_server()
        await until(lambda: grid.ended)
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(StreamFailed):
                async with online(server, "soc2"):
                    break
            await asyncio.sleep(0.02)
    await assert_it_holds(server)
    async with controller(server, keep=True) as grid:
        assert (await grid.status())["epoch"] == epoch
        await grid.order("node", jid=account("soc3"), state="active", epoch=4)  # stale
        async with online(server, "soc3") as soc3:
            assert await pinged(soc3, account("soc1")) == FORBIDDEN
        await grid.no_topic()
        await grid.reset()


async def test_what_was_told_holds_over_a_reload_of_the_plugin(server: Sandbox) -> None:
    async with told(server) as grid:
        await asyncio.to_thread(reload_plugin, server, GRID, "stanzagate_grid")
        await until(lambda: len(grid.snapshots) == 2)
        assert (await grid.status())["epoch"] == grid.epoch
        await assert_it_holds(server)
        await grid.no_topic()
        await grid.reset()


async def test_the_bypass_opens_the_guard_and_is_logged(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        async with bypassed(server, GRID):
            assert (await grid.status()).words["mode"] == "bypass"
            await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
            await until(lambda: messages(soc2) == ["m"])
        assert (await grid.status()).words["mode"] == "enforce"
        await soc1.send_raw(f"<message type='chat' id='n' to='{soc2.jid}'><body>b</body></message>")
        assert await refusal(soc1, "n") == FORBIDDEN
    assert "bypass" in server_log(server).lower()
