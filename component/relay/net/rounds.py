"""Writing at the end of a chunk: what a chunk of input causes elsewhere leaves as soon as the chunk is dealt with.

Both kinds of connections gather what they have to write. Those that are in the middle of their own input write at
its end. The others, which that input concerns, would have to wait for a turn of the event loop, once on each hop. So
whoever handles input says when he begins and ends, and the others write then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType


class Rounds:
    """Who has something to write. As a context: the handling of one chunk of input."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._depth = 0
        self._scheduled = False

    def later(self, write: Callable[[], None]) -> None:
        """Have `write` called at the end of the chunk at hand, or of this turn of the event loop when there is none.

        It must not fail.
        """
        self._waiting.append(write)
        if not (self._depth or self._scheduled):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._depth == 1:  # who writes may cause more to be written
            self._write()
        self._depth -= 1

    def _turn(self) -> None:
        self._scheduled = False
        with self:
            pass

    def _write(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for write in waiting:
                write()
