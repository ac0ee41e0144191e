"""Looking at processes from outside, as a user of the machine would."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path


def children(pid: int) -> set[int]:
    """The direct children of a process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it ended while we looked
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(folder.name))
    return found


def command_lines() -> Iterator[bytes]:
    """The arguments of every process on the machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def listening(pid: int) -> set[str]:
    """The IPv4 and IPv6 addresses on which a process listens for TCP connections."""
    sockets = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed while we looked
            sockets.update(re.findall(r"^socket:\[(\d+)\]$", str(path.readlink())))
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return {_address(row[1]) for row in rows if row[3] == "0A" and row[9] in sockets}


def _address(text: str) -> str:
    packed = bytes.fromhex(text.partition(":")[0])
    words = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))  # little-endian words
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


class Watch:
    """Processes that must end; holds on to them, so that a reused number is not mistaken for them."""

    def __init__(self, pids: set[int]) -> None:
        self._descriptors = [os.pidfd_open(pid) for pid in pids]

    def all_end(self, patience: float) -> bool:
        """Whether every process ends within `patience` seconds."""
        ended = []
        for descriptor in self._descriptors:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            ended.append(bool(poll.poll(patience * 1000)))
            os.close(descriptor)
        return all(ended)
