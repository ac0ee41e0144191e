"""Judgement of the certificates that peers show (RFC 6120 §13.7.2.1).

TLS itself refuses nobody: it asks for a certificate and takes what comes, so that a partner whose policy says so can
still prove itself by dialback. What a certificate proves is judged here, for one domain at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import Store

from component.base.errors import ConfigError
from component.relay.net.certpath import BROKEN, LONGEST_CHAIN, Refused, check_names, shown, subject, verified_path

_JUDGED_DOMAINS = 256
"""Domains whose judgement one connection remembers."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Certificates that are trusted without a signature of anybody.

    :ivar source: the file that they are from, for messages.
    """

    store: Store
    source: str

    @classmethod
    def of(cls, certificates: Sequence[x509.Certificate], source: str) -> Anchors:
        """Anchors from certificates, at least one."""
        return cls(Store(list(certificates)), source)

    @classmethod
    def load(cls, file: Path) -> Anchors:
        """Anchors from a PEM file.

        :raises ConfigError: the file cannot be read, or holds no certificate.
        """
        try:
            with (
                warnings.catch_warnings()
            ):  # one of the public roots has a serial number of which `cryptography` warns
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                return cls.of(x509.load_pem_x509_certificates(file.read_bytes()), str(file))
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read: {error.strerror}.", hint="Name a PEM file with the certificates to trust."
            ) from error
        except BROKEN as error:
            raise ConfigError(
                f"{file} holds no certificates that can be read.", hint="It must be PEM: -----BEGIN CERTIFICATE-----."
            ) from error


@dataclass(slots=True)
class Trust:
    """Who is trusted to say which partner is who.

    :ivar default: anchors for partners without a trust file of their own; None trusts nobody.
    :ivar partners: anchors of partners with a file of their own, by domain; the default does not hold for them.
    :ivar clock: gives the time of day, with its zone.
    """

    default: Anchors | None
    partners: Mapping[str, Anchors]
    clock: Callable[[], datetime]

    def replace(self, default: Anchors | None, partners: Mapping[str, Anchors]) -> None:
        """Other files were configured: what is judged from now on is judged by them."""
        self.default, self.partners = default, partners

    def anchors(self, domain: str) -> Anchors | None:
        """Whom to trust about a domain."""
        return self.partners.get(domain, self.default)

    def identify(self, chain: tuple[bytes, ...]) -> PeerCertificate:
        """What a peer has shown in TLS, to be judged now.

        :param chain: DER, the peer's own certificate first; empty when it has shown none.
        """
        return PeerCertificate(chain, self, self.clock())


class PeerCertificate:
    """The certificate of a peer on one connection: a `PeerIdentity`. Make one with `Trust.identify`.

    Each domain is judged once, as of the time when the connection was secured.

    :param chain: DER, the peer's own first.
    """

    def __init__(self, chain: tuple[bytes, ...], trust: Trust, now: datetime) -> None:
        self.chain = chain
        self._trust = trust
        self._now = now
        self._certificates: list[x509.Certificate] | None = None
        self._judged: dict[str, tuple[str, datetime | None]] = {}

    def refusal(self, domain: str) -> str:
        """Why the certificate does not prove that the peer is `domain`, one sentence; empty when it does.

        :param domain: prepared, as people write it; certificates have its A-labels.
        """
        return self._judge(domain)[0]

    def expires(self, domain: str) -> datetime | None:
        """When the proof for `domain` ends: the first certificate of the chain expires (RFC 6120 §13.7.2.3)."""
        return self._judge(domain)[1]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the peer's own certificate in hexadecimal digits; empty when it has shown none."""
        if not self.chain:
            return ""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.chain[0])
        return digest.finalize().hex()

    @property
    def subject(self) -> str:
        """The subject of the peer's own certificate for people, without control characters."""
        try:
            return subject(self._parsed()[0])
        except Refused:
            return ""

    def _judge(self, domain: str) -> tuple[str, datetime | None]:
        known = self._judged.get(domain)
        if known is None:
            if len(self._judged) >= _JUDGED_DOMAINS:
                self._judged.clear()
            known = self._judged[domain] = self._judgement(domain)
        return known

    def _judgement(self, domain: str) -> tuple[str, datetime | None]:
        try:
            certificates = self._parsed()
            anchors = self._trust.anchors(domain)
            if anchors is None:
                raise Refused("is not trusted: no 'trust' file is configured")
            path = verified_path(certificates, anchors.store, anchors.source, self._now)
            check_names(path, domain)
        except Refused as refused:
            name = f"The certificate of {shown(domain)}"
            return f"{name} {refused}.", None
        except BROKEN as error:
            return f"The certificate of {shown(domain)} cannot be read: {shown(str(error))}.", None
        return "", min(certificate.not_valid_after_utc for certificate in path)

    def _parsed(self) -> list[x509.Certificate]:
        if not self.chain:
            raise Refused("is missing: the peer has shown none")
        if len(self.chain) > LONGEST_CHAIN:
            raise Refused(f"came with {len(self.chain) - 1} others, more than anybody needs ({LONGEST_CHAIN - 1})")
        if self._certificates is None:
            try:
                self._certificates = [x509.load_der_x509_certificate(der) for der in self.chain]
            except BROKEN as error:
                raise Refused(f"cannot be read: {shown(str(error))}") from error
        return self._certificates
