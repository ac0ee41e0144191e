"""What a sandbox consists of: where each file lies, who listens where, which domains are attached."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from component.base.errors import InputError
from stanzagate.config import ServerKind
from stanzagate.plugin import DEFAULTS, Plugin
from stanzagate.sandbox.accounts import ACS_DOMAIN, CPE_DOMAIN, GRID_DOMAIN, Accounts, load_or_make
from stanzagate.sandbox.network import LOOPBACK, S2S_PORT, Endpoint, free_address, free_ports

GATE = f"cr.{CPE_DOMAIN}"
PUBSUB = f"pubsub.{GRID_DOMAIN}"
CONTROLLER = f"controller.{GRID_DOMAIN}"
SEEDER = "seeder.test"
"""The component that makes the accounts (XEP-0133); it is detached again before the sandbox is handed over."""

SPARES = ("spare1.test", "spare2.test")
"""Attached domains for tests and benchmarks: nobody is on them."""

ATTACHED = (GATE, CONTROLLER, SEEDER, *SPARES)


@dataclass(frozen=True)
class Component:
    """A domain that is attached to the server, and the listener for it."""

    jid: str
    host: str
    port: int
    secret: str

    def __repr__(self) -> str:
        return f"Component({self.jid!r}, {self.host}:{self.port})"


@dataclass(frozen=True)
class Layout:
    """The files of a sandbox. All paths are absolute."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(os.path.abspath(self.folder)))  # noqa: PTH100  resolve() would follow links

    @property
    def report(self) -> Path:
        """What users read."""
        return self.folder / "sandbox.json"

    @property
    def pid_file(self) -> Path:
        return self.folder / "sandbox.pid"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.folder / "sandbox.lock"

    @property
    def accounts(self) -> Path:
        return self.folder / "accounts.json"

    @property
    def components(self) -> Path:
        """Attached domains with port and secret, for tests and benchmarks."""
        return self.folder / "components.json"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def node_ca(self) -> Path:
        return self.folder / "node-ca.pem"

    @property
    def certificates(self) -> Path:
        """Certificates of the server: DOMAIN.crt with DOMAIN.key."""
        return self.folder / "certs"

    @property
    def nodes(self) -> Path:
        """Certificates of the grid nodes: NAME.crt with NAME.key."""
        return self.folder / "nodes"

    @property
    def config(self) -> Path:
        return self.folder / "stanzagate.yaml"

    @property
    def gate_secret(self) -> Path:
        return self.folder / "gate.secret"

    @property
    def grid_secret(self) -> Path:
        return self.folder / "grid.secret"

    @property
    def token(self) -> Path:
        return self.folder / "admin.token"

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def devices(self) -> Path:
        """Configuration of the reference devices."""
        return self.folder / "devices.json"

    @property
    def devices_ready(self) -> Path:
        """Written by the reference devices when all are connected; names their CWMP endpoint."""
        return self.folder / "devices-ready.json"

    @property
    def policy_seeded(self) -> Path:
        """Exists once the policy of the contract is in the database; what the user changes later stays."""
        return self.folder / "policy-seeded"

    def server(self, kind: ServerKind) -> Path:
        """The server's own folder."""
        return self.folder / str(kind)

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first process starts.

    :ivar distribution: where ejabberd takes the commands of ``ejabberdctl``.
    :ivar partners: domains of other servers, to which a relay beside the server attaches.
    """

    layout: Layout
    kind: ServerKind
    c2s: Endpoint
    s2s: Endpoint
    admin: Endpoint
    distribution: Endpoint
    components: tuple[Component, ...]
    accounts: Accounts
    plugin: Plugin
    partners: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, str, str]:
        """The hosts of the server."""
        return (CPE_DOMAIN, ACS_DOMAIN, GRID_DOMAIN)

    def component(self, jid: str) -> Component:
        """The attached domain of that name."""
        return next(component for component in self.components if component.jid == jid)


def make_plan(folder: Path, kind: ServerKind, plugin: Plugin = DEFAULTS, partners: tuple[str, ...] = ()) -> Plan:
    """Decide on ports and addresses, and make or read the accounts of `folder`, which is created when needed.

    :param partners: as in `Plan`.
    :raises InputError: when the folder cannot be used.
    """
    layout = Layout(folder)
    try:
        for path in (layout.folder, layout.logs, layout.certificates, layout.nodes, layout.server(kind)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{layout.folder} cannot be used: {error.strerror}.", hint="Choose another --dir.") from None
    attached = (*ATTACHED, *partners)
    c2s, admin, distribution, *component_ports = free_ports(3 + len(attached))
    if kind is ServerKind.PROSODY:  # it binds each stream to the domain whose secret was given, so one port is enough
        component_ports = [component_ports[0]] * len(attached)
    accounts = load_or_make(layout.accounts, attached)
    return Plan(
        layout=layout,
        kind=kind,
        c2s=Endpoint(LOOPBACK, c2s),
        s2s=Endpoint(free_address(), S2S_PORT),
        admin=Endpoint(LOOPBACK, admin),
        distribution=Endpoint(LOOPBACK, distribution),
        components=tuple(
            Component(jid, LOOPBACK, port, accounts.component_secrets[jid])
            for jid, port in zip(attached, component_ports, strict=True)
        ),
        accounts=accounts,
        plugin=plugin,
        partners=partners,
    )
