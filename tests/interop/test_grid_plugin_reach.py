"""Whom a node may reach, and who reaches it, on both servers: by its state, in every kind of stanza."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from component.base.ns import STANZAS
from tests.interop.cast import FORBIDDEN, GRID, PASSED, outcome
from tests.interop.clients import CLIENT
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    BROKER,
    CONTROLLER,
    NOT_AUTHORIZED,
    Controller,
    Delegated,
    account,
    caught_up,
    controller,
    messages,
    publish,
)
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient, online

PING = "<ping xmlns='urn:xmpp:ping'/>"
UNAVAILABLE = ("cancel", "service-unavailable")


def passing(asked: Delegated) -> str:
    """Answer everything with a result."""
    return asked.result()


async def pinged(client: RawClient, to: str) -> tuple[str, str]:
    """What a client hears of a ping."""
    id = client.new_id()
    return outcome(await client.send_raw_iq(f"<iq type='get' id='{id}' to='{to}'>{PING}</iq>"))


async def refusal(client: RawClient, id: str) -> tuple[str, str]:
    """Wait for the error that a message or presence was answered with."""
    found: list[ET.Element] = []

    def came() -> bool:
        found[:] = [one for one in client.stanzas if one.get("id") == id and one.get("type") == "error"]
        return bool(found)

    await until(came)
    error = found[0].find(f"{{{CLIENT}}}error")
    assert error is not None
    return error.get("type", ""), next(child.tag for child in error).removeprefix(f"{{{STANZAS}}}")


async def heard(grid: Controller, kind: str, id: str) -> None:
    """Wait until a stanza has reached the controller."""
    await until(lambda: any(one.tag.endswith(kind) and one.get("id") == id for one in grid.received))


@pytest.mark.parametrize("state", ["", "disabled", "unknown"])
async def test_a_node_that_is_not_active_reaches_nobody_else(server: Sandbox, state: str) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
        online(server, "acs1") as acs1,
    ):
        await grid.node("soc2", "active")
        if state:
            await grid.node("soc1", state)
        for other in (soc2.jid, account("soc2"), acs1.jid, "acs1@acs.test", "acs.test", "nobody@far.test"):
            assert await pinged(soc1, other) == FORBIDDEN
            await soc1.send_raw(f"<message type='chat' id='m-{other}' to='{other}'><body>b</body></message>")
            assert await refusal(soc1, f"m-{other}") == FORBIDDEN
            await soc1.send_raw(f"<presence id='p' to='{other}'/><presence type='subscribe' id='s' to='{other}'/>")
        await caught_up(soc1, "end")
        await caught_up(soc2, "end")
        assert messages(soc2) == messages(acs1) == []
        assert not [
            one for one in (*soc2.stanzas, *acs1.stanzas) if (one.get("from") or "").startswith(soc1.jid[:13])
        ]


async def test_a_node_that_is_not_active_reaches_controller_broker_server_and_itself(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1:
        grid.answer = passing
        await soc1.send_raw(f"<message id='m' to='{CONTROLLER}'><body>b</body></message>")
        await soc1.send_raw(f"<presence id='p' to='{CONTROLLER}'/>")
        await soc1.send_raw(f"<iq type='get' id='q' to='{CONTROLLER}'>{PING}</iq>")
        for kind, id in (("message", "m"), ("presence", "p"), ("iq", "q")):
            await heard(grid, kind, id)
        assert await pinged(soc1, GRID) == PASSED
        assert await pinged(soc1, BROKER) == PASSED
        roster = "<query xmlns='jabber:iq:roster'/>"
        assert outcome(await soc1.send_raw_iq(f"<iq type='get' id='r'>{roster}</iq>")) == PASSED
        info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
        assert outcome(await soc1.send_raw_iq(f"<iq type='get' id='d' to='{GRID}'>{info}</iq>")) == PASSED
        assert outcome(await soc1.send_raw_iq(publish("x"))) == FORBIDDEN
        assert len(grid.delegated) == 1


async def test_an_active_node_reaches_everybody(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
        online(server, "acs1") as acs1,
    ):
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        for other in (soc2, acs1):
            await soc1.send_raw(f"<message type='chat' id='m' to='{other.jid}'><body>b</body></message>")
            await until(lambda other=other: messages(other) == ["m"])  # type: ignore[misc]
            await other.send_raw(f"<message type='chat' id='m' to='{soc1.jid}'><body>b</body></message>")
        await until(lambda: messages(soc1) == ["m", "m"])


async def test_only_controller_broker_and_server_reach_a_node_that_is_not_active(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
        online(server, "acs1") as acs1,
    ):
        await grid.node("soc2", "active")
        await soc1.send_raw("<presence/>")
        for sender in (soc2, acs1):
            for to in (soc1.jid, account("soc1")):
                assert await pinged(sender, to) == UNAVAILABLE
                await sender.send_raw(f"<message type='chat' id='m-{to}' to='{to}'><body>b</body></message>")
                assert await refusal(sender, f"m-{to}") == UNAVAILABLE
                await sender.send_raw(
                    f"<presence id='p' to='{to}'/><presence type='subscribe' id='s' to='{to}'/>"
                    f"<iq type='result' id='r' to='{to}'/><message type='headline' id='h' to='{to}'/>"
                )
            await caught_up(sender, "end") if sender is soc2 else await pinged(acs1, "acs.test")
        await grid.send(f"<message from='{CONTROLLER}' to='{soc1.jid}' id='from-controller'/>")
        await until(lambda: "from-controller" in messages(soc1))
        assert not [id for id in messages(soc1) if id == "h" or id.startswith("m-")]
        assert not [one for one in soc1.stanzas if "@" in (one.get("from") or "") and one.get("from") != soc1.jid]


async def test_a_change_of_state_is_in_force_when_it_is_confirmed(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        await grid.node("soc2", "active")
        for turn in range(3):
            await grid.node("soc1", "active")
            await soc1.send_raw(f"<message type='chat' id='in' to='{soc2.jid}'><body>b</body></message>")
            await grid.node("soc1", "disabled")
            await soc1.send_raw(f"<message type='chat' id='out{turn}' to='{soc2.jid}'><body>b</body></message>")
            assert await refusal(soc1, f"out{turn}") == FORBIDDEN
        await caught_up(soc2, "end")
        assert set(messages(soc2)) <= {"in"}


async def test_a_session_that_is_quiet_reaches_only_the_control_plane(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc1") as other,
        online(server, "soc2") as soc2,
    ):
        grid.answer = passing
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await grid.order("quiet", jid=soc1.jid)
        await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
        assert await refusal(soc1, "m") == NOT_AUTHORIZED
        assert await pinged(soc1, account("soc2")) == NOT_AUTHORIZED
        assert outcome(await soc1.send_raw_iq(publish("x"))) == NOT_AUTHORIZED
        assert await pinged(soc1, BROKER) == await pinged(soc1, GRID) == PASSED
        await soc1.send_raw(f"<message id='c' to='{CONTROLLER}'/>")
        await heard(grid, "message", "c")
        await other.send_raw(f"<message type='chat' id='o' to='{soc2.jid}'><body>b</body></message>")
        await until(lambda: messages(soc2) == ["o"])
        await soc2.send_raw(f"<message type='chat' id='in' to='{soc1.jid}'><body>b</body></message>")
        await until(lambda: messages(soc1) == ["in"])
        await grid.order("quiet", jid=soc1.jid, epoch=1)  # older than what is known
        await grid.order("quiet", jid=soc1.jid, lifted="true")
        await grid.order("quiet", jid=soc1.jid, epoch=1)
        await soc1.send_raw(f"<message type='chat' id='again' to='{soc2.jid}'><body>b</body></message>")
        await until(lambda: messages(soc2) == ["o", "again"])


async def test_quiet_ends_with_its_session(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc2") as soc2:
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        async with online(server, "soc1", "app") as soc1:
            await grid.order("quiet", jid=soc1.jid)
        await until(lambda: any(event.get("event") == "down" for event in grid.events))
        async with online(server, "soc1", "app") as soc1:
            await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
            await until(lambda: messages(soc2) == ["m"])
