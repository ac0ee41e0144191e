"""Several consumers in one node: each has a stream of its own, and all of a topic share one subscription.

Items for which nobody has asked yet (what has waited at the server comes as soon as the node is there) wait for the
first consumer of their topic, within `UNCLAIMED`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from types import TracebackType
from typing import Self
from xml.etree.ElementTree import Element

from grid.agent.errors import AgentError, Overrun, SubscriptionEnded
from grid.agent.items import Delivery, Gone, Item, Seen, read

log = logging.getLogger(__name__)

QUEUE = 10_000
UNCLAIMED = 10_000
"""Items of all topics together for which there is no consumer yet; the oldest are dropped then, which is logged."""


class Overflow(Enum):
    """What becomes of an item that finds the queue of a stream full."""

    FAIL = "fail"
    """The stream ends: its consumer gets what is in the queue, then `Overrun`. Nothing is lost silently."""
    DROP_OLDEST = "drop-oldest"
    """The oldest item makes room; `Stream.dropped` counts."""


class Stream:
    """The items of a topic for one consumer: an asynchronous iterator, and a context manager that closes it.

    An item counts as handled, and the server is told, when the consumer comes back for the next one.

    :ivar topic: what was subscribed to.
    :ivar topics: the same, or all topics of a capability that has several.
    :ivar dropped: items that were dropped because the queue was full.
    """

    def __init__(
        self,
        topic: str,
        *,
        queue: int,
        overflow: Overflow,
        opening: Callable[[Stream], Awaitable[tuple[str, ...]]],
        leaving: Callable[[Stream, bool], Awaitable[None]],
    ) -> None:
        self.topic = topic
        self.topics: tuple[str, ...] = ()
        self.dropped = 0
        self._limit = queue
        self._overflow = overflow
        self._opening = opening
        self._leaving = leaving
        self._open = False
        self._queue: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._current: Delivery | None = None
        self._ended: AgentError | None = None
        self._closed = False

    async def open(self) -> Self:
        """Subscribe, if no other stream of the topic has; the iteration does it, too.

        :raises Refused: the node may not subscribe, or there is no such topic.
        """
        if not self._open and not self._closed:
            self.topics = await self._opening(self)
            self.topic = self.topics[0]
            self._open = True
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        await self.open()
        self.release()
        while not self._queue:
            if self._ended is not None:
                raise self._ended
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        self._current = self._queue.popleft()
        return self._current.item

    def release(self) -> None:
        """The consumer is done with the item that it has."""
        if self._current is not None:
            self._current.done()
            self._current = None

    def put(self, delivery: Delivery) -> None:
        """Queue an item for the consumer."""
        if self._ended is not None:
            return
        if len(self._queue) >= self._limit:
            if self._overflow is Overflow.FAIL:
                self.end(
                    Overrun(
                        f"The consumer of {self.topic} was {self._limit} items behind; what came then is lost.",
                        hint="Take items faster, give `queue` more room, or choose Overflow.DROP_OLDEST.",
                    )
                )
                return
            self.dropped += 1
            self._queue.popleft().done()
        delivery.consumers += 1
        self._queue.append(delivery)
        self._arrived.set()

    def end(self, error: AgentError | None = None) -> None:
        """No more items come: the iteration ends behind what is queued, with `error` when there is one."""
        self._ended = self._ended or error
        self._closed = True
        self._arrived.set()

    async def close(self) -> None:
        """Stop consuming. The subscription stays: what is published from now on waits for the next consumer."""
        await self._leave(for_good=False)

    async def unsubscribe(self) -> None:
        """Stop consuming; the broker is told when this was the last stream of its topic."""
        await self._leave(for_good=True)

    async def _leave(self, *, for_good: bool) -> None:
        self.release()
        opened, self._open = self._open, False
        self.end()
        if opened:
            await self._leaving(self, for_good)

    def rest(self, topic: str) -> list[Delivery]:
        """What was queued of a topic and not taken; it is not in the queue any more."""
        left = [delivery for delivery in self._queue if delivery.item.topic == topic]
        self._queue = deque(delivery for delivery in self._queue if delivery.item.topic != topic)
        return left

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Subscriptions:
    """All streams of a node.

    :param doubt: told of a topic that was deleted while the node was away: is it there again?
    :ivar repeated: items that came again and were dropped.
    :ivar forgotten: items that nobody asked for and that were dropped.
    """

    def __init__(self, doubt: Callable[[str], object]) -> None:
        self._doubt = doubt
        self.repeated = 0
        self.forgotten = 0
        self._streams: dict[str, list[Stream]] = {}
        self._unclaimed: deque[Delivery] = deque()
        self._seen = Seen()

    def has(self, topic: str) -> bool:
        """Whether a topic has a consumer."""
        return bool(self._streams.get(topic))

    def add(self, topic: str, stream: Stream) -> None:
        """A consumer begins: it gets first what has waited for one."""
        first = not self._streams.get(topic)
        self._streams.setdefault(topic, []).append(stream)
        if first:
            waiting = [delivery for delivery in self._unclaimed if delivery.item.topic == topic]
            self._unclaimed = deque(delivery for delivery in self._unclaimed if delivery.item.topic != topic)
            for delivery in waiting:
                stream.put(delivery)

    def remove(self, topic: str, stream: Stream) -> bool:
        """A consumer leaves; whether it was the last of its topic. Then what it did not take waits for the next."""
        left = [other for other in self._streams.get(topic, ()) if other is not stream]
        rest = stream.rest(topic)
        if left:
            self._streams[topic] = left
            for delivery in rest:
                delivery.done()
            return False
        self._streams.pop(topic, None)
        for delivery in rest:
            delivery.consumers = 0
            self._unclaimed.append(delivery)
        return True

    def forget(self, topic: str) -> None:
        """Nobody wants a topic any more: drop what waits of it."""
        for delivery in [each for each in self._unclaimed if each.item.topic == topic]:
            self._unclaimed.remove(delivery)
            delivery.handled()

    def take(self, message: Element, handled: Callable[[], None]) -> None:
        """Hand on what a message of the broker holds."""
        found = list(read(message))
        left = len(found)

        def one_handled() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                handled()

        if not found:
            handled()
        for entry in found:
            if isinstance(entry, Gone):
                if entry.delayed and self.has(entry.topic):
                    self._doubt(entry.topic)
                else:
                    self.ended(entry.topic, SubscriptionEnded(f"{entry.topic}: {entry.reason}."))
                one_handled()
            elif self._seen.again(entry):
                self.repeated += 1
                one_handled()
            else:
                self._give(Delivery(entry, one_handled))

    def ended(self, topic: str, error: AgentError) -> None:
        """A topic has ended: its streams end behind what is queued."""
        for stream in self._streams.pop(topic, ()):
            stream.end(error)
            for other in stream.topics:
                if stream in (there := self._streams.get(other, [])):
                    there.remove(stream)  # what comes there waits for another one

    def _give(self, delivery: Delivery) -> None:
        streams = self._streams.get(delivery.item.topic, ())
        if not streams:
            self._unclaimed.append(delivery)
            if len(self._unclaimed) > UNCLAIMED:
                self.forgotten += 1
                if self.forgotten == 1:
                    log.warning("More than %d items have no consumer; the oldest are dropped.", UNCLAIMED)
                self._unclaimed.popleft().handled()
            return
        delivery.consumers += 1  # so that nobody is the last one before all have it
        for stream in list(streams):
            stream.put(delivery)
        delivery.done()

    def fail(self, error: AgentError) -> None:
        """End all streams."""
        for streams in self._streams.values():
            for stream in streams:
                stream.end(error)

    def leave(self, handled: bool) -> None:
        """The node leaves: end all streams in order; what they hold is `handled`, or comes again."""
        for streams in self._streams.values():
            for stream in streams:
                if handled:
                    stream.release()
                stream.end()
