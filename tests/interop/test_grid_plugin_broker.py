"""The front of the broker, on both servers: what goes straight to its pubsub, what the controller answers."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from typing import Any

import pytest
from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError

from grid.ns import CLIENT, DELEGATION, DISCO_ITEMS, FORWARD, PUBSUB, PUBSUB_OWNER
from tests.interop.cast import AWAY, BAD_REQUEST, FORBIDDEN, OVERLOAD, PASSED, UNDECIDED, outcome
from tests.interop.clients import client
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import (
    BROKER,
    CONTROLLER,
    ITEM,
    NOT_AUTHORIZED,
    TOPIC,
    Controller,
    Delegated,
    account,
    caught_up,
    controller,
    publish,
    received_items,
)
from tests.interop.plugin import component
from tests.interop.puppet import until
from tests.interop.rawclient import online

UNAVAILABLE = ("cancel", "service-unavailable")
PING = "<ping xmlns='urn:xmpp:ping'/>"


@contextlib.asynccontextmanager
async def grid_of(server: Sandbox, *active: str, subscriber: str = "soc2") -> AsyncIterator[Controller]:
    """The controller with a topic, to which soc1 publishes."""
    async with controller(server) as grid:
        for name in active:
            await grid.node(name, "active")
        for name in active:
            async with online(server, name) as node:  # takes what earlier tests have left stored for it
                await node.send_raw("<presence/>")
                await caught_up(node, "drained")
        await grid.topic(publisher="soc1", subscriber=subscriber)
        try:
            yield grid
        finally:
            await grid.no_topic()


def iq(id: str, content: str, *, kind: str = "set", to: str = BROKER) -> str:
    """An iq to the broker."""
    return f"<iq type='{kind}' id='{id}' to='{to}'>{content}</iq>"


def pubsub(content: str, namespace: str = PUBSUB) -> str:
    """The element of a request."""
    return f"<pubsub xmlns='{namespace}'>{content}</pubsub>"


def an_item(id: str) -> str:
    """An item with a payload."""
    return f"<item id='{id}'>{ITEM}</item>"


async def test_a_plain_publish_goes_straight_to_the_service(server: Sandbox) -> None:
    async with (
        grid_of(server, "soc1", "soc2", "soc3") as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
        online(server, "soc3") as soc3,
    ):
        await soc2.send_raw("<presence/>")
        await caught_up(soc2, "here")
        answer = await soc1.send_raw_iq(publish("1"))
        assert (outcome(answer), answer.sender) == (PASSED, BROKER)
        grid.answer = lambda asked: asked.error("auth", "forbidden")
        assert outcome(await soc3.send_raw_iq(publish("2"))) == FORBIDDEN  # the service knows its publishers
        assert len(grid.delegated) == 1
        grid.delegated.clear()
        spaced = iq("3", "\n " + pubsub(f" <publish node='{TOPIC}'> {an_item('3')} </publish> ") + " ")
        assert outcome(await soc1.send_raw_iq(spaced)) == PASSED
        await until(lambda: received_items(soc2.stanzas) == ["1", "3"])
        assert grid.delegated == []


async def test_a_publish_of_who_is_not_active_or_quiet_does_not_reach_the_service(server: Sandbox) -> None:
    async with (
        grid_of(server, "soc1", "soc2") as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
    ):
        await soc2.send_raw("<presence/>")
        await caught_up(soc2, "here")
        assert outcome(await soc1.send_raw_iq(publish("1"))) == PASSED
        await grid.order("quiet", jid=soc1.jid)
        assert outcome(await soc1.send_raw_iq(publish("2"))) == NOT_AUTHORIZED
        await grid.order("quiet", jid=soc1.jid, lifted="true")
        for state in ("disabled", "unknown"):
            await grid.node("soc1", state)
            assert outcome(await soc1.send_raw_iq(publish(state))) == FORBIDDEN
        await grid.node("soc1", "active")
        assert outcome(await soc1.send_raw_iq(publish("3"))) == PASSED
        await until(lambda: received_items(soc2.stanzas) == ["1", "3"])


OPTIONS = (
    "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field></x></publish-options>"
)
PLAIN = f"<publish node='{TOPIC}'>{an_item('x')}</publish>"
ON = {
    "options": pubsub(PLAIN + OPTIONS),
    "two-publishes": pubsub(PLAIN + PLAIN),
    "publish-and-create": pubsub(f"{PLAIN}<create node='y'/>"),
    "two-items": pubsub(f"<publish node='{TOPIC}'>{an_item('x')}{an_item('y')}</publish>"),
    "no-item": pubsub(f"<publish node='{TOPIC}'/>"),
    "another-child": pubsub(f"<publish node='{TOPIC}'><other xmlns='urn:x'/></publish>"),
    "no-node": pubsub(f"<publish>{an_item('x')}</publish>"),
    "empty-node": pubsub(f"<publish node=''>{an_item('x')}</publish>"),
    "nested": pubsub(f"<create node='x'>{PLAIN}</create>"),
    "publish-elsewhere": pubsub(f"<publish xmlns='urn:x' node='{TOPIC}'>{an_item('x')}</publish>"),
    "owner": pubsub(PLAIN, PUBSUB_OWNER),
    "wrong-namespace": pubsub(PLAIN, "urn:x"),
    "create": pubsub("<create node='x'/>"),
    "subscribe": pubsub(f"<subscribe node='{TOPIC}' jid='soc1@grid.test'/>"),
    "retract": pubsub(f"<retract node='{TOPIC}'><item id='x'/></retract>"),
    "delete": pubsub(f"<delete node='{TOPIC}'/>", PUBSUB_OWNER),
    "affiliations": pubsub(f"<affiliations node='{TOPIC}'/>", PUBSUB_OWNER),
    "command": "<command xmlns='http://jabber.org/protocol/commands' node='x' action='execute'/>",
    "register": "<query xmlns='jabber:iq:register'/>",
    "vcard": "<vCard xmlns='vcard-temp'/>",
    "unknown": "<x xmlns='urn:x'/>",
    "delegation": f"<delegation xmlns='{DELEGATION}'><forwarded xmlns='{FORWARD}'/></delegation>",
}
"""Requests that the controller answers."""


async def test_every_other_request_is_answered_by_the_controller(server: Sandbox) -> None:
    async with (
        grid_of(server, "soc1", "soc2") as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
    ):
        await soc2.send_raw("<presence/>")
        grid.answer = lambda asked: asked.result("<seen xmlns='urn:test'/>")
        for name, content in ON.items():
            answer = await soc1.send_raw_iq(iq(name, content))
            assert (outcome(answer), answer.sender, "seen" in answer.payload) == (PASSED, BROKER, True), name
        for name in ("disco#info", "disco#items", "jabber:iq:version", "jabber:iq:last", "urn:xmpp:ping"):
            namespace = name if ":" in name else f"http://jabber.org/protocol/{name}"
            element = "ping" if name.endswith("ping") else "query"
            answer = await soc1.send_raw_iq(iq(name, f"<{element} xmlns='{namespace}'/>", kind="get"))
            assert (outcome(answer), "seen" in answer.payload) == (PASSED, True), name
        for asked, (name, content) in zip(grid.delegated, ON.items(), strict=False):
            inner = asked.inner
            assert (inner.get("from"), inner.get("to")) == (soc1.jid, BROKER)
            assert (inner.get("id"), inner.get("type")) == (name, "set")
            told, sent = (
                ET.canonicalize(xml, rewrite_prefixes=True) for xml in (ET.tostring(inner[0], "unicode"), content)
            )
            assert told == sent
        await caught_up(soc2, "end")
        assert received_items(soc2.stanzas) == []


async def test_several_children_never_publish(server: Sandbox) -> None:
    async with (
        grid_of(server, "soc1", "soc2") as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
    ):
        await soc2.send_raw("<presence/>")
        grid.answer = lambda asked: asked.error("modify", "bad-request")
        plain = pubsub(PLAIN)
        for number, content in enumerate((plain + PING, PING + plain, plain + plain, "")):
            assert outcome(await soc1.send_raw_iq(iq(f"n{number}", content))) == BAD_REQUEST
        await caught_up(soc2, "end")
        assert received_items(soc2.stanzas) == []


async def test_anybody_is_answered(server: Sandbox) -> None:
    """Nodes that are not active, other hosts and components, a federated node's server: the controller decides."""
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "acs1") as acs1,
        component(server) as other,
    ):
        grid.answer = lambda asked: asked.error("auth", "registration-required")
        for wire in (soc1, acs1):
            assert outcome(await wire.send_raw_iq(iq("a", PING, kind="get"))) == ("auth", "registration-required")
        request = iq("c", PING, kind="get").replace("<iq ", f"<iq from='node@{other.jid}/r' ")
        assert outcome(await other.ask(request)) == ("auth", "registration-required")
        senders = [asked.inner.get("from") for asked in grid.delegated]
        assert senders == [soc1.jid, acs1.jid, f"node@{other.jid}/r"]


async def test_answers_are_for_their_question_and_from_the_broker_whatever_they_say(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        await soc1.send_raw(iq("same", PING, kind="get") + iq("same", PING, kind="set"))
        await soc2.send_raw(iq("same", PING, kind="get"))
        await until(lambda: len(grid.delegated) == 3)
        liar = f"from='evil@x.test' to='{soc1.jid}' id='other'"
        for asked in reversed(grid.delegated):
            seen = f"<seen xmlns='urn:test' type='{asked.inner.get('type')}' by='{asked.inner.get('from')}'/>"
            await grid.send(asked.wrapped(f"<iq xmlns='{CLIENT}' type='result' {liar}>{seen}</iq>"))
        await soc1.answer("same", count=2)
        await soc2.answer("same")
        for wire, kinds in ((soc1, {"get", "set"}), (soc2, {"get"})):
            answers = wire.answers_to("same")
            told = [ET.fromstring(answer.payload) for answer in answers]
            assert {(answer.sender, one.get("by")) for answer, one in zip(answers, told, strict=True)} == {
                (BROKER, wire.jid)
            }
            assert {one.get("type") for one in told} == kinds
        assert soc1.answers_to("other") == []


async def test_errors_keep_their_content(server: Sandbox) -> None:
    pending = "<pending xmlns='urn:stanzagate:grid:1'/>"
    error = (
        f"<iq xmlns='{CLIENT}' type='error'><error type='auth'><registration-required "
        f"xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{pending}</error></iq>"
    )
    async with controller(server) as grid, online(server, "soc1") as soc1:
        grid.answer = lambda asked: asked.wrapped(error)
        answer = await soc1.send_raw_iq(iq("e", PING, kind="get"))
        assert outcome(answer) == ("auth", "registration-required")
        assert answer.app_condition == "{urn:stanzagate:grid:1}pending"


UNUSABLE = (
    f"<iq xmlns='{CLIENT}' type='set'/>",
    f"<iq xmlns='{CLIENT}'/>",
    f"<message xmlns='{CLIENT}' type='result'/>",
    "<iq xmlns='urn:x' type='result'/>",
    f"<iq xmlns='{CLIENT}' type='result'/><iq xmlns='{CLIENT}' type='result'/>",
    "",
)


async def test_answers_that_cannot_be_used(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1:
        for number, inner in enumerate(UNUSABLE):
            grid.answer = lambda asked, inner=inner: asked.wrapped(inner)  # type: ignore[misc]
            assert outcome(await soc1.send_raw_iq(iq(f"u{number}", PING, kind="get"))) == UNDECIDED
        frame = f"from='{CONTROLLER}' to='{BROKER}'"
        for kind, content in (("result", ""), ("error", "<error type='cancel'/>"), ("result", "<x xmlns='urn:x'/>")):
            grid.answer = lambda asked, kind=kind, content=content: (  # type: ignore[misc]
                f"<iq type='{kind}' {frame} id='{asked.id}'>{content}</iq>"
            )
            assert outcome(await soc1.send_raw_iq(iq(soc1.new_id(), PING, kind="get"))) == UNDECIDED


async def test_only_the_controller_answers_and_only_once(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc2") as soc2,
        component(server) as other,
    ):
        await soc1.send_raw(iq("q", PING, kind="get"))
        await until(lambda: grid.delegated)
        asked = grid.delegated[0]
        evil = f"<iq xmlns='{CLIENT}' type='result'><evil xmlns='urn:test'/></iq>"
        await soc2.send_raw(asked.wrapped(evil).replace(f'from="{CONTROLLER}" ', ""))
        await soc2.send_raw(asked.wrapped(evil, sender=soc2.jid))
        await other.send(asked.wrapped(evil, sender=f"a@{other.jid}"))
        await caught_up(soc2, "end")
        await other.ask(iq("end", PING, kind="get", to="acs.test").replace("<iq ", f"<iq from='{other.jid}' "))
        await grid.send(asked.result("<good xmlns='urn:test'/>"), asked.result("<second xmlns='urn:test'/>"))
        assert "good" in (await soc1.answer("q")).payload
        assert await grid_pinged(grid)
        await caught_up(soc1, "end")
        assert len(soc1.answers_to("q")) == 1


async def grid_pinged(grid: Controller) -> bool:
    """The server has taken all that the controller has sent."""
    return (await grid.status()).words["version"] == "1"


async def test_messages_presence_and_other_answers_to_the_broker_are_dropped(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "acs1") as acs1:
        await grid.node("soc1", "active")
        for wire in (soc1, acs1):
            before = len(wire.stanzas)
            for kind in ("chat", "normal", "headline", "error"):
                await wire.send_raw(f"<message type='{kind}' id='m' to='{BROKER}'>{pubsub(PLAIN)}</message>")
            await wire.send_raw(f"<presence to='{BROKER}'/><presence type='subscribe' to='{BROKER}'/>")
            await wire.send_raw(f"<iq type='result' id='r' to='{BROKER}'/><iq type='error' id='r' to='{BROKER}'/>")
            host = wire.jid.partition("@")[2].partition("/")[0]
            await wire.send_raw_iq(iq("end", PING, kind="get", to=host))
            answers = [one for one in wire.stanzas[before:] if one.get("from") == BROKER]
            assert answers == []
        assert grid.delegated == []
        assert grid.received == []


async def test_other_addresses_of_the_broker_are_nobody(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1:
        await grid.node("soc1", "active")
        for to in (f"x@{BROKER}", f"{BROKER}/r", f"x@{BROKER}/r"):
            assert outcome(await soc1.send_raw_iq(iq(f"p-{to}", PING, kind="get", to=to))) == UNAVAILABLE
            assert outcome(await soc1.send_raw_iq(publish(f"x-{to}", to=to))) == UNAVAILABLE
        assert grid.delegated == []


async def test_the_controller_s_own_requests_are_the_service_s(server: Sandbox) -> None:
    async with grid_of(server, "soc1", "soc2") as grid, online(server, "soc2") as soc2:
        await soc2.send_raw("<presence/>")
        await caught_up(soc2, "here")
        assert (await grid.iq("set", pubsub(f"<publish node='{TOPIC}'>{an_item('own')}</publish>"), to=BROKER)).get(
            "type"
        ) == "result"
        await until(lambda: received_items(soc2.stanzas) == ["own"])
        found = await grid.iq("get", f"<query xmlns='{DISCO_ITEMS}'/>", to=BROKER)
        assert TOPIC in {item.get("node") for item in found.iter()}
        assert grid.delegated == []


async def test_without_the_controller_only_publishing_works(server: Sandbox) -> None:
    async with controller(server) as grid:
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await grid.topic(publisher="soc1", subscriber="soc2")
    epoch = grid.epoch
    async with controller(server, keep=True) as grid:
        for name in ("soc1", "soc2"):
            await grid.order("node", jid=account(name), state="active", epoch=epoch)
    async with online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        await soc2.send_raw("<presence/>")
        await caught_up(soc2, "here")
        assert outcome(await soc1.send_raw_iq(iq("away", PING, kind="get"))) == AWAY
        assert outcome(await soc1.send_raw_iq(publish("1"))) == PASSED
        await until(lambda: received_items(soc2.stanzas) == ["1"])
    async with controller(server) as grid:
        await grid.no_topic()


async def test_who_waits_when_the_controller_goes_is_told(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1:
        await soc1.send_raw(iq("w", PING, kind="get"))
        await until(lambda: grid.delegated)
        await grid.detach()
        assert outcome(await soc1.answer("w")) == AWAY


EACH, ALL = 100, 10_000
"""How many requests may wait: of one asker, and of all."""


async def test_of_each_asker_so_many_requests_wait_at_most(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1") as soc1,
        online(server, "soc1", resource="two") as twin,
        online(server, "soc2") as soc2,
    ):
        await soc1.send_raw("".join(iq(f"f{number}", PING, kind="get") for number in range(EACH + 1)))
        assert outcome(await soc1.answer(f"f{EACH}")) == OVERLOAD
        assert outcome(await twin.send_raw_iq(iq("twin", PING, kind="get"))) == OVERLOAD
        await until(lambda: len(grid.delegated) == EACH)
        await grid.send(grid.delegated[0].result())
        await soc1.answer("f0")
        grid.answer = Delegated.result
        for wire in (soc2, twin):
            assert outcome(await wire.send_raw_iq(iq("again", PING, kind="get"))) == PASSED


async def test_ten_thousand_requests_wait_at_most(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, component(server) as other:
        for asker in range(ALL // EACH):
            one = iq("f", PING, kind="get").replace("<iq ", f"<iq from='n{asker}@{other.jid}' ")
            await other.send(one * EACH)
        await until(lambda: len(grid.delegated) == ALL)
        assert outcome(await soc1.send_raw_iq(iq("over", PING, kind="get"))) == OVERLOAD
        await grid.send(grid.delegated[0].result())
        grid.answer = Delegated.result
        await grid_pinged(grid)
        assert outcome(await soc1.send_raw_iq(iq("again", PING, kind="get"))) == PASSED


async def test_what_the_service_refuses_of_a_publish_is_the_controller_s_to_answer(server: Sandbox) -> None:
    """The service's own words would tell everybody which topics there are."""
    async with (
        grid_of(server, "soc1", "soc3") as grid,
        online(server, "soc1") as soc1,
        online(server, "soc3") as soc3,
        online(server, "acs1") as acs1,
    ):
        grid.answer = lambda asked: asked.error("cancel", "item-not-found")
        asked = [(wire, topic) for wire in (soc3, acs1) for topic in (TOPIC, "Missing")] + [(soc1, "Missing")]
        for number, (wire, topic) in enumerate(asked):
            content = pubsub(f"<publish node='{topic}'>{an_item('x')}</publish>")
            assert outcome(await wire.send_raw_iq(iq(f"p{number}", content))) == ("cancel", "item-not-found")
            inner = grid.delegated[number].inner
            assert (inner.get("from"), inner.get("id"), inner.get("to")) == (wire.jid, f"p{number}", BROKER)
            told, sent = (
                ET.canonicalize(xml, rewrite_prefixes=True) for xml in (ET.tostring(inner[0], "unicode"), content)
            )
            assert told == sent
        assert len(grid.delegated) == len(asked)


# --- a plain client, nothing of ours --------------------------------------------------------------------------------


async def test_a_plain_client_of_xep_0060_is_answered(server: Sandbox) -> None:
    row = server.account("soc1")
    replies = {
        f"{{{DISCO_ITEMS}}}query": f"<query xmlns='{DISCO_ITEMS}'><item jid='{BROKER}' node='{TOPIC}'/></query>",
        "create": pubsub("<create node='Mine'/>"),
        "subscribe": pubsub(f"<subscription node='{TOPIC}' jid='{account('soc1')}' subscription='subscribed'/>"),
    }

    def answered(asked: Delegated) -> str:
        content = asked.inner[0]
        name = content.tag if content.tag in replies else content[0].tag.rpartition("}")[2]
        return asked.result(replies[name])

    async with grid_of(server, "soc1", subscriber="soc1") as grid:
        grid.answer = answered
        async with client("slixmpp", row["jid"], row["password"], *server.address, server.info["ca"]) as requester:
            stream: ClientXMPP = requester._stream  # type: ignore[attr-defined]
            for name in ("xep_0030", "xep_0059", "xep_0060"):
                stream.register_plugin(name)
            service = JID(BROKER)
            topics: Any = stream.plugin["xep_0060"]
            found = await stream.plugin["xep_0030"].get_items(jid=service)
            assert {node for _, node, _ in found["disco_items"]["items"]} == {TOPIC}
            assert (await topics.create_node(service, "Mine"))["pubsub"]["create"]["node"] == "Mine"
            subscribed = await topics.subscribe(service, TOPIC)
            assert subscribed["pubsub"]["subscription"]["subscription"] == "subscribed"
            assert subscribed["from"] == BROKER
            stream.send_presence()
            await topics.publish(service, TOPIC, id="1", payload=ET.fromstring(ITEM))
            await until(lambda: received_items(requester.stanzas) == ["1"])
            grid.answer = lambda asked: asked.error("cancel", "item-not-found")
            with pytest.raises(IqError) as refused:
                await topics.subscribe(service, "Secret")
            assert refused.value.condition == "item-not-found"
