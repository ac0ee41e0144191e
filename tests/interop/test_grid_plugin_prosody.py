"""What is special to Prosody about the plugins of the grid: what the server says in a node's name, stores that cannot
be written, streams that are resumed, a guard that fails in each place, a broker whose nodes have no guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from component.base.ns import POLICY
from grid.ns import PUBSUB
from tests.interop.cast import FORBIDDEN, GRID, HOST, PASSED, UNDECIDED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    BROKER,
    TOPIC,
    Controller,
    account,
    caught_up,
    controller,
    messages,
    publish,
    received_items,
)
from tests.interop.puppet import condition, element, until
from tests.interop.rawclient import MANAGEMENT, RawClient, authenticated, bind, context, online, reading
from tests.interop.shells import load_plugin, prosody, reconfigured, reload_plugin, server_log, unload_plugin
from tests.interop.test_grid_plugin_reach import pinged


@pytest.fixture(scope="module")
def server_p(server: Sandbox) -> Iterator[Sandbox]:
    """The server, when it is a Prosody."""
    if server.kind != "prosody":
        pytest.skip("of Prosody alone")
    yield server


@contextlib.asynccontextmanager
async def two_nodes(server: Sandbox) -> AsyncIterator[tuple[Controller, RawClient, RawClient]]:
    """soc1 and soc2, active and available."""
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        for client, name in ((soc1, "soc1"), (soc2, "soc2")):
            await grid.node(name, "active")
            await client.send_raw("<presence/>")
            await caught_up(client, "here")
        yield grid, soc1, soc2


BROKEN = """
> function prosody.broken(event)
    local stanza = event.stanza; local real = stanza.attr;
    local function get(_, key)
        if debug.traceback():find("reach.lib.lua", 1, true) then error("injected"); end
        return real[key];
    end
    stanza.attr = setmetatable({}, { __index = get, __pairs = function () return pairs(real); end });
end;
prosody.hosts["%s"].events.add_handler("%s", prosody.broken, 1000000)
"""
MENDED = '> prosody.hosts["%s"].events.remove_handler("%s", prosody.broken)'


@contextlib.asynccontextmanager
async def broken(server: Sandbox, host: str, event: str) -> AsyncIterator[None]:
    """A stanza raises an error when the guard of the nodes looks at it, and only then."""
    await asyncio.to_thread(prosody, server, " ".join((BROKEN % (host, event)).split()))
    try:
        yield
    finally:
        await asyncio.to_thread(prosody, server, MENDED % (host, event))


@pytest.mark.parametrize(
    ("host", "event"), [(GRID, "pre-message/full"), (GRID, "message/full"), ("acs.test", "message/full")]
)
async def test_a_guard_that_fails_lets_nothing_through(server_p: Sandbox, host: str, event: str) -> None:
    async with two_nodes(server_p) as (grid, soc1, soc2), online(server_p, "acs1") as acs1:
        other = soc2 if host == GRID else acs1
        before = (await grid.status()).refused["crashed"]
        async with broken(server_p, host, event):
            await soc1.send_raw(f"<message type='chat' id='m' to='{other.jid}'><body>b</body></message>")
            await caught_up(soc1, "alive")
            assert await pinged(other, "acs.test") == PASSED
            assert "m" not in messages(other)
            assert (await grid.status()).refused["crashed"] == before + 1
        await soc1.send_raw(f"<message type='chat' id='n' to='{other.jid}'><body>b</body></message>")
        await until(lambda: "n" in messages(other))
        assert "m" not in messages(other)
    assert "injected" in server_log(server_p)


@contextlib.contextmanager
def unwritable(store: Path) -> Iterator[None]:
    """A store of Prosody's cannot be written for as long as the block lasts."""
    aside = store.with_name(store.name + ".aside")
    store.rename(aside)
    store.write_text("in the way")
    try:
        yield
    finally:
        store.unlink()
        aside.rename(store)


async def test_an_order_that_cannot_be_stored_is_not_confirmed(server_p: Sandbox) -> None:
    store = server_p.folder / "prosody" / "data" / "grid%2etest" / "stanzagate_grid"
    async with two_nodes(server_p) as (grid, soc1, _):
        with unwritable(store):
            order = element("node", jid=account("soc1"), state="disabled", epoch=grid.next_epoch())
            assert condition(await grid.iq("set", order)) == UNDECIDED
            assert await pinged(soc1, account("soc2")) == FORBIDDEN  # in force all the same
        assert condition(await grid.iq("set", order)) == PASSED


async def test_presence_that_the_server_broadcasts_for_a_node_stops_when_it_is_not_active(server_p: Sandbox) -> None:
    async with two_nodes(server_p) as (grid, soc1, soc2), online(server_p, "acs1") as acs1:
        await acs1.send_raw("<presence/>")
        for other in (soc2, acs1):
            bare = other.jid.partition("/")[0]
            await other.send_raw(f"<presence type='subscribe' to='{account('soc1')}'/>")
            await until(lambda bare=bare: any(one.get("from") == bare for one in soc1.stanzas))  # type: ignore[misc]
            await soc1.send_raw(f"<presence type='subscribed' to='{bare}'/>")
            await until(lambda other=other: [one for one in other.stanzas if one.get("from") == soc1.jid])  # type: ignore[misc]
        before = [len(other.stanzas) for other in (soc2, acs1)]
        await grid.node("soc1", "disabled")
        await soc1.send_raw("<presence><status>still here</status></presence>")
        await caught_up(soc1, "sent")
        await caught_up(soc2, "end")
        assert await pinged(acs1, "acs.test") == PASSED
        for other, count in zip((soc2, acs1), before, strict=True):
            after = [one for one in other.stanzas[count:] if (one.get("from") or "").startswith(account("soc1"))]
            assert [one.get("type") for one in after] == ["unavailable"]  # the server's good-bye
        for jid in (account("soc2"), "acs1@acs.test"):
            await soc1.send_raw(
                f"<iq type='set' id='gone-{jid}'><query xmlns='jabber:iq:roster'><item jid='{jid}' "
                "subscription='remove'/></query></iq>"
            )
            await soc1.answer(f"gone-{jid}")


async def test_what_a_node_publishes_on_its_own_account_goes_nowhere_when_it_is_not_active(server_p: Sandbox) -> None:
    async with two_nodes(server_p) as (grid, soc1, _):
        await grid.node("soc1", "disabled")
        tune = f"<pubsub xmlns='{PUBSUB}'><publish node='urn:tune'><item><t xmlns='urn:t'/></item></publish></pubsub>"
        for to in ("", f"to='{account('soc1')}'"):
            assert outcome(await soc1.send_raw_iq(f"<iq type='set' id='t{to[:2]}' {to}>{tune}</iq>")) == FORBIDDEN


async def test_a_stream_that_is_resumed_brings_nothing_of_a_lost_topic(server_p: Sandbox) -> None:
    row = server_p.account("soc3")
    async with two_nodes(server_p) as (grid, soc1, _):
        await grid.node("soc3", "active")
        for name in (TOPIC, "Other-1.0"):
            await grid.topic(name, publisher="soc1", subscriber="soc3")
        first = await authenticated(server_p, row["jid"], row["password"], context(server_p))
        gone = RawClient(await bind(first, "app"), first)
        await first.send(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
        enabled = await first.element()
        await first.send("<presence/>")
        await first.element()
        gone.cut()
        for id, name in (("1", TOPIC), ("2", "Other-1.0")):
            assert outcome(await soc1.send_raw_iq(publish(id, topic=name))) == PASSED
        await grid.order("lost", jid=account("soc3"), node=TOPIC)
        stream = await authenticated(server_p, row["jid"], row["password"], context(server_p))
        await stream.send(f"<resume xmlns='{MANAGEMENT}' previd='{enabled.get('id')}' h='1'/>")
        assert (await stream.element()).tag == f"{{{MANAGEMENT}}}resumed"
        async with reading(RawClient(gone.jid, stream), stream) as again:
            await until(lambda: "2" in received_items(again.stanzas))
            await caught_up(again, "end")
            assert received_items(again.stanzas) == ["2"]
        for name in (TOPIC, "Other-1.0"):
            await grid.no_topic(name)


async def test_without_the_guard_of_the_nodes_none_of_the_server_publishes(server_p: Sandbox) -> None:
    async with two_nodes(server_p) as (grid, soc1, _):
        await grid.topic(publisher="soc1", subscriber="soc2")
        await asyncio.to_thread(unload_plugin, server_p, GRID, "stanzagate_grid")
        try:
            assert outcome(await soc1.send_raw_iq(publish("1"))) == FORBIDDEN
        finally:
            await asyncio.to_thread(load_plugin, server_p, GRID, "stanzagate_grid")
        await until(lambda: len(grid.snapshots) == 2)
        assert outcome(await soc1.send_raw_iq(publish("2"))) == PASSED
        await grid.no_topic()


async def test_an_account_that_is_removed_is_not_active_when_it_is_made_anew(server_p: Sandbox) -> None:
    async with two_nodes(server_p) as (grid, _, soc2):
        await asyncio.to_thread(prosody, server_p, f'user:create("fresh@{GRID}", "secret")')
        before = grid.epoch
        await grid.node("fresh", "active")
        await grid.node("soc1", "active")
        await asyncio.to_thread(prosody, server_p, f'user:delete("fresh@{GRID}")')
        assert (await grid.status())["epoch"] == before  # so that the controller tells it again
        await asyncio.to_thread(prosody, server_p, f'user:create("fresh@{GRID}", "secret")')
        assert await pinged(soc2, f"fresh@{GRID}") == ("cancel", "service-unavailable")
        stream = await authenticated(server_p, f"fresh@{GRID}", "secret", context(server_p))
        async with reading(RawClient(await bind(stream, "r"), stream), stream) as fresh:
            assert await pinged(fresh, account("soc2")) == FORBIDDEN
        await asyncio.to_thread(prosody, server_p, f'user:delete("fresh@{GRID}")')


async def test_the_shell_shows_each_guard(server_p: Sandbox) -> None:
    said = await asyncio.to_thread(prosody, server_p, "stanzagate:status()")
    for host in (GRID, BROKER, HOST):
        assert f"{host}\n" in said
    with pytest.raises(AssertionError, match="has no bypass"):
        await asyncio.to_thread(prosody, server_p, f'stanzagate:bypass("{BROKER}", 5)')


async def test_log_only_holds_nothing_and_says_so(server_p: Sandbox) -> None:
    option = "\tstanzagate_broker ="
    try:
        with reconfigured(server_p, (option, f'\tstanzagate_mode = "log-only"\n{option}')):
            await asyncio.to_thread(reload_plugin, server_p, GRID, "stanzagate_grid")
            async with (
                controller(server_p) as grid,
                online(server_p, "soc1") as soc1,
                online(server_p, "acs1") as acs1,
            ):
                assert (await grid.status()).words["mode"] == "log-only"
                await soc1.send_raw(f"<message type='chat' id='m' to='{acs1.jid}'><body>b</body></message>")
                await until(lambda: messages(acs1) == ["m"])
    finally:
        await asyncio.to_thread(reload_plugin, server_p, GRID, "stanzagate_grid")
    assert f"Would be refused (forbidden): message from {soc1.jid}" in server_log(server_p)


async def test_what_the_service_refuses_is_answered_by_the_controller(server_p: Sandbox) -> None:
    """Whoever has no right on a topic must not learn from the service's own words that there is one."""
    async with two_nodes(server_p) as (grid, soc1, soc2):
        await grid.topic(publisher="soc1", subscriber="soc2")
        grid.answer = lambda asked: asked.error("cancel", "item-not-found")
        for id, topic in (("1", TOPIC), ("2", "Nothing-1.0")):
            answer = await soc2.send_raw_iq(publish(id, topic=topic))
            assert (outcome(answer), answer.sender) == (("cancel", "item-not-found"), BROKER)
        assert len(grid.delegated) == 2
        assert grid.delegated[0].inner.get("from") == soc2.jid
        assert outcome(await soc1.send_raw_iq(publish("3"))) == PASSED
        await until(lambda: received_items(soc2.stanzas) == ["3"])
        assert len(grid.delegated) == 2
        await grid.no_topic()


async def test_an_account_is_made_for_the_controller_alone_where_there_is_none(server_p: Sandbox) -> None:
    bare, users = f"made@{GRID}", f"prosody.hosts['{GRID}'].users"

    async def order(jid: str) -> tuple[tuple[str, str], str | None]:
        answer = await grid.iq("set", element("account", jid=jid))
        found = answer.find(f"{{{POLICY}}}account")
        return condition(answer), None if found is None else found.get("made")

    async with controller(server_p) as grid, online(server_p, "soc1") as soc1:
        try:
            assert [await order(bare) for _ in range(2)] == [(PASSED, "true"), (PASSED, "false")]
            assert await order(soc1.jid.partition("/")[0]) == (PASSED, "false")
            for wrong in (f"{bare}/x", GRID, "made@acs.test", ""):
                assert await order(wrong) == (("modify", "bad-request"), None)
            forged = element("account", jid=f"forged@{GRID}")
            assert outcome(await soc1.send_raw_iq(f"<iq type='set' id='a' to='{GRID}'>{forged}</iq>")) == FORBIDDEN
            there = await asyncio.to_thread(prosody, server_p, f"> tostring(({users}.user_exists('forged')))")
            assert "true" not in there
        finally:
            await asyncio.to_thread(prosody, server_p, f"> tostring({users}.delete_user('made'))")
