"""Certificates of grid nodes and of the authority that signs them, and its list of revoked ones (RFC 5280).

Every node certificate carries exactly one name: the bare JID, as xmppAddr (RFC 6120 §13.7.1.4). OpenSSL 3 refuses
every chain with name constraints on xmppAddr ("unsupported name constraint type", error 51), so they are not what
holds the authority to its grid. Instead its certificate permits subjects below the grid host's domain only, and no
DNS names and IP addresses at all: what it signs can be no server, and no subject of another grid. That xmppAddr is
of that grid is seen to by us when we issue, and by the controller when a node comes (`grid.binding`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from component.base.errors import InputError
from component.base.files import write_atomic
from component.base.jid import prepare
from grid.xmppaddr import XMPP_ADDR

PUBLIC = 0o644
AUTHORITY_LIFE = timedelta(days=3650)
NODE_LIFE = timedelta(days=397)
BACKDATED = timedelta(minutes=5)
"""A peer whose clock is a little behind must not refuse a fresh certificate."""

COMMON_NAME_LIMIT = 64
"""ub-common-name of RFC 5280; a longer JID or domain stands in the SAN alone."""

_SHORTEST_RSA = 2048


@dataclass(frozen=True, repr=False)
class NodeCa:
    """A certificate that signs nodes, with its key. Make one with `create` or `load`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str, host: str, now: datetime) -> NodeCa:
        """A new authority for the nodes of one grid host.

        :param name: its common name.
        :raises InputError: `host` is not a domain that a certificate can name.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        common = x509.NameAttribute(NameOID.COMMON_NAME, name[:COMMON_NAME_LIMIT])
        subject = x509.Name([*domain_components(host), common])
        builder = new_certificate(subject, subject, key.public_key(), AUTHORITY_LIFE, now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(key_usage(ca=True), critical=True)
        builder = builder.add_extension(name_constraints(host), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> NodeCa:
        """An authority from its two files, PEM.

        :raises InputError: a file cannot be read, or the two do not belong together.
        """
        return cls(*load_pair(certificate, key))

    def write(self, certificate: Path, key: Path) -> None:
        """Write both files; the key with mode 0600.

        :raises OSError: a file cannot be written.
        """
        write_atomic(key, key_pem(self.key))
        write_atomic(certificate, pem(self.certificate), mode=PUBLIC)

    def sign(
        self, public_key: CertificatePublicKeyTypes, jid: str, life: timedelta, now: datetime
    ) -> x509.Certificate:
        """A client certificate for a bare JID and nothing else.

        :param life: how long it is valid; never longer than the authority itself.
        :raises InputError: `jid` is not a bare JID with a local part, or the authority has expired.
        """
        prepared = prepare(jid)
        if prepared.resource or not prepared.local:
            raise InputError(f"{jid!r} is not a bare JID of an account.", hint="Write local@domain.")
        life = min(life, self.certificate.not_valid_after_utc - now)
        if life <= timedelta():
            raise InputError("The node CA has expired.", hint="Move its files away and run `stanzagate ca init`.")
        builder = new_certificate(node_subject(prepared.bare), self.certificate.subject, public_key, life, now)
        address = x509.OtherName(XMPP_ADDR, der(0x0C, prepared.bare.encode()))
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (key_usage(ca=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.SubjectAlternativeName([address]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def revocations(
        self, revoked: Iterable[tuple[int, float]], number: int, issued: datetime, until: datetime
    ) -> x509.CertificateRevocationList:
        """The list of what was revoked.

        :param revoked: serial number, and Unix time in seconds of its revocation.
        :param number: of the list; it grows.
        :param until: when the next one is there at the latest (nextUpdate).
        """
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(issued - BACKDATED).next_update(until)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        for serial, when in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(datetime.fromtimestamp(int(when), UTC)).build()
            )
        return builder.sign(self.key, hashes.SHA256())


def read_request(text: str) -> CertificatePublicKeyTypes:
    """The key that a certificate signing request asks a certificate for. Nothing else of it counts.

    :param text: PEM (PKCS #10).
    :raises InputError: it cannot be read, was not made by the holder of the key, or the key is of a kind or size
        that is not taken.
    """
    try:
        request = x509.load_pem_x509_csr(text.encode())
        signed, key = request.is_signature_valid, request.public_key()
    except (ValueError, TypeError, InvalidSignature):
        raise InputError("The certificate request cannot be read.", hint="Send PKCS #10 as PEM.") from None
    if not signed:
        raise InputError("The certificate request is not signed with its own key.")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SHORTEST_RSA:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return key
    raise InputError(
        "The key of the certificate request is of a kind that is not taken.",
        hint="Use P-256, P-384, Ed25519, or RSA with 2048 bits or more.",
    )


def name_constraints(host: str) -> x509.NameConstraints:
    """What keeps a node authority to the nodes of one grid host."""
    everywhere = [x509.IPAddress(ipaddress.ip_network(net)) for net in ("0.0.0.0/0", "::/0")]
    return x509.NameConstraints(
        permitted_subtrees=[x509.DirectoryName(x509.Name(domain_components(host)))],
        excluded_subtrees=[x509.DNSName(""), *everywhere],
    )


def node_subject(jid: str) -> x509.Name:
    """``DC=test,DC=grid,CN=soc1@grid.test``; a JID that is too long for a common name stands in the SAN alone."""
    common = [x509.NameAttribute(NameOID.COMMON_NAME, jid)] if len(jid) <= COMMON_NAME_LIMIT else []
    return x509.Name([*domain_components(jid.rpartition("@")[2]), *common])


def domain_components(domain: str) -> list[x509.NameAttribute[str]]:
    """A domain as the beginning of a subject (RFC 4519 §2.4).

    :raises InputError: it is not a domain that a certificate can name.
    """
    try:
        labels = domain.encode("idna").decode().split(".")
    except UnicodeError as error:
        raise InputError(f"{domain!r} is not a domain that a certificate can name: {error}.") from None
    return [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, label) for label in reversed(labels)]


def load_pair(certificate: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Certificate and key of an authority, PEM.

    :raises InputError: a file cannot be read, or the two do not belong together.
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
    return loaded, private


def new_certificate(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, life: timedelta, now: datetime
) -> x509.CertificateBuilder:
    """What all certificates have in common."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """What a key may be used for."""
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def der(tag: int, content: bytes) -> bytes:
    """One DER value; a JID has at most 3071 bytes, so two bytes of length are enough."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(1 if size < 0x100 else 2, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def pem(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """A certificate or a list, PEM."""
    return thing.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key, PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
