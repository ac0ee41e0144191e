"""What we want of TCP, beside what asyncio asks for."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)

SMALL = 4096
"""Bytes of a chunk from which on nobody waits: more data is under way, which is acknowledged anyway."""

UNHEARD = 60.0
"""Seconds after which a peer that acknowledges nothing counts as gone. The kernel would go on for a quarter of an
hour, and a firewall on the way that has forgotten the connection says nothing."""


def watch(transport: asyncio.BaseTransport) -> None:
    """Have the connection end when what was sent is not acknowledged for `UNHEARD` seconds."""
    _set(transport, _USER_TIMEOUT, round(UNHEARD * 1000))


def acknowledge(transport: asyncio.BaseTransport | None, count: int) -> None:
    """Have the kernel acknowledge now what has just been read, if it is little.

    Prosody leaves Nagle's algorithm on: it holds a small segment back until the one before is acknowledged. The
    kernel puts its acknowledgement off, up to 40 ms, for data that could carry it. A peer that sends twice in a row,
    a stanza behind a barrier's answer, then waits for us, and we for it. Linux forgets the wish, so it is renewed.

    :param count: bytes.
    """
    if count < SMALL and transport is not None:
        _set(transport, _QUICKACK, 1)


def _set(transport: asyncio.BaseTransport, option: int | None, value: int) -> None:
    found = transport.get_extra_info("socket")
    if option is not None and found is not None:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found.setsockopt(socket.IPPROTO_TCP, option, value)
