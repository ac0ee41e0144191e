"""The component's side of the in-server plugins, against a plugin that does what real ones never do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from component.base import enforcement, ns
from component.base.clientsessions import ClientSession, SessionBook
from component.base.enforcement import Decision, Enforcement, NoDecision, NotConfirmed
from component.base.jid import Jid, prepare
from component.base.link import Link
from component.base.pluginstatus import PluginMode, PluginStatus, read_status
from component.gate.sessions import Reporting, Sessions
from tests.unit.fakeserver import FakeServer, Tasks, running

HOST, GATE = "cpe.test", "gate.test"
POLICY = f"xmlns='{ns.POLICY}'"
DEVICE = prepare("cpe1@cpe.test/tr069")


@dataclass
class Scene:
    """An `Enforcement` on a link to a fake server, whose plugin answers what `answers` says; others are silent."""

    server: FakeServer
    link: Link
    enforcement: Enforcement
    sessions: Sessions
    decision: Decision | Exception
    decided: list[tuple[Jid, Jid]] = field(default_factory=list)
    modes: list[tuple[str, PluginMode, PluginMode]] = field(default_factory=list)
    others: list[Element] = field(default_factory=list)
    answers: dict[str, str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    replies: asyncio.Queue[Element] = field(default_factory=asyncio.Queue)

    def decide(self, requester: Jid, device: Jid) -> Decision:
        self.decided.append((requester, device))
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision

    async def check(self, attributes: str, sender: str = HOST) -> Element:
        """What the component answers to a check."""
        self.server.send(f"<iq type='get' id='c1' from='{sender}' to='{GATE}'><check {POLICY} {attributes}/></iq>")
        return await self.replies.get()

    def tell(self, xml: str) -> None:
        """Send a message of the plugin."""
        self.server.send(f"<message from='{HOST}' to='{GATE}'>{xml}</message>")

    async def play(self) -> None:
        while True:
            stanza = await self.server.received.get()
            if stanza.get("type") in ("result", "error"):
                self.replies.put_nowait(stanza)
                continue
            name = stanza[0].tag.rpartition("}")[2]
            self.asked.append(name)
            answer = self.answers.get(name, "<error type='cancel'/>")
            if answer is not None:
                kind = "error" if answer.startswith("<error") else "result"
                self.server.send(
                    f"<iq type='{kind}' id='{stanza.get('id')}' from='{stanza.get('to')}' to='{GATE}'>{answer}</iq>"
                )


def status(mode: str = "enforce", seq: int = 0, sessions: int = 0, **more: Any) -> str:
    figures = "".join(f" {name}='{value}'" for name, value in more.items())
    return (
        f"<status {POLICY} mode='{mode}' guard='connection-requests' epoch='1' seq='{seq}' sessions='{sessions}'"
        f"{figures}><refused reason='forbidden' count='7'/><refused reason='made-up' count='9'/></status>"
    )


NO_PLUGIN = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
ALLOW = Decision(True, True, "3", "rule 3 allows it", 17, None)


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(enforcement, "CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(enforcement, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(enforcement, "POLL_SECONDS", 0.02)
    async with running(FakeServer()) as (server, tasks), attached(server, tasks) as scene:
        yield scene


@contextlib.asynccontextmanager
async def attached(server: FakeServer, tasks: Tasks) -> AsyncIterator[Scene]:
    sessions = Sessions()
    scene: Scene

    def on_stanza(stanza: Element) -> bool:
        if not scene.enforcement.handle(stanza):
            scene.others.append(stanza)
        return True

    def decide(requester: Jid, device: Jid, _mode: PluginMode) -> Decision:
        return scene.decide(requester, device)

    link = Link(GATE, "s3cret", "127.0.0.1", server.port, on_stanza=on_stanza, spawn=tasks, name="gate")
    ours = Enforcement(
        (HOST,), decide, sessions, guard="connection-requests",
        ttl=300, stale=3600, on_mode=lambda *change: scene.modes.append(change), clock=lambda: 1000.0,
    )  # fmt: skip
    scene = Scene(server, link, ours, sessions, ALLOW)
    scene.answers = {"status": status(), "flush": "", "sessions": f"<sessions {POLICY} seq='0'/>"}
    ours.attach(link)
    tasks("link", link.run())
    tasks("plugins", ours.run())
    tasks("server", scene.play())
    await link.attached.wait()
    yield scene


async def reached(condition: object) -> None:
    """Wait until a callable is true; the test's own time limit is the deadline."""
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0.005)


async def test_a_check_is_answered_with_the_decision(here: Scene) -> None:
    answer = await here.check("requester='ACS1@acs.test/r' device='cpe1@cpe.test/tr069'")
    assert here.decided == [(prepare("acs1@acs.test/r"), DEVICE)]
    assert answer[0].attrib == {
        "effect": "allow", "scope": "bare", "ttl": "300.000", "stale": "3600.000", "epoch": "17", "rule": "3",
        "reason": "rule 3 allows it",
    }  # fmt: skip
    here.decision = Decision(False, False, "none", "it's <not> allowed", 18, 1000.5)
    answer = await here.check("requester='acs1@acs.test/r' device='cpe1@cpe.test'")
    assert (answer[0].get("effect"), answer[0].get("scope"), answer[0].get("reason")) == (
        "deny", "full", "it's <not> allowed",
    )  # fmt: skip
    assert (answer[0].get("ttl"), answer[0].get("stale")) == ("0.500", "0.500")  # it ends by itself
    assert here.enforcement.checks == {"allow": 1, "deny": 1}


@pytest.mark.parametrize(
    ("attributes", "condition"),
    [
        ("requester='' device='cpe1@cpe.test'", "bad-request"),
        ("device='cpe1@cpe.test'", "bad-request"),
        ("requester='a@b@c' device='cpe1@cpe.test'", "bad-request"),
        ("requester='a@b' device='/x'", "bad-request"),
        ("requester='a@b' device='cpe1@other.test'", "forbidden"),
        ("requester='a@b' device='cpe1@cpe.test.evil'", "forbidden"),
    ],
)
async def test_a_check_that_cannot_be_is_an_error(here: Scene, attributes: str, condition: str) -> None:
    answer = await here.check(attributes)
    assert answer.get("type") == "error" and answer.find(f".//{{{ns.STANZAS}}}{condition}") is not None
    assert here.decided == []


@pytest.mark.parametrize("failure", [NoDecision("away"), RuntimeError("defect")])
async def test_without_a_decision_nothing_is_allowed(here: Scene, failure: Exception) -> None:
    here.decision = failure
    answer = await here.check("requester='a@b' device='cpe1@cpe.test'")
    assert answer.get("type") == "error" and answer.find(f".//{{{ns.STANZAS}}}internal-server-error") is not None
    assert here.enforcement.checks == {"none": 1}


async def test_only_guarded_hosts_are_answered(here: Scene) -> None:
    check = f"<check {POLICY} requester='a@b' device='cpe1@cpe.test'/>"
    event = f"<sessions {POLICY} seq='1'><session sid='1' jid='cpe1@cpe.test/r' since='5'/></sessions>"
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.REPORTED)
    for sender in ("acs.test", "x@cpe.test", "cpe.test/x", "cpe.test.evil"):
        here.server.send(f"<iq type='get' id='c1' from='{sender}' to='{GATE}'>{check}</iq>")
        here.server.send(f"<message from='{sender}' to='{GATE}'>{event}</message>")
    here.server.send(f"<iq type='set' id='c1' from='{HOST}' to='{GATE}'>{check}</iq>")
    here.server.send(f"<iq type='get' id='c1' from='{HOST}' to='x@{GATE}'>{check}</iq>")
    here.server.send(f"<iq type='get' id='c1' from='{HOST}' to='{GATE}'>{check}{check}</iq>")
    await reached(lambda: len(here.others) == 11)
    assert here.decided == [] and here.sessions.since(prepare("cpe1@cpe.test/r")) is None


async def test_a_flush_returns_when_the_plugin_has_confirmed(here: Scene) -> None:
    await here.enforcement.flush(18, "acs1@acs.test", "cpe1@cpe.test")
    assert "flush" in here.asked


async def test_what_is_not_confirmed_is_said_and_repeated(here: Scene) -> None:
    here.answers["flush"] = None
    with pytest.raises(NotConfirmed, match=r"cpe\.test"):
        await here.enforcement.flush(18)
    assert here.asked.count("flush") >= 1
    here.answers["flush"] = ""
    await reached(lambda: not here.enforcement.guards[HOST].owed)
    asked = here.asked.count("flush")
    await reached(lambda: here.asked.count("status") > 3)
    assert here.asked.count("flush") in (asked, asked + 1)


async def test_a_plugin_that_refuses_a_flush_has_not_confirmed_it(here: Scene) -> None:
    here.answers["flush"] = f"<error type='modify'><bad-request xmlns='{ns.STANZAS}'/></error>"
    with pytest.raises(NotConfirmed, match="bad-request"):
        await here.enforcement.flush(18)


async def test_without_a_plugin_there_is_nothing_to_confirm(here: Scene) -> None:
    here.answers = {"status": NO_PLUGIN, "flush": NO_PLUGIN}
    await here.enforcement.flush(18)
    assert here.enforcement.guards[HOST].mode is PluginMode.ABSENT
    here.answers = {"status": status("log-only"), "flush": "", "sessions": f"<sessions {POLICY} seq='0'/>"}
    await reached(lambda: here.enforcement.guards[HOST].mode is PluginMode.LOG_ONLY)


async def test_a_change_while_the_server_is_away_is_not_confirmed(here: Scene) -> None:
    await here.server.stop()
    await reached(lambda: not here.link.attached.is_set())
    with pytest.raises(NotConfirmed, match="link to its server is down"):
        await here.enforcement.flush(18)
    assert here.enforcement.guards[HOST].mode is PluginMode.UNKNOWN


async def test_modes_and_figures_are_told(here: Scene) -> None:
    here.answers["status"] = status(cached=5, hits=70)
    await reached(lambda: here.enforcement.total(lambda found: found.hits) == 70)
    here.answers["status"] = status("bypass", cached=5, hits=70)
    await reached(lambda: here.enforcement.guards[HOST].mode is PluginMode.BYPASS)
    assert here.modes == [
        (HOST, PluginMode.ENFORCE, PluginMode.UNKNOWN), (HOST, PluginMode.BYPASS, PluginMode.ENFORCE),
    ]  # fmt: skip
    assert here.enforcement.refused() == {"forbidden": 7}


@pytest.mark.parametrize(
    "element",
    [
        None,
        Element("status", mode="open", guard="everything"),
        Element("status", mode="enforce", guard="nothing"),
        Element("status", mode="enforce", guard="everything", hits="many"),
    ],
)
def test_a_status_that_cannot_be_is_none(element: Element | None) -> None:
    assert read_status(element) is None


def test_figures_may_be_missing() -> None:
    found = read_status(Element("status", mode="enforce", guard="everything", hits="2"))
    assert found == PluginStatus(PluginMode.ENFORCE, "everything", 0, hits=2)


def up(seq: int, sid: str, jid: str, since: float = 5.0, more: str = "") -> str:
    return f"<session {POLICY} sid='{sid}' seq='{seq}' jid='{jid}' event='up' since='{since}'>{more}</session>"


def down(seq: int, sid: str, jid: str) -> str:
    return f"<session {POLICY} sid='{sid}' seq='{seq}' jid='{jid}' event='down'/>"


async def told(here: Scene) -> None:
    """The plugin was heard for the first time."""
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.REPORTED)


async def test_sessions_come_and_go(here: Scene) -> None:
    await told(here)
    here.answers["status"] = None
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE) == 5.0)
    here.tell(up(2, "s2", DEVICE.full, 9.0) + "")
    here.tell(down(3, "s1", DEVICE.full))  # a resource conflict: the old one goes after the new one has come
    here.tell(up(4, "s3", "cpe2@cpe.test/tr069"))
    await reached(lambda: here.sessions.since(prepare("cpe2@cpe.test/tr069")))
    assert here.sessions.since(DEVICE) == 9.0
    here.tell(down(5, "s2", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE) is None)


async def test_a_lost_event_is_noticed_and_mended(here: Scene) -> None:
    await told(here)
    both = f"<session {POLICY} sid='s2' jid='cpe2@cpe.test/r' since='7' event='up'/>"
    here.answers["sessions"] = f"<sessions {POLICY} seq='3'>{both}</sessions>"
    here.answers["status"] = status(seq=3, sessions=1)
    here.tell(up(1, "s1", DEVICE.full))
    here.tell(up(3, "s2", "cpe2@cpe.test/r"))  # 2, the end of s1, was lost
    await reached(lambda: here.sessions.since(prepare("cpe2@cpe.test/r")) == 7.0)
    assert here.sessions.since(DEVICE) is None
    here.tell(up(2, "s9", DEVICE.full))  # late: what it says was in the snapshot
    here.tell(up(4, "s4", "cpe4@cpe.test/r"))
    await reached(lambda: here.sessions.since(prepare("cpe4@cpe.test/r")))
    assert here.sessions.since(DEVICE) is None


@pytest.mark.parametrize("figures", [{"seq": 2, "sessions": 0}, {"seq": 1, "sessions": 0}])
async def test_a_lost_last_event_is_noticed(here: Scene, figures: dict[str, int]) -> None:
    await told(here)
    here.answers["status"] = None
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.answers["sessions"] = f"<sessions {POLICY} seq='{figures['seq']}'/>"
    here.answers["status"] = status(seq=figures["seq"], sessions=figures["sessions"])
    await reached(lambda: here.sessions.since(DEVICE) is None)
    assert here.sessions.reporting(HOST) is Reporting.REPORTED


async def test_nobody_knows_who_is_there_while_the_link_is_down(here: Scene) -> None:
    await told(here)
    here.answers["status"] = None
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.answers = {"status": None}
    here.server.drop()
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.NOT_REPORTED)
    assert here.sessions.since(DEVICE) is None


class Told(Sessions):
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[ClientSession] = []

    def up(self, host: str, session: ClientSession) -> None:
        self.sessions.append(session)


def test_certificates_are_read_and_what_cannot_be_is_ignored() -> None:
    sink = Told()
    book = SessionBook(HOST, sink)
    book.take(fromstring(f"<sessions {POLICY} seq='0'/>"))
    good = "a" * 64
    chain = "<certificateChain><certificate>QUJD</certificate><certificate>REVG</certificate></certificateChain>"
    for number, (fingerprint, since, jid, more) in enumerate(
        [
            (good, "5", "soc1@cpe.test/r", chain),
            ("A" * 64, "5", "soc2@cpe.test/r", ""),
            (good, "nan", "soc3@cpe.test/r", ""),
            (good, "5", "soc4@elsewhere.test/r", ""),
            (good, "5", "", ""),
            (good, "5", "soc5@cpe.test/r", "<certificateChain><certificate>?</certificate></certificateChain>"),
            ("", "6", "soc6@cpe.test/r", ""),
        ],
        start=1,
    ):
        event = (
            f"<session {POLICY} sid='s{number}' seq='{number}' jid='{jid}' event='up' mechanism='EXTERNAL'"
            f" since='{since}' fingerprint='{fingerprint}'>{more}</session>"
        )
        assert book.take(fromstring(event))
    first = ClientSession("s1", prepare("soc1@cpe.test/r"), 5.0, "EXTERNAL", good, (b"ABC", b"DEF"))
    assert sink.sessions == [first, ClientSession("s7", prepare("soc6@cpe.test/r"), 6.0, "EXTERNAL")]


@pytest.mark.parametrize("seq", [None, "", "-1", "1.5", "\u0661", "x"])
def test_an_event_without_a_number_changes_nothing(seq: str | None) -> None:
    sink = Told()
    book = SessionBook(HOST, sink)
    book.take(fromstring(f"<sessions {POLICY} seq='0'/>"))
    event = fromstring(f"<session {POLICY} sid='s1' jid='cpe1@cpe.test/r' event='up' since='5'/>")
    if seq is not None:
        event.set("seq", seq)
    assert book.take(event) and sink.sessions == [] and book.complete(0, 0)
