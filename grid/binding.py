"""Names and certificates: which certificate may speak for which node (draft-ietf-mile-xmpp-grid-01 §2.4.2).

A certificate is good for a name when it is valid now, was issued below the node CA, and carries the name as xmppAddr.
Being good is not enough: a name is bound to the certificates that it has registered with or that our own authority
has issued for it, and to no other. `Certificates` says what is good, `Bindings` knows what is bound.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import BigInteger, Column, Connection, Float, LargeBinary, String, Table, delete, insert, select

from component.base.errors import StanzagateError
from component.base.store import Store, metadata
from grid.model import Credential
from grid.xmppaddr import addresses

log = logging.getLogger(__name__)

LONGEST_PATH = 4
"""So many authorities may stand between a node and the root, the root included."""

REMEMBERED = 20_000
"""Certificates whose path was verified; each takes about half a kilobyte."""

_SIZE = 32

binding_table = Table(
    "grid_binding",
    metadata,
    Column("jid", String(2047), primary_key=True),
    Column("fingerprint", LargeBinary(_SIZE), primary_key=True),
    Column("how", String(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("serial", String(40), nullable=False),
    Column("ends", Float, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)
"""Which certificates may speak for which name. A name need not be registered yet. Serial number (hex) and end are
those of certificates that the node CA itself has signed; else empty and 0. The epoch is that of the binding, when it
changed nothing else of the node; else 0."""


class Bound(StrEnum):
    """How a certificate came to be bound to a name."""

    REGISTERED = "registered"
    """The node registered with it."""
    FIRST = "first"
    """The node had registered without one, and this is the first that it authenticated with."""
    ISSUED = "issued"
    """Our own authority issued it for that name."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A certificate that may speak for a name.

    :ivar fingerprint: SHA-256, lower-case hex.
    :ivar serial: lower-case hex, when the node CA itself has signed it; else empty.
    :ivar ends: Unix time in seconds after which it counts no more; 0 when that is not known.
    :ivar epoch: the number of the change that bound it, when the node itself did not change by it; else 0.
    """

    jid: str
    fingerprint: str
    how: Bound
    serial: str = ""
    ends: float = 0.0
    epoch: int = 0


class BadCertificate(StanzagateError):
    """A certificate is not good for a name; the message says why."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate whose path leads to the node CA.

    :ivar addresses: the bare JIDs that it carries as xmppAddr.
    :ivar begins: Unix time in seconds from which all of the path is valid.
    :ivar ends: Unix time in seconds until which it is.
    :ivar serial: lower-case hex, when the node CA itself has signed it; else empty.
    :ivar issuer: the certificate of the authority that issued it; None when that is not known.
    :ivar trusted: whether the path ends at the node CA; if not, none is configured.
    """

    fingerprint: str
    addresses: frozenset[str]
    begins: float
    ends: float
    serial: str
    issuer: x509.Certificate | None
    trusted: bool


class Certificates:
    """Says what is good.

    :param anchors: file with the certificates of the node CA, PEM; it may appear or change later. None when the
        configuration names none: then the server's own verification has to do, and the path is not looked at.
    """

    def __init__(self, anchors: Path | None) -> None:
        self._file = anchors
        self._stamp: tuple[int, int, int] | None = None
        self._anchors: tuple[x509.Certificate, ...] = ()
        self._known: OrderedDict[str, Verified] = OrderedDict()

    def check(self, jid: str, credential: Credential, now: float) -> Verified:
        """Whether somebody's certificate is good for a name.

        :param jid: the bare JID, prepared.
        :param now: Unix time in seconds.
        :raises BadCertificate: it is not.
        """
        verified = self.verify(credential)
        if not verified.begins <= now <= verified.ends:
            raise BadCertificate("The certificate has expired or is not valid yet.")
        if jid not in verified.addresses:
            raise BadCertificate("The certificate does not carry this name as xmppAddr.")
        return verified

    def verify(self, credential: Credential) -> Verified:
        """Who a certificate names, and who issued it. Neither its time nor a name is checked.

        :raises BadCertificate: it cannot be read, or its path does not lead to the node CA.
        """
        self._refresh()
        known = self._known.get(credential.fingerprint)
        if known is not None:
            return known
        if not credential.chain:
            raise BadCertificate("The certificate itself was not seen.")
        if fingerprint_of(credential.chain[0]) != credential.fingerprint:
            raise BadCertificate("The certificate is not the one that was announced.")
        try:
            verified = self._path([x509.load_der_x509_certificate(der) for der in credential.chain])
        except (ValueError, TypeError) as error:
            raise BadCertificate("The certificate cannot be read.") from error
        self._known[credential.fingerprint] = verified
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return verified

    def _refresh(self) -> None:
        """Read the node CA's file again when it is another one than before."""
        if self._file is None:
            return
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return
        self._known.clear()
        try:
            self._anchors = tuple(x509.load_pem_x509_certificates(self._file.read_bytes()))
        except (OSError, ValueError) as error:
            log.warning("The node CA cannot be read from %s: %s", self._file, error)
            self._anchors = ()
        self._stamp = stamp

    def _path(self, chain: Sequence[x509.Certificate]) -> Verified:
        leaf = chain[0]
        path = _path_to(leaf, chain[1:], self._anchors)
        if path is None and self._file is not None:
            raise BadCertificate("The certificate was not issued by the node CA.")
        issuers = path or tuple(_issuers(leaf, chain[1:]))[:1]
        whole = (leaf, *issuers)
        return Verified(
            fingerprint=leaf.fingerprint(SHA256()).hex(),
            addresses=frozenset(addresses(leaf)),
            begins=max(item.not_valid_before_utc.timestamp() for item in whole),
            ends=min(item.not_valid_after_utc.timestamp() for item in whole),
            serial=f"{leaf.serial_number:x}" if path is not None and len(path) == 1 else "",
            issuer=issuers[0] if issuers else None,
            trusted=path is not None,
        )


def fingerprint_of(der: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def moment(seconds: float) -> datetime:
    """A point in time as certificates have it: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC)


def _path_to(
    certificate: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    depth: int = LONGEST_PATH,
) -> tuple[x509.Certificate, ...] | None:
    """The authorities from the issuer of a certificate up to an anchor, or None when there is no such path."""
    for anchor in _issuers(certificate, anchors):
        return (anchor,)
    if depth > 1:
        for issuer in _issuers(certificate, others):
            rest = _path_to(issuer, others, anchors, depth - 1)
            if rest is not None and _room_below(issuer, LONGEST_PATH - depth):
                return (issuer, *rest)
    return None


def _issuers(certificate: x509.Certificate, candidates: Iterable[x509.Certificate]) -> Iterable[x509.Certificate]:
    for candidate in candidates:
        if candidate.subject == certificate.issuer and candidate != certificate and _may_sign(candidate):
            try:
                certificate.verify_directly_issued_by(candidate)
            except (InvalidSignature, ValueError, TypeError):
                continue
            yield candidate


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.ca and usage.key_cert_sign


def _room_below(certificate: x509.Certificate, below: int) -> bool:
    limit = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return limit is None or below <= limit


@dataclass
class Known:
    """Everything that is bound.

    :ivar bound: the fingerprints of a name, one after the other, in the order in which they were bound.
    :ivar epochs: of names, the last change that was one of their bindings alone.
    """

    bound: dict[str, bytes] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)


class Bindings:
    """Knows what is bound: in memory 32 bytes for each certificate, and in the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bound: dict[str, bytes] = {}
        self._epochs: dict[str, int] = {}

    def read(self, connection: Connection) -> Known:
        """Everything that the database has; hand it to `use`."""
        found = Known()
        columns = binding_table.c
        rows = select(columns.jid, columns.fingerprint, columns.epoch).order_by(columns.since)
        for jid, fingerprint, epoch in connection.execute(rows):
            found.bound[jid] = found.bound.get(jid, b"") + fingerprint
            if epoch:
                found.epochs[jid] = max(epoch, found.epochs.get(jid, 0))
        return found

    def use(self, found: Known) -> None:
        """Know this from now on, and nothing else."""
        self._bound, self._epochs = found.bound, found.epochs

    def changes_after(self, epoch: int) -> dict[str, int]:
        """The names of which a binding alone has changed after an epoch, with the number of the last such change."""
        return {jid: number for jid, number in self._epochs.copy().items() if number > epoch}

    def any(self, jid: str) -> bool:
        """Whether a name is bound at all."""
        return jid in self._bound

    def allows(self, jid: str, fingerprint: str) -> bool:
        """Whether a certificate is bound to a name."""
        return bytes.fromhex(fingerprint) in _pieces(self._bound.get(jid, b""))

    def fingerprints(self, jid: str) -> list[str]:
        """The certificates that a name is bound to."""
        return [piece.hex() for piece in _pieces(self._bound.get(jid, b""))]

    def stored(self, connection: Connection, *, jid: str = "", fingerprint: str = "") -> list[Binding]:
        """What the database has on a name or on a certificate."""
        columns = binding_table.c
        mine = columns.jid == jid if jid else columns.fingerprint == bytes.fromhex(fingerprint)
        rows = connection.execute(
            select(columns.jid, columns.fingerprint, columns.how, columns.serial, columns.ends).where(mine)
        )
        return [Binding(row.jid, row.fingerprint.hex(), Bound(row.how), row.serial, row.ends) for row in rows]

    def add(self, connection: Connection, binding: Binding, since: float) -> None:
        """Bind a certificate to a name in the transaction of `connection`. Bound already, nothing happens."""
        jid, raw = binding.jid, bytes.fromhex(binding.fingerprint)
        mine = (binding_table.c.jid == jid) & (binding_table.c.fingerprint == raw)
        if connection.execute(select(binding_table.c.how).where(mine)).first() is None:
            row = {
                "jid": jid, "fingerprint": raw, "how": str(binding.how), "since": since, "serial": binding.serial,
                "ends": binding.ends, "epoch": binding.epoch,
            }  # fmt: skip
            connection.execute(insert(binding_table).values(row))

        def landed() -> None:
            if raw not in _pieces(self._bound.get(jid, b"")):
                self._bound[jid] = self._bound.get(jid, b"") + raw
            if binding.epoch:
                self._epochs[jid] = max(binding.epoch, self._epochs.get(jid, 0))

        self._store.after_commit(connection, landed)

    def release(self, connection: Connection, jid: str) -> None:
        """Forget what a name is bound to, in the transaction of `connection`."""
        connection.execute(delete(binding_table).where(binding_table.c.jid == jid))

        def landed() -> None:
            self._bound.pop(jid, None)
            self._epochs.pop(jid, None)

        self._store.after_commit(connection, landed)


def _pieces(joined: bytes) -> list[bytes]:
    return [joined[place : place + _SIZE] for place in range(0, len(joined), _SIZE)]
