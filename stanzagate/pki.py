"""Two private certificate authorities: one signs servers, the other signs grid nodes.

They are kept apart because ejabberd lets a verified certificate without an xmppAddr log in under any name: clients
are accepted from the node CA alone, and every certificate of that CA carries an xmppAddr (RFC 6120 §13.7.1.4).
Private keys are written with mode 0600 and are never handed to another program in its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from component.base.errors import InputError
from component.base.files import write_atomic
from component.base.jid import prepare
from grid.authority_certs import (
    AUTHORITY_LIFE,
    COMMON_NAME_LIMIT,
    NODE_LIFE,
    PUBLIC,
    NodeCa,
    der,
    key_pem,
    key_usage,
    load_pair,
    new_certificate,
    pem,
)
from grid.xmppaddr import XMPP_ADDR

__all__ = ["PUBLIC", "SRV_NAME", "XMPP_ADDR", "Authority", "Issued"]

SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""id-on-dnsSRV, an IA5String (RFC 4985)."""

SERVER_LIFE = timedelta(days=825)


@dataclass(frozen=True, repr=False)
class Issued:
    """A certificate with its private key, PEM encoded."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Write both files; the key with mode 0600.

        :raises OSError: when a file cannot be written.
        """
        write_atomic(key, self.key)
        write_atomic(certificate, self.certificate, mode=PUBLIC)


@dataclass(frozen=True, repr=False)
class Authority:
    """A certificate authority. Make one with `create` or `load`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str, *, nodes_of: str = "", now: datetime | None = None) -> Authority:
        """A new authority whose common name is `name`.

        :param nodes_of: the grid host whose nodes it is for; it can sign nothing else then.
        """
        start = now or datetime.now(UTC)
        if nodes_of:
            nodes = NodeCa.create(name, nodes_of, start)
            return cls(nodes.certificate, nodes.key)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = new_certificate(subject, subject, key.public_key(), AUTHORITY_LIFE, start)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(key_usage(ca=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        """An authority from its two files.

        :raises InputError: when a file cannot be read, or the two do not belong together.
        """
        return cls(*load_pair(certificate, key))

    @classmethod
    def load_or_create(cls, certificate: Path, key: Path, name: str, *, nodes_of: str = "") -> Authority:
        """`load` when the certificate is there, else `create` and write both files."""
        if certificate.exists():
            return cls.load(certificate, key)
        authority = cls.create(name, nodes_of=nodes_of)
        authority.issued().write(certificate, key)
        return authority

    def is_good(self, certificate: Path, remaining: timedelta, *, now: datetime | None = None) -> bool:
        """Whether a file holds a certificate of this authority that is valid for `remaining` more."""
        try:
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
            found.verify_directly_issued_by(self.certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return found.not_valid_after_utc - remaining > (now or datetime.now(UTC))

    def issued(self) -> Issued:
        """The authority's own certificate and key."""
        return Issued(pem(self.certificate), key_pem(self.key))

    def server(self, domains: Sequence[str], *, now: datetime | None = None) -> Issued:
        """A certificate for an XMPP server: dNSName and SRVName for each domain (RFC 6120 §13.7.1.2).

        It may authenticate the server to others too, because the same server opens server-to-server streams.

        :param domains: at least one; the first is the common name.
        :raises InputError: when one is not a domain.
        """
        names: list[x509.GeneralName] = []
        for domain in domains:
            ascii_name = _ascii_domain(domain)
            names.append(x509.DNSName(ascii_name))
            names += [_srv_name(service, ascii_name) for service in ("_xmpp-client", "_xmpp-server")]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(domains[0], names, usages, SERVER_LIFE, now)

    def node(self, jid: str, *, now: datetime | None = None) -> Issued:
        """A client certificate whose xmppAddr is the bare JID.

        :raises InputError: when `jid` is not a bare JID with a local part.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        nodes = NodeCa(self.certificate, self.key)
        return Issued(pem(nodes.sign(key.public_key(), jid, NODE_LIFE, now or datetime.now(UTC))), key_pem(key))

    def _issue(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        usages: Sequence[ObjectIdentifier],
        life: timedelta,
        now: datetime | None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        fits = len(common_name) <= COMMON_NAME_LIMIT
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if fits else [])
        builder = new_certificate(subject, self.certificate.subject, key.public_key(), life, now or datetime.now(UTC))
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (key_usage(ca=False), True),
            (x509.ExtendedKeyUsage(usages), False),
            (x509.SubjectAlternativeName(names), not fits),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return Issued(pem(builder.sign(self.key, hashes.SHA256())), key_pem(key))


def _ascii_domain(domain: str) -> str:
    prepared = prepare(domain)
    if prepared.full != prepared.domain:
        raise InputError(f"{domain!r} is not a domain.", hint="Write it without '@' and '/'.")
    try:
        return prepared.domain.encode("idna").decode()
    except UnicodeError as error:
        raise InputError(f"{domain!r} is not a domain that a certificate can name: {error}.") from None


def _srv_name(service: str, domain: str) -> x509.OtherName:
    return x509.OtherName(SRV_NAME, der(0x16, f"{service}.{domain}".encode()))
