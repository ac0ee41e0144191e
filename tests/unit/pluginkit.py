"""In-server plugins that do what real ones never do, for tests of the component's side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from component.base import guardedhost, ns
from component.base.enforcement import Decision, Enforcement
from component.base.jid import Jid, prepare
from component.base.link import Link
from component.base.pluginstatus import Guard, PluginMode
from component.gate.sessions import Reporting, Sessions
from tests.unit.fakeserver import FakeServer, Tasks, running

HOST, OTHER, GATE = "cpe.test", "cpe2.test", "gate.test"
POLICY = f"xmlns='{ns.POLICY}'"
DEVICE = prepare("cpe1@cpe.test/tr069")


@dataclass
class Scene:
    """An `Enforcement` on a link to a fake server with two guarded hosts.

    :ivar answers: what the plugin of `HOST` answers to a question; None for nothing.
    :ivar elsewhere: likewise for `OTHER`, which has no plugin at first.
    :ivar asked: all questions, with the host that was asked.
    """

    server: FakeServer
    link: Link
    enforcement: Enforcement
    sessions: Sessions
    decision: Decision | Exception
    decided: list[tuple[Jid, Jid]] = field(default_factory=list)
    modes: list[tuple[str, PluginMode, PluginMode]] = field(default_factory=list)
    others: list[Element] = field(default_factory=list)
    answers: dict[str, str | None] = field(default_factory=dict)
    elsewhere: dict[str, str | None] = field(default_factory=dict)
    asked: list[tuple[str, Element]] = field(default_factory=list)
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

    def tell(self, xml: str, host: str = HOST) -> None:
        """Send a message of a plugin."""
        self.server.send(f"<message from='{host}' to='{GATE}'>{xml}</message>")

    def questions(self, name: str, host: str = HOST) -> list[dict[str, str]]:
        """The attributes of all questions of this name so far."""
        return [dict(element.attrib) for asked, element in self.asked if asked == host and element.tag.endswith(name)]

    async def play(self) -> None:
        while True:
            stanza = await self.server.received.get()
            if stanza.get("type") in ("result", "error"):
                self.replies.put_nowait(stanza)
                continue
            host = stanza.get("to", "")
            self.asked.append((host, stanza[0]))
            answers = self.answers if host == HOST else self.elsewhere
            answer = answers.get(stanza[0].tag.rpartition("}")[2], "<error type='cancel'/>")
            if answer is not None:
                kind = "error" if answer.startswith("<error") else "result"
                self.server.send(f"<iq type='{kind}' id='{stanza.get('id')}' from='{host}' to='{GATE}'>{answer}</iq>")


def status(mode: str = "enforce", seq: int = 0, sessions: int = 0, **more: Any) -> str:
    figures = "".join(f" {name}='{value}'" for name, value in more.items())
    return (
        f"<status {POLICY} mode='{mode}' guard='connection-requests' epoch='1' seq='{seq}' sessions='{sessions}'"
        f"{figures}><refused reason='forbidden' count='7'/><refused reason='made-up' count='9'/></status>"
    )


NO_PLUGIN = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
NO_MEMORY = f"<error type='wait'><resource-constraint xmlns='{ns.STANZAS}'/></error>"
ALLOW = Decision(True, True, "3", "rule 3 allows it", 17, None)


@contextlib.asynccontextmanager
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A scene whose link is attached, in a hurry."""
    monkeypatch.setattr(guardedhost, "CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(guardedhost, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(guardedhost, "POLL_SECONDS", 0.02)
    async with running(FakeServer()) as (server, tasks):
        yield await _attached(server, tasks)


async def _attached(server: FakeServer, tasks: Tasks) -> Scene:
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
        (HOST, OTHER), decide, sessions, guard=Guard.CONNECTION_REQUESTS,
        ttl=300, stale=3600, on_mode=lambda *change: scene.modes.append(change), clock=lambda: 1000.0,
    )  # fmt: skip
    scene = Scene(server, link, ours, sessions, ALLOW)
    scene.answers = {"status": status(), "flush": "", "sessions": f"<sessions {POLICY} seq='0'/>"}
    scene.elsewhere = {"status": NO_PLUGIN, "flush": NO_PLUGIN}
    ours.attach(link)
    tasks("link", link.run())
    tasks("plugins", ours.run())
    tasks("server", scene.play())
    await link.attached.wait()
    return scene


async def reached(condition: object) -> None:
    """Wait until a callable is true; the test's own time limit is the deadline."""
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0.005)


async def told(here: Scene) -> None:
    """Wait until the plugin of `HOST` has been heard."""
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.ENFORCE)
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.REPORTED)
