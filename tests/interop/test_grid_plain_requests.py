"""Requests of XEP-0030 and XEP-0060 to the broker of a real grid: pages, errors, what nobody may see."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.interop.clients import Answer
from tests.interop.conftest import Sandbox
from tests.interop.plain import (
    BROKER,
    CONTROLLER,
    DATA,
    EVENT,
    FINE,
    FORBIDDEN,
    INCIDENT,
    INFO,
    IODEF,
    ITEMS,
    NOT_FOUND,
    OWNER,
    PUBSUB,
    RSM,
    ask,
    bare,
    events,
    form,
    ids,
    info,
    items,
    options,
    publish,
    received,
    refusal,
    scene,
    settled,
    subscribe,
    subscription,
    topics,
)
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("to", [BROKER, CONTROLLER])
async def test_requests_that_are_refused(sandbox: Sandbox, to: str) -> None:
    async with scene(sandbox, persist_items="1") as play:
        name, me, other = play.topic, bare(play.subscriber), bare(play.outsider)
        open_to_all, to_presence = form(access_model="open"), form(access_model="presence")
        unsupported = ("modify", "not-acceptable", "unsupported-access-model")
        invalid_jid = ("modify", "bad-request", "invalid-jid")
        node_missing = ("modify", "bad-request", "nodeid-required")
        jid_missing = ("modify", "bad-request", "jid-required")
        not_offered = ("cancel", "feature-not-implemented", "unsupported")
        bad = ("modify", "bad-request", "")
        table = [
            # who, what, type, namespace, outcome
            (play.subscriber, f"<subscribe node='{name}' jid='{other}'/>", "set", PUBSUB, invalid_jid),
            (play.subscriber, f"<subscribe node='{name}' jid='@'/>", "set", PUBSUB, invalid_jid),
            (play.subscriber, f"<subscribe node='{name}'/>", "set", PUBSUB, jid_missing),
            (play.subscriber, f"<subscribe jid='{me}'/>", "set", PUBSUB, node_missing),
            (play.subscriber, f"<subscribe node='{name}' jid='{me}'/>", "get", PUBSUB, bad),
            (play.subscriber, f"<unsubscribe node='{name}' jid='{other}'/>", "set", PUBSUB, invalid_jid),
            (
                play.subscriber, f"<unsubscribe node='{name}' jid='{me}'/>", "set", PUBSUB,
                ("cancel", "unexpected-request", "not-subscribed"),
            ),
            (play.subscriber, f"<items node='{name}'/>", "get", PUBSUB, FORBIDDEN),
            (play.subscriber, f"<create node='{name}'/>", "set", PUBSUB, FORBIDDEN),
            (play.subscriber, f"<configure node='{name}'/>", "get", OWNER, FORBIDDEN),
            (play.subscriber, f"<delete node='{name}'/>", "set", OWNER, FORBIDDEN),
            (play.subscriber, f"<subscriptions node='{name}'/>", "get", OWNER, FORBIDDEN),
            (play.subscriber, f"<affiliations node='{name}'/>", "get", OWNER, FORBIDDEN),
            (play.subscriber, f"<retract node='{name}'><item id='x'/></retract>", "set", PUBSUB, FORBIDDEN),
            (play.subscriber, f"<options node='{name}' jid='{me}'/>", "get", PUBSUB, not_offered),
            (play.publisher, f"<purge node='{name}'/>", "set", OWNER, not_offered),
            (play.publisher, f"<create node='{name}'/>", "set", PUBSUB, ("cancel", "conflict", "")),
            (play.publisher, "<create/>", "set", PUBSUB, ("modify", "not-acceptable", "nodeid-required")),
            (play.publisher, f"<configure node='{name}'>{open_to_all}</configure>", "set", OWNER, unsupported),
            (play.publisher, f"<configure node='{name}'>{to_presence}</configure>", "set", OWNER, unsupported),
            (play.publisher, f"<configure node='{name}'/>", "set", OWNER, bad),
            (
                play.publisher, f"<configure node='{name}'>{form(max_items='100000')}</configure>", "set", OWNER,
                ("modify", "not-acceptable", ""),
            ),
            (
                play.publisher, f"<affiliations node='{name}'><affiliation jid='{other}' affiliation='publisher'/>"
                "</affiliations>", "set", OWNER, FORBIDDEN,
            ),
            (
                play.publisher, f"<subscriptions node='{name}'><subscription jid='{other}' "
                "subscription='subscribed'/></subscriptions>", "set", OWNER, FORBIDDEN,
            ),
            (play.publisher, f"<retract node='{name}'/>", "set", PUBSUB, ("modify", "bad-request", "item-required")),
            (play.publisher, "<nothing/>", "set", PUBSUB, bad),
            (play.publisher, "", "set", PUBSUB, bad),
        ]  # fmt: skip
        for client, content, kind, ns, expected in table:
            answer = await ask(client, content, kind, ns=ns, to=to)
            assert (refusal(answer), answer.sender) == (expected, to), content
        assert (await play.desk.told(name))["subscribers"] == []


async def test_publishing_that_is_refused(sandbox: Sandbox) -> None:
    async with scene(sandbox, persist_items="1") as play:
        name = play.topic
        wrong, right = options(access_model="authorize"), options(access_model="whitelist", persist_items="1")
        item = f"<item id='a'>{INCIDENT}</item>"
        assert refusal(await publish(play.subscriber, name, "a"))[:2] == FORBIDDEN[:2]
        for content, expected in (
            (f"<publish node='{name}'>{item}</publish>{wrong}", ("cancel", "conflict", "precondition-not-met")),
            (
                f"<publish node='{name}'>{item}<item id='b'/></publish>",
                ("modify", "not-acceptable", "max-items-exceeded"),
            ),
            (f"<publish node='{name}'>{item}{item}</publish>", ("modify", "bad-request", "")),
            (f"<publish node='{name}'/>", ("modify", "bad-request", "item-required")),
            (f"<publish>{item}</publish>", ("modify", "bad-request", "nodeid-required")),
        ):
            assert refusal(await ask(play.publisher, content)) == expected, content
        empty = f"<publish node='{name}'><item id='e'/></publish>{right}"
        assert refusal(await ask(play.publisher, empty)) == ("modify", "bad-request", "payload-required")

        rule = await play.desk.permit(bare(play.publisher), "read", name)
        assert ids(await items(play.publisher, name)) == []
        assert refusal(await ask(play.publisher, f"<publish node='{name}'>{item}</publish>{right}")) == FINE
        there = await ask(play.publisher, f"<publish node='{name}'><item>{INCIDENT}</item></publish>", to=CONTROLLER)
        assert refusal(there) == FINE and len(ids(there)[0]) > 8  # the id is made by the controller
        assert ids(await items(play.publisher, name)) == ["a", *ids(there)]
        await play.desk.remove(rule)
        assert refusal(await items(play.publisher, name)) == FORBIDDEN


async def test_retrieving_items(sandbox: Sandbox) -> None:
    async with scene(sandbox, persist_items="1", max_items="4") as play:
        name, client = play.topic, play.subscriber
        await play.desk.permit(bare(client), "read", name)
        for number in range(6):
            assert refusal(await publish(play.publisher, name, f"i{number}")) == FINE
        kept = ["i2", "i3", "i4", "i5"]
        whole = await items(client, name)
        assert ids(whole) == kept
        shown = next(ET.fromstring(whole.payload).iter(f"{{{PUBSUB}}}item"))
        assert [child.tag for child in shown] == [f"{{{IODEF}}}IODEF-Document"]
        assert ids(await items(client, name, max_items=2)) == kept[-2:]
        assert ids(await items(client, name, "<item id='i3'/>")) == ["i3"]
        assert bare(play.publisher) not in whole.payload  # who published is nobody's affair

        pages, after = [], ""
        while True:
            page = await items(client, name, after=f"<set xmlns='{RSM}'><max>3</max>{after}</set>")
            pages.append(ids(page))
            told = {child.tag.partition("}")[2]: child.text for child in ET.fromstring(page.payload).iter()}
            assert told["count"] == "4"
            if len(pages) == 2:
                break
            after = f"<after>{told['last']}</after>"
        assert pages == [kept[:3], kept[3:]]
        last = await items(client, name, after=f"<set xmlns='{RSM}'><max>2</max><before/></set>")
        assert ids(last) == kept[-2:]
        lost = await items(client, name, after=f"<set xmlns='{RSM}'><max>2</max><after>i0</after></set>")
        assert refusal(lost) == NOT_FOUND

        assert refusal(await items(play.outsider, name)) == NOT_FOUND
        await play.subscribe()
        for id, notify in (("i2", "0"), ("i3", "1")):
            retract = f"<retract node='{name}' notify='{notify}'><item id='{id}'/></retract>"
            assert refusal(await ask(play.publisher, retract)) == FINE
        await until(lambda: retracted(client, name) == ["i3"])
        assert ids(await items(client, name)) == ["i4", "i5"]
        gone = await items(client, name, "<item id='i3'/>")
        assert refusal(gone) == NOT_FOUND or ids(gone) == []


def retracted(client: RawClient, topic: str) -> list[str]:
    """The ids of the items that a client was told are taken back."""
    return [
        item.get("id", "")
        for stanza in client.stanzas
        for found in stanza.iter(f"{{{EVENT}}}items")
        if found.get("node") == topic
        for item in found.iter(f"{{{EVENT}}}retract")
    ]


async def test_items_are_kept_only_where_that_is_wanted(sandbox: Sandbox) -> None:
    async with scene(sandbox) as play:
        await play.desk.permit(bare(play.subscriber), "read", play.topic)
        assert refusal(await publish(play.publisher, play.topic, "passing")) == FINE
        assert ids(await items(play.subscriber, play.topic)) == []


async def test_discovery_a_page_at_a_time(sandbox: Sandbox) -> None:
    async with scene(sandbox) as play:
        names = sorted([await play.desk.topic(type=IODEF) for _ in range(5)])
        for name in names:
            await play.desk.permit(bare(play.outsider), "read", name)
        assert await topics(play.outsider) == names == await topics(play.outsider, CONTROLLER)

        async def page(rsm: str) -> tuple[list[str], dict[str, str | None]]:
            query = f"<query xmlns='{ITEMS}'><set xmlns='{RSM}'>{rsm}</set></query>"
            found = ET.fromstring((await ask(play.outsider, query, "get", ns=ITEMS)).payload)
            told = {child.tag.partition("}")[2]: child.text for child in found.iter() if RSM in child.tag}
            return [item.get("node", "") for item in found.iter(f"{{{ITEMS}}}item")], told

        first, told = await page("<max>2</max>")
        assert (first, told["count"], told["last"]) == (names[:2], "5", names[1])
        assert (await page(f"<max>2</max><after>{names[1]}</after>"))[0] == names[2:4]
        assert (await page(f"<max>2</max><after>{names[3]}</after>"))[0] == names[4:]
        assert (await page("<max>2</max><before/>"))[0] == names[3:]
        assert (await page(f"<max>2</max><before>{names[3]}</before>"))[0] == names[1:3]
        assert await page("<max>0</max>") == ([], {"set": None, "count": "5"})


HIDDEN = [
    ("<subscribe node='NODE' jid='JID'/>", "set", PUBSUB),
    ("<unsubscribe node='NODE' jid='JID'/>", "set", PUBSUB),
    ("<items node='NODE'/>", "get", PUBSUB),
    ("<items node='NODE'><item id='one'/></items>", "get", PUBSUB),
    ("<subscriptions node='NODE'/>", "get", PUBSUB),
    ("<affiliations node='NODE'/>", "get", PUBSUB),
    ("<options node='NODE' jid='JID'/>", "get", PUBSUB),
    ("<default node='NODE'/>", "get", PUBSUB),
    ("<retract node='NODE'><item id='one'/></retract>", "set", PUBSUB),
    ("<create node='NODE'/>", "set", PUBSUB),
    ("<configure node='NODE'/>", "get", OWNER),
    (f"<configure node='NODE'>{form(title='x')}</configure>", "set", OWNER),
    ("<delete node='NODE'/>", "set", OWNER),
    ("<purge node='NODE'/>", "set", OWNER),
    ("<subscriptions node='NODE'/>", "get", OWNER),
    ("<affiliations node='NODE'/>", "get", OWNER),
    (f"<query xmlns='{INFO}' node='NODE'/>", "get", INFO),
    (f"<query xmlns='{ITEMS}' node='NODE'/>", "get", ITEMS),
    (f"<publish node='NODE'><item id='x'>{INCIDENT}</item></publish>", "set", PUBSUB),
    ("<publish node='NODE'><item id='x'/></publish>", "set", PUBSUB),
    ("<publish node='NODE'/>", "set", PUBSUB),
    ("<publish node='NODE'><item/><item/></publish>", "set", PUBSUB),
    (f"<publish node='NODE'><item/></publish>{options(title='x')}", "set", PUBSUB),
]


async def test_what_is_hidden_appears_nowhere(sandbox: Sandbox) -> None:
    """Whoever has no right on a topic cannot tell it from one that there is not."""
    async with scene(sandbox, persist_items="1") as play:
        assert refusal(await subscribe(play.subscriber, play.topic)) == FINE
        await play.publish("one")
        for content, kind, ns in HIDDEN:
            request = content.replace("JID", bare(play.outsider))
            seen = await ask(play.outsider, request.replace("NODE", play.topic), kind, ns=ns)
            unseen = await ask(play.outsider, request.replace("NODE", f"{play.topic}x"), kind, ns=ns)
            assert (refusal(seen), seen.text) == (refusal(unseen), unseen.text), content
            assert seen.payload.replace(play.topic, f"{play.topic}x") == unseen.payload, content
        for found in (await topics(play.outsider), await topics(play.outsider, CONTROLLER)):
            assert play.topic not in found
        everything = await ask(play.outsider, "<subscriptions/>", "get")
        assert play.topic not in everything.payload
        assert play.topic not in (await ask(play.outsider, "<affiliations/>", "get")).payload
        await settled(play.outsider)
        assert events(play.outsider, play.topic) == []


async def test_nobody_is_told_who_owns_and_publishes(sandbox: Sandbox) -> None:
    async with scene(sandbox, type=IODEF, title="About hosts") as play:
        assert refusal(await subscribe(play.subscriber, play.topic)) == FINE
        for client in (play.publisher, play.subscriber):
            told = await info(client, play.topic)
            found = ET.fromstring(told.payload)
            values = {
                field.get("var"): field.findtext(f"{{{DATA}}}value") for field in found.iter(f"{{{DATA}}}field")
            }
            assert values["FORM_TYPE"] == f"{PUBSUB}#meta-data"
            assert (values["pubsub#type"], values["pubsub#title"]) == (IODEF, "About hosts")
            for jid in (play.publisher, play.subscriber, play.outsider):
                assert bare(jid) not in told.payload.replace(f'to="{jid.jid}"', "")
            assert CONTROLLER not in told.payload


async def test_subscriptions_of_a_node(sandbox: Sandbox) -> None:
    """One of a full JID is one of the account; each session is told once; lists say what there is."""
    async with scene(sandbox) as play:
        name, jid = play.topic, bare(play.subscriber)
        first = await subscribe(play.subscriber, name, jid=play.subscriber.jid)
        assert subscription(first) == {"node": name, "jid": jid, "subscription": "subscribed"}
        async with play.desk.online(jid, "second") as second:
            again = await subscribe(second, name, jid=second.jid)
            assert subscription(again) == subscription(first)
            for client in (play.subscriber, second):
                assert subscription(await ask(client, f"<subscriptions node='{name}'/>", "get"))["jid"] == jid
            assert refusal(await publish(play.publisher, name, "once")) == FINE
            await received(play.subscriber, name, "once")
            await received(second, name, "once")

        mine = await ask(play.subscriber, "<affiliations/>", "get")
        assert f'node="{name}"' in mine.payload and 'affiliation="member"' in mine.payload
        assert 'affiliation="publisher"' in (await ask(play.publisher, "<affiliations/>", "get")).payload
        assert (await play.desk.told(name))["subscribers"] == [jid]
        owned = await ask(play.publisher, f"<subscriptions node='{name}'/>", "get", ns=OWNER)
        assert f'jid="{jid}"' in owned.payload and 'subscription="subscribed"' in owned.payload

        left: Answer = await ask(play.subscriber, f"<unsubscribe node='{name}' jid='{play.subscriber.jid}'/>")
        assert refusal(left) == FINE
        assert refusal(await publish(play.publisher, name, "late")) == FINE
        await received(play.subscriber, name, "once")


async def test_the_same_at_the_address_of_the_controller(sandbox: Sandbox) -> None:
    """What is asked there is answered from there; what is published reaches those who subscribed."""
    async with scene(sandbox) as play:
        other = play.desk.name()
        await play.desk.permit(bare(play.publisher), "publish", other)
        await play.desk.permit(bare(play.outsider), "subscribe", other)
        made = f"<create node='{other}'/><configure>{form(type=IODEF)}</configure>"
        assert refusal(await ask(play.publisher, made, to=CONTROLLER)) == FINE
        assert await topics(play.outsider, CONTROLLER) == [other]
        assert subscription(await subscribe(play.outsider, other, to=CONTROLLER))["subscription"] == "subscribed"
        sent = f"<publish node='{other}'><item id='there'>{INCIDENT}</item></publish>"
        assert refusal(await ask(play.publisher, sent, to=CONTROLLER)) == FINE
        assert refusal(await publish(play.publisher, other, "here")) == FINE
        await received(play.outsider, other, "there", "here")
        broken = sent.replace("version=", "edition=")
        assert refusal(await ask(play.publisher, broken, to=CONTROLLER))[:2] == ("modify", "bad-request")
        assert refusal(await ask(play.publisher, f"<delete node='{other}'/>", ns=OWNER, to=CONTROLLER)) == FINE
        assert await topics(play.outsider, CONTROLLER) == []
