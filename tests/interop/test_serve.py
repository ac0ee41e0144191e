"""``serve`` beside a real server: a second gate on a spare domain, so that it may be killed, drained and starved."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stanzagate.sandbox.device import Quirk
from tests.interop.clients import Answer, client, payload_xml
from tests.interop.conftest import Sandbox, stanzagate
from tests.interop.devices import device
from tests.interop.plugin import Policy
from tests.interop.realgate import OwnGate

GATE = "spare1.test"
TARGET = f"cpe1\\40cpe.test@{GATE}"


def configuration(sandbox: Sandbox, folder: Path, **changes: str) -> None:
    """Write the configuration of a gate on the spare domain."""
    component = sandbox.components[GATE]
    (folder / "gate.secret").write_text(changes.get("secret", component["secret"]))
    settings = {
        "server": {"kind": sandbox.kind, "host": component["host"]},
        "gate": {
            "jid": GATE,
            "component_port": component["port"],
            "guarded_hosts": ["acs.test"],  # the plugin on cpe.test obeys the sandbox's own gate alone
            "secret": {"file": "gate.secret"},
            "answer_timeout": changes.get("answer_timeout", "10s"),
            "limits": {name: changes.get(name, "unlimited") for name in ("requester", "device")},
        },
        **({"admin": json.loads(changes["admin"])} if "admin" in changes else {}),
    }
    (folder / "stanzagate.yaml").write_text(json.dumps(settings))  # JSON is YAML


@contextlib.asynccontextmanager
async def second_gate(sandbox: Sandbox, folder: Path) -> AsyncIterator[OwnGate]:
    """A gate that the sandbox's own lets wake all devices; not started yet."""
    configuration(sandbox, folder)
    gate = OwnGate(sandbox, folder)
    devices = [row["jid"].partition("/")[0] for row in sandbox.info["cpes"]]
    with Policy(sandbox).holding(*(("allow", f"gate@{GATE}", device) for device in devices)):
        try:
            yield gate
        finally:
            if gate.process is not None and gate.process.returncode is None:
                await gate.end(signal.SIGKILL)


@pytest.fixture
async def own(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[OwnGate]:
    """A second gate for a test."""
    async with second_gate(sandbox, tmp_path) as gate:
        yield gate


async def with_policy(own: OwnGate, *numbers: int) -> None:
    """Let acs1 wake some of the devices, by default the first."""
    rows = [own.sandbox.account(f"cpe{number}") for number in numbers or (1,)]
    lines = [f"{row['id']},{row['jid']},{row['cr_username']},{row['cr_password']},lab\n" for row in rows]
    file = own.folder / "devices.csv"
    file.write_text("".join(["id,jid,cr_username,cr_password,groups\n", *lines]))
    await own.cli("device", "import", str(file))
    await own.cli("jid", "allow", "acs1@acs.test", "--to", "group:lab")


def kinds(answers: list[Answer]) -> set[str]:
    return {answer.condition or answer.type for answer in answers}


def request(id: str) -> str:
    """A request as it is written."""
    return f"<iq type='get' id='{id}' to='{TARGET}'>{payload_xml('', '')}</iq>"


async def test_no_request_is_left_without_an_answer_when_serve_is_stopped(own: OwnGate) -> None:
    await own.start()
    await with_policy(own)
    row = own.sandbox.account("acs1")
    async with (
        device(own.sandbox, 1, allowed=[f"gate@{GATE}/gate"]) as cpe,
        client("slixmpp", row["jid"], row["password"], *own.sandbox.address, own.sandbox.info["ca"]) as acs1,
    ):
        await acs1.send_raw("".join(request(f"a{number}") for number in range(200)))
        while not cpe.received:
            await asyncio.sleep(0.001)
        assert await own.end(signal.SIGTERM) == 0
        await acs1.send_raw("".join(request(f"b{number}") for number in range(5)))
        asked = [await acs1.answer(f"a{number}") for number in range(200)]
        late = [await acs1.answer(f"b{number}") for number in range(5)]
        # those that the gate took are answered by it; for the others the server speaks (facts differ by server)
        assert kinds(asked) <= {
            "result", "remote-server-timeout", "remote-server-not-found", "forbidden", "service-unavailable",
        }  # fmt: skip
        assert "result" in kinds(asked)
        assert "result" not in kinds(late)


async def test_what_was_acknowledged_survives_a_kill(own: OwnGate) -> None:
    await own.start()
    await with_policy(own)
    await own.cli("jid", "suspend", "acs2@acs.test")
    await own.end(signal.SIGKILL)
    await own.start()
    assert "suspended" in await own.cli("jid", "check", "acs2@acs.test", "00256D-0001", code=1)
    await own.cli("jid", "check", "acs1@acs.test/any", "cpe1@cpe.test")
    await own.cli("audit", "verify")


async def test_silent_late_and_lying_devices(sandbox: Sandbox, own: OwnGate) -> None:
    configuration(sandbox, own.folder, answer_timeout="1s")
    await own.start()
    await with_policy(own, 1, 2, 3, 4)
    row = sandbox.account("acs1")
    entries = [f"gate@{GATE}/gate"]
    async with (
        device(sandbox, 1, allowed=entries, quirks=Quirk.SILENT),
        device(sandbox, 2, allowed=entries, quirks=Quirk.LATE, late=1.5) as late,
        device(sandbox, 3, allowed=entries, quirks=Quirk.FOREIGN_ID),
        device(sandbox, 4, allowed=entries, quirks=Quirk.TWICE),
        client("slixmpp", row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as acs1,
    ):
        targets = {number: f"cpe{number}\\40cpe.test@{GATE}" for number in range(1, 5)}
        answers = await asyncio.gather(*(acs1.request(to, "", "", id=f"n{n}") for n, to in targets.items()))
        for answer in answers[:3]:
            assert (answer.error_type, answer.condition) == ("wait", "remote-server-timeout")
        assert answers[3].type == "result"
        await late.answered.wait()
        assert (await acs1.request(targets[4], "", "")).type == "result"
        assert all(len(acs1.answers_to(f"n{number}")) == 1 for number in targets)


async def test_limits(sandbox: Sandbox, own: OwnGate) -> None:
    configuration(sandbox, own.folder, requester="6/min", device="4/min")
    await own.start()
    await with_policy(own)
    row = sandbox.account("acs1")
    async with (
        device(sandbox, 1, allowed=[f"gate@{GATE}/gate"]) as cpe,
        client("aioxmpp", row["jid"], row["password"], *sandbox.address, sandbox.info["ca"]) as acs1,
    ):
        answers = [await acs1.request(TARGET, "", "") for _ in range(5)]
        assert [answer.type for answer in answers] == ["result"] * 4 + ["error"]
        assert (answers[4].error_type, answers[4].condition) == ("wait", "resource-constraint")
        assert len(cpe.received) == 4


class Traffic:
    """Requesters that ask one thing after the other, and log in again when the server goes away under them.

    :ivar kinds: what the answers since the last `clear` were.
    """

    def __init__(self, *arguments: Any) -> None:
        self.kinds: set[str] = set()
        self._arguments = arguments

    async def run(self) -> None:
        """Ask until cancelled. A request without an answer on a connection that stays is a TimeoutError."""
        while True:
            with contextlib.suppress(ConnectionError):
                async with client(*self._arguments) as requester:
                    while True:
                        answer = await requester.request(TARGET, "", "", timeout=30)
                        self.kinds.add(answer.condition or answer.type)

    async def until(self, kind: str) -> None:
        """Wait for an answer of that kind."""
        while kind not in self.kinds:
            await asyncio.sleep(0.01)


async def test_the_server_restarts_in_mid_traffic(own: OwnGate) -> None:
    await own.start()
    await with_policy(own)
    sandbox, row = own.sandbox, own.sandbox.account("acs1")
    traffic = [
        Traffic("slixmpp", f"{row['jid']}/{name}", row["password"], *sandbox.address, sandbox.info["ca"])
        for name in ("one", "two")
    ]
    async with device(sandbox, 1, allowed=[f"gate@{GATE}/gate"]) as cpe, asyncio.TaskGroup() as group:
        running = [group.create_task(one.run()) for one in traffic]
        for one in traffic:
            await one.until("result")
        sandbox.restart_server()
        while cpe.online:
            await asyncio.sleep(0.001)
        for one in traffic:
            one.kinds.clear()
        for one in traffic:
            await one.until("result")
        for task in running:
            task.cancel()
    assert own.log().count("not attached") == 1, own.log()


async def test_a_wrong_secret_is_said_once(sandbox: Sandbox, own: OwnGate) -> None:
    configuration(sandbox, own.folder, secret="not-the-secret")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            starting = asyncio.ensure_future(own.start())  # noqa: TID251  a test may wait for two things at once
            while "not attached" not in (own.log() if (own.folder / "serve.log").exists() else ""):
                await asyncio.sleep(0.02)
            starting.cancel()
    assert "secret" in own.log()
    assert "not-the-secret" not in own.log()
    assert own.process is not None and own.process.returncode is None


async def test_a_second_serve_is_refused(own: OwnGate) -> None:
    await own.start()
    assert own.process is not None
    done = await asyncio.to_thread(stanzagate, "serve", "-c", str(own.folder / "stanzagate.yaml"))
    assert done.returncode == 1
    assert str(own.process.pid) in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_taken_port_is_named(sandbox: Sandbox, own: OwnGate) -> None:
    admin = {
        "listen": sandbox.info["admin"]["url"].removeprefix("http://"),
        "tokens": {"ops": {"env": "STANZAGATE_TEST_TOKEN", "role": "admin"}},
    }
    configuration(sandbox, own.folder, admin=json.dumps(admin))
    os.environ["STANZAGATE_TEST_TOKEN"] = "0123456789abcdef0123456789abcdef"
    try:
        done = await asyncio.to_thread(stanzagate, "serve", "-c", str(own.folder / "stanzagate.yaml"))
    finally:
        del os.environ["STANZAGATE_TEST_TOKEN"]
    assert done.returncode == 1
    assert sandbox.info["admin"]["url"].rpartition(":")[2] in done.stderr
    assert "0123456789abcdef" not in done.stderr
