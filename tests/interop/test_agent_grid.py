"""The agent, and `publish` and `watch`, against the real controller, on both servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grid.agent import Pending, Refused, SubscriptionEnded
from grid.model import NodeState
from stanzagate.cli import main
from tests.interop.agentkit import INCIDENT, agent, hasten
from tests.interop.conftest import Sandbox
from tests.interop.puppet import until

TOPIC = "IODEF-1.0"
NODES = ("soc4@grid.test", "soc5@grid.test")


@dataclass(frozen=True)
class Said:
    """What a command wrote, and its exit code."""

    out: str
    err: str
    code: int


class Shell:
    """Runs commands in this process, beside what is going on."""

    def __init__(self, sandbox: Sandbox, capture: pytest.CaptureFixture[str]) -> None:
        self.sandbox = sandbox
        self._capture = capture

    async def run(self, *arguments: str) -> Said:
        """Run a command."""
        self._capture.readouterr()
        code = await asyncio.to_thread(main, [*arguments, "--dir", str(self.sandbox.folder)])
        return Said(*self._capture.readouterr(), code)

    async def done(self, *arguments: str) -> str:
        """Run a command that must succeed; its output."""
        said = await self.run(*arguments)
        assert said.code == 0, said.err
        return said.out


@pytest.fixture
async def shell(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    """A sandbox in which two nodes are unknown, before and after."""
    made = Shell(sandbox, capfd)
    await forget(made)
    yield made
    await forget(made)


async def forget(shell: Shell) -> None:
    """Delete nodes and their rules."""
    for row in json.loads(await shell.done("node", "list", "--json")):
        if row["jid"] in NODES:
            await shell.done("node", "delete", row["jid"])
    for rule in json.loads(await shell.done("access", "list", "--json")):
        if rule["subject"] in NODES:
            await shell.done("access", "remove", str(rule["id"]))


async def test_a_node_registers_waits_and_is_approved(shell: Shell) -> None:
    states: list[NodeState] = []
    with pytest.raises(Pending, match="registration-required"):
        async with agent(shell.sandbox, "soc4", patience=0):
            pass

    async def approve() -> None:
        await until(lambda: states)
        await shell.done("node", "approve", NODES[0])

    async with asyncio.TaskGroup() as group:
        group.create_task(approve())
        async with agent(shell.sandbox, "soc4", on_state=states.append) as node:
            assert states == [NodeState.PENDING, NodeState.ACTIVE]
            with pytest.raises(Refused):
                await node.publish(TOPIC, INCIDENT.format(1))
            await shell.done("access", "permit", NODES[0], "publish", TOPIC)
            await node.publish(TOPIC, INCIDENT.format(1))
            assert TOPIC in await node.topics()
    async with agent(shell.sandbox, "soc4") as node:  # it is registered, and simply logs in
        assert node.connected


async def test_a_node_that_is_disabled_is_told(shell: Shell) -> None:
    await shell.done("node", "add", NODES[0])
    await shell.done("access", "permit", NODES[0], "subscribe", TOPIC)
    async with agent(shell.sandbox, "soc4") as node:
        hasten(node)
        stream = await node.subscribe(TOPIC).open()
        await shell.done("node", "disable", NODES[0])
        with pytest.raises(Refused, match="forbidden"):
            async with asyncio.timeout(30):
                await anext(stream)
        with pytest.raises(Refused, match="forbidden"):
            await node.publish(TOPIC, INCIDENT.format(1))
    with pytest.raises(Refused, match="forbidden"):
        async with agent(shell.sandbox, "soc4"):
            pass


async def test_a_node_that_loses_a_right_is_told(shell: Shell) -> None:
    await shell.done("node", "add", NODES[0])
    await shell.done("access", "permit", NODES[0], "subscribe", TOPIC)
    async with agent(shell.sandbox, "soc4") as node:
        stream = await node.subscribe(TOPIC).open()
        await shell.done("access", "forbid", NODES[0], "subscribe", TOPIC)
        with pytest.raises(SubscriptionEnded):
            async with asyncio.timeout(30):
                await anext(stream)
        with pytest.raises(Refused):
            await node.subscribe(TOPIC).open()


async def test_publish_and_watch(shell: Shell, tmp_path: Path) -> None:
    """What was published while nobody watched comes first; then what comes."""
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_text(INCIDENT.format(7))
    bad.write_text(INCIDENT.format(8).replace("reporting", "singing"))
    publish, watch = ("publish", TOPIC, str(good), "--jid", NODES[0]), ("watch", TOPIC, "--jid", NODES[1])
    pending = await shell.run(*publish)
    assert (pending.code, "node approve" in pending.err) == (1, True)
    await shell.done("node", "approve", NODES[0])
    await shell.done("node", "add", NODES[1])
    await shell.done("access", "permit", NODES[0], "publish", TOPIC)
    refused = await shell.run(*watch, "--timeout", "0.1")
    assert refused.code == 1
    assert "item-not-found" in refused.err
    await shell.done("access", "permit", NODES[1], "subscribe", TOPIC)
    await shell.done(*watch, "--timeout", "0.1")  # subscribes
    told = await shell.done(*publish, "--id", "first")
    assert told == f"{good}  {TOPIC}  first\n"
    seen = [json.loads(line) for line in (await shell.done(*watch, "--count", "1", "--json")).splitlines()]
    assert [(item["topic"], item["id"]) for item in seen] == [(TOPIC, "first")]
    assert "csirt.example.com" in seen[0]["xml"]
    assert [row["id"] for row in json.loads(await shell.done(*publish, "--id", "second", "--json"))] == ["second"]
    line = await shell.done(*watch, "--count", "1", "--unsubscribe")
    assert line == "2015-07-18T14:00:00Z  csirt.example.com#7  reporting  green\n"
    invalid = await shell.run(*publish[:2], str(bad), *publish[3:])
    assert invalid.code == 2
    assert "bad.xml" in invalid.err
    assert "nothing was sent" in invalid.err
    none = await shell.run(*watch, "--count", "1", "--timeout", "0.1", "--unsubscribe")
    assert none.code == 1
