"""Challenges that are signed with the key of a certificate."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from grid.binding import moment
from grid.binding_challenges import LIFETIME, MOST, PROVED, Challenges
from grid.errors import Refusal
from grid.proof import is_signed, sign, signed_bytes

from .nodekit import NOW

JID = "soc1@grid.test/agent"
NAME = x509.Name([])


def self_signed(key: CertificateIssuerPrivateKeyTypes) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(moment(NOW)).not_valid_after(moment(NOW) + timedelta(days=1))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
KEYS = [RSA, EC, ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
DER = self_signed(EC).public_bytes(Encoding.DER)


@pytest.mark.parametrize("key", KEYS, ids=["RSA", "P-256", "P-384", "Ed25519"])
def test_every_kind_of_key_signs(key: CertificateIssuerPrivateKeyTypes) -> None:
    certificate = self_signed(key)
    signature = sign(key, "nonce", JID)
    assert is_signed(certificate, signature, "nonce", JID)
    assert not is_signed(certificate, signature, "nonce2", JID)
    assert not is_signed(certificate, signature, "nonce", "soc2@grid.test/agent")
    assert not is_signed(certificate, signature[:-1] + bytes([signature[-1] ^ 1]), "nonce", JID)
    assert not is_signed(certificate, b"", "nonce", JID)


def test_rsa_may_sign_in_the_older_way_but_with_no_short_key() -> None:
    message = signed_bytes("nonce", JID)
    assert is_signed(self_signed(RSA), RSA.sign(message, padding.PKCS1v15(), hashes.SHA256()), "nonce", JID)
    assert not is_signed(self_signed(RSA), RSA.sign(message, padding.PKCS1v15(), hashes.SHA512()), "nonce", JID)
    short = rsa.generate_private_key(65537, 1024)
    assert not is_signed(self_signed(short), sign(short, "nonce", JID), "nonce", JID)


def test_other_kinds_of_keys_are_refused() -> None:
    key = dsa.generate_private_key(1024)
    with pytest.raises(ValueError, match="cannot sign"):
        sign(key, "nonce", JID)
    signature = key.sign(signed_bytes("nonce", JID), hashes.SHA256())
    assert not is_signed(self_signed(key), signature, "nonce", JID)


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(challenges: Challenges, chain: list[bytes], signature: bytes, jid: str = JID) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        challenges.prove(jid, chain, signature)
    return caught.value.kind, caught.value.condition


def test_a_signed_challenge_says_who_it_is() -> None:
    challenges = Challenges(Watch())
    nonce = challenges.give(JID)
    credential = challenges.prove(JID, [DER, b"issuer"], sign(EC, nonce, JID))
    assert (credential.mechanism, credential.chain) == (PROVED, (DER, b"issuer"))
    assert credential.fingerprint == hashlib.sha256(DER).hexdigest()
    assert len(nonce) >= 32 and challenges.give(JID) != nonce


def test_a_challenge_is_good_once_for_one_and_not_for_long() -> None:
    watch = Watch()
    challenges = Challenges(watch)
    denied = ("auth", "not-authorized")
    signature = sign(EC, challenges.give(JID), JID)
    assert refused(challenges, [DER], signature, "soc1@grid.test/other") == denied
    challenges.prove(JID, [DER], signature)
    assert refused(challenges, [DER], signature) == denied  # used
    old = sign(EC, challenges.give(JID), JID)
    challenges.give(JID)
    assert refused(challenges, [DER], old) == denied  # another one took its place
    late = sign(EC, challenges.give(JID), JID)
    watch.now += LIFETIME
    assert refused(challenges, [DER], late) == denied


@pytest.mark.parametrize(
    ("chain", "expected"),
    [([], "bad-request"), ([b"\x30\x00"], "bad-request"), ([DER] * 9, "bad-request"), ([DER], "not-authorized")],
)
def test_a_failed_attempt_uses_the_challenge_up(chain: list[bytes], expected: str) -> None:
    challenges = Challenges(Watch())
    nonce = challenges.give(JID)
    signature = sign(ec.generate_private_key(ec.SECP256R1()), nonce, JID)
    assert refused(challenges, chain, signature)[1] == expected
    assert refused(challenges, [DER], sign(EC, nonce, JID)) == ("auth", "not-authorized")


def test_a_flood_of_challenges_fills_no_memory() -> None:
    watch = Watch()
    challenges = Challenges(watch, lambda: "n")
    for number in range(MOST):
        challenges.give(f"a{number}@grid.test/x")
    with pytest.raises(Refusal) as caught:
        challenges.give(JID)
    assert caught.value.condition == "resource-constraint"
    watch.now += LIFETIME
    assert challenges.give(JID) == "n"
