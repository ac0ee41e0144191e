"""Attacks with real clients on real servers: on the gate, by devices, and on `serve` while it works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

import httpx
import pytest

from component.base import ns
from stanzagate.sandbox.device import Quirk
from tests.interop.clients import CLIENT, Requester, client, payload_xml
from tests.interop.conftest import Sandbox, stanzagate
from tests.interop.devices import device
from tests.interop.processes import command_lines
from tests.interop.realgate import OwnGate
from tests.interop.test_gateway import address, cli, condition, credentials, requester
from tests.interop.test_serve import GATE, TARGET, configuration, own, second_gate, with_policy

__all__ = ["own"]  # the fixture

PING = "<ping xmlns='urn:xmpp:ping'/>"
DEPTH = 30_000
ENTRY = [f"gate@{GATE}/gate"]
LAB = (1, 2, 3, 4, 5)


async def attachments(sandbox: Sandbox) -> tuple[str, ...]:
    """What the metrics say of the gate's attachment; equal as long as it was never lost."""
    transport = httpx.AsyncHTTPTransport(uds=str(sandbox.folder / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate") as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return tuple(line for line in lines if line.startswith(("stanzagate_link_attach", "stanzagate_link_losses")))


async def test_deeply_nested_stanzas_pass_both_servers_and_harm_nobody(sandbox: Sandbox) -> None:
    """ejabberd itself died of it with Erlang's default stack, and the gate's attachment ended."""
    gate = sandbox.info["domains"]["gate"]
    nested = "<x>" * DEPTH + "</x>" * DEPTH
    before = await attachments(sandbox)
    async with device(sandbox, 1) as cpe, requester(sandbox, "slixmpp", "rogue") as rogue:
        for number, (to, payload) in enumerate((
            (gate, f"<ping xmlns='urn:xmpp:ping'>{nested}</ping>"),
            (gate, f"<query xmlns='http://jabber.org/protocol/disco#info'>{nested}</query>"),
            (f"gate@{gate}/gate", f"<query xmlns='jabber:iq:version'>{nested}</query>"),
            (address(sandbox, 1), payload_xml("u", "p", nested)),
        )):  # fmt: skip
            question = f"<iq type='get' id='n{number}' to={quoteattr(to)}>{payload}</iq>"
            assert condition(await rogue.send_raw_iq(question, id=f"n{number}")) == ("auth", "forbidden")
        async with requester(sandbox, "slixmpp", "acs1") as acs1:
            question = (
                f"<iq type='get' id='d' to={quoteattr(address(sandbox, 1))}>{payload_xml('u', 'p', nested)}</iq>"
            )
            assert condition(await acs1.send_raw_iq(question, id="d")) == ("modify", "bad-request")
            assert (await acs1.request(address(sandbox, 1), "", "")).type == "result"
        assert len(cpe.received) == 1
    assert await attachments(sandbox) == before


async def test_strange_ids_and_types(sandbox: Sandbox) -> None:
    to, payload = quoteattr(address(sandbox, 1)), payload_xml(*credentials(sandbox, 1))
    async with device(sandbox, 1) as cpe, requester(sandbox, "slixmpp", "acs1") as acs1:
        for number, id in enumerate(("'\"&<>", "\u2028\u202e\U00020000", "i" * 1_000, "%s{0}\\"), start=1):
            question = f"<iq type='get' to={to} id={quoteattr(id)}>{payload}</iq>"
            assert (await acs1.send_raw_iq(question, id=id)).type == "result"
            assert len(cpe.received) == number
        for kind in ("", "GET", "get ", "foo"):
            question = f"<iq type='{kind}' to={to} id='k{kind}'>{payload}</iq>"
            assert condition(await acs1.send_raw_iq(question, id=f"k{kind}")) == ("modify", "bad-request")
        await acs1.send_raw(f"<iq type='get' to={to}>{payload}</iq>")
        assert (await acs1.request(address(sandbox, 1), "", "")).type == "result"
        for text in ("a&#13;b", "<![CDATA[<a>]]>", "&amp;lt;", "&#x10FFFD;", "\x7f\x85"):
            question = f"<iq type='get' to={to} id='odd'>{payload.replace('<username>', f'<username>{text}')}</iq>"
            assert condition(await acs1.send_raw_iq(question, id="odd")) == ("cancel", "not-authorized")
            acs1.stanzas.clear()
        assert all(normal for _, normal in cpe.received)


LOOKALIKES = (
    "cpe1\\5c40cpe.test",  # unescaped twice it would be the device
    "cpe1\\40cpe.test\\2ftr069", "\\40cpe.test", "cpe1\\40", "cpe1\\40cpe.test\\40x", "cpe1\\40cpe.test.",
    "cpe1\\40cpe.test.evil", "cp\u04351\\40cpe.test", "\\20\\22\\26\\27\\2f\\3a\\3c\\3e\\40\\5c", "00256D-00011",
    "cpe1\uff20cpe.test", "[red]", "${HOME}", "gate",
)  # fmt: skip


async def test_addresses_that_look_like_a_devices(sandbox: Sandbox) -> None:
    gate = sandbox.info["domains"]["gate"]
    async with device(sandbox, 1) as cpe, requester(sandbox, "slixmpp", "acs1") as acs1:
        for number, local in enumerate(LOOKALIKES):
            question = f"<iq type='get' to='{local}@{gate}' id='l{number}'>{payload_xml('u', 'p')}</iq>"
            assert (await acs1.send_raw_iq(question, id=f"l{number}")).type == "error", local
        for resource in ("r" * 1023, "a/b@c", "\U00020000" + "y" * 1000):
            to = quoteattr(address(sandbox, 1, f"/{resource}"))
            question = f"<iq type='get' to={to} id='{len(resource)}'>{payload_xml('u', 'p')}</iq>"
            answer = await acs1.send_raw_iq(question, id=str(len(resource)))
            assert condition(answer) == ("cancel", "service-unavailable"), resource
        assert not cpe.received
    audit = await asyncio.to_thread(sandbox.run, "audit")
    assert audit.returncode == 0, audit.stderr


@contextlib.asynccontextmanager
async def wild(sandbox: Sandbox, number: int) -> AsyncIterator[Requester]:
    """A device that answers by itself nothing at all, so that the test does."""
    async with requester(sandbox, "slixmpp", f"cpe{number}") as connected:
        connected._stream.add_filter("in", lambda stanza: None if stanza["type"] == "get" else stanza)  # type: ignore[attr-defined]
        yield connected


async def asked(cpe: Requester) -> Element:
    """The next connection request that reaches a device."""
    while True:
        for stanza in list(cpe.stanzas):
            cpe.stanzas.remove(stanza)
            if stanza.tag == f"{{{CLIENT}}}iq" and stanza.get("type") == "get":
                return stanza
        cpe._arrived.clear()
        await cpe._arrived.wait()


GIANT = "GIANT" * 300  # a longer tag would stick in the parsers of servers with expat's mending of CVE-2023-52425
ANSWERS = {
    "a payload": ("result", payload_xml("u", "p"), "result"),
    "a giant text": (
        "error",
        f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/>"
        f"<text xmlns='{ns.STANZAS}'>{GIANT}</text></error>",
        "service-unavailable",
    ),
    "a giant name": ("error", f"<error type='cancel'><{GIANT} xmlns='urn:x'/></error>", "service-unavailable"),
    "depth": (
        "error",
        f"<error type='cancel'>{'<x>' * DEPTH}{'</x>' * DEPTH}</error>",
        "service-unavailable",
    ),
}


async def test_a_device_that_answers_wildly(sandbox: Sandbox) -> None:
    resource = sandbox.account("cpe1")["jid"].partition("/")[2]
    async with wild(sandbox, 1) as cpe, wild(sandbox, 2) as other, requester(sandbox, "slixmpp", "acs1") as acs1:
        assert cpe.jid.endswith(f"/{resource}")
        for name, (kind, content, expected) in ANSWERS.items():
            waiting = asyncio.ensure_future(acs1.request(address(sandbox, 1), "", "", id=name))  # noqa: TID251
            request = await asked(cpe)
            reply = f"<iq type='{kind}' id='{request.get('id')}' to='{request.get('from')}'>{content}</iq>"
            await other.send_raw(reply)  # somebody else knows the id; his answer counts for nothing
            await other.send_raw_iq(f"<iq type='get' id='after' to='{sandbox.info['domains']['gate']}'>{PING}</iq>")
            assert not waiting.done()
            for _ in range(2):
                await cpe.send_raw(reply)
            answer = await waiting
            assert (answer.condition or answer.type) == expected, name
            assert len(answer.payload) < 1000
            other.stanzas.clear()
        for to in (f"gate@{sandbox.info['domains']['gate']}/gate", address(sandbox, 2)):
            question = f"<iq type='get' id='{len(to)}' to={quoteattr(to)}>{payload_xml('u', 'p')}</iq>"
            assert condition(await cpe.send_raw_iq(question, id=str(len(to)))) == ("auth", "forbidden")
        waking = asyncio.ensure_future(cli(sandbox, "wake", "00256D-0001"))  # noqa: TID251
        request = await asked(cpe)
        await cpe.send_raw(
            f"<iq type='error' id='{request.get('id')}' to='{request.get('from')}'>{ANSWERS['a giant name'][1]}</iq>"
        )
        result = await waking
        assert (result["outcome"], len(result["detail"]) < 200) == ("refused", True)
    assert b"GIANT" not in everything_kept(sandbox.folder)


async def test_a_requester_that_leaves_before_the_answer(sandbox: Sandbox) -> None:
    async with device(sandbox, 1, quirks=Quirk.LATE, late=0.3) as cpe:
        async with requester(sandbox, "slixmpp", "acs1") as acs1:
            await acs1.send_raw(
                f"<iq type='get' id='x' to={quoteattr(address(sandbox, 1))}>{payload_xml('', '')}</iq>"
            )
            while not cpe.received:
                await asyncio.sleep(0.01)
        await cpe.answered.wait()
        async with requester(sandbox, "slixmpp", "acs1") as acs1:
            assert (await acs1.request(address(sandbox, 1), "", "")).type == "result"


def memory(sandbox: Sandbox) -> int:
    """Resident bytes of the sandbox's `serve`."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
            if {b"serve", b"-c"} <= set(words) and any(str(sandbox.folder).encode() in word for word in words):
                return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    raise AssertionError("there is no such process")


async def test_a_flood_of_addresses_and_questions_does_not_fill_the_memory(sandbox: Sandbox) -> None:
    gate = sandbox.info["domains"]["gate"]
    async with requester(sandbox, "slixmpp", "rogue") as rogue:
        await rogue.send_raw_iq(f"<iq type='get' id='before' to='{gate}'>{PING}</iq>")
        before = await asyncio.to_thread(memory, sandbox)
        for number in range(1500):
            long = f"{number}\U00020000{'x' * 1000}"  # one rare character, and Python takes four bytes for each
            await rogue.send_raw(
                f"<iq type='get' id='a' to='{long}@{gate}/{long}'>{payload_xml('u', 'p')}</iq>"
                f"<iq type='get' id='b' to='{gate}/{long}'>"
                f"<query xmlns='http://jabber.org/protocol/disco#info' node='{long}'/></iq>"
                f"<message to='{long}@{gate}'><body>{long}</body></message>"
            )
            if number % 100 == 0:
                await rogue.send_raw_iq(f"<iq type='get' id='p{number}' to='{gate}'>{PING}</iq>", id=f"p{number}")
                rogue.stanzas.clear()
        await rogue.send_raw_iq(f"<iq type='get' id='last' to='{gate}'>{PING}</iq>")
        assert await asyncio.to_thread(memory, sandbox) - before < 10_000_000


def everything_kept(folder: Path) -> bytes:
    """What the service wrote: its logs, its database, and the arguments of every process."""
    files = [path for path in folder.rglob("*") if path.is_file() and (path.suffix == ".log" or ".db" in path.name)]
    return b"".join([*(path.read_bytes() for path in files), *command_lines()])


async def test_no_secret_is_kept_or_told(sandbox: Sandbox, own: OwnGate) -> None:
    configuration(sandbox, own.folder, answer_timeout="1s")
    await own.start()
    await with_policy(own, 1, 2)
    row = sandbox.account("acs1")
    typed = "typed-by-the-requester"
    async with (
        device(sandbox, 1, allowed=ENTRY),
        client("slixmpp", row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as acs1,
    ):
        for name, word in (("", ""), (typed, typed), (typed, "x" * 300)):
            await acs1.request(TARGET, name, word)
        await acs1.send_raw_iq(f"<iq type='get' id='m' to={quoteattr(TARGET)}><a>{typed}</a></iq>")
        await own.cli("wake", "00256D-0002", code=1)
        told = await own.cli("audit") + await own.cli("device", "show", "00256D-0001", "--json")
    await own.cli("audit", "verify")
    (own.folder / "devices.csv").unlink()
    assert own.process is not None
    assert resource.prlimit(own.process.pid, resource.RLIMIT_CORE) == (0, 0)
    secrets = [sandbox.components[GATE]["secret"], typed, row["password"]]
    for number in (1, 2):
        account = sandbox.account(f"cpe{number}")
        secrets += [account["cr_password"], account["password"]]
    kept = everything_kept(own.folder) + told.encode()
    assert [secret for secret in secrets if secret.encode() in kept] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_campaign_goes_on_after_its_service_ended(sandbox: Sandbox, own: OwnGate, number: int) -> None:
    await own.start()
    await with_policy(own, *LAB)
    async with device(sandbox, 1, allowed=ENTRY), device(sandbox, 2, allowed=ENTRY) as second:
        first = await campaign(own)
        while not second.received:
            await asyncio.sleep(0.01)
        await own.end(number)
        output, _ = await first.communicate()
        assert first.returncode in (1, 3)
        await own.start()
        await finished_by_resuming(own, output)


async def test_ctrl_c_interrupts_a_campaign(sandbox: Sandbox, own: OwnGate) -> None:
    await own.start()
    await with_policy(own, *LAB)
    async with device(sandbox, 1, allowed=ENTRY) as cpe:
        first = await campaign(own)
        while not cpe.received:
            await asyncio.sleep(0.01)
        second = await own.cli("wake", "--group", "lab", "--resume", code=1)  # one is running
        assert second == ""
        first.send_signal(signal.SIGINT)
        output, errors = await first.communicate()
        assert first.returncode == 1
        assert b"interrupted" in errors
        await finished_by_resuming(own, output)


async def test_a_campaign_whose_server_goes_away_can_be_resumed(sandbox: Sandbox, own: OwnGate) -> None:
    await own.start()
    await with_policy(own, *LAB)
    async with device(sandbox, 1, allowed=ENTRY) as cpe:
        first = await campaign(own)
        while not cpe.received:
            await asyncio.sleep(0.01)
        sandbox.restart_server()
        output, _ = await first.communicate()
        assert first.returncode in (1, 3)
    await own.attached()
    await finished_by_resuming(own, output, again=True)


async def campaign(own: OwnGate) -> asyncio.subprocess.Process:
    """A campaign of a group, four devices a second."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stanzagate", "wake", "--group", "lab", "--rate", "4/s", "--socket",
        str(own.folder / "admin.sock"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def finished_by_resuming(own: OwnGate, told: bytes, *, again: bool = False) -> None:
    """Go on with the campaign; then every device is done, none twice that was told of, and the record is whole.

    :param told: what the command said before the interruption.
    """
    socket = str(own.folder / "admin.sock")
    while True:
        done = await asyncio.to_thread(
            stanzagate, "wake", "--group", "lab", "--resume", "--rate", "unlimited", "--json", "--socket", socket
        )
        if done.returncode != 3 or not again:  # the server may go away once more while it restarts
            break
        await own.attached()
    document = json.loads(done.stdout)
    before = {line.split()[0] for line in told.decode().splitlines() if line.startswith("00256D-")}
    assert before
    assert not before & {result["device"] for result in document["results"]}
    summary = document["summary"]
    assert (summary["total"], summary["done"], summary["left"]) == (5, 5, 0), done.stderr
    rows: list[dict[str, Any]] = json.loads(await own.cli("audit", "--json"))
    woken = {row["subject"] for row in rows if row["action"].startswith("wake.")}
    assert woken == {f"00256D-000{number}" for number in LAB}
    await own.cli("audit", "verify")


async def test_stopping_does_not_wait_for_a_device_that_is_silent(sandbox: Sandbox, own: OwnGate) -> None:
    """It waited for ever when a wake had more time than draining has."""
    configuration(sandbox, own.folder, answer_timeout="1s")
    await own.start()
    await with_policy(own, 1)
    async with device(sandbox, 1, allowed=ENTRY, quirks=Quirk.SILENT) as cpe:
        waking = [
            asyncio.ensure_future(own.cli(*words, "--timeout", "300", code=3))  # noqa: TID251
            for words in (("wake", "00256D-0001"), ("wake", "--group", "lab"))
        ]
        while not cpe.received:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            assert await own.end(signal.SIGTERM) == 0
        await asyncio.gather(*waking)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 6 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk(sandbox: Sandbox, small_disk: Path) -> None:
    filler = small_disk / "filler"
    row, stranger = sandbox.account("acs1"), sandbox.account("rogue")
    async with second_gate(sandbox, small_disk) as gate:
        await gate.start()
        await with_policy(gate, 1)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        async with (
            device(sandbox, 1, allowed=ENTRY),
            client("slixmpp", row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as acs1,
            client("slixmpp", stranger["jid"], stranger["password"], *sandbox.address, sandbox.info["ca"]) as rogue,
        ):
            for _ in range(2):  # what is decided from memory goes on; what cannot be kept is not acknowledged
                assert (await acs1.request(TARGET, "", "")).type == "result"
                assert condition(await rogue.request(TARGET, "", "")) == ("auth", "forbidden")
                await gate.cli("jid", "suspend", "acs1@acs.test", code=1)
                await gate.cli("wake", "--group", "lab", code=1)
            filler.unlink()
            await gate.cli("jid", "suspend", "acs1@acs.test")
            assert condition(await acs1.request(TARGET, "", "")) == ("auth", "forbidden")
        while "can be written again" not in gate.log():
            await asyncio.sleep(0.05)
        await gate.cli("audit", "verify")
        actions = [entry["action"] for entry in json.loads(await gate.cli("audit", "--json"))]
        assert actions.count("wake.accepted") == 2
        assert gate.log().count("cannot be written; trying again") == 1
