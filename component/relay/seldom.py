"""Log lines that others can cause: seldom enough that no disk fills, with the number of those left out."""

from __future__ import annotations

import logging
from collections.abc import Callable

SECONDS = 60.0
AT_ONCE = 10
"""So many lines are written within `SECONDS`."""


class Seldom:
    """A log that lets a few lines through at a time.

    :param clock: monotonic seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._until = float("-inf")
        self._left = 0
        self._silenced = 0

    def write(self, level: int, message: str, *arguments: object) -> None:
        """Write a line, unless there were too many of late.

        :param level: of `logging`.
        """
        now = self._clock()
        if now >= self._until:
            if self._silenced:
                self._log.info("%d more lines about what peers did were left out", self._silenced)
            self._until, self._left, self._silenced = now + SECONDS, AT_ONCE, 0
        if self._left:
            self._left -= 1
            self._log.log(level, message, *arguments)
        else:
            self._silenced += 1


def printable(text: str) -> str:
    """Text of a peer without what could forge a line of a log or steer a terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
