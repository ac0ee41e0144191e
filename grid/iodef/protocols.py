"""Names of the protocols that incidents name by number (``ip-protocol``, RFC 7970 §3.20, RFC 5070 §3.17)."""

from __future__ import annotations

from typing import Final

NUMBERS: Final = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ipv6-icmp": 58, "sctp": 132,
}  # fmt: skip
"""Number by name, in lower case (IANA, Protocol Numbers); any other protocol is given by its number."""

NAMES: Final = {number: name for name, number in NUMBERS.items()}
"""Name by number."""
