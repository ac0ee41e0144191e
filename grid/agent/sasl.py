"""SASL as a node uses it: EXTERNAL with a certificate (RFC 4422), SCRAM with a password (RFC 5802, RFC 7677).

PLAIN and its like do not exist here: a password never leaves the node. Sans-IO.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from slixmpp.util.sasl.client import saslprep

EXTERNAL = "EXTERNAL"
HASHES = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
"""Best first."""
PLUS = "-PLUS"

FEWEST_ROUNDS = 4096
"""RFC 7677 §4."""
MOST_ROUNDS = 1_000_000
"""More would only keep the node busy."""


class SaslError(Exception):
    """The other side does not play by the rules; the message says how."""


def choose(offered: Iterable[str], *, certificate: bool, password: bool, binding: bool) -> str:
    """The mechanism to use; empty when there is none.

    :param binding: whether the connection has channel binding data, so that the -PLUS variants are possible.
    """
    names = set(offered)
    if certificate and EXTERNAL in names:
        return EXTERNAL
    if not password:
        return ""
    for name in HASHES:
        if binding and name + PLUS in names:
            return name + PLUS
        if name in names:
            return name
    return ""


class Scram:
    """One exchange.

    :param mechanism: ``SCRAM-SHA-256`` or another of `HASHES`, with or without `PLUS`.
    :param nonce: at least 128 random bits, in printable ASCII without a comma.
    :param binding: ``tls-unique`` of the connection, or None when it has none.
    """

    def __init__(self, mechanism: str, user: str, password: str, *, nonce: str, binding: bytes | None = None) -> None:
        plus = mechanism.endswith(PLUS)
        self._hash = HASHES[mechanism.removesuffix(PLUS)]
        self._password = saslprep(password).encode()
        # "y": we could bind, but were offered nothing; a server that did offer it knows that somebody took it away
        flag = "p=tls-unique" if plus else "y" if binding is not None else "n"
        self._header = f"{flag},,".encode()
        self._binding = (binding or b"") if plus else b""
        self._nonce = nonce
        name = saslprep(user).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """The client's first message."""
        return self._header + self._bare.encode()

    def respond(self, challenge: bytes) -> bytes:
        """The answer to the server's first message.

        :raises SaslError: it is malformed, is not for our nonce, or demands too few or too many rounds.
        """
        values = _values(challenge)
        try:
            salt, rounds = base64.b64decode(values["s"], validate=True), int(values["i"])
        except (KeyError, ValueError, binascii.Error):
            raise SaslError("its challenge is malformed") from None
        if "m" in values or not values.get("r", "").startswith(self._nonce) or values["r"] == self._nonce:
            raise SaslError("its challenge is not an answer to ours")
        if not FEWEST_ROUNDS <= rounds <= MOST_ROUNDS:
            raise SaslError(f"it wants {rounds} rounds, which is not between {FEWEST_ROUNDS} and {MOST_ROUNDS}")
        bound = base64.b64encode(self._header + self._binding).decode()
        last = f"c={bound},r={values['r']}"
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, rounds)
        signed = f"{self._bare},{challenge.decode()},{last}".encode()
        client = hmac.digest(salted, b"Client Key", self._hash)
        proof = hmac.digest(hashlib.new(self._hash, client).digest(), signed, self._hash)
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", self._hash), signed, self._hash)
        mixed = bytes(one ^ other for one, other in zip(client, proof, strict=True))
        return f"{last},p={base64.b64encode(mixed).decode()}".encode()

    def verify(self, final: bytes) -> None:
        """Check the server's last message: it must know the password, too.

        :raises SaslError: it does not, or the exchange is not that far.
        """
        try:
            shown = base64.b64decode(_values(final)["v"], validate=True)
        except (KeyError, binascii.Error):
            raise SaslError("it did not show that it knows the password") from None
        if not self._signature or not hmac.compare_digest(shown, self._signature):
            raise SaslError("it did not show that it knows the password")


def _values(message: bytes) -> dict[str, str]:
    try:
        parts = message.decode().split(",")
    except UnicodeDecodeError:
        raise SaslError("its message is not UTF-8") from None
    return {part[:1]: part[2:] for part in parts if part[1:2] == "="}
