"""Requests of one sender are served one after the other, those of different senders side by side.

A sender who asks faster than he is answered has a bound, and so have all together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable

from component.base.link import Spawn

LONGEST = 64
MOST = 5_000

Work = Callable[[], Awaitable[None]]


class Queues:
    """Work that waits, by who asked for it.

    :param spawn: starts a background task; there is one for each sender with work.
    """

    def __init__(self, spawn: Spawn, *, longest: int = LONGEST, most: int = MOST) -> None:
        self._spawn = spawn
        self._longest = longest
        self._most = most
        self._waiting: dict[Hashable, deque[Work]] = {}
        self.count = 0

    def add(self, sender: Hashable, work: Work) -> bool:
        """Have work done after what the sender has asked for before; it must not raise.

        :returns: whether there was room.
        """
        queue = self._waiting.get(sender)
        if self.count >= self._most or (queue is not None and len(queue) >= self._longest):
            return False
        self.count += 1
        if queue is not None:
            queue.append(work)
        else:
            self._waiting[sender] = deque([work])
            self._spawn("grid.request", self._serve(sender))
        return True

    async def _serve(self, sender: Hashable) -> None:
        queue = self._waiting[sender]
        try:
            while queue:
                try:
                    await queue.popleft()()
                finally:
                    self.count -= 1
        finally:
            self.count -= len(queue)
            del self._waiting[sender]
