"""Figures 4 to 8 of draft-ietf-mile-xmpp-grid-01 on both servers: how a node comes, what it may, and how it goes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from grid import ns, proof
from stanzagate.sandbox.wire import StreamFailed
from tests.interop.clients import CLIENT
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import (
    CONTROLLER,
    Identity,
    Node,
    World,
    account,
    capability,
    document,
    draft,
    fresh,
    grid,
    offering,
    own_grid,
    refused,
    texts,
)
from tests.interop.puppet import until

ANSWERED = ("", "")
FORBIDDEN = ("auth", "forbidden")
UNREGISTERED = ("auth", "registration-required")
NOT_AUTHORIZED = ("auth", "not-authorized")
PRESENCE = f"{{{CLIENT}}}presence"


@pytest.fixture
async def world(sandbox: Sandbox) -> AsyncIterator[World]:
    """The grid."""
    async with grid(sandbox) as made:
        yield made


async def login(node: Node) -> Node:
    """Log in."""
    assert refused(await node.ask(account("login"))) == ANSWERED
    return node


def about(topic: str) -> str:
    """The capability of a topic that is named ``Capability-1.0``."""
    return capability(topic.removesuffix("-1.0"))


async def register(node: Node, content: str = "") -> str:
    """Register; ``approved`` or ``pending``, or the condition of the error."""
    answer = await node.ask(account("register", content))
    return next(iter(texts(answer, "value")), "") or refused(answer)[1]


# Figure 4: registration


async def test_a_node_waits_is_approved_and_takes_part(world: World) -> None:
    """EXTERNAL before any account exists; until it is approved it reaches the controller and the broker alone."""
    who, other = await world.issued(), await world.member()
    topic = await world.topic()
    async with world.online(who, external=True) as node, world.online(other) as friend:
        assert await register(node) == await register(node) == "pending"
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        assert await node.refusal(ping, to=friend.jid) == FORBIDDEN
        assert await friend.refusal(ping, to=node.jid) == ("cancel", "service-unavailable")
        assert refused(await node.publish(topic, "x")) in (FORBIDDEN, UNREGISTERED)
        assert await node.refusal(account("login")) == UNREGISTERED
        await world.call("POST", f"nodes/{who.jid}/approve", groups=["sensors"])
        await login(node)
        await world.permit(who, "publish", topic)
        await world.permit(other, "subscribe", topic)
        assert refused(await friend.subscribe(topic)) == ANSWERED
        assert refused(await node.publish(topic, "first")) == ANSWERED
        await until(lambda: friend.items == ["first"])
        await node.send_raw(f"<iq type='get' id='ping' to='{friend.jid}'>{ping}</iq>")
        await friend.reply((await friend.asked(1))[-1], "")
        assert (await node.answer("ping")).type == "result"
        shown = await world.node(who)
        assert (shown["state"], shown["groups"], shown["logged_in"]) == ("active", ["sensors"], True)
    assert await world.recorded("node.registered", who.jid)
    assert await world.recorded("node.approved", who.jid)
    assert await world.recorded("session.login", who.jid)


async def test_a_node_that_is_rejected_may_ask_again(world: World) -> None:
    who = await world.issued()
    async with world.online(who, external=True) as node:
        assert await register(node) == "pending"
        await world.call("POST", f"nodes/{who.jid}/reject", reason="who are you?")
    async with world.online(who, external=True) as node:
        assert await node.refusal(account("login")) == UNREGISTERED
        assert await register(node) == "pending"


async def test_a_signed_challenge_takes_the_place_of_the_servers_word(world: World) -> None:
    """A node that logs in by SCRAM shows that a certificate is its own."""
    who = await world.member()
    mine = await world.issued(who.jid)
    strangers = await world.issued()
    async with world.online(who) as node:
        nonce = await challenge(node)
        assert await register(node, proved(mine, nonce, f"{who.jid}/another")) == "not-authorized"
        assert await register(node, proved(mine, nonce, node.jid)) == "not-authorized"  # it was used up
        assert await register(node, proved(strangers, await challenge(node), node.jid)) in {"conflict", "forbidden"}
        assert await register(node, proved(mine, await challenge(node), node.jid)) == "approved"
        await login(node)
    assert any(row["bound"] for row in (await world.node(who))["certificates"])


async def challenge(node: Node) -> str:
    """A new one."""
    return texts(await node.ask(f"<challengeRequest xmlns='{ns.GRID}'/>"), "challenge")[0]


def proved(who: Identity, nonce: str, jid: str) -> str:
    """The proof that a node sends along."""
    assert who.cert is not None and who.key is not None
    key = load_pem_private_key(who.key.read_bytes(), None)
    signature = base64.b64encode(proof.sign(key, nonce, jid)).decode()  # type: ignore[arg-type]  # it signs
    return (
        f"<proof xmlns='{ns.GRID}'><certificate>{chain(who)}</certificate><signature>{signature}</signature></proof>"
    )


def chain(who: Identity) -> str:
    """A node's certificate as it is sent."""
    assert who.cert is not None
    return base64.b64encode(der(who.cert)).decode()


def der(certificate: Path) -> bytes:
    """The first certificate of a file."""
    text = certificate.read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END") + 25].strip() + "\n")


def fingerprint(certificate: Path) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(der(certificate)).hexdigest()


async def test_approval_by_rule_limits_and_automatic_disabling(server: Sandbox, tmp_path: Path) -> None:
    """A controller of another configuration."""
    rules = [
        {"issuer": fingerprint(Path(server.info["node_ca"])), "pattern": "sensor*@grid.test", "group": "sensors"}
    ]
    limits = {"requests": "5/s", "disable_after": 20}
    async with own_grid(server, tmp_path, auto_approve=rules, limits=limits) as world:
        sensor, other = await world.issued(f"{fresh('sensor')}@grid.test"), await world.issued()
        async with world.online(sensor, external=True) as node, world.online(other, external=True) as waits:
            assert await register(node) == "approved"
            assert await register(waits) == "pending"
            shown = await world.node(sensor)
            assert (shown["state"], shown["groups"]) == ("active", ["sensors"])
            flood = [f"<iq type='get' id='f{n}' to='{CONTROLLER}'>{account('login')}</iq>" for n in range(40)]
            await node.send_raw("".join(flood))
            await until(lambda: node.ended)
            refusals = {item.condition for n in range(40) for item in node.answers_to(f"f{n}")}
            assert "resource-constraint" in refusals
            assert (await world.node(sensor))["state"] == "disabled"
            assert await register(waits) == "pending"  # others do not suffer
        assert await world.recorded("node.disabled", sensor.jid)
        assert await world.metric("stanzagate_grid_alerts_total") >= 1


# Figures 5 and 8: a provider asks whether somebody may


async def test_a_provider_asks_whether_somebody_may(world: World) -> None:
    provider, reader, other = await world.member(), await world.issued(), await world.member()
    await world.call("POST", "nodes", jid=reader.jid)
    topic, query = await world.topic(), fresh("getThings")
    await world.permit(provider, "publish", topic)
    await world.permit(reader, "read", topic)
    certificate = f"<certificateChain><certificate>{chain(reader)}</certificate></certificateChain>"
    async with world.online(provider) as node, world.online(other) as nobody:
        await login(node)
        await login(nobody)
        assert await node.refusal(draft("initPublishRequest", about(topic) + offering(query))) == ANSWERED
        for service in (query, topic):
            for operation, asked, decision in (
                ("read", identity(reader.jid), "permit"),
                ("read", identity(f"{reader.jid}/anything"), "permit"),
                (
                    "read",
                    f"<certificateChain><certificate>{chain(reader)}</certificate></certificateChain>",
                    "permit",
                ),
                ("write", identity(reader.jid), "deny"),
                ("bulk", certificate, "deny"),
                ("read", identity(other.jid), "deny"),
                ("read", identity("nobody@grid.test"), "deny"),
            ):
                content = draft(
                    "isAuthorizedRequest", f"{asked}<service>{service}</service>", f" operation='{operation}'"
                )
                answer = (await node.ask(content))[0][0]
                assert (answer.get("decision"), bool(answer.get("reason"))) == (decision, True)
                assert await nobody.refusal(content) == ("cancel", "item-not-found")


def identity(jid: str) -> str:
    """Who is meant."""
    return f"<identity>{jid}</identity>"


# Figures 6 and 7: publish and subscribe


async def test_publish_and_subscribe_authorization(world: World) -> None:
    """Denied by default; permitted to a group; forbidden to one of it; explained."""
    group = fresh("group")
    source, sink, topic = await world.member(group), await world.member(group), await world.topic()
    async with world.online(source) as one, world.online(sink) as two:
        await login(one)
        await login(two)
        for content in (draft("initPublishRequest", about(topic)), draft("subscribeRequest", about(topic))):
            assert await one.refusal(content) == ("cancel", "item-not-found")
        for action in ("publish", "subscribe"):
            await world.permit(f"group:{group}", action, f"{topic.partition('-')[0]}*")
        await world.forbid(sink, "publish", topic)
        assert await two.refusal(draft("initPublishRequest", about(topic))) == FORBIDDEN
        assert await two.refusal(draft("subscribeRequest", about(topic))) == ANSWERED
        assert await one.refusal(draft("initPublishRequest", about(topic))) == ANSWERED
        assert refused(await one.publish(topic, "yes")) == ANSWERED
        assert refused(await two.publish(topic, "no")) == FORBIDDEN
        await until(lambda: two.items)
        assert two.items == ["yes"]
        await world.call("DELETE", f"nodes/{sink.jid}/groups/{group}")
        assert refused(await one.publish(topic, "late")) == ANSWERED
        await two.caught_up()
        assert two.items == ["yes"]
        assert (await world.node(sink))["subscriptions"] == []


# Login, logout, presence


async def test_logout_stops_publishing_and_queries_and_keeps_subscriptions(world: World) -> None:
    source, sink, topic = await world.member(), await world.member(), await world.topic()
    await world.permit(source, "publish", topic)
    for action in ("subscribe", "publish"):
        await world.permit(sink, action, topic)
    async with world.online(source) as one:
        await login(one)
        async with world.online(sink) as two:
            await login(two)
            assert await two.refusal(draft("subscribeRequest", about(topic))) == ANSWERED
            assert refused(await two.publish(topic, "mine")) == ANSWERED
            assert await two.refusal(account("logout")) == ANSWERED
            assert refused(await two.publish(topic, "not mine")) == NOT_AUTHORIZED
            assert await two.refusal(draft("getCapabilityListRequest")) == NOT_AUTHORIZED
            assert await two.refusal(draft("getThings"), to=one.jid) == NOT_AUTHORIZED
            await world.recorded("session.logout", sink.jid)
        assert refused(await one.publish(topic, "later")) == ANSWERED
        async with world.online(sink) as two:
            await until(lambda: "later" in two.items)
            assert [row["topic"] for row in (await world.node(sink))["subscriptions"]] == [topic]


async def test_nodes_see_the_presence_of_providers_that_they_may_use(world: World) -> None:
    provider, user, other, topic = (
        await world.member(),
        await world.member(),
        await world.member(),
        await world.topic(),
    )
    await world.permit(provider, "publish", topic)
    await world.permit(user, "subscribe", topic)
    async with world.online(user) as sees, world.online(other) as blind:
        await login(sees)
        await login(blind)
        async with world.online(provider) as node:
            await login(node)
            assert await node.refusal(draft("initPublishRequest", about(topic))) == ANSWERED
            await until(lambda: _presences(sees, provider) == [""])
        await until(lambda: _presences(sees, provider) == ["", "unavailable"])
        async with world.online(provider) as node:
            await until(lambda: len(_presences(sees, provider)) == 3)
        assert _presences(blind, provider) == []


def _presences(node: Node, provider: Identity) -> list[str]:
    """What the controller has told a node of a provider, in order: types of presence."""
    told = [item for item in node.stanzas if item.tag == PRESENCE and item.find(f"{{{ns.GRID}}}provider") is not None]
    return [
        item.get("type", "") for item in told if item[0].get("jid") == provider.jid and _sender(item) == CONTROLLER
    ]


def _sender(stanza: ET.Element) -> str:
    return stanza.get("from", "").partition("@")[2].partition("/")[0]


# The end of a node


async def test_disabled_deleted_and_enabled_nodes_also_after_a_restart_of_the_server(world: World) -> None:
    """What is seen at the server: sessions end, nothing is delivered, publishing is refused, rights are gone."""
    source, gone, off, topic = await world.issued(), await world.member(), await world.issued(), await world.topic()
    for who in (source, off):
        await world.call("POST", "nodes", jid=who.jid)
    for who in (source, gone, off):
        for action in ("publish", "subscribe"):
            await world.permit(who, action, topic)
    async with world.online(source, external=True) as one:
        async with world.online(gone) as two, world.online(off, external=True) as three:
            for node in (two, three):
                await login(node)
                assert await node.refusal(draft("subscribeRequest", about(topic))) == ANSWERED
            await world.call("DELETE", f"nodes/{gone.jid}")
            await world.call("POST", f"nodes/{off.jid}/disable", reason="a test")
            await until(lambda: two.ended and three.ended)
        assert refused(await one.publish(topic, "while away")) == ANSWERED
        with pytest.raises(StreamFailed):  # its account is gone
            await world.stream(gone)
        await excluded(world, off, topic)
        await asyncio.to_thread(world.sandbox.restart_server)
        await until(lambda: one.ended)
    await restarted(world)
    await excluded(world, off, topic)
    await world.call("POST", f"nodes/{off.jid}/enable", reason="a test")
    async with world.online(off, external=True) as node, world.online(source, external=True) as one:
        await login(node)
        assert refused(await node.publish(topic, "back")) == ANSWERED
        assert await node.refusal(draft("subscribeRequest", about(topic))) == ANSWERED
        assert refused(await one.publish(topic, "welcome")) == ANSWERED
        await until(lambda: node.items)
        assert node.items == ["welcome"]


async def excluded(world: World, who: Identity, topic: str) -> None:
    """See that a node can do nothing, whom the server lets log in by its certificate."""
    async with world.online(who, external=True) as node:
        assert refused(await node.publish(topic, "no")) == FORBIDDEN
        assert await node.refusal(account("login")) == FORBIDDEN
        assert await node.refusal("<ping xmlns='urn:xmpp:ping'/>", to="soc1@grid.test") == FORBIDDEN
        assert refused(await node.pubsub(f"<items node='{topic}'/>", kind="get")) == FORBIDDEN
        await node.caught_up()
        assert node.items == []


async def restarted(world: World) -> None:
    """Wait until the server and the controller's link are up again."""
    async with asyncio.timeout(30):
        while True:
            try:
                probe = await world.member()
                async with world.online(probe) as node:
                    if refused(await node.ask(account("login"))) == ANSWERED:
                        return
            except (StreamFailed, OSError, AssertionError):
                await asyncio.sleep(0.05)


# From the shell


async def test_a_node_from_the_shell(world: World, tmp_path: Path) -> None:
    """`ca`, `node`, `access` and `topic` with their exit codes: SCRAM after `node add`, EXTERNAL after `ca issue`."""
    shell = Shell(world.sandbox)
    name, capability_name = fresh("shell"), fresh("Shell")
    jid, topic = f"{name}@grid.test", f"{capability_name}-1.0"
    (tmp_path / "password").write_text("secret-of-a-node\n")
    cert, key = tmp_path / "node.crt", tmp_path / "node.key"
    await asyncio.gather(
        shell("ca", "issue", jid, "--cert", str(cert), "--key", str(key)),
        shell("node", "add", jid, "--group", "shells", "--password-file", str(tmp_path / "password")),
        shell("topic", "add", capability_name, "1.0", "--type", "urn:test"),
        shell("access", "explain", jid, "publish", topic, code=1),
    )
    assert key.stat().st_mode & 0o777 == 0o600
    await shell("access", "permit", "group:shells", "publish", topic)
    explained = document(await shell("access", "explain", jid, "publish", topic, "--json"))
    assert explained["decision"] == "permit" and explained["policies"] and explained["reason"]
    async with world.online(Identity(jid, "secret-of-a-node")) as one:
        await login(one)
        assert refused(await one.publish(topic, "by password")) == ANSWERED
    async with world.online(Identity(jid, cert=cert, key=key), external=True) as two:
        assert refused(await two.publish(topic, "by certificate")) == ANSWERED
        told = await shell("topic", "disable", topic, "--dry-run")
        assert jid in told
        assert refused(await two.publish(topic, "still")) == ANSWERED
        await shell("topic", "disable", topic)
        assert refused(await two.publish(topic, "no more")) in (FORBIDDEN, ("cancel", "item-not-found"))
        await shell("topic", "enable", topic)
        assert refused(await two.publish(topic, "again")) == ANSWERED
        await shell("ca", "revoke", jid, "--reason", "a test")
        await until(lambda: two.ended)
    with pytest.raises(StreamFailed):
        await world.stream(Identity(jid, cert=cert, key=key), external=True)
    shown = document(await shell("node", "show", jid, "--json"))
    assert (shown["state"], shown["groups"]) == ("active", ["shells"])
    if world.sandbox.kind == "prosody":  # what is refused before the server hears of it is the same on both
        await shell("node", "approve", jid, code=1)
        await shell("node", "add", "not a jid", code=2)
        await shell("topic", "show", "None-1.0", code=1)
        await shell("access", "permit", jid, "fly", topic, code=2)
    await shell("node", "delete", jid)


class Shell:
    """The command line against a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(self._sandbox.run, *arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout
