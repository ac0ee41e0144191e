"""Pairs of domains and the routes between them.

What may be sent where is decided by authorized pairs alone, never by what a stream's header says (XEP-0288 §2.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

StreamT = TypeVar("StreamT")


class Pair(NamedTuple):
    """A local domain and a partner's, both prepared."""

    local: str
    remote: str

    def __str__(self) -> str:
        return f"{self.local} ⇄ {self.remote}"


class Routes(Generic[StreamT]):
    """On which stream the stanzas of a pair are sent: at most one, so that they stay in order (RFC 6120 §10.1).

    The only source of routes. Streams are told apart by identity.
    """

    def __init__(self) -> None:
        self._streams: dict[Pair, StreamT] = {}

    def add(self, pair: Pair, stream: StreamT) -> bool:
        """Send the stanzas of a pair on this stream from now on, unless there is a route already: that one stays.

        Both servers may open a stream at the same time; a change of route in the middle could let a later stanza
        overtake an earlier one.

        :return: whether this stream is the pair's route now.
        """
        return self._streams.setdefault(pair, stream) is stream

    def get(self, pair: Pair) -> StreamT | None:
        """The stream of a pair, or None."""
        return self._streams.get(pair)

    def remove(self, pair: Pair, stream: StreamT) -> bool:
        """End a route, if it still leads to this stream.

        :return: whether it did.
        """
        if self._streams.get(pair) is not stream:
            return False
        del self._streams[pair]
        return True

    def remove_stream(self, stream: StreamT) -> list[Pair]:
        """End every route that still leads to this stream; those that lead to another one by now stay.

        :return: the pairs that have no route any more.
        """
        pairs = self.pairs_of(stream)
        for pair in pairs:
            del self._streams[pair]
        return pairs

    def pairs_of(self, stream: StreamT) -> list[Pair]:
        """The pairs whose stanzas are sent on this stream."""
        return [pair for pair, known in self._streams.items() if known is stream]

    def items(self) -> Iterator[tuple[Pair, StreamT]]:
        """Every pair with its stream, as it is now."""
        return iter(list(self._streams.items()))

    def __iter__(self) -> Iterator[Pair]:
        return iter(list(self._streams))

    def __contains__(self, pair: object) -> bool:
        return pair in self._streams

    def __len__(self) -> int:
        return len(self._streams)
