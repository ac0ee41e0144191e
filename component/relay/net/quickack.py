"""Acknowledging at once what a peer sends in small pieces.

Prosody leaves Nagle's algorithm on: it holds a small segment back until the one before is acknowledged. The kernel
puts its acknowledgement off, up to 40 ms, for data that could carry it. A peer that sends twice in a row, a stanza
behind a barrier's answer, then waits for us, and we for it. Linux forgets the wish, so it is renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_OPTION = getattr(socket, "TCP_QUICKACK", None)

SMALL = 4096
"""Bytes of a chunk from which on nobody waits: more data is under way, which is acknowledged anyway."""


def acknowledge(transport: asyncio.BaseTransport | None, count: int) -> None:
    """Have the kernel acknowledge now what has just been read, if it is little.

    :param count: bytes.
    """
    if _OPTION is None or count >= SMALL or transport is None:
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
