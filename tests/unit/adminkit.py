"""The whole service behind the admin API, for tests: real policy, registry, gateway, link and listeners.

Only the XMPP server and its devices are played, by `FakeServer`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from component.base import ns
from component.base.audit import Audit, AuditKey
from component.base.enforcement import Enforcement
from component.base.link import Link
from component.base.metrics import Metrics
from component.base.secrets import Vault
from component.base.store import Store
from component.gate.campaign import Campaigns
from component.gate.decider import PolicyDecider, obedience
from component.gate.devices import Devices
from component.gate.gateway import Gateway
from component.gate.policy import Policy
from component.gate.settings import GateSettings
from component.gate.suggest import Observations
from stanzagate import migrations
from stanzagate.admin.app import create_app
from stanzagate.admin.relays import Guarded, Relays
from stanzagate.admin.server import AdminServer
from stanzagate.admin.services import Services
from stanzagate.backup import Deployment
from stanzagate.cli import main
from stanzagate.observe import observe_gateway, observe_link, observe_plugins, observe_policy, observe_relays
from tests.unit.fakeserver import FakeServer, Tasks, running

TOKENS = {"ops": ("ops-secret", "admin"), "dash": ("dash-secret", "read"), "edge": ("edge-secret", "relay")}
CONFIG = """\
server: {kind: prosody}
gate: {jid: gate.test, secret: {file: gate.secret}, guarded_hosts: [cpe.test]}
admin: {socket: admin.sock}
"""


@dataclass
class Scene:
    """A running service.

    :ivar silent: bare JIDs of devices that do not answer, others accept; with ``cpe.test`` in it, its plugin is
        silent, too, else there is none.
    """

    folder: Path
    server: FakeServer
    services: Services
    admin: AdminServer
    silent: set[str] = field(default_factory=set)

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def url(self) -> str:
        assert self.admin.address is not None
        return f"http://{self.admin.address[0]}:{self.admin.address[1]}"

    @contextlib.asynccontextmanager
    async def client(self, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """A client on the socket, or on TCP with a token."""
        if token:
            client = httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {token}"})
        else:
            transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
            client = httpx.AsyncClient(transport=transport, base_url="http://stanzagate")
        async with client:
            yield client

    async def run(self, *arguments: str) -> int:
        """Run a command line in this process; returns its exit code."""
        return await asyncio.to_thread(main, [*arguments, "--socket", str(self.socket)])

    async def actions(self) -> list[tuple[str, str, str]]:
        """Actor, action and subject of every row of the audit record."""
        await self.services.audit.flush()
        return [(row.actor, row.action, row.subject) for row in await self.services.audit.rows()]


@contextlib.asynccontextmanager
async def scene(folder: Path, *, patience: float = 3.0) -> AsyncIterator[Scene]:
    """A service whose gate is attached.

    :param patience: seconds that a change waits for relays.
    """
    (folder / "stanzagate.yaml").write_text(CONFIG)
    (folder / "gate.secret").write_text("s3cret\n")
    migrations.upgrade("sqlite:///stanzagate.db", folder)
    with contextlib.closing(Store("sqlite:///stanzagate.db", folder)) as store:
        async with running(FakeServer()) as (server, tasks):
            services = _services(folder, server, store, tasks, patience)
            admin = AdminServer(
                create_app(services), socket=folder / "admin.sock", listen="127.0.0.1:0", tokens=TOKENS
            )
            here = Scene(folder, server, services, admin)
            await services.policy.load()
            tasks("audit", services.audit.run())
            tasks("link", services.link.run())
            tasks("devices", _devices(here))
            tasks("admin", admin.run())
            await services.link.attached.wait()
            await admin.ready.wait()
            try:
                yield here
            finally:
                await admin.stop()


def _services(folder: Path, server: FakeServer, store: Store, tasks: Tasks, patience: float) -> Services:
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head")
    policy = Policy(store, audit, spawn=tasks)
    devices = Devices(policy, Vault.open(folder / "credentials.key", create=True))
    observations = Observations(store)
    settings = GateSettings.model_validate(
        {"jid": "gate.test", "secret": {"env": "X"}, "guarded_hosts": ["cpe.test"]}
    )
    gateway = Gateway(settings, policy, devices, audit, spawn=tasks, observe=observations.observe)
    decide = PolicyDecider(policy, audit, observe=observations.observe)
    enforcement = Enforcement(
        settings.guarded_hosts, decide, devices.sessions, guard=settings.guard, ttl=settings.decision_ttl,
        stale=settings.stale_limit,
    )  # fmt: skip
    guarded = Guarded(
        settings.guarded_hosts, settings.guard, settings.jid, settings.decision_ttl, settings.stale_limit
    )
    relays = Relays(decide, guarded, lambda: policy.epoch, patience=patience, heartbeat=0.05)
    link = Link(
        "gate.test", "s3cret", "127.0.0.1", server.port, spawn=tasks, name="gate",
        on_stanza=lambda stanza: enforcement.handle(stanza) or gateway.handle(stanza),
    )  # fmt: skip
    gateway.attach(link)
    enforcement.attach(link)
    policy.listeners.append(obedience(enforcement, relays))
    metrics = Metrics()
    observe_link(metrics, link)
    observe_gateway(metrics, gateway)
    observe_plugins(metrics, enforcement)
    observe_relays(metrics, relays)
    observe_policy(metrics, policy, audit)
    return Services(
        policy=policy,
        devices=devices,
        observations=observations,
        gateway=gateway,
        link=link,
        enforcement=enforcement,
        relays=relays,
        campaigns=Campaigns(store, audit, gateway, members=policy.members, spawn=tasks),
        audit=audit,
        store=store,
        deployment=Deployment.of(folder / "stanzagate.yaml"),
        metrics=metrics,
        version="1.2.3",
    )


async def _devices(here: Scene) -> None:
    """Devices that accept, on a server that has no in-server plugin."""
    while True:
        stanza = await here.server.received.get()
        to = stanza.get("to", "")
        if to == "cpe.test" and to not in here.silent:
            addresses = f"id='{stanza.get('id')}' from='{to}' to='{stanza.get('from')}'"
            error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
            here.server.send(f"<iq type='error' {addresses}>{error}</iq>")
            continue
        if stanza.get("type") == "get" and to.partition("/")[0] not in here.silent:
            here.server.send(f"<iq type='result' id='{stanza.get('id')}' from='{to}' to='{stanza.get('from')}'/>")


async def registered(here: Scene, count: int = 3) -> None:
    """Register `count` devices: d1 with JID cpe1@cpe.test/tr069, and so on, all in group lab."""
    for number in range(1, count + 1):
        await here.services.devices.add(
            "unix:test", f"d{number}", f"cpe{number}@cpe.test/tr069", groups=["lab"],
            cr_username=f"u{number}", cr_password=f"hidden-{number}",
        )  # fmt: skip
