"""Topics, their versions, who provides them, who has subscribed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from component.base.errors import Conflict, InputError, NotFound
from grid.iodef import V2
from grid.model import AccessModel, Action, Payload, Provider, Right, Subscribed, Topic
from grid.topics import MemberChange, MemberEvent, TopicChange
from grid.topics_names import covers, name_of, topic_name, topic_or_subtopic, topic_pattern
from tests.unit.grid.registrykit import Registries, node, registries

XSD = b"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">
<xs:element name="a" type="xs:int"/></xs:schema>"""


async def host(here: Registries, version: str = "1.0") -> str:
    change = await here.topics.add("root", Topic("", "Host", version, type="urn:x"))
    return str(change.data["topic"])


async def test_incidents_are_built_in(tmp_path: Path) -> None:
    for _ in range(2):
        async with registries(tmp_path) as here:
            (topic,) = here.topics.all()
            assert (topic.name, topic.capability, topic.version, topic.type) == ("IODEF-1.0", "IODEF", "1.0", V2)
            assert (await here.actions()) == [("system:start", "topic.added", "IODEF-1.0")]
            with pytest.raises(Conflict, match="built in"):
                await here.topics.delete("root", "IODEF-1.0")


async def test_versions_live_side_by_side(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        for version in ("1.10", "1.9", "1.9-beta"):
            await host(here, version)
        other = Topic(name_of("Host", "1.9", "wide"), "Host", "1.9", type="urn:y")
        await here.topics.add("root", other)
        assert [topic.name for topic in here.topics.versions("Host")] == [
            "Host-1.9", "Host-1.9-wide", "Host-1.9-beta", "Host-1.10",
        ]  # fmt: skip
        with pytest.raises(Conflict):
            await host(here, "1.9")


async def test_a_free_name_stays_as_it_is(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        await here.topics.add("soc1@grid.test", Topic("MILEHost", "", type=V2, creator="soc1@grid.test"))
        topic = here.topics.known("MILEHost")
        assert (topic.capability, topic.version, topic.creator) == ("MILEHost", "", "soc1@grid.test")
        assert ("soc1@grid.test", "topic.added", "MILEHost") in await here.actions()


async def test_everything_is_there_again(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        wanted = Topic(
            "", "Host", "1.0", "urn:x", "Hosts", cacheable=False, persist=7, access_model=AccessModel.AUTHORIZE,
            honeytoken=True,
        )  # fmt: skip
        await here.topics.add("root", wanted, schema=XSD)
        await here.topics.enroll(Provider("soc1@grid.test", "Host-1.0", ("b", "a"), ("n",)))
        await here.topics.subscribe("soc2@grid.test", "Host-1.0", Subscribed.PENDING)
        await here.topics.plant("root", "Host-1.0", "it em/1")
        before = here.topics.all(), here.topics.subscriptions(), here.topics.providers("Host-1.0")
    async with registries(tmp_path) as here:
        assert (here.topics.all(), here.topics.subscriptions(), here.topics.providers("Host-1.0")) == before
        assert here.topics.honeytokens == {"Host-1.0": {"it em/1"}}
        assert here.topics.providers("Host-1.0")["soc1@grid.test"].queries == ("a", "b")
        topic = here.topics.known("Host-1.0")
        assert topic.schema and here.topics.schemas.get(topic.schema) is not None
        await here.topics.delete("root", "Host-1.0")
        assert here.topics.schemas.get(topic.schema) is None and not here.topics.honeytokens
        assert here.topics.subscriptions() == [] and here.topics.find("a") == []
    async with registries(tmp_path) as here:
        assert [topic.name for topic in here.topics.all()] == ["IODEF-1.0"]


async def test_providers_are_found_by_every_name(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        await host(here)
        await host(here, "2.0")
        await here.topics.enroll(Provider("b@grid.test", "Host-1.0", ("whois",)))
        await here.topics.enroll(Provider("a@grid.test", "Host-2.0", ("whois", "dns")))
        found = {name: [each.jid for each in here.topics.find(name)] for name in ("Host", "Host-1.0", "whois", "dns")}
        assert found == {
            "Host": ["b@grid.test", "a@grid.test"], "Host-1.0": ["b@grid.test"],
            "whois": ["b@grid.test", "a@grid.test"], "dns": ["a@grid.test"],
        }  # fmt: skip
        assert here.topics.find("nothing") == [] and here.topics.find("host") == []
        await here.topics.enroll(Provider("a@grid.test", "Host-2.0", ("dns",)))
        assert [each.jid for each in here.topics.find("whois")] == ["b@grid.test"]
        assert [topic.name for topic in here.topics.provided("a@grid.test")] == ["Host-2.0"]
        assert await here.topics.withdraw("a@grid.test", "Host-2.0")
        assert not await here.topics.withdraw("a@grid.test", "Host-2.0") and here.topics.find("dns") == []


async def test_subscriptions_from_asking_to_the_end(tmp_path: Path) -> None:
    heard: list[MemberChange] = []

    async def listener(change: MemberChange) -> None:
        heard.append(change)

    async with registries(tmp_path) as here:
        here.topics.member_listeners.append(listener)
        name = await host(here)
        asked = await here.topics.subscribe("soc1@grid.test", name, Subscribed.PENDING)
        assert await here.topics.subscribe("soc1@grid.test", name, Subscribed.PENDING) is asked
        assert (await here.topics.subscribe("soc1@grid.test", name, Subscribed.SUBSCRIBED)).since == asked.since
        await here.topics.subscribe("soc2@grid.test", name, Subscribed.SUBSCRIBED)
        assert [each.jid for each in here.topics.subscriptions(topic=name)] == ["soc1@grid.test", "soc2@grid.test"]
        assert [each.topic for each in here.topics.subscriptions(jid="soc2@grid.test")] == [name]
        assert await here.topics.unsubscribe("soc2@grid.test", name)
        assert not await here.topics.unsubscribe("soc2@grid.test", name)
        await here.topics.drop("soc1@grid.test")
        await here.topics.drop("soc1@grid.test")
        assert here.topics.subscriptions() == []
        assert [each.what for each in heard] == [
            MemberEvent.PENDING, MemberEvent.SUBSCRIBED, MemberEvent.SUBSCRIBED, MemberEvent.UNSUBSCRIBED,
            MemberEvent.UNSUBSCRIBED,
        ]  # fmt: skip
        assert ("soc1@grid.test", "topic.pending", name) in await here.actions()
        with pytest.raises(NotFound):
            await here.topics.subscribe("soc1@grid.test", "Nothing", Subscribed.SUBSCRIBED)
        with pytest.raises(InputError):
            await here.topics.subscribe("soc1@grid.test/x", name, Subscribed.SUBSCRIBED)
        with pytest.raises(InputError):
            await here.topics.enroll(Provider("soc1@grid.test", name, ("x\ny",)))


async def test_disabling_keeps_what_is_there_and_tells_who_loses(tmp_path: Path) -> None:
    heard: list[TopicChange] = []

    async def listener(change: TopicChange) -> None:
        heard.append(change)

    async with registries(tmp_path, [node("soc1@grid.test")]) as here:
        here.topics.listeners.append(listener)
        await here.access.permit("root", "soc1@grid.test", "sensor", "*")
        right = Right("soc1@grid.test", Action.PUBLISH, "Host-1.0")
        assert (await here.topics.add("root", Topic("", "Host", "1.0"), dry_run=True)).gains == (right,)
        assert here.topics.get("Host-1.0") is None
        name = await host(here)
        await here.topics.subscribe("soc2@grid.test", name, Subscribed.SUBSCRIBED)
        tried = await here.topics.disable("root", name, dry_run=True)
        assert tried.loses == (right,) and "1 subscriber and 0 providers" in tried.summary
        assert here.topics.known(name).enabled
        assert (await here.topics.disable("root", name)).loses == (right,)
        assert not here.topics.known(name).enabled and len(here.topics.subscriptions(topic=name)) == 1
        again = await here.topics.disable("root", name)
        assert "already" in again.summary and again.epoch == here.epochs.current
        assert (await here.topics.enable("root", name)).gains == (right,)
        await here.topics.delete("root", name)
        states = [(each.name, each.after.enabled if each.after else None) for each in heard]
        assert states == [(name, True), (name, False), (name, True), (name, None)]
        assert heard[-1].subscribers == ("soc2@grid.test",)
        assert [each.epoch for each in heard] == sorted({each.epoch for each in heard})
        for change in (here.topics.enable, here.topics.disable, here.topics.delete):
            with pytest.raises(NotFound):
                await change("root", name)


async def test_configuring_keeps_the_identity(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        name = await host(here)
        old = here.topics.known(name)
        wanted = replace(old, title="Hosts", persist=5, capability="Other", version="9", enabled=False, creator="x@y")
        assert "title, persist" in (await here.topics.configure("root", wanted, dry_run=True)).summary
        await here.topics.configure("root", wanted)
        new = here.topics.known(name)
        assert new == replace(old, title="Hosts", persist=5, epoch=here.epochs.current)
        await here.topics.configure("root", replace(new, access_model=AccessModel.AUTHORIZE), schema=XSD)
        assert here.topics.known(name).schema
        assert "like that already" in (await here.topics.configure("root", here.topics.known(name))).summary


@pytest.mark.parametrize(
    "topic",
    [
        Topic("", ""),
        Topic("a/b", ""),
        Topic("a b", ""),
        Topic("", "Host", "1 0"),
        Topic("", "Host", "1.0/2"),
        Topic("x" * 129, ""),
        Topic("ä" * 40, ""),
        Topic("a*", ""),
        Topic("\u202egnp", ""),
        Topic("A", "", type="urn:x y"),
        Topic("A", "", type="<x/>"),
        Topic("A", "", title="a\nb"),
        Topic("A", "", persist=257),
        Topic("A", "", persist=-1),
        Topic("A", "", restricted=True),
        Topic("A", "", schema="0" * 64),
    ],
)
async def test_a_topic_that_cannot_be_is_refused(tmp_path: Path, topic: Topic) -> None:
    async with registries(tmp_path) as here:
        with pytest.raises(InputError) as caught:
            await here.topics.add("root", topic)
        assert caught.value.message.isprintable() and len(here.topics.all()) == 1


async def test_a_schema_must_be_one_and_fit(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        for topic, schema in (
            (Topic("A", "", type="urn:x"), b"<a/>"),
            (Topic("A", "", type="urn:other"), XSD),
            (Topic("A", "", payload=Payload.JSON), XSD),
            (Topic("A", "", payload=Payload.TEXT), XSD),
            (Topic("A", "", payload=Payload.XML), b"{}"),
        ):
            with pytest.raises(InputError):
                await here.topics.add("root", topic, schema=schema)
        await here.topics.add("root", Topic("A", "", type="urn:x"), schema=XSD)
        shared = replace(here.topics.known("A"), name="B", capability="")
        await here.topics.add("root", shared)
        await here.topics.delete("root", "A")
        assert here.topics.schemas.get(shared.schema) is not None


async def test_honeytokens_are_one_mapping_for_good(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        seen = here.topics.honeytokens
        assert await here.topics.plant("root", "IODEF-1.0", "x") and not await here.topics.plant(
            "root", "IODEF-1.0", "x"
        )
        await here.topics.load()
        assert seen == {"IODEF-1.0": {"x"}}
        assert await here.topics.unearth("root", "IODEF-1.0", "x") and not await here.topics.unearth(
            "root", "IODEF-1.0", "x"
        )
        assert seen == {}
        with pytest.raises(InputError):
            await here.topics.plant("root", "IODEF-1.0", "a\nb")


def test_names() -> None:
    for name in ("IODEF-1.0", "urn:ietf:params:xml:ns:iodef-2.0", "a", "Ünïcode", "x" * 128, "a_b+c~d=e@f"):
        assert topic_name(name) == topic_or_subtopic(name) == topic_pattern(name) == name
    assert topic_or_subtopic("A/b/c") == "A/b/c"
    assert topic_pattern("a**b***") == "a*b*"
    for wrong in ("", "IO[DEF", "IO[DEF*", "a//b*"):
        with pytest.raises(InputError, match=r"\* stands for any characters"):
            topic_pattern(wrong)
    assert covers("A", "A/x") and covers("A*", "AB/x/y") and covers("*-1", "A-1/x")
    assert not covers("A", "AB") and not covers("A/x", "A") and not covers("A/x", "A/xy")
