"""What the grid refuses, on both servers: the contract's error table row by row, bad input, what strangers learn."""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grid import ns
from stanzagate.pki import Authority
from stanzagate.sandbox.wire import StreamFailed
from tests.interop.clients import read_answer
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import (
    BROKER,
    CONTROLLER,
    Identity,
    Node,
    World,
    account,
    capability,
    draft,
    find,
    fresh,
    grid,
    offering,
    refused,
    texts,
)
from tests.interop.puppet import until

ANSWERED = ("", "")
FORBIDDEN = ("auth", "forbidden")
NOT_FOUND = ("cancel", "item-not-found")
BAD_REQUEST = ("modify", "bad-request")
UNREGISTERED = ("auth", "registration-required")
CONFLICT = ("cancel", "conflict")
PENDING = f"{{{ns.GRID}}}pending"
IODEF = "urn:ietf:params:xml:ns:iodef-2.0"
DISCO_ITEMS, DISCO_INFO = f"<query xmlns='{ns.DISCO_ITEMS}'/>", f"<query xmlns='{ns.DISCO_INFO}'/>"
LIST = draft("getCapabilityListRequest")
LISTS = ((LIST, CONTROLLER), (DISCO_ITEMS, BROKER), (DISCO_INFO, BROKER), (DISCO_ITEMS, CONTROLLER))


@pytest.fixture
async def world(sandbox: Sandbox) -> AsyncIterator[World]:
    """The grid."""
    async with grid(sandbox) as made:
        yield made


@contextlib.asynccontextmanager
async def logged_in(world: World, who: Identity, resource: str = "one") -> AsyncIterator[Node]:
    """A node that is logged in."""
    async with world.online(who, resource) as node:
        assert refused(await node.ask(account("login"))) == ANSWERED
        yield node


def subscribe(topic: str) -> str:
    """A draft request for a topic that is named ``Capability-1.0``."""
    return draft("subscribeRequest", capability(topic.removesuffix("-1.0")))


def offer(topic: str) -> str:
    """Likewise."""
    return draft("initPublishRequest", capability(topic.removesuffix("-1.0")))


def publish(topic: str, payload: str, *, options: bool = False) -> str:
    """A publish; with options it goes through the controller."""
    form = (
        f"<publish-options><x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE'>"
        "<value>http://jabber.org/protocol/pubsub#publish-options</value></field></x></publish-options>"
    )
    item = f"<publish node='{topic}'><item id='{fresh('item')}'>{payload}</item></publish>"
    return f"<pubsub xmlns='{ns.PUBSUB}'>{item}{form if options else ''}</pubsub>"


# The table of the contract, section 5


async def test_who_is_not_registered_is_told_so(world: World) -> None:
    who = await world.issued()
    async with world.online(who, external=True) as node:
        first = await node.ask(LIST)
        assert refused(first) == UNREGISTERED  # and it waits from now on
        assert (await world.node(who))["state"] == "pending"
        for content, to in ((LIST, CONTROLLER), (DISCO_ITEMS, BROKER), (account("login"), CONTROLLER)):
            answer = await node.ask(content, to=to)
            assert refused(answer) == UNREGISTERED
            assert answer.find(f".//{PENDING}") is not None
        assert texts(await node.ask(account("register")), "value") == ["pending"]


async def test_draft_requests_need_a_login(world: World) -> None:
    who, topic = await world.member(), await world.topic()
    async with world.online(who) as node:
        for content in (LIST, find(topic), offer(topic), subscribe(topic), draft("getThings")):
            assert await node.refusal(content) == ("auth", "not-authorized")
        assert await node.refusal(DISCO_ITEMS, to=BROKER) == ANSWERED  # it is logged in by this
        assert await node.refusal(LIST) == ANSWERED


async def test_some_right_but_not_this_one(world: World) -> None:
    who, topic = await world.member(), await world.topic(persist=5)
    await world.permit(who, "write", topic)
    async with logged_in(world, who) as node:
        assert await node.refusal(subscribe(topic)) == FORBIDDEN
        assert await node.refusal(offer(topic)) == FORBIDDEN
        assert refused(await node.subscribe(topic)) == FORBIDDEN
        assert refused(await node.pubsub(f"<items node='{topic}'/>", kind="get")) == FORBIDDEN
        assert refused(await node.publish(topic, "x")) == FORBIDDEN
        assert await node.refusal(publish(topic, "<a/>", options=True), to=BROKER, kind="set") == FORBIDDEN
        assert refused(await node.pubsub(f"<delete node='{topic}'/>", owner=True)) == FORBIDDEN
    assert (await world.recorded("grid.denied", topic))["actor"] == who.jid


async def test_a_disabled_node_is_refused(world: World) -> None:
    who = await world.issued()
    await world.call("POST", "nodes", jid=who.jid)
    async with world.online(who, external=True) as node:
        assert await node.refusal(account("login")) == ANSWERED
        await world.call("POST", f"nodes/{who.jid}/disable", reason="a test")
        await until(lambda: node.ended)
    async with world.online(who, external=True) as node:
        for content, to in ((account("login"), CONTROLLER), (account("register"), CONTROLLER), (DISCO_ITEMS, BROKER)):
            assert await node.refusal(content, to=to) in (FORBIDDEN, CONFLICT)
        assert await node.refusal(account("login")) == FORBIDDEN


async def test_no_such_capability_topic_or_provider(world: World) -> None:
    who = await world.member()
    async with logged_in(world, who) as node:
        for content in (subscribe("None"), offer("None"), find("None"), draft("getNothing")):
            assert await node.refusal(content) == NOT_FOUND
        assert refused(await node.subscribe("None")) == NOT_FOUND


async def test_names_that_are_taken(world: World, tmp_path: Path) -> None:
    """Registered already; and bound to another certificate, which is an alert, in the record and as a metric."""
    owner = await world.issued()
    await world.call("POST", "nodes", jid=owner.jid)
    async with world.online(owner, external=True) as node:
        assert texts(await node.ask(account("register")), "value") == ["approved"]
        assert await node.refusal(account("register")) == CONFLICT
        renewed = await world.issued(owner.jid)  # by ourselves, so it is bound at once
        async with world.online(renewed, "two", external=True) as again:
            assert await again.refusal(account("login")) == ANSWERED
        alerts = 'stanzagate_grid_alerts_total{kind="certificate-mismatch"}'
        before = await world.metric(alerts)
        with contextlib.suppress(ConnectionError, StreamFailed):  # it may be over before the client is ready
            async with world.online(forged(world, owner, tmp_path), "three", external=True) as thief:
                await until(lambda: thief.ended)
        assert [row["jid"] for row in (await world.node(owner))["sessions"]] == [node.jid]
        assert (await world.recorded("alert.certificate-mismatch", owner.jid))["subject"] == owner.jid
        assert await world.metric(alerts) > before
        assert await node.refusal(account("login")) == ANSWERED


async def test_a_name_with_another_certificate_while_it_waits(world: World, tmp_path: Path) -> None:
    """Whoever has it is refused, and is not there any more when the name gets its rights."""
    owner = await world.issued()
    async with world.online(owner, external=True) as node:
        assert await node.refusal(LIST) == UNREGISTERED
        async with world.online(forged(world, owner, tmp_path), "two", external=True) as thief:
            for content in (account("register"), account("login"), LIST):
                assert await thief.refusal(content) == CONFLICT
            for content, to in LISTS[1:]:
                assert await thief.refusal(content, to=to) == CONFLICT
            await world.call("POST", f"nodes/{owner.jid}/approve", reason="a test")
            await until(lambda: thief.ended)
        assert await node.refusal(account("login")) == ANSWERED


def forged(world: World, owner: Identity, folder: Path) -> Identity:
    """The name with a certificate that the node CA has signed behind the controller's back."""
    cert, key = folder / "node.crt", folder / "node.key"
    authority = Authority.load(Path(world.sandbox.info["node_ca"]), world.sandbox.folder / "node-ca.key")
    authority.node(owner.jid).write(cert, key)
    return Identity(owner.jid, cert=cert, key=key)


async def test_what_is_offered_nowhere(world: World) -> None:
    """Not acceptable: what a provider, or the broker, does not offer."""
    who, name = await world.member(), fresh("Own")
    await world.permit(who, "publish", name)
    fields = (("FORM_TYPE", ns.NODE_CONFIG), ("pubsub#access_model", "open"))
    lines = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields)
    form = f"<x xmlns='{ns.DATA}' type='submit'>{lines}</x>"
    async with logged_in(world, who) as node:
        answer = await node.pubsub(f"<create node='{name}'/><configure>{form}</configure>")
        assert refused(answer) == ("modify", "not-acceptable")
        assert "access_model" in read_answer(answer).text
        assert refused(await node.subscribe(name)) == NOT_FOUND


@pytest.mark.parametrize(
    "content",
    [
        "<grid xmlns='gi' type='request'/>",
        account("register", "<username>a</username><username>b</username>"),
        account("register") .replace("<register></register>", "<register/><login/>"),
        find(""),
        draft("subscribeRequest"),
        draft("subscribeRequest", capability("A/B")),
        draft("subscribeRequest", capability("A").replace(" xsi:type='x:A'", "")),
        draft("initPublishRequest", capability("A", "x" * 200)),
        draft("isAuthorizedRequest", f"<identity xmlns='{ns.GRID}'>@@</identity>", " operation='fly'"),
        draft("getCapabilityListRequest", f"<set xmlns='{ns.RSM}'><max>-1</max></set>"),
    ],
)  # fmt: skip
async def test_malformed_draft_requests(world: World, content: str) -> None:
    async with logged_in(world, anybody(world)) as node:
        assert await node.refusal(content) == BAD_REQUEST


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<pubsub xmlns='http://jabber.org/protocol/pubsub'/>", BAD_REQUEST),
        ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe jid='a@grid.test'/></pubsub>", BAD_REQUEST),
        ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='a'/></pubsub>", BAD_REQUEST),
        ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish/></pubsub>", BAD_REQUEST),
        ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><fly node='a'/></pubsub>", BAD_REQUEST),
        ("<unknown xmlns='urn:foreign'/>", ("cancel", "service-unavailable")),
    ],
)
async def test_malformed_requests_to_the_broker(world: World, content: str, expected: tuple[str, str]) -> None:
    async with logged_in(world, anybody(world)) as node:
        assert await node.refusal(content, to=BROKER, kind="set") == expected


_MEMBERS: dict[str, Identity] = {}


@pytest.fixture(autouse=True)
async def _one_member(world: World) -> None:
    if str(world.sandbox.folder) not in _MEMBERS:
        _MEMBERS[str(world.sandbox.folder)] = await world.member()


def anybody(world: World) -> Identity:
    """A node without any right that tests share."""
    return _MEMBERS[str(world.sandbox.folder)]


# Bad input


async def test_foreign_namespaces_and_unknown_versions(world: World) -> None:
    who, topic = await world.member(), await world.topic()
    await world.permit(who, "subscribe", topic)
    async with logged_in(world, who) as node:
        for foreign in ("<unknown/>", "<grid type='request'><getCapabilityListRequest/></grid>"):
            content = foreign.replace(" type", " xmlns='urn:foreign' type").replace("n/", "n xmlns='urn:foreign'/")
            assert await node.refusal(content) == ("cancel", "feature-not-implemented")
        for version in ("9.9", "1", "1.0.0"):
            content = draft("subscribeRequest", capability(topic.removesuffix("-1.0"), version))
            assert await node.refusal(content) == NOT_FOUND
        assert await node.refusal(subscribe(topic)) == ANSWERED


async def test_ids_used_twice(world: World) -> None:
    """Requests with one id are answered once each; items with one id are items of that id."""
    who, topic = await world.member(), await world.topic()
    for action in ("subscribe", "publish"):
        await world.permit(who, action, topic)
    async with logged_in(world, who) as node:
        assert await node.refusal(subscribe(topic)) == ANSWERED
        lists = f"<iq type='get' id='same' to='{CONTROLLER}'>{LIST}</iq>"
        discos = f"<iq type='get' id='same' to='{BROKER}'>{DISCO_ITEMS}</iq>"
        await node.send_raw(lists + discos + lists + discos)
        await node.answer("same", count=4)
        for _ in range(2):
            assert refused(await node.publish(topic, "twice")) == ANSWERED
        await until(lambda: node.items == ["twice", "twice"])
        await node.caught_up()
        assert len(node.answers_to("same")) == 4
        assert all(item.type == "result" for item in node.answers_to("same"))


async def test_requests_for_somebody_elses_account(world: World) -> None:
    who, other, topic = await world.member(), await world.member(), await world.topic()
    await world.permit(who, "subscribe", topic)
    await world.permit(other, "subscribe", topic)
    async with logged_in(world, other) as victim:
        assert refused(await victim.subscribe(topic)) == ANSWERED
        async with logged_in(world, who) as node:
            assert await node.refusal(account("register", f"<username>{other.jid}</username>")) == FORBIDDEN
            for word in ("subscribe", "unsubscribe"):
                answer = await node.pubsub(f"<{word} node='{topic}' jid='{other.jid}'/>")
                assert refused(answer) == BAD_REQUEST
                assert "invalid-jid" in ET.tostring(answer, encoding="unicode")
            listed = await node.pubsub(f"<subscriptions node='{topic}'/>", kind="get")
            assert other.jid not in ET.tostring(listed, encoding="unicode")
            spoofed = f"<pubsub xmlns='{ns.PUBSUB}'><unsubscribe node='{topic}' jid='{other.jid}'/></pubsub>"
            stanza = f"<iq type='set' id='spoof' from='{victim.jid}' to='{BROKER}'>{spoofed}</iq>"
            with contextlib.suppress(ConnectionError):  # ejabberd ends the session, Prosody puts the true sender in
                assert refused(await node.put(stanza, "spoof")) == BAD_REQUEST
        assert [item["topic"] for item in (await world.node(other))["subscriptions"]] == [topic]


async def test_a_publisher_that_has_lost_its_topic(world: World) -> None:
    source, sink, topic = await world.member(), await world.member(), await world.topic()
    rule = await world.permit(source, "publish", topic)
    await world.permit(source, "read", topic)
    await world.permit(sink, "subscribe", topic)
    async with logged_in(world, source) as one, logged_in(world, sink) as two:
        assert await one.refusal(offer(topic)) == ANSWERED
        assert await two.refusal(subscribe(topic)) == ANSWERED
        assert refused(await one.publish(topic, "before")) == ANSWERED
        await world.call("DELETE", f"access/{rule}")
        assert refused(await one.publish(topic, "after")) == FORBIDDEN
        assert await one.refusal(publish(topic, "<a/>", options=True), to=BROKER, kind="set") == FORBIDDEN
        await world.permit(source, "publish", topic)
        assert refused(await one.publish(topic, "again")) == ANSWERED
        await until(lambda: "again" in two.items)
        assert two.items == ["before", "again"]


async def test_a_subscriber_that_has_lost_its_topic(world: World) -> None:
    """Also what was published while it was away, and the server has kept for it."""
    source, sink, topic = await world.member(), await world.member(), await world.topic()
    await world.permit(source, "publish", topic)
    rule = await world.permit(sink, "subscribe", topic)
    async with logged_in(world, source) as one:
        assert await one.refusal(offer(topic)) == ANSWERED
        async with logged_in(world, sink) as two:
            assert await two.refusal(subscribe(topic)) == ANSWERED
        assert refused(await one.publish(topic, "kept")) == ANSWERED
        await world.call("DELETE", f"access/{rule}")
        assert refused(await one.publish(topic, "never")) == ANSWERED
        async with logged_in(world, sink) as two:
            await two.caught_up()
            assert two.items == []
            assert (await world.node(sink))["subscriptions"] == []
        await world.permit(sink, "subscribe", topic)
        async with logged_in(world, sink) as two:
            assert await two.refusal(subscribe(topic)) == ANSWERED
            assert refused(await one.publish(topic, "regained")) == ANSWERED
            await until(lambda: two.items)
            assert two.items == ["regained"]


async def test_oversized_items_harm_nobody_else(world: World) -> None:
    source, sink, topic = await world.member(), await world.member(), await world.topic()
    await world.permit(source, "publish", topic)
    await world.permit(sink, "subscribe", topic)
    async with logged_in(world, sink) as two:
        assert await two.refusal(subscribe(topic)) == ANSWERED
        async with logged_in(world, source) as one:
            with contextlib.suppress(ConnectionError, StreamFailed, OSError):
                huge = f"<a xmlns='urn:test'>{'x' * 12_000_000}</a>"
                assert refused(await one.publish(topic, "huge", huge)) != ANSWERED
        async with logged_in(world, source) as one:
            assert refused(await one.publish(topic, "small")) == ANSWERED
        await until(lambda: two.items)
        assert two.items == ["small"]


async def test_elements_nested_too_deeply_harm_nobody(world: World) -> None:
    """Neither the controller, nor those who read a topic after somebody has published such an item."""
    who, topic = await world.member(), await world.topic(persist=5)
    for action in ("publish", "read"):
        await world.permit(who, action, topic)
    async with logged_in(world, who) as node:
        for depth, expected in ((400, BAD_REQUEST), (5_000, ("modify", "policy-violation"))):  # controller, plugin
            deep = f"{'<a>' * depth}{'</a>' * depth}"
            assert await node.refusal(publish(topic, deep, options=True), to=BROKER, kind="set") == expected
            assert await node.refusal(draft("getThings", deep)) != ANSWERED
        content = publish(topic, f"{'<a>' * 300}{'</a>' * 300}")
        await node.send_raw(f"<iq type='set' id='deep' to='{BROKER}'>{content}</iq>")  # Prosody cannot store it
        assert refused(await node.publish(topic, "good", "<good xmlns='urn:good'/>")) == ANSWERED
        read = await node.pubsub(f"<items node='{topic}'/>", kind="get")
        assert refused(read) == ANSWERED
        assert read.find(".//{urn:good}good") is not None


async def test_stanzas_that_are_no_xml_end_a_session_and_nothing_else(world: World) -> None:
    who = await world.member()
    async with logged_in(world, who) as node:
        await node.send_raw(f"<iq type='get' id='bad' to='{CONTROLLER}'><grid xmlns='gi'></iq>")
        await until(lambda: node.ended)
    async with logged_in(world, who) as node:
        assert await node.refusal(LIST) == ANSWERED


async def test_items_that_are_not_valid_are_refused_with_line_and_reason(world: World) -> None:
    """Where the controller publishes for a node; what goes straight to the server is the agent's to check."""
    who = await world.member()
    await world.permit(who, "publish", "IODEF-1.0")
    try:
        async with logged_in(world, who) as node:
            invalid = (
                f"<IODEF-Document xmlns='{IODEF}' version='2.00'>\n<Incident purpose='singing'/></IODEF-Document>"
            )
            answer = await node.ask(publish("IODEF-1.0", invalid, options=True), to=BROKER, kind="set")
            assert refused(answer) == BAD_REQUEST
            assert re.search(r"line 2.*", read_answer(answer).text, re.DOTALL)
            answer = await node.ask(publish("IODEF-1.0", "<a xmlns='urn:x'/>", options=True), to=BROKER, kind="set")
            assert refused(answer) == BAD_REQUEST
    finally:
        for rule in await world.call("GET", "access"):
            if rule["subject"] == who.jid:
                await world.call("DELETE", f"access/{rule['id']}")


# Nobody learns of topics that he has no right on


def requests(topic: str, bare: str) -> dict[str, tuple[str, str, str]]:
    """Everything that can be asked about a topic: kind, addressee, content."""
    pubsub = {
        "subscribe": f"<subscribe node='{topic}' jid='{bare}'/>",
        "unsubscribe": f"<unsubscribe node='{topic}' jid='{bare}'/>",
        "retract": f"<retract node='{topic}' notify='true'><item id='i'/></retract>",
        "create": f"<create node='{topic}'/>",
        "publish": f"<publish node='{topic}'><item id='i'><a xmlns='urn:a'/></item></publish>",
        "get items": f"<items node='{topic}'/>",
        "get item": f"<items node='{topic}'><item id='i'/></items>",
        "get subscriptions": f"<subscriptions node='{topic}'/>",
        "get affiliations": f"<affiliations node='{topic}'/>",
        "get options": f"<options node='{topic}' jid='{bare}'/>",
        "get default": f"<default node='{topic}'/>",
    }
    owner = {
        "delete": f"<delete node='{topic}'/>",
        "purge": f"<purge node='{topic}'/>",
        "get configure": f"<configure node='{topic}'/>",
        "get owner subscriptions": f"<subscriptions node='{topic}'/>",
        "get owner affiliations": f"<affiliations node='{topic}'/>",
        "give": f"<affiliations node='{topic}'><affiliation jid='{bare}' affiliation='owner'/></affiliations>",
    }
    found = {
        f"{name} at {to}": (
            "get" if name.startswith("get") else "set",
            to,
            f"<pubsub xmlns='{space}'>{text}</pubsub>",
        )
        for space, contents in ((ns.PUBSUB, pubsub), (ns.PUBSUB_OWNER, owner))
        for name, text in contents.items()
        for to in (BROKER, CONTROLLER)
    }
    for space in (ns.DISCO_INFO, ns.DISCO_ITEMS):
        for to in (BROKER, CONTROLLER):
            found[f"{space} at {to}"] = ("get", to, f"<query xmlns='{space}' node='{topic}'/>")
    found["options"] = ("set", BROKER, publish(topic, "<a xmlns='urn:a'/>", options=True))
    name = f"<topicName xmlns='{ns.GRID}'>{topic}</topicName>"
    drafts = {
        "subscribe": subscribe(topic),
        "offer": offer(topic),
        "find": find(topic),
        "find capability": find(topic.removesuffix("-1.0")),
        "directed": draft(f"get{topic.removesuffix('-1.0')}"),
        "authorized": draft(
            "isAuthorizedRequest", f"<identity>{bare}</identity><service>{topic}</service>", " operation='read'"
        ),
        **{
            f"{kind}Request": draft(f"{kind}Request", name)
            for kind in ("unsubscribe", "getFilterOptions", "history", "bulk")
        },
        "proxy": draft("proxyQuery", "<a xmlns='urn:a'/>", f" service='{topic}'"),
    }
    return found | {f"draft {name}": ("get", CONTROLLER, text) for name, text in drafts.items()}


def _kind(name: str) -> str:
    return "get" if name.startswith("get") else "set"


async def answers(node: Node, topic: str) -> dict[str, str]:
    """What is answered to each of those, byte for byte but for the topic's name and the numbering."""
    told = {}
    for name, (kind, to, content) in requests(topic, node.jid.partition("/")[0]).items():
        answer = await node.ask(content, to=to, kind=kind)
        raw = ET.tostring(answer, encoding="unicode").replace(answer.get("id", ""), "ID")
        told[name] = re.sub(r"i(tem)?[0-9a-f]{4}x\d+", "ITEM", raw.replace(topic.removesuffix("-1.0"), "TOPIC"))
    return told


async def test_hidden_and_disabled_topics_are_like_missing_ones(world: World) -> None:
    """Topics that are there, with a provider, a subscriber and an item, against one that is not."""
    source, who = await world.member(), anybody(world)
    hidden, disabled, missing = await world.topic(persist=3), await world.topic(), f"{fresh('Topic')}-1.0"
    for topic in (hidden, disabled):
        for action in ("publish", "subscribe"):
            await world.permit(source, action, topic)
    async with logged_in(world, source) as one:
        query = offering(f"get{hidden.removesuffix('-1.0')}")
        content = capability(hidden.removesuffix("-1.0")) + query
        assert await one.refusal(draft("initPublishRequest", content)) == ANSWERED
        assert refused(await one.publish(hidden, "i")) == ANSWERED
        await world.call("PATCH", f"topics/{disabled}", enabled=False)
        async with logged_in(world, who) as node:
            expected = await answers(node, missing)
            assert await answers(node, hidden) == expected
            assert await answers(node, disabled) == expected
            for content, to in LISTS:
                told = ET.tostring(await node.ask(content, to=to), encoding="unicode")
                assert hidden not in told and disabled not in told
            for kind in ("subscriptions", "affiliations"):
                listed = await node.pubsub(f"<{kind}/>", kind="get")
                assert hidden not in ET.tostring(listed, encoding="unicode")
        assert one.items == []


@pytest.mark.parametrize("local", [False, True], ids=["of another host", "not admitted"])
async def test_strangers_learn_nothing(sandbox: Sandbox, world: World, local: bool) -> None:
    """Somebody of another host of the same server, and somebody whom the node CA knows, but not the grid."""
    topic, missing = await world.topic(access_model="authorize"), f"{fresh('Topic')}-1.0"
    row = sandbox.account("acs1")
    who = await world.issued() if local else Identity(row["jid"], row["password"])
    try:
        async with world.online(who, external=local) as node:
            there, gone = await answers(node, topic), await answers(node, missing)
            assert there == gone
            expected = "registration-required" if local else "forbidden"
            others = {name for name, text in there.items() if expected not in text}
            assert others <= {f"publish at {BROKER}", "options"}  # the plugin refuses what is not active before
            for content, to in LISTS:
                assert topic not in ET.tostring(await node.ask(content, to=to), encoding="unicode")
    finally:
        await world.call("DELETE", f"topics/{topic}")  # everybody sees it
