"""What federation is for: requesters at a partner's server wake devices at ours, and its platforms are on our grid.

The partner is behind a firewall: nobody can connect to it, so everything travels by the streams that it opens.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator

import pytest

from .agentkit import INCIDENT
from .cast import CPE1, FORBIDDEN, GATE, HOST, PARTNER, PASSED, ROOMS, TARGET, outcome
from .clients import KINDS, client
from .gridkit import Node, World, account, fresh, grid, refused
from .plugin import Policy, recorder
from .puppet import until
from .rawclient import RawClient, authenticated, bind, context, online, reading
from .relaykit_scene import Federation

ACS, GUEST = f"acs@{PARTNER}", f"guest@{ROOMS}"
TOPIC = "IODEF-1.0"


@pytest.fixture
def policy(federation: Federation) -> Policy:
    """The rules of the sandbox."""
    return Policy(federation.sandbox)


async def test_an_acs_of_the_partner_wakes_a_device(federation: Federation, policy: Policy) -> None:
    """Directly and through the gate; over one connection, and the device sees the normal form."""
    with policy.holding(("allow", ACS, CPE1)):
        async with recorder(federation.sandbox, 1) as device, acs(federation) as asker:
            assert outcome(await asker.request(TARGET, "u", "p")) == PASSED
            assert [request.sender for request in device.requests] == [asker.jid]
            through = await asker.request(f"cpe1\\40{HOST}@{GATE}", "u", "p")
            assert outcome(through) == PASSED, through
            assert [request.sender for request in device.requests] == [asker.jid, f"gate@{GATE}/gate"]
            assert not device.others
    assert {pair["local"] for pair in federation.relay.partner(PARTNER)["pairs"]} >= {HOST, GATE}
    assert all(stream["role"] == "incoming" and stream["bidi"] for stream in streams(federation))


@pytest.mark.parametrize("library", KINDS)
async def test_requesters_of_other_libraries(federation: Federation, policy: Policy, library: str) -> None:
    server = federation.partner.sandbox
    row = server.account("acs")
    async with (
        recorder(federation.sandbox, 1) as device,
        client(library, f"{ACS}/library", row["password"], *server.address, server.info["ca"]) as asker,
    ):
        assert outcome(await asker.request(TARGET, "u", "p")) == FORBIDDEN
        with policy.holding(("allow", ACS, CPE1)):
            assert outcome(await asker.request(TARGET, "u", "p")) == PASSED
        assert [request.sender for request in device.requests] == [asker.jid]


async def test_an_acs_that_is_not_allowed_is_refused_at_the_border(federation: Federation, policy: Policy) -> None:
    """Neither the device nor our server sees anything of it; another requester of the same partner passes."""
    with policy.holding(("allow", ACS, CPE1)):
        async with (
            recorder(federation.sandbox, 1) as device,
            recorder(federation.sandbox, 2) as other,
            acs(federation) as asker,
            online(federation.partner.sandbox, "node", "x") as rogue,
        ):
            before = federation.relay.partner(PARTNER)["counters"]
            for to in (TARGET, CPE1):
                assert outcome(await rogue.request(to, "u", "p")) == FORBIDDEN
            assert outcome(await asker.request(f"cpe2@{HOST}/tr069", "u", "p")) == FORBIDDEN
            assert outcome(await asker.request(TARGET, "u", "p")) == PASSED
            counters = federation.relay.partner(PARTNER)["counters"]
            assert len(device.requests) == 1 and not device.others and not other.requests and not other.others
    assert counters["refused"]["forbidden"] - before["refused"].get("forbidden", 0) == 3
    assert counters["decisions"]["denied"] - before["decisions"].get("denied", 0) == 3


async def test_a_rule_that_is_taken_away_is_gone_at_the_border_when_the_command_returns(
    federation: Federation, policy: Policy
) -> None:
    async with recorder(federation.sandbox, 1) as device, acs(federation) as asker:
        with policy.holding(("allow", ACS, CPE1)):
            assert outcome(await asker.request(TARGET, "u", "p")) == PASSED
        assert outcome(await asker.request(TARGET, "u", "p")) == FORBIDDEN
        with policy.holding(("allow", ACS, CPE1)):
            assert outcome(await asker.request(TARGET, "u", "p")) == PASSED
        assert len(device.requests) == 2


async def test_a_device_reaches_its_acs(federation: Federation) -> None:
    """What the device itself begins travels by the same connection."""
    async with acs(federation) as asker, online(federation.sandbox, "cpe3") as device:
        answer = await device.request(asker.jid, "u", "p")
        assert (answer.type, answer.sender) == ("result", asker.jid)


async def test_a_subdomain_of_the_partner_is_a_partner_of_its_own(federation: Federation, policy: Policy) -> None:
    async with recorder(federation.sandbox, 1) as device, online(federation.partner.sandbox, "guest", "x") as guest:
        with policy.holding(("allow", ACS, CPE1)):
            assert outcome(await guest.request(TARGET, "u", "p")) == FORBIDDEN
        with policy.holding(("allow", GUEST, CPE1)):
            assert outcome(await guest.request(TARGET, "u", "p")) == PASSED
        assert [request.sender for request in device.requests] == [guest.jid]


async def test_a_platform_of_the_partner_is_a_node_of_the_grid(federation: Federation) -> None:
    """It registers, is approved, publishes and receives; it has no account here and is bound by its domain."""
    jid = f"node@{PARTNER}"
    async with grid(federation.sandbox) as world, node(federation) as ours:
        assert refused(await ours.ask(account("register"))) == ("", "")
        assert (await world.call("GET", f"nodes/{jid}"))["state"] == "pending"
        assert refused(await publish(ours, "early")) == ("auth", "registration-required")
        await world.call("POST", f"nodes/{jid}/approve", groups=[])
        try:
            await member(world, ours, jid)
        finally:
            await world.call("DELETE", f"nodes/{jid}")
        assert refused(await publish(ours, "late"))[0] == "auth"


async def member(world: World, ours: Node, jid: str) -> None:
    """What an active node of the partner does."""
    local = await world.member()
    for who in (jid, local.jid):
        for action in ("publish", "subscribe"):
            await world.permit(who, action, TOPIC)
    assert refused(await ours.ask(account("login"))) == ("", "")
    assert refused(await ours.subscribe(TOPIC)) == ("", "")
    async with world.online(local) as other:
        assert refused(await other.ask(account("login"))) == ("", "")
        assert refused(await other.subscribe(TOPIC)) == ("", "")
        there, back = fresh("there"), fresh("back")
        assert refused(await publish(ours, there)) == ("", "")
        assert refused(await publish(other, back)) == ("", "")
        await until(lambda: there in other.items and back in ours.items)
        assert other.items.count(there) == ours.items.count(back) == 1
    await world.call("DELETE", f"nodes/{local.jid}")


async def publish(who: Node, item: str) -> ET.Element:
    """Publish an incident."""
    return await who.publish(TOPIC, item, INCIDENT.format(item))


@contextlib.asynccontextmanager
async def acs(federation: Federation) -> AsyncIterator[RawClient]:
    """The partner's ACS, online."""
    async with online(federation.partner.sandbox, "acs", "console") as client:
        yield client


@contextlib.asynccontextmanager
async def node(federation: Federation) -> AsyncIterator[Node]:
    """The partner's platform, online and available."""
    server = federation.partner.sandbox
    row = server.account("node")
    stream = await authenticated(server, row["jid"], row["password"], context(server))
    client = Node(await bind(stream, "agent"), stream)
    async with reading(client, stream):
        await client.send_raw("<presence/>")
        yield client


def streams(federation: Federation) -> list[dict[str, object]]:
    """Those of the partner."""
    return list(federation.relay.partner(PARTNER)["streams"])
