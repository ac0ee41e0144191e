"""The demonstration on real servers, and what an interruption leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stanzagate.demo.devices import Devices
from stanzagate.demo.grid import Grid
from stanzagate.demo.local import Local

from .conftest import running_sandbox

SERVERS = ("prosody", "ejabberd")


def demo(server: str, folder: Path) -> subprocess.Popen[str]:
    environment = dict(os.environ) | {"TMPDIR": str(folder)}
    command = [sys.executable, "-m", "stanzagate.demo", "--server", server]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def processes_in(folder: Path) -> list[str]:
    """Command lines that name a path in this folder."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended meanwhile
    return [line for line in lines if str(folder) in line]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its path is short: a unix socket will be in it."""
    return tmp_path_factory.mktemp("d")


@pytest.mark.parametrize("server", SERVERS)
def test_every_step_does_what_it_must(server: str, folder: Path) -> None:
    process = demo(server, folder)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert "Every step did what it must." in output
    assert "csirt.example.org#17  reporting  green  Password guessing against our mail servers" in output
    assert "deny: soc1@grid.test subscribe IODEF-1.0: no rule permits it" in output
    assert "BAD" not in output
    assert list(folder.iterdir()) == []
    assert processes_in(folder) == []


@pytest.mark.parametrize("server", SERVERS)
async def test_steps_that_go_another_way_fail(server: str, folder: Path) -> None:
    """Without enforcement one gets around the gate; with a rule too many a sensor may subscribe."""
    with running_sandbox(folder, server, "--with-cpes", "--mode", "log-only") as sandbox:
        local = Local(sandbox.folder, sandbox.info)
        devices = [step async for step in Devices(local).run()]
        await local.command("access", "permit", "group:sensors", "subscribe", "IODEF-1.0")
        grid = [step async for step in Grid(local).run()]
    assert [(step.who, step.expected, step.seen) for step in devices if not step.done] == [
        ("rogue", "auth/forbidden", "accepted"),
        ("acs1", "auth/forbidden", "accepted"),
    ]
    failed = {(step.who, step.what): step.seen for step in grid if not step.done}
    explained = failed.pop(("operator", "access explain soc1@grid.test subscribe IODEF-1.0"))
    assert "ended with 0: permit" in explained
    assert failed == {("soc1", "subscribes to IODEF-1.0, may only publish"): "subscribed"}


@pytest.mark.parametrize("server", SERVERS)
def test_an_interruption_leaves_nothing_behind(server: str, folder: Path) -> None:
    process = demo(server, folder)
    assert process.stdout is not None
    while "is up" not in (line := process.stdout.readline()):
        assert line, "the demonstration ended early"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert list(folder.iterdir()) == []
    assert processes_in(folder) == []
