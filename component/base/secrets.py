"""Device credentials at rest: AES-256-GCM, with keys in a file beside the database.

A sealed value is ``version ‖ key id ‖ nonce ‖ ciphertext ‖ tag``. Its context, for example the id of the device that
it belongs to, is authenticated with it: a value that is copied to another row does not open there.

Rotation is three steps, so that it can be interrupted anywhere: `Vault.begin_rotation` adds a key, with which
everything is sealed from then on; the owner of the rows re-seals those that are not `Vault.is_current`;
`Vault.finish_rotation` forgets the old keys.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from component.base.errors import InputError, StanzagateError
from component.base.files import open_to_others, write_atomic

VERSION = b"\x01"
KEY_BYTES = 32
ID_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
HEADER_BYTES = len(VERSION) + ID_BYTES + NONCE_BYTES


class SealError(StanzagateError):
    """A sealed value does not open: its key is missing, it was changed, or it belongs to another context."""


class Vault:
    """Seals and opens short secrets.

    :ivar path: the file with the keys.
    """

    def __init__(self, path: Path, keys: Mapping[bytes, bytes], current: bytes) -> None:
        self.path = path
        self._use(dict(keys), current)

    @classmethod
    def open(cls, path: Path, create: bool = False) -> Vault:
        """Read the keys.

        :param create: make the file, with one new key, when it is missing.
        :raises InputError: when the file is missing, damaged, or open to others.
        """
        try:
            if create and not path.exists():
                vault = cls(path, *_with_new_key({}))
                vault._save()
                return vault
            if open_to_others(path):
                raise InputError(f"The credential key {path} can be read by others.", hint=f"Run: chmod 600 {path}")
            return cls(path, *_parsed(path.read_bytes()))
        except OSError as error:
            raise InputError(
                f"The credential key {path} cannot be used: {error.strerror}.",
                hint="Without it no stored credential can be opened: restore it from a backup.",
            ) from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"The credential key {path} is damaged.", hint="Restore it from a backup.") from None

    def seal(self, plaintext: str, context: str) -> bytes:
        """Encrypt a secret.

        :param context: what the secret belongs to; the same text is needed to open it.
        """
        nonce = os.urandom(NONCE_BYTES)
        return self._prefix + nonce + self._encrypt(nonce, plaintext.encode(), context.encode())

    def unseal(self, sealed: bytes, context: str) -> str:
        """Decrypt a secret.

        :raises SealError: when it does not open; the message never shows it.
        """
        if len(sealed) < HEADER_BYTES + TAG_BYTES or sealed[:1] != VERSION:
            raise SealError(f"The stored credential of {context} is damaged.", hint="Set it again.")
        key_id = bytes(sealed[1 : 1 + ID_BYTES])
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealError(
                f"The stored credential of {context} needs key {key_id.hex()}, which is not in {self.path}.",
                hint="Restore the credential key that belongs to this database.",
            )
        nonce = sealed[1 + ID_BYTES : HEADER_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[HEADER_BYTES:], context.encode()).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise SealError(
                f"The stored credential of {context} was changed, or belongs to something else.", hint="Set it again."
            ) from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether the value was sealed with the current key."""
        return sealed.startswith(self._prefix)

    @property
    def rotating(self) -> bool:
        """Whether a rotation was begun and not finished, perhaps by a process that was killed."""
        return len(self._keys) > 1

    def begin_rotation(self) -> None:
        """Add a key and make it the current one. Does nothing when a rotation is under way: go on with that one.

        :raises InputError: when the file cannot be written; nothing was changed.
        """
        if not self.rotating:
            self._replace(*_with_new_key(self._keys))

    def finish_rotation(self) -> None:
        """Forget all keys but the current one. Call it when every stored value `is_current`, never earlier.

        :raises InputError: when the file cannot be written; nothing was changed.
        """
        if self.rotating:
            self._replace({self._current: self._keys[self._current]}, self._current)

    def _replace(self, keys: dict[bytes, bytes], current: bytes) -> None:
        before = self._keys, self._current
        self._use(keys, current)
        try:
            self._save()
        except OSError as error:
            self._use(*before)
            raise InputError(
                f"The credential key {self.path} cannot be written: {error.strerror}.",
                hint="Check that the disk has room and that the folder belongs to the service's user.",
            ) from None

    def _use(self, keys: dict[bytes, bytes], current: bytes) -> None:
        self._keys = keys
        self._current = current
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._prefix = VERSION + current
        self._encrypt: Callable[[bytes, bytes, bytes], bytes] = self._ciphers[current].encrypt

    def _save(self) -> None:
        keys = [{"id": key_id.hex(), "key": base64.b64encode(key).decode()} for key_id, key in self._keys.items()]
        content = {"format": 1, "current": self._current.hex(), "keys": keys}
        write_atomic(self.path, json.dumps(content, indent=1).encode() + b"\n")

    def __repr__(self) -> str:
        return f"Vault({self.path})"


def _with_new_key(keys: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], bytes]:
    key_id = os.urandom(ID_BYTES)
    while key_id in keys:
        key_id = os.urandom(ID_BYTES)
    return {**keys, key_id: AESGCM.generate_key(KEY_BYTES * 8)}, key_id


def _parsed(data: bytes) -> tuple[dict[bytes, bytes], bytes]:
    content = json.loads(data)
    keys = {bytes.fromhex(entry["id"]): base64.b64decode(entry["key"], validate=True) for entry in content["keys"]}
    current = bytes.fromhex(content["current"])
    if content["format"] != 1 or current not in keys:
        raise ValueError("not a credential key file")
    if any(len(key_id) != ID_BYTES or len(key) != KEY_BYTES for key_id, key in keys.items()):
        raise ValueError("not a credential key file")
    return keys, current
