"""``stanzagate serve``: the composition root.

Everything is made here, handed what it needs, and run in the one task group. A lost link reconnects by itself; any
other task that ends with an exception ends the process with exit code 1, so that the init system sees it. SIGTERM and
SIGINT drain: nothing new is taken, what is outstanding is answered, everything recorded is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from component.base.audit import Audit, AuditKey
from component.base.errors import StanzagateError
from component.base.link import Link, Spawn
from component.base.secrets import Vault
from component.base.store import Store
from component.gate.campaign import Campaigns
from component.gate.devices import Devices
from component.gate.gateway import Gateway
from component.gate.policy import Policy
from component.gate.settings import GateSettings
from stanzagate import __version__, migrations
from stanzagate.admin.app import Services, create_app
from stanzagate.admin.server import AdminServer
from stanzagate.config import Config, load, read_secret, state_folder
from stanzagate.lock import DeploymentLock

log = logging.getLogger("stanzagate")

CREDENTIALS_KEY = "credentials.key"
AUDIT_KEY = "audit.key"
AUDIT_HEAD = "audit.head"


def run(path: Path) -> int:
    """Run the services that a configuration file names until SIGTERM or SIGINT.

    :returns: the exit code of the process.
    :raises StanzagateError: the service cannot start; nothing was left running.
    """
    config = load(path)
    _log_to_stderr()
    with _deployment(config):
        return asyncio.run(_serve(config, path))


async def _serve(config: Config, path: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            await _Services(config, path, _spawner(group)).run(stop)
    except BaseExceptionGroup as failures:
        return _failed(failures)
    return 0


def _failed(failures: BaseExceptionGroup[BaseException]) -> int:
    """Say why the process ends. Expected errors are for the caller, defects are for the log."""
    expected, defects = failures.split(StanzagateError)
    if defects is not None:
        log.error("A part of the service failed; the process ends.", exc_info=defects)
        return 1
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    raise error


def _spawner(group: asyncio.TaskGroup) -> Spawn:
    def spawn(name: str, coroutine: Coroutine[Any, Any, None]) -> object:
        return group.create_task(coroutine, name=name)

    return spawn


class _Services:
    """All parts of one deployment."""

    def __init__(self, config: Config, path: Path, spawn: Spawn) -> None:
        folder = state_folder(config)
        self._spawn = spawn
        self._settings = config.gate
        self.store = Store(config.database, config.base)
        vault = Vault.open(folder / CREDENTIALS_KEY, create=True)
        self.audit = Audit(self.store, AuditKey.open(folder / AUDIT_KEY, create=True), folder / AUDIT_HEAD)
        self.policy = Policy(self.store, self.audit, vault)
        self.devices: Devices = self.policy.devices
        self.gateway = Gateway(config.gate, self.policy, self.devices, self.audit, spawn=spawn)
        self.link = _link(config, read_secret(path, "gate.secret", config.gate.secret), self.gateway, spawn)
        self.gateway.attach(self.link)
        self.campaigns = Campaigns(
            self.store, self.audit, self.gateway, members=self.policy.members, spawn=spawn
        )  # fmt: skip
        self.admin = AdminServer(
            create_app(Services(policy=self.policy, devices=self.devices, gateway=self.gateway)),
            socket=config.admin.socket,
            listen=config.admin.listen,
            tokens={name: (read_secret(path, f"admin.tokens.{name}", token.secret()), token.role)
                    for name, token in config.admin.tokens.items()},
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Start in the order in which the parts need each other; on `stop` end in the reverse order."""
        await self.policy.load()
        await self.campaigns.recover()
        background = [
            self._spawn("audit", self.audit.run()),
            self._spawn("policy.expiry", self.policy.run_expiry()),
            self._spawn("gate.link", self.link.run()),
            self._spawn("admin", self.admin.run()),
        ]
        await stop.wait()
        log.info("Draining.")
        self.gateway.draining = True
        await self.link.drain(self._settings.answer_timeout + 1)
        await self.admin.stop()
        for task in background:
            task.cancel()


def _link(config: Config, secret: str, gateway: Gateway, spawn: Spawn) -> Link:
    settings: GateSettings = config.gate
    return Link(
        settings.jid, secret, config.server.host, settings.component_port,
        on_stanza=gateway.handle, spawn=spawn, name="gate",
        plugins={"xep_0030": {}, "xep_0092": {"software_name": "Stanzagate", "version": __version__}, "xep_0199": {}},
    )  # fmt: skip


@contextlib.contextmanager
def _deployment(config: Config) -> Iterator[None]:
    """Hold the deployment's lock and bring its database up to date."""
    url = make_url(config.database)
    with contextlib.ExitStack() as stack:
        if url.get_backend_name() == "sqlite" and url.database:
            stack.enter_context(DeploymentLock(config.base / url.database))
        migrations.upgrade(config.database, config.base)
        yield


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # slixmpp writes whole stanzas at DEBUG and parts of them at ERROR; they may carry a device's credentials.
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
