"""Through the gate (contract, section 4): real servers, requesters of two libraries, devices that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from component.base import ns
from component.base.jid import prepare
from stanzagate.sandbox.device import Quirk
from tests.interop.clients import Answer, Requester, client, payload_xml
from tests.interop.conftest import Sandbox
from tests.interop.devices import device

LIBRARIES = ("slixmpp", "aioxmpp")
REFUSED, OFFLINE = f"{{{ns.POLICY}}}refused", f"{{{ns.POLICY}}}offline"


def address(sandbox: Sandbox, number: int, resource: str = "") -> str:
    """Device `number` behind the gate."""
    return f"cpe{number}\\40cpe.test@{sandbox.info['domains']['gate']}{resource}"


def credentials(sandbox: Sandbox, number: int) -> tuple[str, str]:
    row = sandbox.account(f"cpe{number}")
    return row["cr_username"], row["cr_password"]


@contextlib.asynccontextmanager
async def requester(sandbox: Sandbox, library: str, name: str) -> AsyncIterator[Requester]:
    row = sandbox.account(name)
    async with client(library, row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as connected:
        yield connected


async def cli(sandbox: Sandbox, *arguments: str) -> Any:
    """The command line with ``--json``, while this loop goes on answering for devices and requesters."""
    return await asyncio.to_thread(sandbox.json, *arguments)


def condition(answer: Answer) -> tuple[str, str]:
    return answer.error_type, answer.condition


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_allowed_requester_wakes_a_device_and_nobody_else_does(sandbox: Sandbox, library: str) -> None:
    async with device(sandbox, 1) as cpe, requester(sandbox, library, "acs1") as acs1:
        assert (await acs1.request(address(sandbox, 1), *credentials(sandbox, 1))).type == "result"
        assert len(cpe.received) == 1
        assert cpe.received[0] == (f"gate@{sandbox.info['domains']['gate']}/gate", True)  # True: in normal form
        for name in ("acs3", "rogue"):
            async with requester(sandbox, library, name) as stranger:
                answer = await stranger.request(address(sandbox, 1), *credentials(sandbox, 1))
                assert condition(answer) == ("auth", "forbidden")
                assert answer.sender == address(sandbox, 1)
        async with requester(sandbox, library, "acs2") as acs2:
            assert (await acs2.request(address(sandbox, 1), *credentials(sandbox, 1))).type == "result"
            assert condition(await acs2.request(address(sandbox, 2), *credentials(sandbox, 2))) == (
                "auth",
                "forbidden",
            )
        assert len(cpe.received) == 2


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_device_is_reached_by_jid_id_and_resource_and_credentials_are_filled_in(
    sandbox: Sandbox, library: str
) -> None:
    gate = sandbox.info["domains"]["gate"]
    async with device(sandbox, 1) as cpe, requester(sandbox, library, "acs1") as acs1:
        for to in (
            address(sandbox, 1), address(sandbox, 1, "/tr069"), f"00256D-0001@{gate}", f"00256d-0001@{gate}/tr069",
            f"CPE1\\40CPE.TEST@{gate}",
        ):  # fmt: skip
            answer = await acs1.request(to, "", "")
            assert (answer.type, answer.sender) == ("result", prepare(to).full)  # slixmpp accepts no other spelling
        assert len(cpe.received) == 5
        answer = await acs1.request(address(sandbox, 1, "/other"), "", "")
        assert (condition(answer), answer.app_condition) == (("cancel", "service-unavailable"), OFFLINE)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_what_a_device_refuses(sandbox: Sandbox, library: str) -> None:
    async with device(sandbox, 2, allowed=["somebody@else.test"]), requester(sandbox, library, "acs1") as acs1:
        answer = await acs1.request(address(sandbox, 2), *credentials(sandbox, 2))
        assert condition(answer) == ("cancel", "service-unavailable")
        assert (answer.code, answer.app_condition, answer.payload_echoed) == ("503", REFUSED, True)
    async with device(sandbox, 2), requester(sandbox, library, "acs1") as acs1:
        answer = await acs1.request(address(sandbox, 2), "me", "wrong<&>")
        assert (condition(answer), answer.payload_echoed) == (("cancel", "not-authorized"), True)
        assert "wrong&lt;&amp;&gt;" in answer.payload
        assert credentials(sandbox, 2)[1] not in answer.payload
    async with device(sandbox, 2, quirks=Quirk.MISSPELT), requester(sandbox, library, "acs1") as acs1:
        answer = await acs1.request(address(sandbox, 2), "me", "wrong")
        assert (condition(answer), answer.payload_echoed) == (("cancel", "not-authorized"), True)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_offline_device_is_told_from_a_refusing_one(sandbox: Sandbox, library: str) -> None:
    async with requester(sandbox, library, "acs1") as acs1:
        answer = await acs1.request(address(sandbox, 3), *credentials(sandbox, 3))
        assert (condition(answer), answer.app_condition) == (("cancel", "service-unavailable"), OFFLINE)
        assert not answer.payload_echoed


@pytest.mark.parametrize("library", LIBRARIES)
async def test_suspension_is_in_force_when_the_command_returns(sandbox: Sandbox, library: str) -> None:
    async with device(sandbox, 1) as cpe, requester(sandbox, library, "acs1") as acs1:
        assert (await acs1.request(address(sandbox, 1), "", "")).type == "result"
        await cli(sandbox, "jid", "suspend", "acs1@acs.test")
        try:
            assert condition(await acs1.request(address(sandbox, 1), "", "")) == ("auth", "forbidden")
            assert len(cpe.received) == 1
        finally:
            await cli(sandbox, "jid", "resume", "acs1@acs.test")
        assert (await acs1.request(address(sandbox, 1), "", "")).type == "result"


async def test_full_jids_match_exactly(sandbox: Sandbox) -> None:
    added = await cli(sandbox, "jid", "allow", "acs3@acs.test/only", "--to", "00256D-0001")
    row = sandbox.account("acs3")
    try:
        async with device(sandbox, 1):
            for resource, kind in (("only", "result"), ("onlyX", "error"), ("onl", "error"), ("ONLY", "error")):
                jid = f"{row['jid']}/{resource}"
                async with client("slixmpp", jid, row["password"], *sandbox.address, sandbox.info["ca"]) as acs3:
                    assert (await acs3.request(address(sandbox, 1), "", "")).type == kind, resource
    finally:
        await cli(sandbox, "jid", "remove", str(added["created"][0]))


SHAPES: dict[str, Callable[[str, str], str]] = {
    "set": lambda to, ok: f"<iq type='set' to={to} id='m'>{ok}</iq>",
    "no payload": lambda to, _ok: f"<iq type='get' to={to} id='m'/>",
    "another payload": lambda to, _ok: f"<iq type='get' to={to} id='m'><ping xmlns='urn:xmpp:ping'/></iq>",
    "no children": lambda to, _ok: (
        f"<iq type='get' to={to} id='m'><connectionRequest xmlns='{ns.CONNECTION_REQUEST}'/></iq>"
    ),
    "two user names": lambda to, ok: (
        f"<iq type='get' to={to} id='m'>{ok.replace('</username>', '</username><username>x</username>')}</iq>"
    ),
    "something else": lambda to, ok: (
        f"<iq type='get' to={to} id='m'>{ok.replace('</password>', '</password><more/>')}</iq>"
    ),
    "nested": lambda to, ok: f"<iq type='get' to={to} id='m'><x xmlns='urn:x'>{ok}</x></iq>",
    "deep": lambda to, ok: (
        f"<iq type='get' to={to} id='m'>{ok.replace('<username>', '<username>' + '<a>' * 400 + '</a>' * 400)}</iq>"
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
async def test_malformed_requests_are_bad_requests(sandbox: Sandbox, library: str) -> None:
    ok = payload_xml(*credentials(sandbox, 1))
    async with device(sandbox, 1) as cpe, requester(sandbox, library, "acs1") as acs1:
        for name, shape in SHAPES.items():
            answer = await acs1.send_raw_iq(
                shape(quoteattr(address(sandbox, 1)), ok).replace("id='m'", f"id='{name}'")
            )
            assert condition(answer) == ("modify", "bad-request"), name
        assert not cpe.received


@pytest.mark.parametrize("library", LIBRARIES)
async def test_order_white_space_and_attributes_are_mended(sandbox: Sandbox, library: str) -> None:
    name, word = credentials(sandbox, 1)
    to = quoteattr(address(sandbox, 1))
    async with (
        device(sandbox, 1, quirks=Quirk.CRASH_ON_WHITESPACE) as cpe,
        requester(sandbox, library, "acs1") as acs1,
    ):
        answer = await acs1.send_raw_iq(
            f"<iq type='get' to={to} id='messy'>\n <connectionRequest xmlns='{ns.CONNECTION_REQUEST}' a='b'>\n"
            f"  <password c='d'>{word}</password>\n\t<username>{name}</username>\n </connectionRequest>\n</iq>"
        )
        assert answer.type == "result"
        assert [normal for _, normal in cpe.received] == [True]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_results_and_errors_are_dropped(sandbox: Sandbox, library: str) -> None:
    ok = payload_xml(*credentials(sandbox, 1))
    to = quoteattr(address(sandbox, 1))
    async with device(sandbox, 1, quirks=Quirk.ANY_TYPE) as cpe, requester(sandbox, library, "acs1") as acs1:
        for kind in ("result", "error"):
            await acs1.send_raw(f"<iq type='{kind}' to={to} id='{kind}'>{ok}</iq>")
        assert (await acs1.request(address(sandbox, 1), "", "", id="after")).type == "result"
        assert not acs1.answers_to("result") and not acs1.answers_to("error")
        assert len(cpe.received) == 1


async def test_an_unknown_device_is_found_missing_only_by_those_who_may_wake_all(sandbox: Sandbox) -> None:
    gate = sandbox.info["domains"]["gate"]
    unknown = (f"cpe999\\40cpe.test@{gate}", f"no-such-id@{gate}", f"x\\40\\40@{gate}", gate, f"gate@{gate}/gate")
    async with requester(sandbox, "slixmpp", "acs1") as acs1:
        for to in unknown:
            assert condition(await acs1.request(to, "u", "p")) == ("auth", "forbidden"), to
        added = await cli(sandbox, "jid", "allow", "acs1@acs.test", "--to", "all")
        try:
            for to in unknown:
                assert condition(await acs1.request(to, "u", "p")) == ("cancel", "item-not-found"), to
        finally:
            await cli(sandbox, "jid", "remove", str(added["created"][0]))


async def test_equal_requests_share_one_wake_and_different_ones_queue(sandbox: Sandbox) -> None:
    async with device(sandbox, 1, quirks=Quirk.LATE, late=1.0) as cpe, requester(sandbox, "slixmpp", "acs1") as acs1:
        good, bad = credentials(sandbox, 1), ("cr1", "wrong")
        answers = await asyncio.gather(
            acs1.request(address(sandbox, 1), *good), acs1.request(address(sandbox, 1), "", ""),
            acs1.request(address(sandbox, 1), *bad), acs1.request(address(sandbox, 1), *good),
        )  # fmt: skip
        assert [answer.type for answer in answers] == ["result", "result", "error", "result"]
        assert condition(answers[2]) == ("cancel", "not-authorized")
        assert len(cpe.received) == 2


async def test_the_gate_says_what_it_is(sandbox: Sandbox) -> None:
    gate = sandbox.info["domains"]["gate"]
    questions = {
        "http://jabber.org/protocol/disco#info": "query",
        "jabber:iq:version": "query",
        "urn:xmpp:ping": "ping",
    }
    async with requester(sandbox, "slixmpp", "rogue") as rogue:
        for namespace, name in questions.items():
            question = f"<{name} xmlns='{namespace}'/>"
            answer = await rogue.send_raw_iq(f"<iq type='get' to='{gate}' id='{namespace}'>{question}</iq>")
            assert answer.type == "result", namespace
            assert namespace != "jabber:iq:version" or "Stanzagate" in answer.payload


async def test_the_command_line_wakes(sandbox: Sandbox) -> None:
    outcomes: dict[str, dict[str, Any]] = {}
    async with device(sandbox, 1):
        outcomes["1"] = await cli(sandbox, "wake", "00256D-0001")
        outcomes["denied"] = await cli(sandbox, "wake", "00256D-0001", "--as", "rogue@acs.test")
    outcomes["offline"] = await cli(sandbox, "wake", "cpe5@cpe.test")
    outcomes["unknown"] = await cli(sandbox, "wake", "nobody")
    assert {name: row["outcome"] for name, row in outcomes.items()} == {
        "1": "accepted", "denied": "denied", "offline": "offline", "unknown": "unknown-device",
    }  # fmt: skip
    assert set(outcomes["1"]) == {"device", "outcome", "via", "elapsed_ms", "detail"}
    assert outcomes["offline"]["device"] == "00256D-0005"
