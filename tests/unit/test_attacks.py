"""Attacks on the gate that a fake server mounts faster, or more exactly, than a real one. Most were seen to work."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base import connreq, ns
from component.base.audit import Audit, AuditKey
from component.base.connreq import PAYLOAD, Credentials, serialise
from component.base.errors import StanzagateError, Unreachable
from component.base.jid import prepare_often
from component.base.link import Link
from component.base.settings import parse_rate
from component.base.store import DatabaseError, Store, metadata
from component.gate import answers
from component.gate.address import address_of
from component.gate.campaign import Campaigns, CampaignState
from component.gate.gateway import VIA, Gateway, WakeResult
from component.gate.outcome import Outcome, classify
from component.gate.rules import Effect
from tests.unit.fakeserver import FakeServer, Tasks, running
from tests.unit.test_gateway import ASKED, CPE1, Scene, condition
from tests.unit.test_link import attach, reached

QUESTIONS = {
    "ping": "urn:xmpp:ping",
    "query": "http://jabber.org/protocol/disco#info",
    "query ": "http://jabber.org/protocol/disco#items",
    "query  ": "jabber:iq:version",
}
XML_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r")
)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """The gate of `tests.unit.test_gateway`, answering questions about itself too."""
    store = Store(f"sqlite:///{tmp_path}/test.db")
    store.write_now(metadata.create_all)
    async with running(FakeServer()) as (server, tasks):
        made = Scene(server, tasks, store, tmp_path, {"requester": "unlimited", "device": "unlimited"})
        for plugin in ("xep_0030", "xep_0092", "xep_0199"):
            made.link.stream.register_plugin(plugin)
        made.link.stream.init_plugins()  # type: ignore[no-untyped-call]
        await made.policy.load()
        await made.devices.add("test", "D1", "cpe1@cpe.test/tr069", cr_username="alice", cr_password="secret")
        await made.policy.add_rule("test", Effect.ALLOW, "acs@acs.test", "D1")
        tasks("link", made.link.run())
        await made.link.attached.wait()
        yield made
    store.close()


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_a_nested_question_about_the_gate_does_not_end_its_attachment(
    scene: Scene, name: str, kind: str
) -> None:
    """slixmpp copies what it answers recursively: one stanza of 3,500 bytes from any account cut the gate off."""
    for depth in (1, 500, 75_000):
        nested = "<x>" * depth + "</x>" * depth
        question = f"<{name.strip()} xmlns='{QUESTIONS[name]}'>{nested}</{name.strip()}>"
        assert await scene.ask("rogue@acs.test/r", "gate.test", question, kind) == "forbidden"
    assert await scene.ask("rogue@acs.test/r", "gate.test", "<ping xmlns='urn:xmpp:ping'/>") == "result"
    assert scene.server.connections == 1


async def test_a_stanza_that_slixmpp_fails_on_does_not_end_the_attachment(caplog: pytest.LogCaptureFixture) -> None:
    async with running(FakeServer()) as (server, tasks):
        link = Link("gate.test", "s3cret", "127.0.0.1", server.port, on_stanza=lambda _: False, spawn=tasks)
        link.stream.register_plugin("xep_0199")
        link.stream.init_plugins()  # type: ignore[no-untyped-call]
        tasks("link", link.run())
        await link.attached.wait()
        nested = "<x>" * 5000 + "hunter2" + "</x>" * 5000
        ping = "<iq type='get' id='{}' from='a@b' to='gate.test'><ping xmlns='urn:xmpp:ping'>{}</ping></iq>"
        server.send(ping.format("deep", nested) + ping.format("flat", ""))
        assert (await server.received.get()).get("id") == "flat"
        assert server.connections == 1
    assert "slixmpp failed" in caplog.text
    assert "hunter2" not in caplog.text


async def test_answers_of_slixmpp_are_bounded_for_a_server_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("component.base.stream.WRITE_LIMIT", 1_000_000)
    async with running(FakeServer()) as (server, tasks):
        link = attach(server, tasks)
        await link.attached.wait()
        server._writer.transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(400):
            link.stream.send_raw(f"<message>{'x' * 100_000}</message>")
            link.stream.flush()
        assert link.stream.dropped > 0
        assert link.stream.transport is not None
        assert link.stream.transport.get_write_buffer_size() < 2_000_000


async def test_the_reason_of_a_stream_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with running(FakeServer()) as (server, tasks):
        link = attach(server, tasks)
        await link.attached.wait()
        with caplog.at_level(logging.WARNING):
            server.send(f"<stream:error><conflict xmlns='{ns.STREAMS}'/></stream:error></stream:stream>")
            await reached(lambda: "conflict" in caplog.text)


def test_addresses_that_are_never_the_same_do_not_fill_the_memory() -> None:
    """A million bytes for a hundred stanzas: 70,000 long addresses were seen to hold 1 GB."""
    tracemalloc.start()
    try:
        for number in range(700):
            address_of(f"{number}{'x' * 1000}@gate.test/\U00020000{'y' * 1000}")
            prepare_often(f"r@acs.test/{number}\U00020000{'y' * 1000}")
        assert tracemalloc.get_traced_memory()[0] < 2_800_000
    finally:
        tracemalloc.stop()


async def test_strangers_that_are_never_the_same_do_not_fill_the_memory(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"sqlite:///{tmp_path}/audit.db")
    audit = Audit(store, AuditKey.open(tmp_path / "audit2.key", create=True), tmp_path / "audit2.head")
    monkeypatch.setattr(scene.gateway, "_record", audit)
    monkeypatch.setattr(scene.link, "send", lambda _stanza: None)
    tracemalloc.start()
    try:
        for number in range(10_000):
            sender = f"{number}{'s' * 1000}@acs.test/{'r' * 1000}"
            attributes = {"from": sender, "to": f"{number}{'d' * 1000}@gate.test", "type": "get", "id": "1"}
            scene.gateway.handle(ET.Element(f"{{{ns.COMPONENT}}}iq", attributes))
        assert scene.gateway.answers["FORBIDDEN"] == 10_000
        assert tracemalloc.get_traced_memory()[0] < 8_000_000
    finally:
        tracemalloc.stop()
        store.close()


async def test_a_request_that_waits_for_its_turn_is_not_sent_after_a_suspension(scene: Scene) -> None:
    other = serialise(Credentials("v", "q"))
    scene.server.send(f"<iq type='get' id='first' from='acs@acs.test/1' to='{CPE1}'>{ASKED}</iq>")
    scene.server.send(f"<iq type='get' id='second' from='acs@acs.test/2' to='{CPE1}'>{other}</iq>")
    request = await scene.server.received.get()
    await reached(lambda: scene.gateway.flights.queued == 1)
    await scene.policy.suspend("test", "acs@acs.test")
    scene.server.send(f"<iq type='result' id='{request.get('id')}' from='{request.get('to')}'/>")
    told = {stanza.get("id"): condition(stanza) for stanza in [await scene.server.received.get() for _ in range(2)]}
    assert told == {"first": "result", "second": "forbidden"}
    assert scene.refusals[-1][1].startswith("suspended:")
    assert not scene.gateway.under_way


async def test_a_suspension_while_credentials_are_fetched_is_in_force(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetched(_device: str) -> tuple[str, str]:
        await scene.policy.suspend("test", "acs@acs.test")
        return "alice", "secret"

    monkeypatch.setattr(scene.devices, "credentials", fetched)
    assert await scene.ask("acs@acs.test", payload=serialise(Credentials("", ""))) == "forbidden"


async def test_credentials_that_cannot_be_read_are_no_word_on_the_device(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetched(_device: str) -> tuple[str, str]:
        raise DatabaseError("The database cannot be read.")

    monkeypatch.setattr(scene.devices, "credentials", fetched)
    assert await scene.ask("acs@acs.test", payload=serialise(Credentials("", ""))) == "internal-server-error"
    with pytest.raises(StanzagateError, match="credentials"):
        await scene.gateway.wake("D1", actor="unix:root")


async def test_nobody_waits_for_ever_when_draining_runs_out_of_time(scene: Scene) -> None:
    waking = asyncio.ensure_future(scene.gateway.wake("D1", actor="unix:root", timeout=600))  # noqa: TID251
    assert (await scene.server.received.get()).get("type") == "get"
    scene.server.send(f"<iq type='get' id='waits' from='acs@acs.test/1' to='{CPE1}'>{ASKED}</iq>")
    await reached(lambda: scene.gateway.flights.queued == 1)
    await scene.link.drain(0.05)
    with pytest.raises(Unreachable):
        await waking
    told = await scene.server.received.get()
    assert (told.get("id"), condition(told)) == ("waits", "remote-server-timeout")


async def test_an_answer_in_another_spelling_of_the_devices_address_counts(scene: Scene) -> None:
    scene.server.send(f"<iq type='get' id='x' from='acs@acs.test/1' to='{CPE1}'>{ASKED}</iq>")
    request = await scene.server.received.get()
    for sender in ("CPE1@cpe.test/TR069", "cpe1@cpe.test", "", "@", "cpe1@cpe.test.evil/tr069"):
        scene.server.send(f"<iq type='result' id='{request.get('id')}' from='{sender}'/>")
    await reached(lambda: scene.link.requests.foreign == 5)
    scene.server.send(f"<iq type='result' id='{request.get('id')}' from='CPE1@Cpe.Test/tr069'/>")
    assert condition(await scene.server.received.get()) == "result"


@pytest.mark.parametrize(
    "inside",
    [
        f"<{'A' * 100_000} xmlns='urn:x'/>",
        f"<text xmlns='{ns.STANZAS}'>{'T' * 100_000}</text>",
        f"<bad-request xmlns='{ns.STANZAS}'/><{'a' * 100_000} xmlns='urn:x'/>",
        "<x>" * 50_000 + "</x>" * 50_000,
        "".join(f"<x{number}/>" for number in range(10_000)),
    ],
    ids=["name", "text", "condition and name", "deep", "many"],
)
def test_a_device_does_not_choose_what_is_told_of_it(inside: str) -> None:
    iq = ET.fromstring(f"<iq type='error' xmlns='{ns.COMPONENT}'>{ASKED}<error type='cancel'>{inside}</error></iq>")
    outcome, detail = classify(iq)
    assert outcome is Outcome.REFUSED
    assert len(detail) < 100
    assert not {"A" * 10, "T" * 10, "a" * 10} & {detail[start : start + 10] for start in range(len(detail))}


@given(XML_TEXT, XML_TEXT, XML_TEXT)
def test_whatever_a_requester_writes_comes_back_as_it_was(text: str, gate: str, sender: str) -> None:
    for answer in (
        answers.accepted(text, gate, sender),
        answers.refused(answers.Refusal.OFFLINE, text, gate, sender),
    ):
        iq = ET.fromstring(answer)
        assert (iq.get("id"), iq.get("from"), iq.get("to")) == (text, gate, sender)


@given(XML_TEXT, XML_TEXT)
def test_credentials_reach_the_device_as_they_were_sent(username: str, password: str) -> None:
    payload = ET.fromstring(serialise(Credentials(username, password)))
    assert payload.tag == PAYLOAD
    assert [child.text or "" for child in payload] == [username, password]


async def test_credentials_that_no_device_can_have_are_not_passed_on(scene: Scene) -> None:
    for user, word, expected in (
        ("u" * 256, "p" * 256, "result"),
        ("u" * 257, "p", "bad-request"),
        ("u", "p" * 200_000, "bad-request"),
    ):
        assert await scene.ask("acs@acs.test", payload=serialise(Credentials(user, word))) == expected
    with pytest.raises(connreq.MalformedRequest) as caught:
        iq = ET.fromstring(f"<iq>{serialise(Credentials('u', 'hunter2' * 100))}</iq>")
        connreq.parse(iq)
    assert "hunter2" not in str(caught.value)


class Accepting(Gateway):
    """Counts what it wakes: a campaign cannot be stopped in the middle by real devices without a race."""

    def __init__(self) -> None:
        self.woken = 0

    async def wake(self, device: str, **_how: object) -> WakeResult:
        self.woken += 1
        return WakeResult(device, Outcome.ACCEPTED, VIA, 1, "")


async def test_a_campaign_that_cannot_be_recorded_stops_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"sqlite:///{tmp_path}/test.db")
    store.write_now(metadata.create_all)
    audit = Audit(store, AuditKey.open(tmp_path / "audit.key", create=True), tmp_path / "audit.head")
    tasks, gateway = Tasks(), Accepting()
    members = [f"d{number}" for number in range(300)]
    campaigns = Campaigns(store, audit, gateway, members=lambda _group: members, spawn=tasks)
    started = await campaigns.start("test", "lab")

    async def full(_work: object) -> None:
        raise DatabaseError("The database is full.")

    with monkeypatch.context() as patched, pytest.raises(DatabaseError):
        patched.setattr(store, "write", full)
        async for _ in campaigns.run(started, "test", parse_rate("200/s")):
            pytest.fail("a result that is not on disk")
    assert gateway.woken < 300
    resumed = await campaigns.start("test", "lab", resume=True)
    done = [result async for result in campaigns.run(resumed, "test", parse_rate("unlimited"))]
    assert len(done) == 300
    latest = await campaigns.latest("lab")
    assert latest is not None
    assert latest.state is CampaignState.FINISHED
    await tasks.end()
    store.close()


def test_a_database_that_was_removed_or_replaced_takes_no_change(tmp_path: Path) -> None:
    """SQLite acknowledged what was in no file any more."""
    file, aside = tmp_path / "gate.db", tmp_path / "aside.db"
    store = Store("sqlite:///gate.db", tmp_path)
    store.write_now(metadata.create_all)
    file.rename(aside)
    for _ in range(2):
        with pytest.raises(DatabaseError, match="removed or replaced"):
            store.write_now(lambda _connection: None)
        file.write_bytes(b"")
    aside.rename(file)
    store.write_now(lambda _connection: None)
    store.close()
