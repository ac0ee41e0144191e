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
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from component.base.errors import InputError
from component.base.files import write_atomic
from component.base.jid import prepare

XMPP_ADDR = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""id-on-xmppAddr, a UTF8String (RFC 6120 §13.7.1.4)."""

SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""id-on-dnsSRV, an IA5String (RFC 4985)."""

PUBLIC = 0o644
AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=825)
NODE_LIFE = timedelta(days=397)
_BACKDATED = timedelta(minutes=5)  # a peer whose clock is a little behind must not refuse a fresh certificate
_COMMON_NAME_LIMIT = 64  # ub-common-name of RFC 5280; a longer JID or domain stands in the SAN alone


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
    def create(cls, name: str, *, now: datetime | None = None) -> Authority:
        """A new authority whose common name is `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), AUTHORITY_LIFE, now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(ca=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        """An authority from its two files.

        :raises InputError: when a file cannot be read, or the two do not belong together.
        """
        try:
            loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
            private = serialization.load_pem_private_key(key.read_bytes(), password=None)
        except OSError as error:
            raise InputError(f"The CA cannot be read from {error.filename}: {error.strerror}.") from None
        except (ValueError, TypeError):
            raise InputError(f"{certificate} and {key} are not a PEM certificate and a PEM key.") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or loaded.public_key() != private.public_key():
            raise InputError(f"{key} is not the key of {certificate}.", hint="Restore both from one backup.")
        return cls(loaded, private)

    @classmethod
    def load_or_create(cls, certificate: Path, key: Path, name: str) -> Authority:
        """`load` when the certificate is there, else `create` and write both files."""
        if certificate.exists():
            return cls.load(certificate, key)
        authority = cls.create(name)
        authority.issued().write(certificate, key)
        return authority

    def issued(self) -> Issued:
        """The authority's own certificate and key."""
        return Issued(_pem(self.certificate), _key_pem(self.key))

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
        prepared = prepare(jid)
        if prepared.resource or not prepared.local:
            raise InputError(f"{jid!r} is not a bare JID of an account.", hint="Write local@domain.")
        name = x509.OtherName(XMPP_ADDR, _der(0x0C, prepared.bare.encode()))
        return self._issue(prepared.bare, [name], [ExtendedKeyUsageOID.CLIENT_AUTH], NODE_LIFE, now)

    def _issue(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        usages: Sequence[ObjectIdentifier],
        life: timedelta,
        now: datetime | None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        fits = len(common_name) <= _COMMON_NAME_LIMIT
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if fits else [])
        builder = _builder(subject, self.certificate.subject, key.public_key(), life, now)
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(ca=False), True),
            (x509.ExtendedKeyUsage(usages), False),
            (x509.SubjectAlternativeName(names), not fits),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return Issued(_pem(builder.sign(self.key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    life: timedelta,
    now: datetime | None,
) -> x509.CertificateBuilder:
    start = now or datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start - _BACKDATED).not_valid_after(start + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _ascii_domain(domain: str) -> str:
    prepared = prepare(domain)
    if prepared.full != prepared.domain:
        raise InputError(f"{domain!r} is not a domain.", hint="Write it without '@' and '/'.")
    try:
        return prepared.domain.encode("idna").decode()
    except UnicodeError as error:
        raise InputError(f"{domain!r} is not a domain that a certificate can name: {error}.") from None


def _srv_name(service: str, domain: str) -> x509.OtherName:
    return x509.OtherName(SRV_NAME, _der(0x16, f"{service}.{domain}".encode()))


def _der(tag: int, content: bytes) -> bytes:
    """One DER value; a JID has at most 3071 bytes, so two bytes of length are enough."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(1 if size < 0x100 else 2, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
