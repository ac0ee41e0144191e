"""A grid of a test alone, of which every part may be killed: the XMPP server, the controller, the database.

The server and `serve` are processes of the test, started as the sandbox starts them, but nobody watches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from stanzagate.config import ServerKind
from stanzagate.sandbox.certificates import make_certificates
from stanzagate.sandbox.plan import CONTROLLER, SEEDER, make_plan
from stanzagate.sandbox.programs import python_command, python_environment
from stanzagate.sandbox.report import report
from stanzagate.sandbox.seed import seed_accounts
from stanzagate.sandbox.server import Command, prepare
from stanzagate.sandbox.up import write_config
from stanzagate.sandbox.wire import StreamFailed, attach, client_offer
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import World, grid

PATIENCE = 40.0
PAUSE = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_us() -> None:
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Process:
    """A process that ends with us at the latest."""

    def __init__(self, command: Command, log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; it has not come up when this returns."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._command.folder,
                env=dict(self._command.environment), start_new_session=True,
                preexec_fn=_end_with_us,  # noqa: PLW1509  one system call
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int) -> None:
        """Send it a signal, and wait until it and its children have gone."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")


class OwnGrid:
    """Server and controller.

    :ivar sandbox: how the clients of the tests find them.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        plan = self._plan = make_plan(folder, ServerKind(kind))
        layout = plan.layout
        make_certificates(plan)
        write_config(plan)
        self.server = Process(prepare(plan), layout.log("server"))
        serve = python_command("stanzagate", "serve", "-c", str(layout.config))
        self.serve = Process(Command(serve, python_environment(), layout.folder), layout.log("serve"))
        self.database = layout.folder / "stanzagate.db"
        self.seeded = False
        info = json.loads(json.dumps(report(plan, "", served=True)))
        self.sandbox = Sandbox(layout.folder, info, {item.jid: asdict(item) for item in plan.components})

    @property
    def kind(self) -> str:
        """``prosody`` or ``ejabberd``."""
        return self.sandbox.kind

    # The server

    async def start_server(self) -> None:
        """Start the server and wait until clients and components can come."""
        self.server.start()
        await self.server_answers()

    async def server_answers(self) -> None:
        """Wait until it does."""
        plan, seeder = self._plan, self._plan.component(SEEDER)
        await until(lambda: client_offer(plan.c2s.host, plan.c2s.port, plan.domains[2], plan.layout.ca), self.server)

        async def attached() -> None:
            await (await attach(seeder.host, seeder.port, seeder.jid, seeder.secret)).close()

        await until(attached, self.server)

    async def seed(self) -> None:
        """Make the accounts of the sandbox."""
        seeder = self._plan.component(SEEDER)
        async with await attach(seeder.host, seeder.port, seeder.jid, seeder.secret) as stream:
            await seed_accounts(stream, seeder.jid, self._plan.accounts.nodes)
        self.seeded = True

    # The controller

    async def start_serve(self, *, attached: bool = True) -> None:
        """Start the controller and wait until it answers.

        :param attached: and until it is attached, the plugin is up to date and everything was compared.
        """
        self.serve.start()
        await self.served(attached=attached)

    async def served(self, *, attached: bool = True) -> None:
        """Wait until it is so."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._plan.layout.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate") as client:

            async def ready() -> None:
                health = (await client.get("/healthz")).json()
                if attached:
                    assert (health["grid"], health["plugins"]["grid.test"]) == ("attached", "enforce"), health
                    figures = (await client.get("/metrics")).text
                    found = {
                        name: float(value)
                        for name, value in re.findall(r"^stanzagate_grid_(\w+) (\S+)$", figures, re.MULTILINE)
                    }
                    assert found["reconciliation_seconds"] and not found["owed"], found

            await until(ready, self.serve)

    @contextlib.asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        """The grid, as its administrator has it."""
        async with grid(self.sandbox) as world:
            yield world

    # The database

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """The disk has no room for as long as the block lasts."""
        before = resource.prlimit(self.serve.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.serve.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.serve.pid, resource.RLIMIT_FSIZE, before)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else writes to it for as long as the block lasts."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        """Another file has its name for as long as the block lasts."""
        aside = self.database.with_name("aside.db")
        self.database.rename(aside)
        shutil.copy(aside, self.database)
        try:
            yield
        finally:
            aside.rename(self.database)

    def copy_database(self) -> bytes:
        """All that is committed, as a backup has it."""
        copy = self.database.with_name("copy.db")
        with (
            contextlib.closing(sqlite3.connect(self.database)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy.read_bytes()

    def put_database(self, content: bytes) -> None:
        """Restore it; the controller must not run."""
        for suffix in ("", "-wal", "-shm"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        (self.database.parent / "audit.head").unlink(missing_ok=True)  # that of a later record
        self.database.write_bytes(content)

    def end(self) -> None:
        """End everything."""
        for process in (self.serve, self.server):
            process.end(signal.SIGKILL)


async def until(probe: Any, process: Process) -> None:
    """Try until it does not fail."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await probe()
            return
        except (AssertionError, OSError, StreamFailed, httpx.TransportError, TimeoutError) as error:
            assert process.alive(), process.log()[-3000:]
            assert time.monotonic() < deadline, (error, process.log()[-3000:])
        await asyncio.sleep(PAUSE)


__all__ = ["CONTROLLER", "OwnGrid", "Process", "until"]
