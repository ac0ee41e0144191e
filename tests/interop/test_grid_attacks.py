"""Attacks on the grid that worked once, on both servers: those who may nothing, and those who may too much."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from grid import ns
from stanzagate.pki import Authority
from stanzagate.sandbox.wire import Stream
from tests.interop.cast import GRID
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import BROKER, CONTROLLER, Identity, Node, World, account, fresh, grid, refused
from tests.interop.puppet import until
from tests.interop.rawclient import BIND as BIND_SPACE
from tests.interop.rawclient import reading

INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
HEAVY = ("modify", "policy-violation")
RSM = f"{{{ns.RSM}}}"
BIND = f"<bind xmlns='{BIND_SPACE}'><resource>thief</resource></bind>"


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


async def impostor(world: World, real: Identity) -> Identity:
    """Somebody by a certificate of the node CA for a name that is bound to others."""
    folder = world.sandbox.folder
    cert, key = (folder / f"{fresh('impostor')}.{kind}" for kind in ("crt", "key"))
    Authority.load(Path(world.sandbox.info["node_ca"]), folder / "node-ca.key").node(real.jid).write(cert, key)
    return Identity(real.jid, cert=cert, key=key)


async def test_an_impostor_is_in_time_for_nothing(sandbox: Sandbox) -> None:
    """The controller ends his session when it hears of it; what he has written behind his bind was there before."""
    async with grid(sandbox) as world:
        real, topic = await world.issued(), await world.topic()
        async with world.online(real, external=True) as node:
            await node.ask(account("register"), kind="set")
            await world.call("POST", f"nodes/{real.jid}/approve", groups=[])
            for action in ("publish", "subscribe"):
                await world.permit(real, action, topic)
            assert refused(await node.subscribe(topic)) == ("", "")
            assert refused(await node.publish(topic, "before")) == ("", "")
            other = await impostor(world, real)
            for _ in range(3):
                accepted, heard = await attempt(await world.stream(other, external=True), node, topic)
                assert (accepted, heard) == ([], [])
            await node.caught_up()
            assert sorted(set(node.items)) == ["before", "secret"]
        await world.recorded("alert.certificate-mismatch", real.jid)


async def attempt(stream: Stream, node: Node, topic: str) -> tuple[list[str | None], list[str]]:
    """Write 20 publishes behind a bind, and listen while the node publishes: which were accepted, and what came."""
    item = "<publish node='{3}'><item id='evil{0}'/></publish>"
    publish = f"<iq type='set' id='evil{{0}}' to='{{1}}'><pubsub xmlns='{{2}}'>{item}</pubsub></iq>"
    written = "".join(publish.format(number, BROKER, ns.PUBSUB, topic) for number in range(20))
    await stream.send(f"<iq type='set' id='b'>{BIND}</iq><presence/>{written}")
    thief = Node(node.jid, stream)
    async with reading(thief, stream):
        assert refused(await node.publish(topic, "secret")) == ("", "")
        await until(lambda: thief.ended)
    results = [item.get("id") for item in thief.stanzas if item.get("type") == "result"]
    return [id for id in results if id != "b"], thief.items


async def test_a_new_certificate_works_at_once_and_the_old_one_until_it_is_revoked(
    sandbox: Sandbox,
) -> None:
    async with grid(sandbox) as world:
        real, topic = await world.issued(), await world.topic()
        await world.permit(real, "publish", topic)
        async with world.online(real, "old", external=True) as old:
            await old.ask(account("register"), kind="set")
            await world.call("POST", f"nodes/{real.jid}/approve", groups=[])
            renewed = await world.issued(real.jid)
            async with world.online(renewed, "new", external=True) as new:
                for number, node in enumerate((old, new)):
                    assert refused(await node.publish(topic, f"i{number}")) == ("", "")
                shown = (await world.node(real))["certificates"]
                first = next(item for item in shown if item["fingerprint"] == fingerprint(real))
                await world.call("POST", "ca/revocations", which=first["fingerprint"])
                await until(lambda: old.ended)
                assert refused(await new.publish(topic, "later")) == ("", "")


async def test_a_name_that_gets_its_first_certificate_knows_no_other_from_then_on(sandbox: Sandbox) -> None:
    """It had come by a password; whoever was there by a certificate that is not its own has to leave."""
    async with grid(sandbox) as world:
        member, topic = await world.member(), await world.topic()
        await world.permit(member, "publish", topic)
        other = await impostor(world, member)
        async with world.online(other, "other", external=True) as stranger, world.online(member) as node:
            await world.issued(member.jid)
            assert refused(await node.publish(topic, "mine")) == ("", "")
            await until(lambda: stranger.ended)


def fingerprint(who: Identity) -> str:
    """SHA-256 of a certificate."""
    assert who.cert is not None
    return x509.load_pem_x509_certificate(who.cert.read_bytes()).fingerprint(SHA256()).hex()


async def test_the_gate_is_not_reached_by_it_either(sandbox: Sandbox) -> None:
    if sandbox.kind == "ejabberd":
        pytest.skip("There only the grid's plugin looks; the gate reads what comes.")
    async with grid(sandbox) as world:
        row = sandbox.account("rogue")
        async with world.online(Identity(row["jid"], row["password"])) as attacker:
            assert await attacker.refusal(BOMBS["elements"], to=f"gate@{sandbox.info['domains']['gate']}") == HEAVY
