"""The hash chain of the audit record: its tables, its encoding, its key, and the signed head.

Every row carries the SHA-256 of its own content and of the row before it::

    link = SHA-256(hash ‖ signature)  of the previous row
    hash = SHA-256(seq ‖ time ‖ len actor ‖ actor ‖ … ‖ len detail ‖ detail ‖ link)

so a row cannot be changed, removed, inserted or moved without every later hash being wrong. What follows from
that is only worth something when the last hash cannot be replaced: the last row of every transaction is signed
(Ed25519), and the newest signed head stands in the database, in the same transaction, and in a file outside it.
The file is written after the commit. A crash between the two leaves a file that is older than the database, which
is harmless; a database that is older than the file has lost its tail.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from component.base.errors import InputError
from component.base.files import open_to_others, write_atomic
from component.base.store import metadata

log = logging.getLogger(__name__)

CHAIN_BYTES = 16
MICROSECONDS = 1_000_000

_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
).encode

_big = BigInteger().with_variant(Integer, "sqlite")  # there INTEGER has 64 bits, and is the row's own key

audit_table = Table(
    "audit",
    metadata,
    Column("seq", _big, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),  # microseconds since 1970: a float has more than one spelling
    Column("actor", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),  # the very text that was hashed
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary(64), nullable=True),  # on the last row of each transaction
    Index("ix_audit_time", "time"),
)

audit_head_table = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),  # always 1
    Column("chain", LargeBinary(CHAIN_BYTES), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
)


def row_hash(seq: int, time: int, actor: str, action: str, subject: str, detail: str, previous: bytes) -> bytes:
    """The hash of a row. Every text is preceded by its length, so no two rows share an encoding.

    :param time: microseconds since 1970.
    """
    parts = [b"stanzagate audit row 1\0", struct.pack(">qq", seq, time)]
    for text in (actor, action, subject, detail):
        encoded = text.encode("utf-8", "surrogatepass")
        parts += (struct.pack(">Q", len(encoded)), encoded)
    parts.append(previous)
    return hashlib.sha256(b"".join(parts)).digest()


def link(digest: bytes, signature: bytes | None) -> bytes:
    """What the next row holds of a row; it covers the signature, so that this cannot be changed either."""
    return hashlib.sha256(b"\0" + digest if signature is None else b"\1" + digest + signature).digest()


def genesis(chain: bytes) -> bytes:
    """The hash of a chain without rows: rows of one chain mean nothing in another."""
    return hashlib.sha256(b"stanzagate audit chain 1\0" + chain).digest()


def clean(text: str) -> str:
    """Text that every database stores as it is: no NUL, no lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode("utf-8")


def canonical_detail(detail: Mapping[str, Any]) -> str:
    """The JSON text of a detail: sorted keys, no white space.

    :raises ValueError: for NaN and infinities, which JSON does not know.
    """
    return clean(_canonical(dict(detail)))


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: which row is the last one, and what its hash is."""

    chain: bytes
    seq: int
    hash: bytes
    signature: bytes | None = None

    @property
    def link(self) -> bytes:
        """What the next row holds of this one."""
        return link(self.hash, self.signature) if self.seq else self.hash

    @property
    def message(self) -> bytes:
        """What is signed."""
        return b"stanzagate audit head 1\0" + self.chain + struct.pack(">q", self.seq) + self.hash


class AuditPublicKey:
    """Checks signatures; all that `verify` needs."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def open(cls, path: Path) -> AuditPublicKey:
        """Read a public key in PEM form.

        :raises InputError: when the file is missing or holds something else.
        """
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise InputError(f"The public audit key cannot be read from {path}: {error}.") from None
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(f"{path} holds a public key of another kind than Ed25519.")
        return cls(key)

    def accepts(self, head: Head) -> bool:
        """Whether the head was signed with the private key."""
        try:
            self._key.verify(head.signature or b"", head.message)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def pem(self) -> bytes:
        """The key for a file."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class AuditKey:
    """Signs the head. The private part is in a file of its own, readable by the service's user only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = AuditPublicKey(key.public_key())

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> AuditKey:
        """Read the private key; with `create`, make it when it is missing.

        With `create` there is also the public key beside it, in a file that ends in ``.pub``.

        :raises InputError: when the file is missing, damaged, of another kind, or open to others.
        """
        try:
            if create and not path.exists():
                fresh = Ed25519PrivateKey.generate()
                write_atomic(path, _private_pem(fresh))
            if open_to_others(path):
                raise InputError(f"The audit key {path} can be read by others.", hint=f"Run: chmod 600 {path}")
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise InputError(f"{path} holds a private key of another kind than Ed25519.")
            opened, public = cls(key), path.with_suffix(".pub")
            if create and not public.exists():
                write_atomic(public, opened.public.pem(), mode=0o644)
            return opened
        except OSError as error:
            raise InputError(f"The audit key {path} cannot be used: {error.strerror}.") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InputError(f"{path} does not hold a private key.", hint="Restore it from a backup.") from None

    def sign(self, chain: bytes, seq: int, digest: bytes) -> Head:
        """A signed head."""
        unsigned = Head(chain, seq, digest)
        return Head(chain, seq, digest, self._key.sign(unsigned.message))

    def __repr__(self) -> str:
        return "AuditKey(…)"


def new_chain() -> bytes:
    """A name for a new chain."""
    return os.urandom(CHAIN_BYTES)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# -- the head file -------------------------------------------------------------------------------------------------


def write_head_file(path: Path, head: Head, **notes: Any) -> None:
    """Replace the head file.

    :param notes: further values for a person who reads it.
    :raises OSError: when it cannot be written.
    """
    content = {
        "format": 1,
        "chain": head.chain.hex(),
        "seq": head.seq,
        "hash": head.hash.hex(),
        "signature": (head.signature or b"").hex(),
        **notes,
    }
    write_atomic(path, json.dumps(content, indent=1).encode() + b"\n")


def read_head_file(path: Path) -> Head | None:
    """The head in a file, or None when there is no such file.

    :raises ValueError: when the file does not hold a head.
    :raises OSError: when it cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        return Head(
            bytes.fromhex(content["chain"]),
            int(content["seq"]),
            bytes.fromhex(content["hash"]),
            bytes.fromhex(content["signature"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an audit head: {error}") from None


def put_aside(path: Path, head: Head | None, found: int) -> None:
    """Keep a head that the database contradicts, so that `verify` still knows what was there.

    :param head: the head, or None to keep the file itself, when it is there but cannot be read.
    :param found: the last row that the database had.
    """
    evidence = path.with_name(f"{path.name}.evidence-{head.seq if head else 'unreadable'}")
    try:
        if head is not None and not evidence.exists():
            write_head_file(evidence, head, found_seq=found)
        elif head is None and path.exists():
            path.replace(evidence)
    except OSError:
        log.exception("the evidence %s cannot be kept", evidence)


def evidence_files(head_file: Path) -> list[Path]:
    """Head files that were put aside because the database contradicted them."""
    return sorted(head_file.parent.glob(f"{head_file.name}.evidence-*"))
