"""Attacks on the grid that worked once, on both servers: those who may nothing, and those who may too much."""

from __future__ import annotations

import asyncio

import pytest

from grid import ns
from tests.interop.cast import GRID
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import BROKER, CONTROLLER, Identity, Node, account, grid, refused

INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
HEAVY = ("modify", "policy-violation")
RSM = f"{{{ns.RSM}}}"


def bomb(prefixed: str, count: int = 300, size: int = 2000) -> str:
    """A small element that becomes large when its namespace is declared again at each of its children."""
    return f"<z xmlns='urn:test' xmlns:p='urn:{'x' * size}'>{prefixed * count}</z>"


BOMBS = {
    "elements": bomb("<p:a/>"),
    "attributes": bomb("<a p:b=''/>"),
    "depth": "<a xmlns='urn:test'>" + "<a>" * 1000 + "</a>" * 1000 + "</a>",
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_what_grows_when_it_is_passed_on_is_refused(sandbox: Sandbox, kind: str) -> None:
    async with grid(sandbox) as world:
        stranger, member = await world.issued(), await world.member()
        async with world.online(stranger, external=True) as attacker, world.online(member) as node:
            for to in (BROKER, CONTROLLER, node.jid):
                if kind == "attributes" and sandbox.kind == "ejabberd":
                    break  # keeps prefixes of attributes as they are
                assert await attacker.refusal(BOMBS[kind], to=to) == HEAVY
            assert refused(await node.ask(INFO, to=BROKER)) == ("", "")
            assert await attacker.refusal(account("login")) == ("auth", "registration-required")


async def test_what_is_ordinary_passes(sandbox: Sandbox) -> None:
    """Many elements of a few namespaces, as IODEF documents have them."""
    async with grid(sandbox) as world:
        member, topic = await world.member(), await world.topic()
        await world.permit(member, "publish", topic)
        many = "<a xmlns='urn:test:1'>" + "<b xmlns='urn:test:2'><c xmlns='urn:test:1'/></b>" * 2000 + "</a>"
        deep = "<a xmlns='urn:test'>" + "<a>" * 200 + "</a>" * 200 + "</a>"
        async with world.online(member) as node:
            assert refused(await node.publish(topic, "many", many)) == ("", "")
            assert refused(await node.publish(topic, "deep", deep)) == ("", "")


async def test_no_reader_makes_the_controller_say_more_than_its_server_takes(sandbox: Sandbox) -> None:
    """A stanza of more than 512 KiB ends a component's stream on Prosody, with everybody's requests."""
    async with grid(sandbox) as world:
        member, topic = await world.member(), await world.topic(persist=10)
        for action in ("publish", "read"):
            await world.permit(member, action, topic)
        large = f"<a xmlns='urn:test'>{'x' * 150_000}</a>"
        async with world.online(member) as node:
            for number in range(5):
                assert refused(await node.publish(topic, f"i{number}", large)) == ("", "")
            got = await all_items(node, topic)
            assert sorted(got) == [f"i{number}" for number in range(5)]
            assert refused(await node.ask(INFO, to=BROKER)) == ("", "")


async def all_items(node: Node, topic: str) -> list[str]:
    """Page by page (XEP-0059), as many as come."""
    found: list[str] = []
    after = ""
    async with asyncio.timeout(20):
        while True:
            page = f"<set xmlns='{ns.RSM}'>{f'<after>{after}</after>' if after else ''}</set>"
            answer = await node.pubsub(f"<items node='{topic}'/>{page}", kind="get")
            assert refused(answer) == ("", "")
            part = [item.get("id", "") for item in answer.iter(f"{{{ns.PUBSUB}}}item")]
            found += part
            count = int(answer.findtext(f".//{RSM}count") or len(found))
            if len(found) >= count or not part:
                return found
            after = part[-1]


async def test_a_stolen_certificate_leaves_no_password_behind(sandbox: Sandbox) -> None:
    """In-band registration (XEP-0077), which Prosody loads by default, would outlive the certificate's revocation."""
    query = "<query xmlns='jabber:iq:register'>{}</query>"
    async with grid(sandbox) as world:
        member = await world.member()
        change = query.format(f"<username>{member.name}</username><password>mine</password>")
        async with world.online(member) as node:
            for content in (change, query.format("<remove/>")):
                for to in (GRID, member.jid):
                    assert await node.refusal(content, to=to, kind="set") == ("auth", "forbidden")
        async with world.online(member) as node:
            assert refused(await node.ask(account("login"))) == ("", "")


async def test_the_gate_is_not_reached_by_it_either(sandbox: Sandbox) -> None:
    if sandbox.kind == "ejabberd":
        pytest.skip("There only the grid's plugin looks; the gate reads what comes.")
    async with grid(sandbox) as world:
        row = sandbox.account("rogue")
        async with world.online(Identity(row["jid"], row["password"])) as attacker:
            assert await attacker.refusal(BOMBS["elements"], to=f"gate@{sandbox.info['domains']['gate']}") == HEAVY
