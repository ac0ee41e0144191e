"""The registry of nodes and the node CA on a database of their own, with a clock that stands still."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from component.base.audit import Audit, AuditKey
from component.base.clientsessions import ClientSession
from component.base.store import Store
from grid.accounts import Accounts, NodeChange
from grid.alerts import Alert
from grid.authority import NodeAuthority
from grid.authority_certs import NodeCa, domain_components, key_usage, new_certificate, pem
from grid.binding import fingerprint_of, moment
from grid.epochs import Epochs
from grid.model import Credential, Right
from grid.settings import GridSettings
from stanzagate import migrations

NOW = 1_800_000_000.0
DAY = 86400.0
HOST = "grid.test"
URL = "sqlite:///grid.db"


def grid_settings(folder: Path, **changed: Any) -> GridSettings:
    """A configuration whose files are in a folder."""
    return GridSettings.model_validate(
        {
            "jid": f"controller.{HOST}", "secret": {"env": "NONE"}, "host": HOST, "pubsub": f"pubsub.{HOST}",
            "federated": ("partner.test",), "node_ca": folder / "node-ca.pem", "node_ca_key": folder / "node-ca.key",
            "crl": folder / "node-ca.crl", **changed,
        }
    )  # fmt: skip


@dataclass
class World:
    """What a test needs."""

    folder: Path
    store: Store
    audit: Audit
    epochs: Epochs
    accounts: Accounts
    authority: NodeAuthority
    alerts: list[Alert]
    rights: dict[str, list[Right]]
    time: list[float]
    sessions: list[ClientSession]
    told: list[NodeChange] = field(default_factory=list)

    async def actions(self) -> list[tuple[str, str]]:
        """Action and subject of every row of the audit record."""
        return [(row.action, row.subject) for row in await self.audit.rows()]


@contextlib.asynccontextmanager
async def world(folder: Path, **changed: Any) -> AsyncIterator[World]:
    """Everything, loaded. Opened again in the same folder it goes on where it was."""
    migrations.upgrade(URL, folder)
    time = [NOW]

    def clock() -> float:
        return time[0]

    with contextlib.closing(Store(URL, folder)) as store:
        audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head", clock=clock)
        epochs, settings = Epochs(store), grid_settings(folder, **changed)
        alerts: list[Alert] = []
        rights: dict[str, list[Right]] = {}
        authorities: list[NodeAuthority] = []
        sessions: list[ClientSession] = []

        def may(jid: str) -> Sequence[Right]:
            node = accounts.get(jid)
            return rights.get(jid, []) if node is not None and node.state == "active" else []

        def revoked(fingerprint: str) -> bool:
            return authorities[0].is_revoked(fingerprint)

        accounts = Accounts(
            store, audit, epochs, settings=settings, alert=alerts.append, rights=may,
            revoked=revoked, clock=clock,
        )  # fmt: skip
        authorities.append(
            NodeAuthority(
                store, audit, epochs, settings=settings, bindings=accounts.bindings, node=accounts.get,
                sessions=lambda: sessions, clock=clock,
            )
        )  # fmt: skip
        here = World(folder, store, audit, epochs, accounts, authorities[0], alerts, rights, time, sessions)

        async def told(change: NodeChange) -> None:
            here.told.append(change)

        accounts.listeners.append(told)
        await epochs.load()
        await accounts.load()
        await authorities[0].load()
        yield here


def node_ca(folder: Path, name: str = "nodes", host: str = HOST) -> NodeCa:
    """The node CA of a folder, made before the service looks for it."""
    authority = NodeCa.create(name, host, moment(NOW - DAY))
    authority.write(folder / "node-ca.pem", folder / "node-ca.key")
    return authority


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certified(
    authority: NodeCa, jid: str, *, days: float = 30, begins: float = NOW - DAY / 2, above: Sequence[NodeCa] = ()
) -> Credential:
    """How somebody has authenticated who has a new certificate of `authority`."""
    certificate = authority.sign(new_key().public_key(), jid, timedelta(days=days), moment(begins))
    chain = [certificate, *(item.certificate for item in above)]
    return credential(chain)


def credential(chain: Sequence[x509.Certificate]) -> Credential:
    ders = tuple(item.public_bytes(serialization.Encoding.DER) for item in chain)
    return Credential("EXTERNAL", fingerprint_of(ders[0]), ders)


def below(parent: NodeCa, name: str = "branch", *, ca: bool = True, room: int | None = 0) -> NodeCa:
    """An authority (or what pretends to be one) that `parent` has signed."""
    key = new_key()
    subject = x509.Name([*domain_components(HOST), x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = new_certificate(
        subject, parent.certificate.subject, key.public_key(), timedelta(days=300), moment(NOW - DAY)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=room if ca else None), critical=True)
    builder = builder.add_extension(key_usage(ca=ca), critical=True)
    return NodeCa(builder.sign(parent.key, hashes.SHA256()), key)


def root(name: str = "root", room: int | None = 2) -> NodeCa:
    """An authority that may have others below it."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = new_certificate(subject, subject, key.public_key(), timedelta(days=3000), moment(NOW - DAY))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=room), critical=True)
    builder = builder.add_extension(key_usage(ca=True), critical=True)
    return NodeCa(builder.sign(key, hashes.SHA256()), key)


def trust(folder: Path, *authorities: NodeCa) -> None:
    """Make these the node CA of a folder."""
    (folder / "node-ca.pem").write_bytes(b"".join(pem(item.certificate) for item in authorities))


def request(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A certificate signing request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key or new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
