"""``guard: everything``: who is not allowed can send a device nothing at all; a device talks to its own server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from component.base.pluginstatus import Guard
from stanzagate.plugin import Plugin
from stanzagate.sandbox.control import Parts
from tests.interop.cast import (
    ADDRESS,
    BAD_REQUEST,
    CPE1,
    FORBIDDEN,
    OVERLOAD,
    PASSED,
    TARGET,
    UNDECIDED,
    outcome,
)
from tests.interop.conftest import KINDS, Sandbox, bare_sandbox
from tests.interop.floods import asked, from_spare, kinds, streaming
from tests.interop.plugin import Policy, addressed, component, parsed, raw, recorder, request
from tests.interop.remote import REMOTE, sender
from tests.interop.shapes import SHAPES
from tests.interop.shells import plugin_status

PING = "<ping xmlns='urn:xmpp:ping'/>"
BODY = "<body>hello <![CDATA[<you>]]></body><x xmlns='urn:x'><y a='1'> </y></x>"
ERROR = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"

LOUD = (
    *(("message", kind, BODY) for kind in ("chat", "normal", "headline", "groupchat")),
    ("presence", "", "<show>away</show>"),
    *(("presence", kind, "") for kind in ("unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed")),
    ("presence", "probe", ""),
    ("iq", "get", PING),
    ("iq", "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
    ("iq", "set", "<query xmlns='jabber:iq:roster'><item jid='rogue@acs.test'/></query>"),
    ("iq", "set", "<x xmlns='urn:x'/>"),
)
SILENT = (("message", "error", ERROR), ("presence", "error", ERROR), ("iq", "error", ERROR), ("iq", "result", ""))
"""What is never answered."""

CACHE_SIZE = 500
FLOOD = 8_000
STRANGERS = {
    "rogue": "",
    "acs2": "",  # may wake another device
    "cpe2": "",  # a device of the same host
    "component": "rogue@spare1.test/r",
    "remote": f"rogue@{REMOTE}/r",
}


@pytest.fixture(scope="module", params=KINDS)
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that guards everything and keeps few decisions; acs2 may wake the second device and no other."""
    parts = frozenset({Parts.SERVER, Parts.SERVE})
    folder = tmp_path_factory.mktemp(request.param)
    with bare_sandbox(
        folder, request.param, Plugin(guard=Guard.EVERYTHING, cache_size=CACHE_SIZE), parts=parts
    ) as running:
        Policy(running).add(("deny", "acs2@acs.test", CPE1), ("allow", "acs2@acs.test", "cpe2@cpe.test"))
        yield running


def written(name: str, kind: str, content: str, id: str, to: str) -> str:
    type_ = f" type='{kind}'" if kind else ""
    return f"<{name}{type_} id='{id}' to='{to}'>{content}</{name}>"


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_stranger_can_send_a_device_nothing(closed: Sandbox, tmp_path: Path, name: str) -> None:
    address = STRANGERS[name]
    places = (TARGET, CPE1, f"{CPE1}/other")
    loud = {
        f"{n}.{place}": written(*shape, f"{n}.{place}", place) for n, shape in enumerate(LOUD) for place in places
    }
    silent = [written(*shape, "silent", place) for shape in SILENT for place in places]
    stanzas = [*loud.values(), *silent, *(shape.written("shape", "") for shape in SHAPES)]
    async with recorder(closed, 1) as cpe, raw(closed, "acs1") as acs1:
        async with sender(closed, name, tmp_path) as wire:
            await wire.send(*(addressed(xml, address) if address else xml for xml in stanzas))
            last = f"<iq type='get' id='last' to='{TARGET}'>{PING}</iq>"
            assert outcome(await wire.ask(addressed(last, address) if address else last)) == FORBIDDEN
            await acs1.ask(request(TARGET, "marker"))
            told = {id: {outcome(answer) for answer in wire.answers.get(id, [])} for id in loud}
            subscriptions = {
                id for id, xml in loud.items() if "subscribe'" in xml or "subscribed'" in xml or "probe'" in xml
            }
            assert {id: answers for id, answers in told.items() if answers != {FORBIDDEN}}.keys() <= subscriptions
            assert all(answers <= {FORBIDDEN} for answers in told.values())
            assert "silent" not in wire.answers
        assert [asked.id for asked in cpe.requests] == ["marker"]
        assert cpe.others == []


async def test_those_who_may_wake_a_device_may_talk_to_it(closed: Sandbox) -> None:
    talk = [
        written(*shape, str(number), TARGET)
        for number, shape in enumerate((*LOUD, *SILENT))
        if shape[1] not in ("groupchat", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe")
    ]
    async with recorder(closed, 1) as cpe, raw(closed, "acs1") as acs1:
        await acs1.send(*talk)
        assert outcome(await acs1.ask(request(TARGET, "first"))) == ("", "")
        assert [in_short(stanza) for stanza in cpe.others] == [in_short(stanza.encode()) for stanza in talk]
        assert outcome(await acs1.ask(f"<iq type='set' id='bad' to='{TARGET}'>{PAYLOAD}</iq>")) == BAD_REQUEST
        assert (await acs1.ask(request("cpe1\\40cpe.test@cr.cpe.test", "gate", "", ""))).type == "result"
        assert [asked.sender for asked in cpe.requests] == [acs1.jid, ADDRESS]


PAYLOAD = request(TARGET, "").partition(">")[2].removesuffix("</iq>")


def in_short(stanza: bytes) -> tuple[object, ...]:
    """What must arrive unchanged. ejabberd writes the children in another order, and leaves ``type='normal'`` out."""
    element = parsed(stanza)
    inner = sorted((item.tag, str(item.attrib), item.text or "") for child in element for item in child.iter())
    return element.tag, element.get("type", "normal"), element.get("id"), inner


async def test_a_device_talks_to_its_server_and_to_itself(closed: Sandbox) -> None:
    async with recorder(closed, 1) as cpe, raw(closed, "cpe1", "other") as other:
        await other.send(f"<message id='own' type='chat' to='{TARGET}'>{BODY}</message>")
        await cpe.until(lambda: any(b"'own'" in stanza for stanza in cpe.others))
        assert outcome(await other.ask(request(TARGET, "payload"))) == FORBIDDEN
        for id, xml in {
            "roster": "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>",
            "server": f"<iq type='get' id='server' to='cpe.test'>{PING}</iq>",
            "account": f"<iq type='get' id='account' to='{CPE1}'><x xmlns='urn:x'/></iq>",
            "nobody": f"<iq type='get' id='nobody' to='{CPE1}/nobody'>{PING}</iq>",
        }.items():
            await cpe.send(xml)
            await cpe.until(lambda id=id: any(parsed(stanza).get("id") == id for stanza in cpe.others))  # type: ignore[misc]
        answers = {parsed(stanza).get("id"): parsed(stanza).get("type") for stanza in cpe.others}
        assert (answers["roster"], answers["server"]) == ("result", "result")
        assert (answers["account"], answers["nobody"]) == ("error", "error")


async def test_a_flood_of_strangers_neither_fills_the_cache_nor_stops_those_who_are_allowed(closed: Sandbox) -> None:
    policy = Policy(closed)
    ids = [f"s{number}" for number in range(FLOOD)]
    async with recorder(closed, 1) as cpe, raw(closed, "acs1") as acs1, component(closed) as spare:
        await acs1.ask(request(TARGET, "before"))
        before = asked(policy, "allow")
        async with streaming(acs1) as stream:
            await spare.send(*(from_spare(id, id) for id in ids))
            answers = kinds(await spare.answered(*ids))
            await stream.pause()
        assert set(answers) <= {FORBIDDEN, OVERLOAD, UNDECIDED}
        assert answers[FORBIDDEN] > CACHE_SIZE
        assert all(len(spare.answers[id]) == 1 for id in ids)
        assert kinds(stream.answers) == {PASSED: len(stream.sent)}
        assert len(stream.sent) > 10
        assert [seen.id for seen in cpe.requests] == ["before", *stream.sent]
        assert asked(policy, "allow") == before  # it was never pushed out
        assert cpe.others == []
    told = plugin_status(closed, "cpe.test")
    cached = re.search(r"cached\W+(\d+)", told)
    assert cached is not None
    assert CACHE_SIZE // 2 < int(cached[1]) <= CACHE_SIZE
    assert not re.search(r"crashed\W+[1-9]", told)
