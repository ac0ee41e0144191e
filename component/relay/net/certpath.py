"""What makes a chain of certificates prove that a peer is a domain.

In either direction the rules for *server* certificates hold (RFC 6120 §13.7.2.1): XMPP servers have one certificate
for both roles.

* The chain leads to an anchor that is trusted for that domain, and every certificate in it is valid now. An anchor
  may be the peer's own certificate, self-signed or not; otherwise the peer's own is no authority's (§13.7.1.1).
* An extended key usage, where there is one, allows ``serverAuth``. Public authorities leave out ``clientAuth``, and
  it is not missed, although the initiating server is TLS's client. ``clientAuth`` alone is not enough: RFC 6120 knows
  no such certificate for servers, and what authorities check before they sign one is not who owns a domain.
* The names are an SRVName ``_xmpp-server.DOMAIN`` (RFC 4985) or a dNSName, which may begin with the label ``*``. The
  domain is matched, never the host that an SRV record led to; the common name is ignored.
* Name constraints on dNSName bind SRVName as well, or an authority for one domain could vouch for every other.

Revocation is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, SRV_ID, DNSPattern, SRVPattern

SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""id-on-dnsSRV, an IA5String (RFC 4985 §2)."""

SHORTEST_RSA = 2048
LONGEST_CHAIN = 10
"""Certificates that a peer may send; public chains have two to four."""

_NAMES_SHOWN = 5
_LONGEST_SHOWN = 120

BROKEN = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)  # fmt: skip
"""What reading a certificate raises that was not made by the rules."""


class Refused(Exception):
    """The certificate does not prove it; the message is the rest of a sentence that begins with the certificate."""


# The chain


def verified_path(
    certificates: Sequence[x509.Certificate], store: Store, source: str, now: datetime
) -> list[x509.Certificate]:
    """The path from the peer's own certificate to an anchor.

    :param certificates: what the peer has shown, its own first.
    :param store: the anchors.
    :param source: the file that they are from, for messages.
    :raises Refused: there is none.
    """
    leaf, *others = certificates
    _check_time(leaf, now, "")
    _check_key(leaf)
    _check_usage(leaf)
    # The client verifier asks for no name: that of the server verifier knows no SRVName. Usage is checked by us.
    builder = PolicyBuilder().store(store).time(now).max_chain_depth(LONGEST_CHAIN)
    verifier = builder.extension_policies(ca_policy=_AUTHORITIES, ee_policy=_PEERS).build_client_verifier()
    try:
        path = verifier.verify(leaf, others).chain
    except VerificationError as error:
        raise Refused(_explained(error, leaf, others, source, now)) from error
    if len(path) > 1 and _is_authority(leaf):
        raise Refused("is that of an authority, not of a server")
    return path


def _explained(
    error: VerificationError, leaf: x509.Certificate, others: list[x509.Certificate], source: str, now: datetime
) -> str:
    if leaf.issuer == leaf.subject:
        return f"is self-signed ({subject(leaf)}), and is not in {source}"
    text = str(error)
    if "no interior errors" in text:
        last = _last_of_chain(leaf, others)
        return (
            f"does not lead to anybody trusted: {subject(last.issuer)} signed it or one above it, and is neither in "
            f"{source} nor among what the peer sent"
        )
    for other in others:
        try:
            _check_time(other, now, f"has {subject(other)} above it, which ")
        except Refused as refused:
            return str(refused)
    reason = text.removeprefix("validation failed: ").removeprefix("candidates exhausted: ")
    return f"does not verify: {shown(reason)}"


def _last_of_chain(leaf: x509.Certificate, others: list[x509.Certificate]) -> x509.Certificate:
    """The certificate whose issuer was not found."""
    by_subject = {other.subject: other for other in others}
    last = leaf
    for _ in others:
        last = by_subject.get(last.issuer, last)
    return last


def _check_time(certificate: x509.Certificate, now: datetime, prefix: str) -> None:
    if now < certificate.not_valid_before_utc:
        raise Refused(f"{prefix}is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if now > certificate.not_valid_after_utc:
        raise Refused(f"{prefix}expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def _check_key(leaf: x509.Certificate) -> None:
    """The verifier looks at the keys of authorities only."""
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA:
        raise Refused(f"has an RSA key of {key.key_size} bits; {SHORTEST_RSA} are the least")


def _serves(usage: x509.ExtendedKeyUsage) -> bool:
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not _serves(usage):
        raise Refused("is not for servers: its extended key usage lacks serverAuth")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _authority_signs(_: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"{subject(certificate)} may not sign certificates")


def _authority_serves(_: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and not _serves(usage):
        raise ValueError(f"{subject(certificate)} may not sign certificates of servers")


_AGNOSTIC = Criticality.AGNOSTIC
_AUTHORITIES = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _AGNOSTIC, None)  # that cA is asserted the verifier sees to itself
    .may_be_present(x509.KeyUsage, _AGNOSTIC, _authority_signs)
    .may_be_present(x509.ExtendedKeyUsage, _AGNOSTIC, _authority_serves)
)
"""Private authorities that `openssl req -x509` made have neither key identifiers nor a key usage, which the rules of
the web insist on. Path lengths, constraints, signatures and unknown critical extensions are checked anyway."""

_PEERS = ExtensionPolicy.permit_all()


# The names


def check_names(path: list[x509.Certificate], domain: str) -> None:
    """:raises Refused: the first certificate of a path does not name the domain."""
    services, hosts = _names(path[0])
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
        dns_id, srv_id = DNS_ID(ascii_domain), SRV_ID(f"_xmpp-server.{ascii_domain}")
    except ValueError as error:
        raise Refused("cannot be checked: certificates have no names like this") from error
    if any(map(srv_id.verify, services)):
        _check_constraints(path[1:], ascii_domain)
    elif not any(map(dns_id.verify, hosts)):
        raise Refused(f"names others: {_listed(services, hosts)}")


def _names(leaf: x509.Certificate) -> tuple[list[SRVPattern], list[DNSPattern]]:
    """SRVNames and dNSNames; names that were not made by the rules match nobody."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    services: list[SRVPattern] = []
    hosts: list[DNSPattern] = []
    for name in names:
        try:
            if isinstance(name, x509.DNSName):
                hosts.append(DNSPattern.from_bytes(name.value.encode("ascii")))
            elif isinstance(name, x509.OtherName) and name.type_id == SRV_NAME:
                text = asn1.decode_der(asn1.IA5String, name.value).as_str()
                services.append(SRVPattern.from_bytes(text.encode("ascii")))
        except (CertificateError, ValueError, IndexError):  # IndexError: COMPAT service-identity, an empty SRVName
            continue
    return services, hosts


def _listed(services: Sequence[SRVPattern], hosts: Sequence[DNSPattern]) -> str:
    names = [f"_{service.name_pattern.decode()}.{service.dns_pattern.pattern.decode()}" for service in services]
    names += [host.pattern.decode() for host in hosts]
    if not names:
        return "it has no dNSName and no SRVName, and a common name does not count"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(shown, names[:_NAMES_SHOWN])) + more


def _check_constraints(authorities: Iterable[x509.Certificate], domain: str) -> None:
    """The verifier does so for dNSNames only.

    :raises Refused: one of the authorities may not speak for the domain.
    """
    for authority in authorities:
        try:
            constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            continue
        permitted = [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]
        excluded = [name.value for name in constraints.excluded_subtrees or () if isinstance(name, x509.DNSName)]
        if any(_below(domain, name) for name in excluded) or (
            permitted and not any(_below(domain, name) for name in permitted)
        ):
            raise Refused(f"was signed by {subject(authority)}, which may not name this domain")


def _below(domain: str, constraint: str) -> bool:
    """Whether a domain lies in a subtree (RFC 5280 §4.2.1.10)."""
    tree = constraint.lower().removeprefix(".")
    return not tree or domain.lower() == tree or domain.lower().endswith(f".{tree}")


# Text for people


def subject(of: x509.Certificate | x509.Name) -> str:
    try:
        name = of.subject if isinstance(of, x509.Certificate) else of
        return shown(name.rfc4514_string()) or "a certificate without a subject"
    except BROKEN:
        return "a certificate without a readable subject"


def shown(text: str) -> str:
    """Text of a peer without what could forge a line of a log."""
    short = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in short)
