"""The gateway's order of things, with a real policy, where a real server would not let us: forged senders, limits,
a policy that cannot be had, defects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from component.base import ns
from component.base.audit import Audit, AuditKey
from component.base.connreq import PAYLOAD, Credentials, serialise
from component.base.errors import Unreachable
from component.base.link import Link
from component.base.secrets import Vault
from component.base.stanzas import ERROR
from component.base.store import Store, metadata
from component.gate.devices import Devices
from component.gate.gateway import Gateway
from component.gate.outcome import Outcome
from component.gate.policy import Policy
from component.gate.rules import Effect
from component.gate.settings import GateSettings
from tests.unit.fakeserver import FakeServer, Tasks, running

CPE1 = "cpe1\\40cpe.test@gate.test"
ASKED = serialise(Credentials("u", "p"))


class Scene:
    """A gate on a fake server, with one device, `acs@acs.test` who may wake it, and a clock that stands still."""

    def __init__(self, server: FakeServer, tasks: Tasks, store: Store, folder: Path, limits: dict[str, str]) -> None:
        self.server = server
        self.now = 1_000.0
        audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head")
        self.policy = Policy(store, audit, spawn=tasks)
        self.devices = Devices(self.policy, Vault.open(folder / "credentials.key", create=True))
        settings = GateSettings.model_validate(
            {"jid": "gate.test", "secret": {"env": "X"}, "guarded_hosts": ["cpe.test"], "limits": limits}
        )
        self.refusals: list[tuple[str, str]] = []
        self.gateway = Gateway(settings, self.policy, self.devices, self, spawn=tasks, ticks=lambda: self.now)
        self.link = Link(
            "gate.test", "s3cret", "127.0.0.1", server.port, on_stanza=self.gateway.handle, spawn=tasks, name="gate"
        )
        self.gateway.attach(self.link)
        self.wakes: list[dict[str, Any]] = []
        self.ids = 0

    def refusal(self, requester: str, device: str, rule: str, reason: str) -> None:
        assert reason
        self.refusals.append((requester, rule))

    def wake(self, **row: Any) -> None:
        self.wakes.append(row)

    async def ask(self, sender: str, to: str = CPE1, payload: str = ASKED, kind: str = "get") -> str:
        """Ask, let the device accept, and return the error's condition, or ``result``."""
        self.ids += 1
        self.server.send(f"<iq type='{kind}' id='{self.ids}' from='{sender}' to='{to}'>{payload}</iq>")
        while True:
            stanza = await self.server.received.get()
            if stanza.get("type") == "get":
                self.asked = stanza
                self.server.send(f"<iq type='result' id='{stanza.get('id')}' from='{stanza.get('to')}'/>")
                continue
            assert (stanza.get("id"), stanza.get("to"), stanza.get("from")) == (str(self.ids), sender, to)
            return condition(stanza)


def condition(stanza: Element) -> str:
    error = stanza.find(ERROR)
    return "result" if error is None else error[0].tag.rpartition("}")[2]


@pytest.fixture
def limits() -> dict[str, str]:
    return {"requester": "unlimited", "device": "unlimited"}


@pytest.fixture
async def scene(tmp_path: Path, limits: dict[str, str]) -> AsyncIterator[Scene]:
    store = Store(f"sqlite:///{tmp_path}/test.db")
    store.write_now(metadata.create_all)
    async with running(FakeServer()) as (server, tasks):
        made = Scene(server, tasks, store, tmp_path, limits)
        await made.policy.load()
        await made.devices.add("test", "D1", "cpe1@cpe.test/tr069", cr_username="alice", cr_password="s<&'\"t")
        await made.policy.add_rule("test", Effect.ALLOW, "acs@acs.test", "D1")
        await made.policy.add_rule("test", Effect.ALLOW, "full@acs.test/only", "D1")
        tasks("link", made.link.run())
        await made.link.attached.wait()
        yield made
    store.close()


@pytest.mark.parametrize(
    ("sender", "outcome"),
    [
        ("acs@acs.test", "result"),
        ("acs@acs.test/any", "result"),
        ("ACS@Acs.Test/any", "result"),  # ejabberd hands on the spelling of the login
        ("acs@acs.test.evil/any", "forbidden"),
        ("acs@sub.acs.test", "forbidden"),
        ("acs@acs.tes", "forbidden"),
        ("acsx@acs.test", "forbidden"),
        ("acs.test", "forbidden"),
        ("\u0430cs@acs.test", "forbidden"),  # a Cyrillic letter that looks the same
        ("full@acs.test/only", "result"),
        ("full@acs.test/onlyX", "forbidden"),
        ("full@acs.test/Only", "forbidden"),
        ("full@acs.test", "forbidden"),
    ],
)
async def test_jids_match_exactly(scene: Scene, sender: str, outcome: str) -> None:
    assert await scene.ask(sender) == outcome


async def test_the_policy_is_asked_before_the_form_and_the_limits(scene: Scene) -> None:
    assert await scene.ask("rogue@acs.test", payload="<junk/>", kind="set") == "forbidden"
    assert await scene.ask("rogue@acs.test", to="nobody@gate.test") == "forbidden"
    assert await scene.ask("acs@acs.test", payload="<junk/>") == "bad-request"
    assert await scene.ask("acs@acs.test", kind="set") == "bad-request"
    assert await scene.ask("acs@acs.test", to="nobody@gate.test") == "forbidden"
    assert [rule for _, rule in scene.refusals] == ["none", "none", "malformed", "malformed", "none"]
    assert not scene.wakes


async def test_stored_credentials_are_filled_in_and_never_echoed(scene: Scene) -> None:
    empty = serialise(Credentials("", ""))
    assert await scene.ask("acs@acs.test", payload=empty) == "result"
    sent = scene.asked.find(PAYLOAD)
    assert sent is not None
    assert [child.text for child in sent] == ["alice", "s<&'\"t"]
    assert (scene.asked.get("to"), scene.asked.get("from")) == ("cpe1@cpe.test/tr069", "gate@gate.test/gate")
    scene.server.send(f"<iq type='get' id='x' from='acs@acs.test' to='{CPE1}'>{empty}</iq>")
    request = await scene.server.received.get()
    scene.server.send(
        f"<iq type='error' id='{request.get('id')}' from='{request.get('to')}'>"
        f"<error type='cancel'><not-authorized xmlns='{ns.STANZAS}'/></error></iq>"
    )
    answer = await scene.server.received.get()
    echo = answer.find(PAYLOAD)
    assert echo is not None
    assert [child.text or "" for child in echo] == ["", ""]


@pytest.mark.parametrize("limits", [{"requester": "2/s", "device": "unlimited"}])
async def test_the_requesters_limit(scene: Scene) -> None:
    assert [await scene.ask("acs@acs.test/a"), await scene.ask("acs@acs.test/b")] == ["result", "result"]
    assert await scene.ask("acs@acs.test/c") == "resource-constraint"
    assert await scene.ask("full@acs.test/only") == "result"
    scene.now += 0.5
    assert await scene.ask("acs@acs.test/a") == "result"
    assert scene.refusals == [("acs@acs.test", "requester-limit")]


@pytest.mark.parametrize("limits", [{"requester": "unlimited", "device": "2/min"}])
async def test_the_devices_limit_counts_what_reaches_the_device(scene: Scene) -> None:
    for number in range(3):  # the second and third share the first's outcome
        scene.server.send(f"<iq type='get' id='s{number}' from='acs@acs.test/{number}' to='{CPE1}'>{ASKED}</iq>")
    request = await scene.server.received.get()
    scene.server.send("<message id='barrier' from='acs@acs.test' to='gate.test'/>")
    assert (await scene.server.received.get()).get("id") == "barrier"  # all three have arrived
    scene.server.send(f"<iq type='result' id='{request.get('id')}' from='{request.get('to')}'/>")
    assert [condition(await scene.server.received.get()) for _ in range(3)] == ["result"] * 3
    assert await scene.ask("acs@acs.test") == "result"
    assert await scene.ask("acs@acs.test") == "resource-constraint"
    assert await scene.ask("full@acs.test/only") == "resource-constraint"
    denied = await scene.gateway.wake("D1", actor="unix:root", requester="acs@acs.test")
    assert (denied.outcome, denied.detail) == (Outcome.DENIED, "The device is woken too often.")
    scene.now += 30
    assert await scene.ask("acs@acs.test") == "result"


async def test_without_a_policy_nothing_passes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(scene.policy), "available", False)
    assert await scene.ask("acs@acs.test") == "internal-server-error"
    assert await scene.ask("rogue@acs.test") == "internal-server-error"
    assert not scene.wakes


async def test_a_defect_refuses_and_answers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.policy.index, "decide", lambda *_: 1 / 0)
    assert await scene.ask("acs@acs.test") == "internal-server-error"
    assert not scene.wakes


async def test_while_draining_requests_are_put_off(scene: Scene) -> None:
    scene.gateway.draining = True
    assert await scene.ask("acs@acs.test") == "remote-server-timeout"


async def test_results_errors_presence_and_messages_wake_nobody(scene: Scene) -> None:
    for kind in ("result", "error"):
        scene.server.send(f"<iq type='{kind}' id='{kind}' from='acs@acs.test' to='{CPE1}'>{ASKED}</iq>")
    scene.server.send(f"<presence from='acs@acs.test' to='{CPE1}'>{ASKED}</presence>")
    scene.server.send(f"<message type='error' id='e' from='acs@acs.test' to='{CPE1}'>{ASKED}</message>")
    scene.server.send(f"<message id='m' from='acs@acs.test' to='{CPE1}'>{ASKED}</message>")
    stanza = await scene.server.received.get()
    assert (stanza.tag, stanza.get("type"), stanza.get("id")) == (f"{{{ns.COMPONENT}}}message", "error", "m")
    assert await scene.ask("acs@acs.test") == "result"
    assert len(scene.wakes) == 1


async def test_each_wake_is_recorded_with_its_rule(scene: Scene) -> None:
    await scene.ask("acs@acs.test/r")
    row = scene.wakes[0]
    assert (row["actor"], row["requester"], row["device"]) == ("acs@acs.test/r", "acs@acs.test/r", "D1")
    assert row["outcome"] == "accepted"
    assert row["rule"].isdigit()


async def test_an_operator_wakes_on_his_own_authority(scene: Scene) -> None:
    async def woken(**how: Any) -> Outcome:
        return (await scene.gateway.wake(actor="unix:root", **how)).outcome

    assert await woken(device="nobody") is Outcome.UNKNOWN_DEVICE
    assert await woken(device="nobody", requester="rogue@acs.test") is Outcome.DENIED
    assert await woken(device="d1", requester="rogue@acs.test") is Outcome.DENIED
    assert [(row["actor"], row["requester"], row["device"]) for row in scene.wakes] == [
        ("unix:root", "rogue@acs.test", "nobody"), ("unix:root", "rogue@acs.test", "D1"),
    ]  # fmt: skip
    assert not scene.refusals
    await scene.server.stop()
    while scene.link.attached.is_set():
        await scene.link._ended.wait()
    with pytest.raises(Unreachable):
        await woken(device="D1")
