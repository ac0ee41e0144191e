"""The README's example of a node, run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Sandbox

README = Path(__file__).parents[2] / "README.md"
NODE, TOPIC = "soc2@grid.test", "IODEF-1.0"


def printed(language: str) -> str:
    """The one block of that language."""
    (block,) = re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(block)


@pytest.fixture
def folder(sandbox: Sandbox) -> Iterator[Path]:
    """A sandbox's folder as the README leaves it: the node may do everything with the topic."""
    sandbox.run("node", "delete", NODE)
    assert sandbox.run("node", "add", NODE).returncode == 0
    rule = sandbox.json("access", "permit", NODE, "member", TOPIC)
    incident = sandbox.folder / "incident.xml"
    incident.write_text(printed("xml"))
    yield sandbox.folder
    incident.unlink()
    sandbox.run("access", "remove", str(rule["id"]))
    sandbox.run("node", "delete", NODE)


def test_the_example_runs_as_it_is_printed(folder: Path) -> None:
    environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-c", printed("python")]
    with subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.terminate()
        assert line.endswith(" 2026-17\n"), process.stderr.read()
