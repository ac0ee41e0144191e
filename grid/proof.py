"""A node shows that a certificate is its own, where no server tells the controller which one it has used.

It asks for a challenge, signs it together with its full JID, and registers with chain and signature
(`grid.protocol.requests.Proof`). This module needs no database, so that a node can embed it.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256

from grid import ns

_PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO)
_PSS_TO_SIGN = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
_SHORTEST_RSA = 2048


def signed_bytes(nonce: str, jid: str) -> bytes:
    """What is signed: our namespace, the full JID and the nonce, in three lines, UTF-8."""
    return f"{ns.GRID} register\n{jid}\n{nonce}".encode()


def sign(key: PrivateKeyTypes, nonce: str, jid: str) -> bytes:
    """The node's side.

    :param key: RSA (signs with PSS), an elliptic curve's (ECDSA), or Ed25519; SHA-256.
    :param jid: its full JID.
    :raises ValueError: the key is of another kind.
    """
    message = signed_bytes(nonce, jid)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, _PSS_TO_SIGN, SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(SHA256()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    raise ValueError("keys of this kind cannot sign a challenge; use RSA, an elliptic curve, or Ed25519")


def is_signed(certificate: x509.Certificate, signature: bytes, nonce: str, jid: str) -> bool:
    """Whether the holder of a certificate's key has signed a challenge. RSA may be PSS or PKCS #1 v1.5."""
    message, key = signed_bytes(nonce, jid), certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SHORTEST_RSA:
            return _rsa(key, signature, message)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _rsa(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> bool:
    for scheme in (_PSS, padding.PKCS1v15()):
        try:
            key.verify(signature, message, scheme, SHA256())
        except InvalidSignature:
            continue
        return True
    return False
