"""What a certificate proves, and why it does not."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from component.base.errors import ConfigError
from component.relay.net.certs import Anchors, Trust
from tests.unit.relay.certkit import (
    CLIENT,
    NOW,
    SERVER,
    Made,
    dns,
    judged,
    make,
    other_name,
    root,
    srv,
    trust,
)

DOMAIN = "partner.test"
ROOT = root()


def refusal(made: Made, domain: str = DOMAIN) -> str:
    return judged(made).refusal(domain)


@pytest.mark.parametrize(
    "names",
    [
        srv(DOMAIN),
        dns(DOMAIN),
        srv(DOMAIN) + dns(DOMAIN),
        dns("im.other.test") + srv("other.test", DOMAIN),
        srv("other.test") + dns(DOMAIN),
        dns("Partner.TEST"),
        srv(DOMAIN, service="_XMPP-Server"),
        [x509.UniformResourceIdentifier("https://partner.test:5281/"), *dns(DOMAIN)],
        [other_name(b"nonsense"), other_name(b""), other_name(b"_xmpp-server.*.test"), *dns(DOMAIN)],
        dns("*.*", "", "192.0.2.1", DOMAIN),
    ],
)
def test_either_name_proves_the_domain(names: list[x509.GeneralName]) -> None:
    assert refusal(make("x", names, by=ROOT)) == ""


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (dns("other.test"), "other.test"),
        (srv("other.test"), "_xmpp-server.other.test"),
        (srv("other.test") + dns("other.test"), "_xmpp-server.other.test, other.test"),
        (srv(DOMAIN, service="_xmpp-client"), "_xmpp-client.partner.test"),
        (dns("xmpp.partner.test"), "xmpp.partner.test"),
        (dns("*.partner.test"), "*.partner.test"),
        (dns("*.test"), "no dNSName"),
        (dns("p*.test"), "no dNSName"),
        ([other_name(b"_xmpp-server.partner.test", tag=0x0C)], "no SRVName"),
        (dns("partner.test\x00.evil.test"), "no dNSName"),
        (dns("partner.test.evil.test"), "partner.test.evil.test"),
        ([x509.RFC822Name("a@partner.test")], "no dNSName"),
        ([], "common name does not count"),
    ],
)
def test_a_certificate_of_somebody_else_is_refused_and_the_reason_says_whose_it_is(
    names: list[x509.GeneralName], shown: str
) -> None:
    reason = refusal(make(DOMAIN, names, by=ROOT))
    assert reason.startswith("The certificate of partner.test names others: ")
    assert shown in reason


def test_a_wildcard_stands_for_one_label() -> None:
    peer = judged(make("x", dns("*.partner.test"), by=ROOT))
    assert peer.refusal("chat.partner.test") == ""
    assert peer.refusal("a.chat.partner.test") != ""
    assert peer.refusal(DOMAIN) != ""


def test_a_domain_beyond_ascii_is_compared_as_certificates_write_it() -> None:
    peer = judged(make("x", srv("xn--bcher-kva.test") + dns("xn--mller-kva.test"), by=ROOT))
    assert peer.refusal("bücher.test") == ""
    assert peer.refusal("müller.test") == ""
    assert peer.refusal("muller.test") != ""


@pytest.mark.parametrize(
    "domain", ["192.0.2.1", "[2001:db8::1]", "a..b", "", "x" * 64 + ".test", "a_b.test ", "\uff41/b"]
)
def test_a_domain_that_no_certificate_can_name_is_refused(domain: str) -> None:
    assert refusal(make("x", dns(DOMAIN), by=ROOT), domain) != ""


# Validity and trust


def test_an_expired_one_and_one_from_the_future_say_when() -> None:
    late = make("x", dns(DOMAIN), by=ROOT, end=NOW - timedelta(seconds=1))
    assert "expired at 2031-05-17 11:59 UTC" in refusal(late)
    early = make("x", dns(DOMAIN), by=ROOT, start=NOW + timedelta(hours=1))
    assert "not valid before 2031-05-17 13:00 UTC" in refusal(early)


def test_it_is_valid_through_its_last_second() -> None:
    peer = make("x", dns(DOMAIN), by=ROOT, end=NOW)
    assert judged(peer).refusal(DOMAIN) == ""
    assert judged(peer).expires(DOMAIN) == NOW


def test_the_proof_ends_with_the_first_certificate_of_the_chain() -> None:
    middle = make("Middle", ca=True, by=ROOT, end=NOW + timedelta(days=2))
    peer = judged(make("x", dns(DOMAIN), by=middle, send_issuer=True))
    assert peer.expires(DOMAIN) == NOW + timedelta(days=2)
    assert peer.expires("other.test") is None


def test_self_signed_is_said_in_so_many_words() -> None:
    assert "is self-signed (CN=x), and is not in ca.pem" in refusal(make("x", dns(DOMAIN)))


@pytest.mark.parametrize("ca", [True, False, None])
def test_a_self_signed_one_in_the_partners_own_trust_file_is_enough(ca: bool | None) -> None:
    own = make("x", dns(DOMAIN), ca=ca)
    assert trust(partners={DOMAIN: own}).identify(own.chain).refusal(DOMAIN) == ""


def test_a_partner_with_its_own_trust_file_is_not_believed_by_any_other() -> None:
    own = make("Their authority", ca=True)
    policy = trust(partners={DOMAIN: own})
    by_own = policy.identify(make("x", dns(DOMAIN, "other.test"), by=own).chain)
    assert by_own.refusal(DOMAIN) == ""
    assert "ca.pem" in by_own.refusal("other.test")
    by_root = policy.identify(make("x", dns(DOMAIN, "other.test"), by=ROOT).chain)
    assert "partner.test.pem" in by_root.refusal(DOMAIN)
    assert by_root.refusal("other.test") == ""


def test_nobody_is_trusted_when_there_is_no_trust_file() -> None:
    peer = Trust(None, {}, lambda: NOW).identify(make("x", dns(DOMAIN), by=ROOT).chain)
    assert "no 'trust' file is configured" in peer.refusal(DOMAIN)


def test_an_unknown_authority_is_named() -> None:
    reason = refusal(make("x", dns(DOMAIN), by=make("Somebody", ca=True)))
    assert "CN=Somebody signed it" in reason
    assert "neither in ca.pem" in reason


def test_an_authority_of_the_right_name_with_another_key_is_not_believed() -> None:
    assert "does not verify" in refusal(make("x", dns(DOMAIN), by=make("Authority", ca=True)))


def test_the_chain_is_the_peers_to_send_in_any_order_and_with_more_than_is_needed() -> None:
    upper = make("Upper", ca=True, by=ROOT)
    lower = make("Lower", ca=True, by=upper, send_issuer=True)
    peer = make("x", dns(DOMAIN), by=lower, send_issuer=True)
    leaf, *above = peer.chain
    for chain in ((leaf, *above), (leaf, *reversed(above)), (leaf, ROOT.der, make("Odd").der, *above)):
        assert trust().identify(chain).refusal(DOMAIN) == ""


def test_a_missing_intermediate_is_named() -> None:
    upper = make("Upper", ca=True, by=ROOT)
    lower = make("Lower", ca=True, by=upper)
    assert "CN=Lower signed it" in refusal(make("x", dns(DOMAIN), by=lower))
    assert "CN=Upper signed it" in refusal(make("x", dns(DOMAIN), by=lower, send_issuer=True))


def test_an_expired_intermediate_is_named() -> None:
    old = make("Old", ca=True, by=ROOT, start=NOW - timedelta(days=9), end=NOW - timedelta(days=3))
    assert "CN=Old above it, which expired" in refusal(make("x", dns(DOMAIN), by=old, send_issuer=True))


def test_no_certificate_at_all() -> None:
    peer = trust().identify(())
    assert peer.refusal(DOMAIN) == "The certificate of partner.test is missing: the peer has shown none."
    assert (peer.fingerprint, peer.subject) == ("", "")


# What certificates are for


@pytest.mark.parametrize(
    "usage",
    [
        SERVER,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    ],
)
def test_server_authentication_is_enough(usage: x509.ExtendedKeyUsage) -> None:
    middle = make("Middle", ca=True, by=ROOT, extensions=[(usage, False)])
    peer = make("x", dns(DOMAIN), by=middle, extensions=[(usage, False)], send_issuer=True)
    assert refusal(peer) == ""


def test_client_authentication_alone_is_not() -> None:
    assert "lacks serverAuth" in refusal(make("x", dns(DOMAIN), by=ROOT, extensions=[(CLIENT, False)]))
    middle = make("Clients", ca=True, by=ROOT, extensions=[(CLIENT, False)])
    assert "CN=Clients may not sign certificates of servers" in refusal(
        make("x", dns(DOMAIN), by=middle, send_issuer=True)
    )


def test_a_short_rsa_key_is_refused() -> None:
    key = rsa.generate_private_key(65537, 1024)
    assert "RSA key of 1024 bits" in refusal(make("x", dns(DOMAIN), by=ROOT, key=key))
    middle = make("Short", ca=True, by=ROOT, key=key)
    assert "does not verify" in refusal(make("x", dns(DOMAIN), by=middle, send_issuer=True))


def test_who_is_no_authority_signs_nobody() -> None:
    for by in (
        make("x", dns("other.test"), by=ROOT),
        make("x", dns("other.test"), by=ROOT, ca=None),
        make("x", ca=True, by=ROOT, extensions=[(_usage(sign=False), True)]),
    ):
        assert "does not verify" in refusal(make("y", dns(DOMAIN), by=by, send_issuer=True))


def test_the_certificate_of_an_authority_is_not_a_servers() -> None:
    assert "is that of an authority" in refusal(make("x", dns(DOMAIN), by=ROOT, ca=True))


def test_a_path_longer_than_its_authority_allows_is_refused() -> None:
    upper = make("Upper", ca=True, by=ROOT, path_length=0)
    lower = make("Lower", ca=True, by=upper, send_issuer=True)
    assert "does not verify" in refusal(make("x", dns(DOMAIN), by=lower, send_issuer=True))


@pytest.mark.parametrize("names", [dns(DOMAIN), srv(DOMAIN), srv(DOMAIN) + dns(DOMAIN)])
@pytest.mark.parametrize(
    ("constraints", "good"),
    [
        (x509.NameConstraints(dns(DOMAIN), None), True),
        (x509.NameConstraints(dns("test"), None), True),
        (x509.NameConstraints(dns("other.test"), None), False),
        (x509.NameConstraints(dns("chat.partner.test"), None), False),
        (x509.NameConstraints(None, dns("partner.test")), False),
        (x509.NameConstraints(None, dns("other.test")), True),
        (x509.NameConstraints([x509.DNSName("test")], dns("partner.test")), False),
    ],
)
def test_name_constraints_bind_both_kinds_of_names(
    names: list[x509.GeneralName], constraints: x509.NameConstraints, good: bool
) -> None:
    middle = make("Bound", ca=True, by=ROOT, extensions=[(constraints, True)])
    assert (refusal(make("x", names, by=middle, send_issuer=True)) == "") is good


def test_a_critical_extension_that_nobody_knows_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert "critical" in refusal(make("x", dns(DOMAIN), by=ROOT, extensions=[(unknown, True)]))
    assert refusal(make("x", dns(DOMAIN), by=ROOT, extensions=[(unknown, False)])) == ""


# Bad input


def test_ten_thousand_names() -> None:
    many = [f"h{number}.hosting.test" for number in range(9_999)]
    peer = judged(make("x", dns(*many, DOMAIN), by=ROOT))
    assert peer.refusal(DOMAIN) == ""
    reason = peer.refusal("other.test")
    assert "h0.hosting.test" in reason
    assert "and 9995 more" in reason
    assert len(reason) < 1000


def test_more_certificates_than_anybody_needs() -> None:
    peer = make("x", dns(DOMAIN), by=ROOT)
    assert "came with 10 others" in trust().identify((*peer.chain, *[ROOT.der] * 10)).refusal(DOMAIN)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"nonsense", make("x").der[:-1], b"\x30\x84\xff\xff\xff\xff"])
def test_what_is_no_certificate(der: bytes) -> None:
    for chain in ((der,), (make("x", dns(DOMAIN), by=ROOT).der, der)):
        peer = trust().identify(chain)
        assert "cannot be read" in peer.refusal(DOMAIN)
        assert peer.expires(DOMAIN) is None
        assert peer.subject == ""


_GOOD = make("x", srv(DOMAIN) + dns(DOMAIN), by=ROOT, extensions=[(SERVER, False)]).der


@given(st.integers(0, len(_GOOD) - 1), st.binary(max_size=8))
def test_no_certificate_raises_anything(position: int, change: bytes) -> None:
    der = _GOOD[:position] + change + _GOOD[position + len(change) :]
    peer = trust().identify((der,))
    assert (peer.refusal(DOMAIN) == "") == (der == _GOOD)
    assert peer.subject.isprintable()


def test_text_of_the_peer_forges_no_line_of_a_log() -> None:
    peer = judged(make("x\nrelay: all is well\x1b[2J", dns("other\r\n.test")))
    assert peer.refusal(DOMAIN).isprintable()
    assert peer.subject.isprintable()


def test_a_domain_is_judged_once_and_by_the_time_when_it_was_shown() -> None:
    now = [NOW]
    policy = Trust(Anchors.of([ROOT.certificate], "ca.pem"), {}, lambda: now[0])
    peer = policy.identify(make("x", dns(DOMAIN), by=ROOT).chain)
    now[0] += timedelta(days=90)
    assert peer.refusal(DOMAIN) == ""
    policy.replace(None, {})
    assert peer.refusal(DOMAIN) == ""
    assert policy.identify(peer.chain).refusal(DOMAIN) != ""


def test_the_fingerprint_is_what_openssl_prints() -> None:
    made = make("x", dns(DOMAIN), by=ROOT)
    assert judged(made).fingerprint == hashlib.sha256(made.der).hexdigest()
    assert judged(made).subject == "CN=x"


# Trust files


def test_trust_files_are_pem_with_at_least_one_certificate(tmp_path: Path) -> None:
    good = tmp_path / "ca.pem"
    good.write_bytes(ROOT.pem + make("Another", ca=True).pem)
    policy = Trust(Anchors.load(good), {}, lambda: NOW)
    assert policy.identify(make("x", dns(DOMAIN), by=ROOT).chain).refusal(DOMAIN) == ""
    with pytest.raises(ConfigError, match=r"nowhere.pem cannot be read: No such file"):
        Anchors.load(tmp_path / "nowhere.pem")
    for content in (b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        bad = tmp_path / "bad.pem"
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad.pem holds no certificates"):
            Anchors.load(bad)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
