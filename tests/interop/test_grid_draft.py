"""The samples of draft-ietf-mile-xmpp-grid-01 §2.6 (tests/wire/draft), sent over real connections to both servers.

What is compared is what the draft shows, element by element; its names of hosts and nodes are replaced by the
sandbox's.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grid import ns
from grid.protocol.families import Family
from tests.interop.clients import CLIENT
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
    fresh,
    grid,
    offering,
    refused,
    texts,
)
from tests.interop.puppet import until
from tests.unit.grid.protocolkit import canonical

SAMPLES = Path(__file__).parents[1] / "wire" / "draft"
LISTED = (
    "TrustSecMetaDataCapability", "EndpointProfileMetaDataCapability", "IdentityGroupCapability",
    "TDAnalysisServiceCapability", "NetworkCaptureCapability", "EndpointProtectionServiceCapability",
    "GridControllerAdminServiceCapability", "SessionDirectoryCapability",
)  # fmt: skip
"""What the draft's answer to getCapabilityListRequest has."""
DIRECTORY = "SessionDirectoryCapability-1.0"
CONTENT = f"{{{ns.PUBSUB_EVENT}}}event"


def text(name: str, family: Family = Family.PUBLISH) -> str:
    """A sample as it is sent to the sandbox, in the URIs of a family; the server says who sends it."""
    found = (SAMPLES / f"{name}.xml").read_text()
    for prefix, uri in Family.PUBLISH.value:
        found = found.replace(f'"{uri}"', f'"{family.uri(prefix)}"')
    for printed, ours in {
        'from="Node2@domain.com/mac"': "", "grid_Controller.jabber": CONTROLLER, "pubsub.xgrid.domain.com": BROKER,
    }.items():  # fmt: skip
        found = found.replace(printed, ours)
    return found


def shown(name: str, family: Family = Family.PUBLISH, **names: str) -> object:
    """What is in the stanza that the draft shows, as `canonical` has it; `names` of the draft are replaced."""
    found = text(name, family)
    for printed, ours in names.items():
        found = found.replace(_PRINTED[printed], ours)
    return canonical(ET.fromstring(found)[0])


_PRINTED = {
    "provider": "ise@syam-06.domain.com/syam-mac", "first": "ise-mnt-XMPP-Grid-004@xgrid.domain.com/gcl",
    "second": "ise-mnt-XMPP-Grid-005@xgrid.domain.com/gcl",
}  # fmt: skip


async def ask(node: Node, name: str, family: Family = Family.PUBLISH) -> ET.Element:
    """Send a sample; its answer."""
    stanza = text(name, family)
    answer = await node.put(stanza, ET.fromstring(stanza).get("id", ""))
    assert answer.get("from") == CONTROLLER
    return answer


@dataclass
class Cast:
    """Those whom the samples are about, all online and logged in.

    :ivar node: ``Node2@domain.com/mac``.
    :ivar providers: of SessionCapability, by their full JIDs; they answer queries, too.
    """

    world: World
    node: Node
    who: Identity
    providers: list[Node]


@pytest.fixture
async def cast(sandbox: Sandbox) -> AsyncIterator[Cast]:
    """A grid with one capability of the draft; what a test makes is gone afterwards."""
    async with grid(sandbox) as world, contextlib.AsyncExitStack() as stack:
        rules: list[int] = []
        try:
            await world.topic(LISTED[-1])
            who = await world.member()
            rules.append(await world.permit(who, "read", "*Capability-1.0"))
            nodes = []
            for _ in range(2):
                provider = await world.member()
                rules.append(await world.permit(provider, "publish", "Session*"))
                nodes.append(await stack.enter_async_context(world.online(provider, "gcl")))
                assert refused(await nodes[-1].ask(account("login"))) == ("", "")
            node = await stack.enter_async_context(world.online(who, "mac"))
            yield Cast(world, node, who, sorted(nodes, key=lambda item: item.jid))
        finally:
            for rule in rules:
                await world.call("DELETE", f"access/{rule}")
            for topic in await world.call("GET", "topics"):
                if topic["name"] in {f"{name}-1.0" for name in (*LISTED, "SessionCapability")}:
                    await world.call("DELETE", f"topics/{topic['name']}")


@pytest.mark.parametrize("family", Family)
async def test_register_login_and_logout(sandbox: Sandbox, family: Family) -> None:
    async with grid(sandbox) as world:
        who = await world.member()
        async with world.online(who, "mac") as node:
            registered = await ask(node, "register.request", family)
            assert texts(registered, "value") == ["approved"]
            assert refused(await ask(node, "capabilities.request", family)) == ("auth", "not-authorized")
            logged_in = await ask(node, "login.request", family)
            assert logged_in.get("to") == node.jid
            assert canonical(logged_in[0]) == shown("login.response", family)
            assert refused(await ask(node, "capabilities.request", family)) == ("", "")
            logged_out = await ask(node, "logout.request", family)
            assert canonical(logged_out[0]) == _with_word("logout")
            assert refused(await ask(node, "capabilities.request", family)) == ("auth", "not-authorized")


def _with_word(word: str) -> object:
    """The nil value that the draft shows for login; it shows none for logout."""
    return canonical(ET.fromstring(text("login.response").replace("login", word))[0])


async def test_capabilities_and_topics(cast: Cast) -> None:
    """List, announce, find, subscribe: in the order of the draft's figures, in both families of its URIs."""
    node, providers = cast.node, cast.providers
    for name in LISTED[:-1]:
        await cast.world.topic(name)
    assert refused(await ask(node, "login.request")) == ("", "")
    for family in Family:
        listed = (await ask(node, "capabilities.request", family))[0]
        for entry in [item for item in listed[0] if texts(item, "name")[0].removesuffix("-1.0") not in LISTED]:
            listed[0].remove(entry)  # a topic of another test that everybody may ask for
        assert _sorted(canonical(listed)) == _sorted(shown("capabilities.response", family))

    for name in ("init-publish.request", "subscribe.request"):
        assert refused(await ask(node, name)) == ("cancel", "item-not-found")
    assert refused(await ask(node, "find.request")) == ("cancel", "item-not-found")
    announced = await ask(providers[0], "init-publish.request")
    assert texts(announced, "topicName") == ["SessionCapability-1.0"]
    query = offering("com.domain.ise.session.SessionQuery")
    await providers[1].ask(draft("initPublishRequest", capability("SessionCapability") + query))

    rule = await cast.world.permit(cast.who, "subscribe", "SessionCapability*")
    try:
        found = await ask(node, "find.request")
        assert canonical(found[0]) == shown("find.response", provider=providers[1].jid)
        for family in Family:
            subscribed = await ask(node, "subscribe.request", family)
            names = {"first": providers[0].jid, "second": providers[1].jid}
            assert canonical(subscribed[0]) == shown("subscribe.response", family, **names)
        item = fresh("item")
        assert refused(await providers[0].publish("SessionCapability-1.0", item)) == ("", "")
        await until(lambda: node.items == [item])
    finally:
        await cast.world.call("DELETE", f"access/{rule}")


def _sorted(found: object) -> object:
    """The draft's list of capabilities has no order; ours has that of the names."""
    tag, attributes, words, children = found  # type: ignore[misc]
    return tag, attributes, words, sorted((_sorted(child) for child in children), key=repr)


async def test_published_items_arrive_as_the_draft_shows(cast: Cast) -> None:
    world, node, source = cast.world, cast.node, cast.providers[0]
    await world.permit(cast.who, "subscribe", "SessionDirectory*")
    await world.call("POST", "topics", capability="SessionDirectory", version="")
    try:
        await ask(node, "login.request")
        for topic in ("SessionDirectory", DIRECTORY):
            assert refused(await node.subscribe(topic)) == ("", "")
        stanza = text("publish.request")
        assert (await source.put(stanza, "APuZH-1628")).get("type") == "result"
        await until(lambda: len(node.items) == 1)
        event = _events(node)[0]
        assert event[0].get("node") == "SessionDirectory"
        sent = ET.fromstring(stanza).find(f".//{{{ns.PUBSUB}}}item")
        assert sent is not None and canonical(event[0][0][0]) == canonical(sent[0])

        notification = ET.fromstring(text("publish.notification"))
        payload = ET.tostring(notification[0][0][0][0], encoding="unicode")
        await source.publish(DIRECTORY, "64350fcd-3fc3-4f00-b0f2-a7bcf4038813", payload)
        await until(lambda: len(node.items) == 2)
        event = _events(node)[1]
        event[0][0].attrib.pop("publisher", None)  # what Prosody tells beside
        assert canonical(event) == canonical(notification[0])
    finally:
        await world.call("DELETE", "topics/SessionDirectory")


def _events(node: Node) -> list[ET.Element]:
    """What the broker has told a node of items."""
    messages = [item for item in node.stanzas if item.tag == f"{{{CLIENT}}}message" and item.get("from") == BROKER]
    return [item[0] for item in messages if item[0].tag == CONTENT and item.find(f".//{{{ns.PUBSUB_EVENT}}}item")]


@pytest.mark.parametrize("family", Family)
async def test_directed_queries(cast: Cast, family: Family) -> None:
    """Answered by the node that is asked itself, and by the one that the controller finds."""
    node, source = cast.node, cast.providers[0]
    await ask(node, "login.request")
    content = capability("SessionDirectoryCapability") + offering("getIdentityGroupRequest")
    assert refused(await source.ask(draft("initPublishRequest", content))) == ("", "")
    request, response = text("directed-query.request", family), text("directed-query.response", family)
    reply = ET.tostring(ET.fromstring(response)[0], encoding="unicode")
    for count, place in enumerate((source.jid, CONTROLLER), 1):
        await node.send_raw(request.replace(f'"{CONTROLLER}"', f'"{place}"').replace("kR0YY-8", f"q{count}"))
        asked = (await source.asked(count))[-1]
        assert asked.get("from") == (node.jid if place == source.jid else CONTROLLER)
        assert canonical(asked[0]) == canonical(ET.fromstring(request)[0])
        await source.reply(asked, reply)
        await node.answer(f"q{count}")
        answer = node.stanza(f"q{count}")
        assert answer.get("from") == place
        assert canonical(answer[0]) == shown("directed-query.response", family)
