"""Certificates for the tests of the relay: good ones, and every kind of bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from component.relay.net.certs import Anchors, PeerCertificate, Trust
from component.relay.net.tls import KeyPair

NOW = datetime(2031, 5, 17, 12, 0, tzinfo=UTC)
SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def srv(*domains: str, service: str = "_xmpp-server") -> list[x509.GeneralName]:
    return [other_name(f"{service}.{domain}".encode()) for domain in domains]


def other_name(text: bytes, *, tag: int = 0x16) -> x509.OtherName:
    length = bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)])
    return x509.OtherName(SRV_NAME, bytes([tag]) + length + text)


@dataclass(frozen=True)
class Made:
    """A certificate, its key, and what is above it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return (self.der, *(one.public_bytes(serialization.Encoding.DER) for one in self.above))

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (self.certificate, *self.above))

    def write(self, folder: Path, name: str) -> KeyPair:
        pair = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
        pair.certificate.write_bytes(self.pem)
        pair.key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def make(
    common_name: str,
    names: Sequence[x509.GeneralName] = (),
    *,
    by: Made | None = None,
    ca: bool | None = False,
    path_length: int | None = None,
    start: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    key: Key | None = None,
    send_issuer: bool = False,
) -> Made:
    """A certificate, signed by its own key or `by` another.

    :param ca: the cA of the basic constraints; None leaves them out.
    :param send_issuer: the issuer (which is no root) is part of the chain.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signed = builder.sign(by.key if by else key, hashes.SHA256())
    return Made(signed, key, (by.certificate, *by.above) if by and send_issuer else ())


@cache
def root() -> Made:
    """The authority that everybody trusts; made as `openssl req -x509` makes them."""
    return make("Authority", ca=True, end=NOW + timedelta(days=3650))


def trust(*anchors: Made, partners: dict[str, Made] | None = None, now: datetime = NOW) -> Trust:
    default = Anchors.of([one.certificate for one in anchors or (root(),)], "ca.pem")
    own = {name: Anchors.of([one.certificate], f"{name}.pem") for name, one in (partners or {}).items()}
    return Trust(default, own, lambda: now)


def judged(made: Made, *anchors: Made, now: datetime = NOW) -> PeerCertificate:
    return trust(*anchors, now=now).identify(made.chain)
