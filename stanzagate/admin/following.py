"""The stream of changes that a relay follows, as a queue of lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Any

from component.base.errors import Conflict

MAX_WAITING = 1000
"""Lines that wait in one stream; for more the relay is told to forget everything, which takes one line."""

Line = Mapping[str, Any]


class Following:
    """One stream of changes.

    :ivar id: tells streams apart, so that nobody confirms for another.
    :ivar first: the line with which it begins.
    """

    def __init__(self, relay: str, stream_id: str, first: Line) -> None:
        self.relay = relay
        self.id = stream_id
        self.first = first
        self._waiting: deque[Line] = deque()
        self._news = asyncio.Event()
        self._end: Conflict | None = None
        self._over = False

    def tell(self, epoch: int, requester: str, device: str) -> None:
        """Send a change; whoever is too slow is told to forget everything."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            requester = device = ""
        self._waiting.append({"epoch": epoch, "requester": requester, "device": device})
        self._news.set()

    def end(self, why: Conflict | None = None) -> None:
        """End the stream, with an error if there is one."""
        self._over, self._end = True, why
        self._news.set()

    async def next(self, patience: float) -> Line | None:
        """The next line; the empty one when there was none for `patience` seconds, None when the stream is over.

        :raises Conflict: another stream has taken its place.
        """
        if not (self._waiting or self._over):
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._news.wait()
        if self._end is not None:
            raise self._end
        if self._over:
            return None
        return self._waiting.popleft() if self._waiting else {}
