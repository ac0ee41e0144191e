"""The demonstration on real servers, and what an interruption leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stanzagate.demo.local import Local
from stanzagate.demo.steps import Demonstration

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
    assert "BAD" not in output
    assert list(folder.iterdir()) == []
    assert processes_in(folder) == []


@pytest.mark.parametrize("server", SERVERS)
async def test_without_enforcement_the_steps_around_the_gate_fail(server: str, folder: Path) -> None:
    with running_sandbox(folder, server, "--with-cpes", "--mode", "log-only") as local:
        steps = [step async for step in Demonstration(Local(local.folder, local.info)).run()]
    assert [(step.who, step.expected, step.seen) for step in steps if not step.done] == [
        ("rogue", "auth/forbidden", "accepted"),
        ("acs1", "auth/forbidden", "accepted"),
    ]


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
