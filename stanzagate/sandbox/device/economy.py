"""A thousand connections in one process, cheaply. For processes that do nothing else: the settings are global."""

from __future__ import annotations

import asyncio.sslproto
import hashlib
from typing import Any

from slixmpp.util.sasl.mechanisms import SCRAM


def economise() -> None:
    """Let a TLS connection take less memory and a login less time."""
    # asyncio reserves 256 KiB for each TLS connection; who reads a stanza now and then does with little
    asyncio.sslproto.SSLProtocol.max_size = 16 * 1024
    # slixmpp derives SCRAM keys in Python: ten thousand rounds, 20 ms for each login
    SCRAM.Hi = _derive  # type: ignore[method-assign,assignment]


def _derive(mechanism: Any, password: bytes, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac(mechanism.hash().name, password, salt, rounds)
