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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from component.base.audit import Audit, AuditKey
from component.base.enforcement import Enforcement
from component.base.errors import InputError
from component.base.link import Link, Spawn
from component.base.metrics import Metrics
from component.base.secrets import Vault
from component.base.store import Store
from component.gate.campaign import Campaigns
from component.gate.decider import PolicyDecider, mode_recorder, obedience
from component.gate.devices import Devices
from component.gate.gateway import Gateway
from component.gate.policy import Policy
from component.gate.suggest import Observations
from grid.controller import Grid
from stanzagate import __version__, migrations
from stanzagate.admin.app import create_app
from stanzagate.admin.relays import Guarded, Relays
from stanzagate.admin.server import AdminServer
from stanzagate.admin.services import Services
from stanzagate.archive import AUDIT_HEAD, AUDIT_KEY, CREDENTIALS_KEY
from stanzagate.backup import Deployment
from stanzagate.config import STDIN, Config, load, read_secret, state_folder
from stanzagate.lock import DeploymentLock
from stanzagate.observe import observe_gateway, observe_link, observe_plugins, observe_policy, observe_relays
from stanzagate.observe_grid import observe_grid
from stanzagate.placing import recover
from stanzagate.process import Tasks, failed, log_to_stderr, no_core_dumps

log = logging.getLogger("stanzagate")

RELAYS = "relays.json"


def run(path: Path) -> int:
    """Run the services that a configuration file names until SIGTERM or SIGINT.

    :returns: the exit code of the process.
    :raises StanzagateError: the service cannot start; nothing was left running.
    """
    if path == STDIN:
        raise InputError("serve needs a file: it is part of every backup.", hint="Write the configuration to a file.")
    config = load(path)
    log_to_stderr()
    no_core_dumps()
    with _deployment(config):
        return asyncio.run(_serve(config, path))


async def _serve(config: Config, path: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.closing(Store(config.database, config.base)) as store:
        try:
            async with asyncio.TaskGroup() as group:
                parts = Parts(config, path, store, Tasks(group))
                try:
                    await parts.run(stop)
                finally:
                    parts.cancel()
        except BaseExceptionGroup as failures:
            return failed(failures)
    return 0


class Parts:
    """All parts of one deployment, each made with what it needs."""

    def __init__(self, config: Config, path: Path, store: Store, spawn: Spawn) -> None:
        folder = state_folder(config)
        self._spawn = spawn
        self._config = config
        self._background: list[Any] = []
        self.store = store
        self.audit = Audit(self.store, AuditKey.open(folder / AUDIT_KEY, create=True), folder / AUDIT_HEAD)
        self.policy = Policy(self.store, self.audit, spawn=spawn)
        self.devices = Devices(self.policy, Vault.open(folder / CREDENTIALS_KEY, create=True))
        self.observations = Observations(self.store)
        self.gateway = Gateway(
            config.gate, self.policy, self.devices, self.audit, spawn=spawn, observe=self.observations.observe
        )
        decide = PolicyDecider(self.policy, self.audit, observe=self.observations.observe)
        self.enforcement = self._enforcement(decide)
        self.relays = self._relays(decide, folder / RELAYS)
        self.link = self._link(read_secret(path, "gate.secret", config.gate.secret))
        self.gateway.attach(self.link)
        self.enforcement.attach(self.link)
        self.policy.listeners.append(obedience(self.enforcement, self.relays))
        self.grid = self._grid(path)
        self.campaigns = Campaigns(self.store, self.audit, self.gateway, members=self.policy.members, spawn=spawn)
        self.admin = self._admin(path)

    def _enforcement(self, decide: PolicyDecider) -> Enforcement:
        gate = self._config.gate
        return Enforcement(
            gate.guarded_hosts, decide, self.devices.sessions, guard=gate.guard, ttl=gate.decision_ttl,
            stale=gate.stale_limit, on_mode=mode_recorder(self.audit, self.store, self._spawn),
        )  # fmt: skip

    def _relays(self, decide: PolicyDecider, memory: Path) -> Relays:
        gate = self._config.gate
        guarded = Guarded(gate.guarded_hosts, gate.guard, gate.jid, ttl=gate.decision_ttl, stale=gate.stale_limit)
        return Relays(decide, guarded, lambda: self.policy.epoch, memory=memory)

    def _link(self, secret: str) -> Link:
        gate, enforcement, gateway = self._config.gate, self.enforcement, self.gateway
        software = {"software_name": "Stanzagate", "version": __version__}
        return Link(
            gate.jid, secret, self._config.server.host, gate.component_port,
            on_stanza=lambda stanza: enforcement.handle(stanza) or gateway.handle(stanza),
            spawn=self._spawn, name="gate", plugins={"xep_0030": {}, "xep_0092": software, "xep_0199": {}},
        )  # fmt: skip

    def _grid(self, path: Path) -> Grid | None:
        settings = self._config.grid
        if settings is None:
            return None
        secret = read_secret(path, "grid.secret", settings.secret)
        software = {"software_name": "Stanzagate", "version": __version__}
        return Grid(
            settings, secret, self._config.server.host, self.store, self.audit, spawn=self._spawn,
            on_mode=mode_recorder(self.audit, self.store, self._spawn),
            software={"xep_0092": software, "xep_0199": {}},
        )  # fmt: skip

    def _admin(self, path: Path) -> AdminServer:
        settings = self._config.admin
        metrics = Metrics()
        observe_link(metrics, self.link)
        observe_gateway(metrics, self.gateway)
        observe_plugins(metrics, self.enforcement)
        observe_relays(metrics, self.relays)
        observe_policy(metrics, self.policy, self.audit)
        if self.grid is not None:
            observe_grid(metrics, self.grid)
        self.services = Services(
            policy=self.policy, devices=self.devices, observations=self.observations, gateway=self.gateway,
            link=self.link, enforcement=self.enforcement, relays=self.relays, campaigns=self.campaigns,
            audit=self.audit, store=self.store, deployment=Deployment.of(path), metrics=metrics, version=__version__,
            grid=self.grid,
        )  # fmt: skip
        tokens = {
            name: (read_secret(path, f"admin.tokens.{name}", token.secret()), token.role)
            for name, token in settings.tokens.items()
        }
        return AdminServer(create_app(self.services), socket=settings.socket, listen=settings.listen, tokens=tokens)

    async def run(self, stop: asyncio.Event) -> None:
        """Start in the order in which the parts need each other; on `stop` drain and end in the reverse order."""
        self.admin.open()  # a port that is taken is said before anything starts
        await self.policy.load()
        await self.campaigns.recover()
        if self.grid is not None:
            await self.grid.load()
        for name, coroutine in (
            ("audit", self.audit.run()),
            ("policy.expiry", self.policy.run_expiry()),
            ("observations", self.observations.run()),
            ("devices.tidy", self.devices.tidy()),
            ("gate.link", self.link.run()),
            ("gate.plugins", self.enforcement.run()),
            *(self.grid.background() if self.grid is not None else ()),
            ("admin", self.admin.run()),
        ):
            self._background.append(self._spawn(name, coroutine))
        await stop.wait()
        log.info("Draining: what is outstanding is answered, nothing new is taken.")
        self.gateway.draining = True
        await asyncio.gather(self.link.drain(self._config.gate.answer_timeout + 1), self._drain_grid())
        await self.admin.stop()
        await self.audit.flush()

    async def _drain_grid(self) -> None:
        if self.grid is not None:
            await self.grid.drain(self._config.gate.answer_timeout + 1)

    def cancel(self) -> None:
        """End everything that runs in the background."""
        for task in self._background:
            task.cancel()


@contextlib.contextmanager
def _deployment(config: Config) -> Iterator[None]:
    """Hold the deployment's lock and bring its database up to date."""
    url = make_url(config.database)
    with contextlib.ExitStack() as stack:
        if url.get_backend_name() == "sqlite" and url.database:
            stack.enter_context(DeploymentLock(config.base / url.database))
            recover(config.base)
        migrations.upgrade(config.database, config.base)
        yield
