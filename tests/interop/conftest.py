"""Sandboxes for each kind of server, for the whole session; tests that take `sandbox` or `server` run on both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stanzagate.config import ServerKind
from stanzagate.plugin import DEFAULTS, Plugin
from stanzagate.sandbox.control import Options, Parts, down, up_detached

from .cast import PARTNERS

if TYPE_CHECKING:
    from tests.interop.relaykit_scene import Federation
    from tests.interop.relaykit_siege import Siege

KINDS = ("prosody", "ejabberd")
COMMAND_TIMEOUT_S = 90


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that runs.

    :ivar folder: its DIR.
    :ivar info: the content of ``sandbox.json``.
    :ivar components: attached domains that tests may use: ``{jid: {host, port, secret, …}}``.
    """

    folder: Path
    info: dict[str, Any]
    components: dict[str, dict[str, Any]]

    @property
    def kind(self) -> str:
        """``prosody`` or ``ejabberd``."""
        return str(self.info["server"])

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return self.info["c2s"]["host"], self.info["c2s"]["port"]

    def account(self, name: str) -> dict[str, Any]:
        """An account by its local part: ``acs1``, ``rogue``, ``cpe1``, ``soc1``."""
        known = [*self.info["acs"], self.info["rogue"], *self.info["cpes"], *self.info["nodes"]]
        return next(account for account in known if account["jid"].startswith(f"{name}@"))

    def run(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``stanzagate ARGUMENTS --dir DIR`` and return what it said and its exit code."""
        return stanzagate(*arguments, "--dir", str(self.folder), input=input)

    def json(self, *arguments: str) -> Any:
        """What ``stanzagate ARGUMENTS --json`` prints; the exit code may be 0 or 1."""
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def restart_server(self) -> None:
        """Have the XMPP server restarted; returns at once."""
        pid = json.loads((self.folder / "sandbox.pid").read_text())["pid"]
        os.kill(pid, signal.SIGUSR1)


def stanzagate(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "stanzagate", *arguments],
        capture_output=True,
        text=True,
        input=input,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@contextmanager
def running_sandbox(folder: Path, kind: str, *options: str) -> Iterator[Sandbox]:
    """A sandbox of its own, for tests that need one in another state than that of the session.

    :param options: of ``sandbox up``: ``--with-cpes``, ``--mode log-only``, ``--guard everything``. What these do not
        say, `bare_sandbox` does.
    """
    started = stanzagate("sandbox", "up", "--dir", str(folder), "--server", kind, "--detach", *options)
    assert started.returncode == 0, started.stderr
    try:
        yield read(folder)
    finally:
        stanzagate("sandbox", "down", "--dir", str(folder))


@contextmanager
def bare_sandbox(
    folder: Path,
    kind: str,
    plugin: Plugin = DEFAULTS,
    *,
    parts: frozenset[Parts] = frozenset({Parts.SERVER}),
    partners: tuple[str, ...] = (),
) -> Iterator[Sandbox]:
    """A sandbox of chosen parts and with chosen options of the plugin, which the command line does not have.

    :param parts: by default the server alone, so that a test can attach as the gate.
    :param partners: domains of other servers, for a relay.
    """
    up_detached(Options(folder, ServerKind(kind), parts, plugin, partners))
    try:
        yield read(folder)
    finally:
        down(folder)


def read(folder: Path) -> Sandbox:
    """The sandbox that runs in a folder."""
    info = json.loads((folder / "sandbox.json").read_text())
    return Sandbox(folder, info, json.loads((folder / "components.json").read_text()))


@pytest.fixture(scope="session", params=KINDS)
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox without devices; tests connect their own."""
    folder, parts = tmp_path_factory.mktemp(request.param), frozenset({Parts.SERVER, Parts.SERVE})
    with bare_sandbox(folder, request.param, parts=parts, partners=PARTNERS) as running:
        yield running


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The server of a sandbox: the gate's place is free. A test leaves it as it found it."""
    with bare_sandbox(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


@pytest.fixture(scope="session")
def federation(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The sandbox with a relay, and with partners of every kind. A test leaves it as it found it."""
    from tests.interop.relaykit_scene import federated

    with federated(sandbox, tmp_path_factory.mktemp("federation")) as running:
        yield running


@pytest.fixture(scope="session")
def siege(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A relay as it is by default, which is attacked. A test leaves it as it found it."""
    from tests.interop.relaykit_siege import CALM, besieged

    with besieged(sandbox, tmp_path_factory.mktemp("siege"), CALM) as running:
        yield running


@pytest.fixture(scope="session")
def hasty(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """Likewise, one that waits for nobody and keeps little."""
    from tests.interop.relaykit_siege import HASTY, QUICK, besieged

    with besieged(sandbox, tmp_path_factory.mktemp("hasty"), HASTY, **QUICK) as running:
        yield running
