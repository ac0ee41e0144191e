"""Requests of one sender are served one after the other, those of different senders side by side.

A sender who asks faster than he is answered has a bound, and so have all together.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable

from component.base.link import Spawn

LONGEST = 64
MOST = 5_000
ASIDE = 16

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
        self._aside: Counter[Hashable] = Counter()
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

    def aside(self, sender: Hashable, work: Work) -> bool:
        """Have work done beside the sender's queue, since it waits for somebody else; it must not raise.

        :returns: whether there was room.
        """
        if self.count >= self._most or self._aside[sender] >= ASIDE:
            return False
        self.count += 1
        self._aside[sender] += 1
        self._spawn("grid.query", self._serve_aside(sender, work))
        return True

    async def _serve_aside(self, sender: Hashable, work: Work) -> None:
        try:
            await work()
        finally:
            self.count -= 1
            self._aside[sender] -= 1
            if not self._aside[sender]:
                del self._aside[sender]

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
