"""Sessions by a certificate that their name is not bound to, on both servers: strangers under a node's name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from component.base.ns import POLICY
from tests.interop.cast import BAD_REQUEST, FORBIDDEN, GRID, PASSED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    BROKER,
    CONTROLLER,
    Controller,
    account,
    caught_up,
    controller,
    messages,
    publish,
    received_items,
)
from tests.interop.puppet import condition, until
from tests.interop.rawclient import MANAGEMENT, RawClient, authenticated, bind, context, online, reading
from tests.interop.test_grid_plugin_login import fingerprint

OTHER = "a1" * 32
ROSTER = "<iq type='get' id='{}'><query xmlns='jabber:iq:roster'/></iq>"


@asynccontextmanager
async def topic(server: Sandbox) -> AsyncIterator[tuple[Controller, RawClient]]:
    """The controller, and soc2, a publisher without a certificate. soc1 is publisher and subscriber."""
    async with controller(server) as grid, online(server, "soc2") as soc2:
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await grid.topic(publisher="soc2", subscriber="soc1")
        await grid.topic("Own-1.0", publisher="soc1", subscriber="soc2")
        try:
            yield grid, soc2
        finally:
            for name in ("IODEF-1.0", "Own-1.0"):
                await grid.no_topic(name)


async def here(client: RawClient) -> None:
    """Be available."""
    await client.send_raw("<presence/>")
    await caught_up(client, f"here{len(client.stanzas)}")


async def published(client: RawClient, id: str, topic: str = "IODEF-1.0") -> object:
    """What becomes of a plain publish."""
    return outcome(await client.send_raw_iq(publish(id, topic=topic)))


async def test_a_stranger_neither_publishes_nor_hears_anything(server: Sandbox) -> None:
    async with topic(server) as (grid, soc2), online(server, "soc1", "stranger", external=True) as stranger:
        await here(stranger)
        await grid.node("soc1", "active", OTHER)
        await here(stranger)
        before = messages(stranger)
        for number in range(3):
            assert await published(stranger, f"evil{number}", "Own-1.0") == FORBIDDEN
        assert await published(soc2, "secret") == PASSED
        await soc2.send_raw(f"<message id='direct' to='{stranger.jid}'/><message id='bare' to='{account('soc1')}'/>")
        await caught_up(soc2, "sent")
        await caught_up(stranger, "end")
        assert received_items(soc2.stanzas) == received_items(stranger.stanzas) == []
        assert messages(stranger) == before


async def test_a_stranger_reaches_the_controller_and_the_control_plane_alone(server: Sandbox) -> None:
    async with topic(server) as (grid, soc2):
        await grid.node("soc1", "active", OTHER)
        async with online(server, "soc1", "stranger", external=True) as stranger:
            await here(stranger)
            for number, to in enumerate((f" to='{account('soc1')}'", "", f" to='{soc2.jid}'")):
                ask = f"<iq type='get' id='no{number}'{to}><query xmlns='jabber:iq:roster'/></iq>"
                assert outcome(await stranger.send_raw_iq(ask)) == FORBIDDEN
            grid.answer = lambda asked: asked.result("<query xmlns='http://jabber.org/protocol/disco#info'/>")
            info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            ask = f"<iq type='get' id='info' to='{BROKER}'>{info}</iq>"
            assert outcome(await stranger.send_raw_iq(ask)) == PASSED
            await stranger.send_raw(f"<message id='hello' to='{CONTROLLER}'/>")
            await until(lambda: any(item.get("id") == "hello" for item in grid.received))
            await grid.send(f"<message id='told' from='{CONTROLLER}' to='{stranger.jid}'/>")
            await until(lambda: "told" in messages(stranger))


async def test_what_is_for_the_node_waits_for_it_and_not_for_a_stranger(server: Sandbox) -> None:
    """He who is there under the name of somebody who is away neither gets it nor uses it up."""
    async with topic(server) as (grid, soc2):
        await grid.node("soc1", "active", OTHER)
        async with online(server, "soc1", "stranger", external=True) as stranger:
            await here(stranger)
            assert await published(soc2, "kept") == PASSED
            await caught_up(stranger, "end")
            assert received_items(stranger.stanzas) == []
        async with online(server, "soc1", "node") as node:  # without a certificate, by its password
            await here(node)
            await until(lambda: received_items(node.stanzas) == ["kept"])


@pytest.mark.parametrize("kind", ["own", "second", "unbound", "none"])
async def test_a_node_by_a_certificate_of_its_own_is_itself(server: Sandbox, kind: str) -> None:
    own = fingerprint(server, "soc1")
    bound = {"own": [own.upper()], "second": [OTHER, own], "unbound": [], "none": [OTHER]}[kind]
    async with topic(server) as (grid, soc2):
        await grid.node("soc1", "active", *bound)
        async with online(server, "soc1", "node", external=kind != "none") as node:
            await here(node)
            assert outcome(await node.send_raw_iq(ROSTER.format("roster"))) == PASSED
            assert await published(node, "mine", "Own-1.0") == PASSED
            assert await published(soc2, "yours") == PASSED
            await until(lambda: received_items(node.stanzas) == ["yours"])


async def test_a_certificate_that_is_bound_later_will_do_from_then_on(server: Sandbox) -> None:
    async with topic(server) as (grid, _), online(server, "soc1", "node", external=True) as node:
        await grid.node("soc1", "active", OTHER)
        assert await published(node, "early", "Own-1.0") == FORBIDDEN
        await grid.node("soc1", "active", OTHER, fingerprint(server, "soc1"))
        assert await published(node, "now", "Own-1.0") == PASSED
        stale = f"<node xmlns='{POLICY}' jid='{account('soc1')}' state='active' epoch='1'>"
        await grid.tell(f"{stale}<certificate fingerprint='{OTHER}'/></node>")
        assert await published(node, "still", "Own-1.0") == PASSED
        await grid.node("soc1", "disabled", fingerprint(server, "soc1"))
        assert await published(node, "over", "Own-1.0") == FORBIDDEN


async def test_a_stream_that_a_stranger_resumes_tells_him_nothing(server: Sandbox) -> None:
    """What was kept for the session passes the last look only."""
    row = server.account("soc1")
    tls = context(server, Path(row["cert"]), Path(row["key"]))
    async with topic(server) as (grid, soc2):
        stream = await authenticated(server, row["jid"], row["password"], context(server))
        client = RawClient(await bind(stream, "app"), stream)
        await stream.send(f"<presence/><enable xmlns='{MANAGEMENT}' resume='true'/>")
        while (enabled := await stream.element()).tag != f"{{{MANAGEMENT}}}enabled":
            pass
        await grid.node("soc1", "active", OTHER)
        client.cut()
        assert await published(soc2, "secret") == PASSED
        again = await authenticated(server, row["jid"], "", tls)
        await again.send(f"<resume xmlns='{MANAGEMENT}' previd='{enabled.get('id')}' h='0'/>")
        assert (await again.element()).tag == f"{{{MANAGEMENT}}}resumed"
        thief = RawClient(client.jid, again)
        async with reading(thief, again):
            assert await published(thief, "evil", "Own-1.0") == FORBIDDEN
            await caught_up(thief, "end")
            assert received_items(thief.stanzas) == received_items(soc2.stanzas) == []


@pytest.mark.parametrize(
    "content",
    [
        "<certificate/>", "<certificate fingerprint='ab'/>", f"<certificate fingerprint='{'g' * 64}'/>",
        f"<other fingerprint='{OTHER}'/>", f"<certificate xmlns='urn:other' fingerprint='{OTHER}'/>",
        f"<certificate fingerprint='{OTHER}'/><certificate fingerprint=''/>",
    ],
)  # fmt: skip
async def test_orders_with_anything_but_certificates_in_them_are_malformed(server: Sandbox, content: str) -> None:
    async with controller(server) as grid:
        order = f"<node xmlns='{POLICY}' jid='soc1@{GRID}' state='active' epoch='9'>{content}</node>"
        for sent in (order, f"<changes xmlns='{POLICY}' epoch='10' since='1'>{order}</changes>"):
            assert condition(await grid.iq("set", sent)) == BAD_REQUEST
        assert (await grid.status())["epoch"] == grid.epoch
