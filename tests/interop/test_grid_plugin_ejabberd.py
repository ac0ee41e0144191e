"""What is special to ejabberd about the plugin of the grid host: hooks that all hosts share, a process that can be
killed, tables that can be lost, streams that are resumed, listeners that several components share."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator

import pytest

from grid.ns import CLIENT
from stanzagate.sandbox.wire import Stream, StreamFailed
from tests.interop.cast import FORBIDDEN, GRID, PASSED, outcome
from tests.interop.clients import Answer
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    BROKER,
    CONTROLLER,
    NOT_AUTHORIZED,
    TOPIC,
    Controller,
    Delegated,
    account,
    caught_up,
    controller,
    messages,
    publish,
    received_items,
)
from tests.interop.puppet import until
from tests.interop.rawclient import MANAGEMENT, RawClient, authenticated, bind, context, online, reading
from tests.interop.shells import ejabberdctl, erlang, load_plugin, reconfigured, unload_plugin

MODULE = "stanzagate_grid"
PROCESS = f'gen_mod:get_module_proc(<<"{GRID}">>, mod_stanzagate_grid)'
OFFLINE = "http://jabber.org/protocol/offline"
PING = "<ping xmlns='urn:xmpp:ping'/>"
INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
CRASHED = ("wait", "internal-server-error")
SECTION = "append_host_config:\n"
SECOND = "  acs.test: {modules: {mod_stanzagate_grid: {component: spare1.test, broker: pubsub.acs.test}}}\n"


@pytest.fixture(scope="module")
def ejabberd(server: Sandbox) -> Iterator[Sandbox]:
    """The server, when it is an ejabberd."""
    if server.kind != "ejabberd":
        pytest.skip("of ejabberd alone")
    yield server


def passing(asked: Delegated) -> str:
    """Answer everything with a result."""
    return asked.result()


async def ask(client: RawClient, to: str, content: str = PING, kind: str = "get") -> Answer:
    """What a client hears of a request."""
    return await client.send_raw_iq(f"<iq type='{kind}' id='{client.new_id()}' to='{to}'>{content}</iq>")


async def say(client: RawClient, to: str, id: str) -> None:
    """Send a chat message."""
    await client.send_raw(f"<message type='chat' id='{id}' to='{to}'><body>b</body></message>")


async def log_in(ejabberd: Sandbox, name: str) -> Stream:
    """A stream that is logged in and not bound."""
    return await authenticated(ejabberd, account(name), ejabberd.account(name)["password"], context(ejabberd))


@contextlib.asynccontextmanager
async def strangers(ejabberd: Sandbox) -> AsyncIterator[tuple[RawClient, RawClient]]:
    """Two accounts of another host, which are to notice nothing; they are asked before and after the block."""
    async with online(ejabberd, "acs1") as one, online(ejabberd, "acs2") as two:
        await say(one, two.jid, "before")
        await until(lambda: messages(two) == ["before"])
        yield one, two
        await say(one, two.jid, "after")
        await until(lambda: messages(two) == ["before", "after"])
        assert outcome(await ask(two, "acs.test")) == PASSED


# --- hooks that all hosts share -------------------------------------------------------------------------------------


async def test_a_second_grid_host_that_goes_leaves_the_first_one_guarded(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc1") as soc1, online(ejabberd, "acs1") as acs1:
        grid.answer = passing
        with reconfigured(ejabberd, (SECTION, f"{SECTION}{SECOND}")):
            assert outcome(await ask(acs1, account("soc1"))) == FORBIDDEN
            assert outcome(await ask(soc1, "acs1@acs.test")) == FORBIDDEN
        assert outcome(await ask(soc1, "acs1@acs.test")) == FORBIDDEN
        assert outcome(await ask(soc1, BROKER)) == PASSED
        assert len(grid.delegated) == 1
        await say(acs1, acs1.jid, "own")
        await until(lambda: messages(acs1) == ["own"])


async def test_the_front_stands_before_a_pubsub_service_that_is_loaded_later(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc1") as soc1:
        grid.answer = passing
        for do in ("stop_module_keep_config", "start_module"):
            await asyncio.to_thread(erlang, ejabberd, f'gen_mod:{do}(<<"{GRID}">>, mod_pubsub)')
        assert outcome(await ask(soc1, BROKER, INFO)) == PASSED
        assert len(grid.delegated) == 1
        answer = await grid.iq("get", INFO, to=BROKER)  # from the service itself
        assert b"pubsub" in ET.tostring(answer)
        assert len(grid.delegated) == 1


@pytest.mark.parametrize("sender", [CONTROLLER, BROKER, GRID, f"soc2@{GRID}/x", "spare1.test", "acs1@acs.test"])
async def test_nobody_sends_as_the_controller_on_a_listener_of_two_domains(ejabberd: Sandbox, sender: str) -> None:
    """ejabberd runs the hook for what comes by a component's stream, here that of spare1.test."""
    element = '{xmlel, <<"presence">>, [], []}'
    stanza = f'xmpp:set_from(xmpp:decode({element}), jid:decode(<<"{sender}">>))'
    call = f'mod_stanzagate_grid:component_sends({{{stanza}, #{{remote_server => <<"spare1.test">>}}}})'
    heard = await asyncio.to_thread(erlang, ejabberd, f"element(1, {call})")
    assert heard.startswith("stop") is (GRID in sender)


# --- what fails -----------------------------------------------------------------------------------------------------


async def test_a_process_that_is_killed_loses_nothing(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc1") as soc1, online(ejabberd, "soc2") as soc2:
        grid.answer = passing
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await grid.order("quiet", jid=soc1.jid)
        epoch = (await grid.status())["epoch"]
        grid.snapshots.clear()
        await asyncio.to_thread(erlang, ejabberd, f"exit(whereis({PROCESS}), kill)")
        assert outcome(await ask(soc1, account("soc2"))) == NOT_AUTHORIZED  # its tables are there
        await until(lambda: grid.snapshots)
        assert (await grid.status())["epoch"] == epoch
        assert outcome(await ask(soc1, account("soc2"))) == NOT_AUTHORIZED
        assert outcome(await ask(soc1, BROKER)) == PASSED
        assert {item.get("jid") for item in await grid.sessions()} == {soc1.jid, soc2.jid}
        await grid.order("quiet", jid=soc1.jid, lifted="true")
        await say(soc1, soc2.jid, "m")
        await until(lambda: messages(soc2) == ["m"])


LOSE_GUARD = f'persistent_term:erase({{mod_stanzagate_grid_guard, <<"{GRID}">>}})'


async def test_a_hook_that_crashes_lets_nothing_through(ejabberd: Sandbox) -> None:
    async with (
        strangers(ejabberd) as (acs1, _),
        controller(ejabberd) as grid,
        online(ejabberd, "soc1") as soc1,
        online(ejabberd, "soc2") as soc2,
    ):
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await asyncio.to_thread(erlang, ejabberd, LOSE_GUARD)
        try:
            await say(soc1, soc2.jid, "m")
            await say(acs1, soc2.jid, "m")
            await acs1.send_raw(f"<iq type='get' id='b' to='{BROKER}'>{INFO}</iq>")
            assert outcome(await acs1.answer("b")) == CRASHED
            with pytest.raises(StreamFailed):
                await log_in(ejabberd, "soc3")
        finally:
            await asyncio.to_thread(unload_plugin, ejabberd, GRID, MODULE)
            await asyncio.to_thread(load_plugin, ejabberd, GRID, MODULE)
        await say(soc1, soc2.jid, "again")
        await until(lambda: "again" in messages(soc2))
        assert messages(soc2) == ["again"]


async def test_what_was_said_survives_that_the_module_is_loaded_anew(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc1") as soc1, online(ejabberd, "soc2") as soc2:
        await grid.node("soc2", "active")
        epoch = (await grid.status())["epoch"]
        await asyncio.to_thread(unload_plugin, ejabberd, GRID, MODULE)
        assert outcome(await ask(soc1, BROKER, INFO)) == PASSED  # from the server's own service
        assert not grid.delegated
        await asyncio.to_thread(load_plugin, ejabberd, GRID, MODULE)
        assert (await grid.status())["epoch"] == epoch
        assert outcome(await ask(soc1, account("soc2"))) == FORBIDDEN
        await soc2.send_raw(f"<message id='m' to='{CONTROLLER}'/>")
        await say(soc2, "acs1@acs.test", "out")
        await until(lambda: any(one.get("id") == "m" for one in grid.received))


async def test_an_account_that_is_removed_is_not_active_when_it_is_made_anew(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc2") as soc2:
        await grid.node("soc2", "active")
        await grid.node("passing", "active")
        await grid.node("soc1", "active")
        told = grid.epoch
        assert (await grid.status())["epoch"] == told
        await asyncio.to_thread(ejabberdctl, ejabberd, "register", "passing", GRID, "secret")
        await asyncio.to_thread(ejabberdctl, ejabberd, "unregister", "passing", GRID)
        assert (await grid.status())["epoch"] == told - 2  # so that the controller tells it what has come since
        await asyncio.to_thread(ejabberdctl, ejabberd, "register", "passing", GRID, "secret")
        try:
            await say(soc2, account("passing"), "m")
            stream = await authenticated(ejabberd, account("passing"), "secret", context(ejabberd))
            async with reading(RawClient(await bind(stream, "x"), stream), stream) as client:
                assert outcome(await ask(client, account("soc2"))) == FORBIDDEN
                await client.send_raw("<presence/>")
                await caught_up(client, "end")
                assert messages(client) == []
        finally:
            await asyncio.to_thread(ejabberdctl, ejabberd, "unregister", "passing", GRID)


async def test_that_a_node_has_gone_is_all_that_others_hear_of_it(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "acs1") as acs1:
        await grid.node("soc1", "active")
        async with online(ejabberd, "soc1") as soc1:
            await soc1.send_raw(f"<presence/><presence to='{acs1.jid}'/>")
            await until(lambda: [one for one in acs1.stanzas if one.get("from") == soc1.jid])
            await grid.node("soc1", "disabled")
            await soc1.send_raw(f"<presence type='unavailable' to='{acs1.jid}'><status>refused</status></presence>")
            await soc1.send_raw("<presence type='unavailable'><status>by the server</status></presence>")
            await until(lambda: len([one for one in acs1.stanzas if one.get("from") == soc1.jid]) == 2)
        gone = [one for one in acs1.stanzas if one.get("from") == soc1.jid][1]
        assert (gone.get("type"), len(gone)) == ("unavailable", 0)


MODE = f'broker: "{BROKER}"\n        mode: %s'


async def test_log_only_holds_nothing_and_says_so_and_a_reload_keeps_everybody(ejabberd: Sandbox) -> None:
    async with (
        controller(ejabberd) as grid,
        topic(grid),
        online(ejabberd, "soc1") as soc1,
        online(ejabberd, "soc2", external=True) as soc2,
        online(ejabberd, "acs1") as acs1,
    ):
        await soc2.send_raw("<presence/>")
        await grid.order("quiet", jid=soc1.jid)
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        epoch = (await grid.status())["epoch"]
        with reconfigured(ejabberd, (MODE % "enforce", MODE % "log-only")):
            assert (await grid.status()).words["mode"] == "log-only"
            for id, to in (("quiet", soc2), ("out", acs1)):
                await say(soc1, to.jid, id)
                await until(lambda to=to, id=id: id in messages(to))  # type: ignore[misc]
            assert outcome(await soc1.send_raw_iq(publish("lost"))) == PASSED
            await until(lambda: received_items(soc2.stanzas) == ["lost"])
            (fingerprint,) = {item.get("fingerprint", "") for item in await grid.sessions()} - {""}
            await grid.order("revoked", fingerprint=fingerprint)
            async with online(ejabberd, "soc2", "x", external=True):
                pass
            assert (await grid.status())["bypassed"] >= 4
        await until(lambda: soc2.ended)  # what was let in meanwhile
        status = await grid.status()
        assert (status.words["mode"], status["epoch"]) == ("enforce", epoch + 1)
        assert outcome(await ask(soc1, soc2.jid)) == NOT_AUTHORIZED
        with pytest.raises(StreamFailed):
            async with online(ejabberd, "soc2", "x", external=True):
                pass
    assert "Would be refused (lost): message" in (ejabberd.folder / "log" / "ejabberd.log").read_text()


# --- what was stored ------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def topic(grid: Controller) -> AsyncIterator[None]:
    """A topic that soc1 publishes to and soc2 has subscribed to, both active."""
    for name in ("soc1", "soc2"):
        await grid.node(name, "active")
    await grid.topic(publisher="soc1", subscriber="soc2")
    try:
        yield
    finally:
        await grid.no_topic()


async def test_a_stream_that_is_resumed_brings_nothing_of_a_lost_topic(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, topic(grid), online(ejabberd, "soc1") as soc1:
        stream = await log_in(ejabberd, "soc2")
        jid = await bind(stream, "res")
        await stream.send(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
        enabled = await stream.element()
        await stream.send(f"<presence/><iq type='get' id='here' to='{GRID}'>{PING}</iq>")
        while (await stream.element()).get("id") != "here":
            pass
        stream.abort()
        for id in ("one", "two"):
            assert outcome(await soc1.send_raw_iq(publish(id))) == PASSED
        await say(soc1, jid, "kept")
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        again = await log_in(ejabberd, "soc2")
        await again.send(f"<resume xmlns='{MANAGEMENT}' previd='{enabled.get('id')}' h='0'/>")
        assert (await again.element()).tag == f"{{{MANAGEMENT}}}resumed"
        resumed = RawClient(jid, again)
        async with reading(resumed, again):
            await until(lambda: "kept" in messages(resumed))
            stanzas = [one for one in resumed.stanzas if one.tag in (f"{{{CLIENT}}}message", f"{{{CLIENT}}}presence")]
            assert received_items(resumed.stanzas) == []
            assert [one.get("type") for one in stanzas].count("headline") == 2  # the numbers of the stream stay right


async def test_what_is_fetched_from_the_store_is_looked_at_too(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, topic(grid), online(ejabberd, "soc1") as soc1:
        for id in ("one", "two"):
            assert outcome(await soc1.send_raw_iq(publish(id))) == PASSED
        await grid.order("lost", jid=account("soc2"), node=TOPIC)
        async with online(ejabberd, "soc2") as soc2:
            items = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{OFFLINE}'/>"
            listed = ET.fromstring((await ask(soc2, account("soc2"), items)).payload)
            nodes = [item.get("node", "") for item in listed]
            assert len(nodes) >= 2
            views = "".join(f"<item action='view' node='{node}'/>" for node in nodes)
            await ask(soc2, account("soc2"), f"<offline xmlns='{OFFLINE}'>{views}</offline>")
            await ask(soc2, account("soc2"), f"<offline xmlns='{OFFLINE}'><fetch/></offline>")
            await caught_up(soc2, "end")
            assert received_items(soc2.stanzas) == []
            await ask(soc2, account("soc2"), f"<offline xmlns='{OFFLINE}'><purge/></offline>", "set")


async def test_a_quiet_session_stays_quiet_when_it_is_resumed(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid:
        await grid.node("soc1", "active")
        stream = await log_in(ejabberd, "soc1")
        jid = await bind(stream, "res")
        await stream.send(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
        enabled = await stream.element()
        await until(lambda: grid.events)
        await grid.order("quiet", jid=jid)
        stream.abort()
        again = await log_in(ejabberd, "soc1")
        await again.send(f"<resume xmlns='{MANAGEMENT}' previd='{enabled.get('id')}' h='0'/>")
        assert (await again.element()).tag == f"{{{MANAGEMENT}}}resumed"
        resumed = RawClient(jid, again)
        async with reading(resumed, again):
            await until(lambda: [event.get("event") for event in grid.events].count("up") == 2)
            await until(lambda: [event.get("event") for event in grid.events].count("down") == 1)
            assert outcome(await ask(resumed, "acs1@acs.test")) == NOT_AUTHORIZED
        async with online(ejabberd, "soc1", "res") as anew:
            await say(anew, anew.jid, "own")
            assert outcome(await ask(anew, "acs.test")) == PASSED


async def test_a_controller_that_comes_back_is_asked_at_once(ejabberd: Sandbox) -> None:
    """The stream before it may be half open: ejabberd would send it every other question."""
    async with controller(ejabberd), online(ejabberd, "soc1") as soc1, controller(ejabberd) as newer:
        newer.answer = passing
        for _ in range(6):
            assert outcome(await ask(soc1, BROKER)) == PASSED
        assert len(newer.delegated) == 6


async def test_requests_end_when_the_controller_goes(ejabberd: Sandbox) -> None:
    async with online(ejabberd, "soc1") as soc1:
        async with controller(ejabberd) as grid:
            await soc1.send_raw(f"<iq type='get' id='q' to='{BROKER}'>{PING}</iq>")
            await until(lambda: grid.delegated)
            assert (await grid.status())["held"] == 1
        assert outcome(await soc1.answer("q")) == ("wait", "remote-server-timeout")


async def test_the_administrator_sees_and_opens_both_kinds_of_hosts(ejabberd: Sandbox) -> None:
    async with controller(ejabberd) as grid, online(ejabberd, "soc1") as soc1, online(ejabberd, "acs1") as acs1:
        shown = ejabberdctl(ejabberd, "stanzagate_status", GRID)
        for line in ("mode\tenforce", f"component\t{CONTROLLER}", f"broker\t{BROKER}", "attached\tyes"):
            assert line in shown
        assert "cache_size" in ejabberdctl(ejabberd, "stanzagate_status", "cpe.test")
        ejabberdctl(ejabberd, "stanzagate_bypass", GRID, "5")
        try:
            assert (await grid.status()).words["mode"] == "bypass"
            await say(soc1, acs1.jid, "m")
            await until(lambda: messages(acs1) == ["m"])
        finally:
            ejabberdctl(ejabberd, "stanzagate_bypass", GRID, "0")
        assert outcome(await ask(soc1, acs1.jid)) == FORBIDDEN
