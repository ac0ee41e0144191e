"""Internet addresses of `Address` (RFC 7970 §3.18.1, RFC 5070 §3.16.2), normalised, and searchable by prefix."""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from typing import NamedTuple

INTERNET = frozenset({"ipv4-addr", "ipv4-net", "ipv4-net-mask", "ipv6-addr", "ipv6-net", "ipv6-net-mask"})
"""The categories whose text is an Internet address or network."""

_BITS = {4: 32, 6: 128}
_DIGITS = re.compile(r"\d{1,3}", re.ASCII)
_MAPPED = 0xFFFF << 32
"""An IPv4 address within IPv6, ``::ffff:0:0/96`` (RFC 4291 §2.5.5.2): it names the same host."""


class Network(NamedTuple):
    """An Internet address or network. Networks sort by version, then address, then size.

    :ivar version: 4 or 6.
    :ivar address: the network's address as a number; bits beyond the prefix are 0.
    :ivar prefix: how many of its first bits count; all 32 or 128 of them for a single host.
    """

    version: int
    address: int
    prefix: int

    def __str__(self) -> str:
        bits = _BITS[self.version]
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        text = socket.inet_ntop(family, self.address.to_bytes(bits // 8, "big"))
        return text if self.prefix == bits else f"{text}/{self.prefix}"

    def covers(self, other: Network) -> bool:
        """Whether another network is this one or a part of it."""
        if other.version != self.version or other.prefix < self.prefix:
            return False
        return not (self.address ^ other.address) >> (_BITS[self.version] - self.prefix)


@lru_cache(maxsize=8192)
def network(text: str) -> Network | None:
    """The network that a text names, or None when it names none.

    Its form decides, not the category beside it: an address, or an address with ``/`` and the number of bits or a
    mask. Bits beyond the prefix are dropped, and IPv4 mapped into IPv6 is IPv4.
    """
    host, slash, size = text.strip().partition("/")
    version = 6 if ":" in host else 4
    address = _packed(version, host)
    if address is None:
        return None
    prefix = _prefix(version, size) if slash else _BITS[version]
    if prefix is None:
        return None
    if version == 6 and prefix >= 96 and address >> 32 == _MAPPED >> 32:
        version, address, prefix = 4, address & 0xFFFFFFFF, prefix - 96
    spare = _BITS[version] - prefix
    return Network(version, address >> spare << spare, prefix)


def _packed(version: int, text: str) -> int | None:
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, text), "big")
    except (OSError, ValueError):  # ValueError: a character that is not ASCII, or NUL
        return None


def _prefix(version: int, text: str) -> int | None:
    """How many bits ``24`` or ``255.255.255.0`` mean."""
    bits = _BITS[version]
    if _DIGITS.fullmatch(text):
        return int(text) if int(text) <= bits else None
    mask = _packed(version, text)
    if mask is None:
        return None
    rest = mask ^ ((1 << bits) - 1)
    return None if rest & (rest + 1) else bits - rest.bit_length()
