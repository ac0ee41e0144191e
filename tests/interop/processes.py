"""Looking at processes from outside, as a user of the machine would."""

from __future__ import annotations

import contextlib
import os
import select
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
