"""Other ways to a device than a raw request: two libraries, other spellings, presence, rosters, storage for later."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.cast import ADDRESS, BAD_REQUEST, CPE1, FORBIDDEN, OFFLINE, PASSED, TARGET, outcome
from tests.interop.clients import Answer, client
from tests.interop.conftest import Sandbox
from tests.interop.plugin import Policy, Recorder, Wire, addressed, component, parsed, raw, recorder, request
from tests.interop.remote import REMOTE, remote, sender
from tests.interop.shapes import OK

GATEWAY = "cpe1\\40cpe.test@cr.cpe.test"


@pytest.mark.parametrize("library", ["slixmpp", "aioxmpp"])
async def test_ordinary_requesters(sandbox: Sandbox, library: str) -> None:
    async def ask(name: str, to: str, username: str, password: str, type: str = "get") -> Answer:
        row = sandbox.account(name)
        async with client(library, row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as requester:
            return await requester.request(to, username, password, type=type)

    async with recorder(sandbox, 1) as cpe:
        assert (await ask("acs1", TARGET, "me", "<secret>")).type == "result"
        assert cpe.requests[0][-2:] == ("me", "<secret>")
        assert outcome(await ask("acs1", TARGET, "me", "secret", type="set")) == BAD_REQUEST
        assert outcome(await ask("acs1", CPE1, "me", "secret")) == OFFLINE
        for name in ("acs3", "rogue"):
            assert outcome(await ask(name, TARGET, "me", "secret")) == FORBIDDEN
        assert (await ask("acs1", GATEWAY, "", "")).type == "result"
        assert [asked.sender == ADDRESS for asked in cpe.requests] == [False, True]
        assert cpe.others == []


@pytest.mark.parametrize("spelt", ["ACS1@acs.test", "acs1@ACS.TEST", "\uff41\uff43\uff53\uff11@acs.test"])
async def test_requesters_are_known_however_they_write_their_names(sandbox: Sandbox, spelt: str) -> None:
    """Who logs in under another spelling is the same requester, and who is denied stays denied."""
    async with recorder(sandbox, 1) as cpe:
        async with raw(sandbox, "acs1", "\uff52", spelt=spelt) as acs1:
            assert outcome(await acs1.ask(request(TARGET, "spelt"))) == PASSED
        with Policy(sandbox).holding(("deny", "acs1@acs.test/r", CPE1)):
            async with raw(sandbox, "acs1", "\uff52", spelt=spelt) as acs1:
                assert outcome(await acs1.ask(request(TARGET, "denied"))) == FORBIDDEN
            async with raw(sandbox, "acs1", "R", spelt=spelt) as acs1:
                assert outcome(await acs1.ask(request(TARGET, "another"))) == PASSED
        assert [(asked.sender, asked.id) for asked in cpe.requests] == [
            ("acs1@acs.test/r", "spelt"),
            ("acs1@acs.test/R", "another"),
        ]


async def test_a_decision_is_for_one_requester_and_one_device(sandbox: Sandbox) -> None:
    """What is known of one is not taken for another, however alike they are."""
    with Policy(sandbox).holding(("allow", "acs@spare1.test/only", CPE1)):
        async with recorder(sandbox, 1) as cpe, recorder(sandbox, 2) as other, component(sandbox) as spare:
            for turn in ("asked", "cached"):
                for number, (address, to, expected) in enumerate((
                    ("acs@spare1.test/only", TARGET, PASSED),
                    ("acs@spare1.test/onlyX", TARGET, FORBIDDEN),
                    ("acs@spare1.test/ONLY", TARGET, FORBIDDEN),
                    ("acs@spare1.test", TARGET, FORBIDDEN),
                    ("acs@spare1.test/only/only", TARGET, FORBIDDEN),
                    ("acs1@spare1.test/only", TARGET, FORBIDDEN),
                    ("spare1.test/only", TARGET, FORBIDDEN),
                    ("acs@spare1.test/only", "cpe2@cpe.test/tr069", FORBIDDEN),
                    ("acs@spare1.test/only", "cpe11@cpe.test/tr069", FORBIDDEN),
                    ("acs@spare1.test/only", TARGET, PASSED),
                )):  # fmt: skip
                    answer = await spare.ask(addressed(request(to, f"{turn}-{number}"), address))
                    assert outcome(answer) == expected, (turn, address, to)
            assert {asked.sender for asked in cpe.requests} == {"acs@spare1.test/only"}
            assert len(cpe.requests) == 4
            assert (other.requests, other.others) == ([], [])


@pytest.mark.parametrize("name", ["acs2", "acs3", "cpe4"])
async def test_presence_with_a_payload_does_not_reach_those_who_subscribed(sandbox: Sandbox, name: str) -> None:
    """A device that sees the presence of others gets none with a payload: not sent to all, and not kept for later."""
    bare = sandbox.account(name)["jid"].partition("/")[0]
    async with raw(sandbox, name) as other, raw(sandbox, "acs1") as acs1:
        await other.send("<presence/>")
        async with recorder(sandbox, 1) as cpe:
            await subscribed(cpe, bare, other)
            await other.ask(request(TARGET, "known"))  # from here on it is decided without asking
            await other.send(f"<presence><x xmlns='urn:x'>{OK}</x></presence>", presence("first"))
            await cpe.until(lambda: cpe.others and b"first" in cpe.others[-1])
            await other.send(f"<presence>{OK}</presence>", f"<presence type='unavailable'>{OK}</presence>")
            await other.send(presence("second"), f"<presence>{OK}</presence>")
            await cpe.until(lambda: b"second" in cpe.others[-1])
            assert cpe.payloads() == []
        async with recorder(sandbox, 1) as cpe:  # it is told the last presence of everybody
            await other.ask(request(TARGET, "settled"))
            await acs1.ask(request(TARGET, "marker"))
            assert cpe.payloads() == []
            assert [asked.id for asked in cpe.requests if asked.sender == acs1.jid] == ["marker"]
            await cpe.send(f"<presence type='unsubscribe' to='{bare}'/>")


async def subscribed(cpe: Recorder, bare: str, other: Wire) -> None:
    """Have a device see the presence of somebody."""
    await cpe.send(f"<presence type='subscribe' to='{bare}'/>")
    await other.until(lambda: any(parsed(stanza).get("type") == "subscribe" for stanza in other.kept))
    await other.send(f"<presence type='subscribed' to='{CPE1}'/>", presence("seen"))
    await cpe.until(lambda: any(b"seen" in stanza for stanza in cpe.others))


def presence(status: str) -> str:
    return f"<presence><status>{status}</status></presence>"


async def test_the_other_sessions_of_a_device_pass_no_payload_on(sandbox: Sandbox) -> None:
    """What has no address goes to all sessions of the account, and so does its presence."""
    stanzas = (
        f"<presence>{OK}</presence>",
        f"<message type='chat' id='m'>{OK}</message>",
        f"<message type='headline'><x xmlns='urn:x'>{OK}</x></message>",
        f"<iq type='get' id='i'>{OK}</iq>",
        f"<iq type='set' id='s'>{OK}</iq>",
        f"<presence type='unavailable'>{OK}</presence>",
    )
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "cpe1", "other") as other, raw(sandbox, "acs1") as acs1:
        for _ in range(2):  # the second time the decision is known
            await other.send(*stanzas)
            assert outcome(await other.ask(request(TARGET, "last"))) == FORBIDDEN
            del other.answers["last"]
        await acs1.ask(request(TARGET, "marker"))
        assert cpe.payloads() == []
        assert [asked.id for asked in cpe.requests] == ["marker"]


@pytest.mark.parametrize("via", ["component", "remote"])
async def test_nobody_speaks_as_another(sandbox: Sandbox, tmp_path: Path, via: str) -> None:
    """The server holds components and remote servers to their own domains; the plugin relies on that."""
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1:
        for address in (ADDRESS, "cr.cpe.test", acs1.jid, "cpe.test", TARGET):
            async with sender(sandbox, via, tmp_path) as liar:
                await liar.send(addressed(request(TARGET, "lie"), address))
                await liar.send(addressed(request(TARGET, "truth"), f"rogue@{liar.jid}/r"))
                await liar.until(lambda liar=liar: liar.ended or liar.answers)  # type: ignore[misc]
        await acs1.ask(request(TARGET, "marker"))
        assert [asked.id for asked in cpe.requests] == ["marker"]
        assert cpe.others == []


INSIDE = (
    *(
        f"<message type='chat' to='{TARGET}'><{name}>text{OK}</{name}></message>"
        for name in ("body", "subject", "thread")
    ),
    *(f"<presence to='{TARGET}'><{name}>1{OK}</{name}></presence>" for name in ("show", "status", "priority")),
    *(
        f"<{name} type='error' id='e' to='{TARGET}'><error type='cancel'>"
        f"<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{OK}</gone>{OK}</error></{name}>"
        for name in ("iq", "message", "presence")
    ),
    f"<message to='{TARGET}'><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'>{OK}</delay></message>",
    f"<iq type='set' id='r' to='{TARGET}'><query xmlns='jabber:iq:roster'><item jid='a@b.c'>{OK}</item></query></iq>",
    f"<iq type='get' to='{TARGET}'>{OK}</iq>",  # without an id nobody could answer
)


@pytest.mark.parametrize("name", ["acs1", "rogue", "component", "remote"])
async def test_no_payload_hides_in_what_servers_read_themselves(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """Whether the server takes the payload out or the plugin refuses the whole, the device never sees it."""
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, sender(sandbox, name, tmp_path) as wire:
        address = f"x@{wire.jid}/r" if "@" not in wire.jid else ""
        for stanza in (*INSIDE, request(TARGET, "last")):
            await wire.send(addressed(stanza, address) if address else stanza)
        await wire.answered("last")
        await acs1.ask(request(TARGET, "marker"))
        assert cpe.payloads() == []
        assert [asked.id for asked in cpe.requests] == (["last", "marker"] if name == "acs1" else ["marker"])


async def test_a_prefix_that_the_stream_declared(sandbox: Sandbox, tmp_path: Path) -> None:
    content = "<cr:connectionRequest><cr:username>u</cr:username><cr:password>p</cr:password></cr:connectionRequest>"
    stanzas = (
        f"<iq type='get' id='iq' to='{TARGET}'>{content}</iq>",
        f"<message id='message' to='{TARGET}'>{content}</message>",
    )
    async with recorder(sandbox, 1) as cpe, remote(sandbox, tmp_path) as peer:
        await peer.send(*(addressed(stanza, f"rogue@{REMOTE}/r") for stanza in stanzas))
        assert {outcome(answer) for answer in await peer.answered("iq", "message")} == {FORBIDDEN}
        with Policy(sandbox).holding(("allow", f"acs@{REMOTE}", CPE1)):
            peer.answers.clear()
            await peer.send(*(addressed(stanza, f"acs@{REMOTE}/r") for stanza in stanzas))
            iq, message = await peer.answered("iq", "message")
            assert outcome(message) == BAD_REQUEST
            assert [asked.id for asked in cpe.requests] == ([] if outcome(iq) == BAD_REQUEST else ["iq"])
        assert cpe.others == []


async def test_strange_ids_come_back_as_they_were(sandbox: Sandbox) -> None:
    ids = ("'\"&<>", "\u2028\u202e\U0001f512", "i" * 1_000, "%s{0}\\", " ")
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, raw(sandbox, "rogue") as rogue:
        for id in ids:
            for wire, expected in ((acs1, PASSED), (rogue, FORBIDDEN)):
                await wire.send(request(TARGET, id))
                assert outcome((await wire.answered(id))[0]) == expected
        assert [asked.id for asked in cpe.requests] == list(ids)
        assert cpe.others == []


LATER = tuple(
    f"<{name} id='{number}.{suffix}' type='{kind}' to='{to}'>{OK}</{name}>"
    for number, (name, kind) in enumerate((
        ("message", "chat"), ("message", "normal"), ("message", "headline"), ("presence", "subscribe"),
        ("presence", "probe"), ("iq", "get"), ("iq", "set"),
    ))
    for suffix, to in (("full", TARGET), ("bare", CPE1))
)  # fmt: skip
"""What a server keeps, or might keep, for a device that is away."""


@pytest.mark.parametrize("address", ["acs@spare1.test/r", "rogue@spare1.test/r"])
async def test_nothing_is_kept_for_a_device_that_is_away(sandbox: Sandbox, address: str) -> None:
    allowed = address.startswith("acs@")
    with Policy(sandbox).holding(("allow", "acs@spare1.test", CPE1)):
        async with component(sandbox) as spare, raw(sandbox, "acs1") as acs1:
            await spare.send(*(addressed(stanza, address) for stanza in LATER))
            await spare.ask(addressed(request(TARGET, "last"), address))
            for id in (parsed(stanza.encode()).get("id", "") for stanza in LATER):
                (answer,) = spare.answers[id]
                good = {OFFLINE if id.startswith("5.") else BAD_REQUEST} if allowed else {FORBIDDEN}
                assert outcome(answer) in good, id
            async with recorder(sandbox, 1) as cpe:
                await acs1.ask(request(TARGET, "marker"))
                assert [asked.id for asked in cpe.requests] == ["marker"]
                assert cpe.others == []


async def test_what_is_no_payload_is_left_alone(sandbox: Sandbox) -> None:
    """Strangers may talk to devices as ever: about connection requests, too."""
    talk = "connectionRequest urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
    stanzas = (
        f"<message type='chat' id='1' to='{TARGET}' connectionRequest='1'><body>{talk}</body></message>",
        f"<message id='2' to='{CPE1}'><x xmlns='urn:{talk.replace(' ', ':')}' a='{talk}'/><body/></message>",
        f"<iq type='set' id='3' to='{TARGET}'><connectionRequests xmlns='urn:x'/></iq>",
        f"<iq type='get' id='4' to='{TARGET}'><username xmlns='urn:x'>u</username></iq>",
    )
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "rogue") as rogue:
        await rogue.send(*stanzas)
        await cpe.until(lambda: len(cpe.others) == len(stanzas))
        arrived = [parsed(stanza) for stanza in cpe.others]
        sent = [parsed(stanza.encode()) for stanza in stanzas]
        assert [stanza.get("id") for stanza in arrived] == [stanza.get("id") for stanza in sent]
        assert [[(child.tag, child.text) for child in stanza] for stanza in arrived] == [
            [(child.tag, child.text) for child in stanza] for stanza in sent
        ]
