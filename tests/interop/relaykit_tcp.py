"""Which TCP connections there are, from the kernel's own table, as ``ss -tn`` shows them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

_ESTABLISHED = "01"


def established(addresses: Iterable[str], port: int = 5269) -> list[tuple[str, str]]:
    """The connections that somebody has opened to one of these addresses: address, and by whom, as ``HOST:PORT``.

    Both ends are on this machine; what counts is the end that was connected to, so each is there once.
    """
    wanted = {f"{address}:{port}" for address in addresses}
    found = []
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == _ESTABLISHED and _place(local) in wanted:
            found.append((_place(local), _place(remote)))
    return found


def _place(text: str) -> str:
    address, _, port = text.partition(":")
    return f"{socket.inet_ntoa(bytes.fromhex(address)[::-1])}:{int(port, 16)}"
