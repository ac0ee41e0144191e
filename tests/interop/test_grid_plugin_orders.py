"""What the controller orders the grid host, on both servers: epochs, batches, persistence, bad input, belief."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from component.base.ns import POLICY
from tests.interop.cast import BAD_REQUEST, FORBIDDEN, GRID, PASSED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import BROKER, Controller, account, controller, messages
from tests.interop.plugin import component
from tests.interop.puppet import condition, element, until
from tests.interop.rawclient import RawClient, online
from tests.interop.shells import plugin_status, reload_plugin
from tests.interop.test_grid_plugin_reach import pinged, refusal

PRINT = "ab" * 32
SOC1 = account("soc1")
GAP = ("cancel", "unexpected-request")


@asynccontextmanager
async def pair(server: Sandbox, grid: Controller) -> AsyncIterator[tuple[RawClient, RawClient]]:
    """soc1, of whom nothing is known, and soc2, who is active."""
    await grid.node("soc2", "active")
    async with online(server, "soc1") as one, online(server, "soc2") as two:
        yield one, two


async def is_active(one: RawClient, two: RawClient) -> bool:
    """Whether the first one reaches the second one."""
    found = await pinged(one, two.jid.partition("/")[0])
    return found != FORBIDDEN


async def test_what_is_older_than_what_is_known_changes_nothing(server: Sandbox) -> None:
    async with controller(server) as grid, pair(server, grid) as (one, two):
        await grid.order("node", jid=SOC1, state="disabled", epoch=20)
        before = await grid.status()
        for epoch in (0, 1, 19):
            await grid.order("node", jid=SOC1, state="active", epoch=epoch)
        assert not await is_active(one, two)
        after = await grid.status()
        assert (after["discarded"], after["epoch"]) == (before["discarded"] + 3, 20)
        await grid.order("node", jid=SOC1, state="active", epoch=20)
        assert await is_active(one, two)
        await grid.order("node", jid=account("soc3"), state="active", epoch=3)  # of another node: not old
        assert (await grid.status())["epoch"] == 20
        assert (await grid.status())["discarded"] == after["discarded"]


async def test_changes_are_taken_together(server: Sandbox) -> None:
    async with controller(server) as grid, pair(server, grid) as (one, two):
        inner = (
            element("node", jid=SOC1, state="active", epoch=30)
            + element("revoked", fingerprint=PRINT, epoch=31)
            + element("lost", jid=SOC1, node="t", epoch=32)
            + element("node", jid=account("soc2"), state="active", epoch=1)  # stale
        )
        await grid.tell(f"<changes xmlns='{POLICY}' epoch='40' since='2'>{inner}</changes>")
        assert await is_active(one, two)
        assert (await grid.status())["epoch"] == 40
        await grid.tell(f"<changes xmlns='{POLICY}' epoch='41' since='40'/>")
        assert (await grid.status())["epoch"] == 41


async def test_changes_with_a_gap_or_something_malformed_in_them_change_nothing(server: Sandbox) -> None:
    good = element("node", jid=SOC1, state="active", epoch=50)
    bad = (
        "<node/>", element("node", jid=SOC1, state="active"), "<other/>", element("quiet", jid=f"{SOC1}/r", epoch=3),
        element("changes", epoch=3), "<node xmlns='urn:other' jid='a@grid.test' state='active' epoch='1'/>",
    )  # fmt: skip
    async with controller(server) as grid, pair(server, grid) as (one, two):
        for child in bad:
            for content in (good + child, child + good):
                answer = await grid.iq("set", f"<changes xmlns='{POLICY}' epoch='60' since='1'>{content}</changes>")
                assert condition(answer) == BAD_REQUEST
        answer = await grid.iq("set", f"<changes xmlns='{POLICY}' epoch='60' since='55'>{good}</changes>")
        assert condition(answer) == GAP
        assert not await is_active(one, two)
        assert (await grid.status())["epoch"] == grid.epoch


async def test_a_reset_forgets_everything_that_was_before(server: Sandbox) -> None:
    async with controller(server) as grid, pair(server, grid) as (one, two):
        await grid.order("node", jid=SOC1, state="active", epoch=90)
        known = element("node", jid=account("soc2"), state="active", epoch=5)
        await grid.tell(f"<changes xmlns='{POLICY}' reset='true' epoch='7' since='99'>{known}</changes>")
        assert (await grid.status())["epoch"] == 7
        assert not await is_active(one, two)
        await grid.order("node", jid=SOC1, state="active", epoch=6)  # of 90 nothing is known any more
        assert await is_active(one, two)


MALFORMED = (
    element("node", jid=SOC1, state="active"),
    element("node", jid=SOC1, state="active", epoch="x"),
    element("node", jid=SOC1, state="active", epoch="-1"),
    element("node", jid=SOC1, state="active", epoch="1.5"),
    element("node", jid=SOC1, state="active", epoch="9" * 40),
    element("node", jid=SOC1, epoch=9),
    element("node", jid=SOC1, state="pending", epoch=9),
    element("node", jid=f"{SOC1}/r", state="active", epoch=9),
    element("node", jid=GRID, state="active", epoch=9),
    element("node", jid="@", state="active", epoch=9),
    element("node", state="active", epoch=9),
    element("revoked", epoch=9),
    element("revoked", fingerprint="abc", epoch=9),
    element("revoked", fingerprint="g" * 64, epoch=9),
    element("lost", jid=SOC1, epoch=9),
    element("lost", node="t", epoch=9),
    element("lost", jid=SOC1, node="", epoch=9),
    element("quiet", jid=SOC1, epoch=9),
    element("quiet", jid=f"{SOC1}/r"),
    element("changes"),
    element("changes", epoch="x"),
    element("disconnect"),
    element("disconnect", jid=""),
    element("node", jid=SOC1, state="active", epoch=9) * 2,
)


async def test_malformed_orders_are_refused_and_change_nothing(server: Sandbox) -> None:
    async with controller(server) as grid, pair(server, grid) as (one, two):
        for content in MALFORMED:
            assert condition(await grid.iq("set", content)) == BAD_REQUEST, content
        wrong_type = element("node", jid=SOC1, state="active", epoch=9)
        assert condition(await grid.iq("get", wrong_type)) == BAD_REQUEST
        assert condition(await grid.iq("set", element("status"))) == BAD_REQUEST
        assert (await grid.status())["epoch"] == grid.epoch
        assert not await is_active(one, two)


FORGED = (
    element("node", jid=SOC1, state="active", epoch=99),
    element("revoked", fingerprint=PRINT, epoch=99),
    element("lost", jid=SOC1, node="t", epoch=99),
    element("quiet", jid=f"{SOC1}/r", epoch=99),
    element("disconnect", jid=SOC1),
    f"<changes xmlns='{POLICY}' reset='true' epoch='99'/>",
    element("flush"),
)


async def test_only_the_component_is_believed(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        pair(server, grid) as (one, two),
        online(server, "acs1") as acs1,
        component(server) as other,
    ):
        before = await grid.status()
        for number, content in enumerate((*FORGED, element("status"), element("sessions"))):
            kind = "set" if number < len(FORGED) else "get"
            for client in (one, two, acs1):
                iq = f"<iq type='{kind}' id='f{number}' to='{GRID}'>{content}</iq>"
                assert outcome(await client.send_raw_iq(iq)) == FORBIDDEN
            iq = f"<iq type='{kind}' from='a@{other.jid}' id='f{number}' to='{GRID}'>{content}</iq>"
            assert outcome(await other.ask(iq)) == FORBIDDEN
        after = await grid.status()
        assert after["discarded"] == before["discarded"] + 4 * (len(FORGED) + 2)
        assert after["epoch"] == before["epoch"]
        assert not await is_active(one, two)
        assert not one.ended


async def test_the_status_is_one_that_the_component_reads(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1:
        status = await grid.status()
        assert status.words == {"version": "1", "mode": "enforce", "guard": "everything"}
        assert (status["epoch"], status["sessions"]) == (1, 1)
        await grid.order("flush")
        await soc1.send_raw(f"<message id='m' to='{account('soc2')}'/>")
        await refusal(soc1, "m")
        assert (await grid.status()).refused["forbidden"] == status.refused["forbidden"] + 1
        told = await asyncio.to_thread(plugin_status, server, GRID)
        assert "enforce" in told
        assert "controller.grid.test" in told


async def test_what_was_told_holds_while_the_controller_is_away(server: Sandbox) -> None:
    async with controller(server) as grid:
        await grid.node("soc1", "active")
        await grid.node("soc2", "active")
        await grid.node("soc3", "disabled")
        epoch = grid.epoch
    async with controller(server, keep=True) as grid:
        grid.epoch = 1
        assert (await grid.status())["epoch"] == 1  # it has reset everything when it left
        for name in ("soc1", "soc2"):
            await grid.order("node", jid=account(name), state="active", epoch=epoch)
        await grid.order("node", jid=account("soc3"), state="disabled", epoch=epoch)
    async with online(server, "soc1") as soc1, online(server, "soc2") as soc2, online(server, "soc3") as soc3:
        await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
        await until(lambda: messages(soc2) == ["m"])
        assert await pinged(soc3, soc2.jid) == FORBIDDEN
    await asyncio.to_thread(reload_plugin, server, GRID, "stanzagate_grid")
    async with online(server, "soc1") as soc1, online(server, "soc2") as soc2, online(server, "soc3") as soc3:
        await soc1.send_raw(f"<message type='chat' id='m' to='{soc2.jid}'><body>b</body></message>")
        await until(lambda: messages(soc2) == ["m"])
        assert await pinged(soc3, soc2.jid) == FORBIDDEN
        async with controller(server, keep=True) as grid:
            assert (await grid.status())["epoch"] == epoch
            await grid.order("node", jid=account("soc3"), state="active", epoch=epoch - 1)
            assert await pinged(soc3, soc2.jid) == FORBIDDEN
            await grid.reset()


@pytest.mark.parametrize("address", [GRID, BROKER])
async def test_other_requests_of_the_component_are_the_server_s(server: Sandbox, address: str) -> None:
    async with controller(server) as grid:
        query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
        answer = await grid.iq("get", query, to=address)
        assert condition(answer) == PASSED
        assert grid.delegated == []
