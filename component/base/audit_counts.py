"""Counting refusals of one action: what a flood of them leaves behind is bounded.

The first refusal of a (requester, rule) is told at once; those that follow are counted, and each minute tells one
number for each pair. The pairs are bounded: beyond `max_pairs` they share one key per rule, beyond `max_rules`
one key for everything. So a minute never makes more than ``max_pairs + max_rules + 1`` rows of either sort,
whatever addresses a flood comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MANY = "*"
"""Stands for requesters, or rules, that share a key because there were too many."""

MAX_PAIRS = 128
MAX_RULES = 32


@dataclass(frozen=True, slots=True)
class Count:
    """How often a requester was refused by a rule.

    :ivar subject: the subject (a device, a topic) that was asked for last.
    :ivar several: whether it asked for others too.
    """

    requester: str
    rule: str
    subject: str
    several: bool
    count: int


Entry = list[Any]
"""[count, last subject, whether it is new in this minute, whether several subjects were counted]: a list, because a
flood changes it for each stanza."""

Key = tuple[str | None, str | None]
"""(requester, rule); None stands for many of them."""


class RefusalCounts:
    """The counters of the minute under way. Not thread-safe; used on the event loop's thread.

    :ivar entries: the counters by key; always the same object, so the fast path may keep it.
    """

    def __init__(self, max_pairs: int = MAX_PAIRS, max_rules: int = MAX_RULES) -> None:
        self.entries: dict[Key, Entry] = {}
        self._max_pairs = max_pairs
        self._max_rules = max_rules
        self._pairs = 0
        self._rules = 0

    def add(self, requester: str, subject: str, rule: str) -> tuple[str, str] | None:
        """Count a refusal.

        :returns: None, or the key when this is its first refusal, which is not counted but to be told at once;
            when it cannot be, `untold` counts it.
        """
        key = self._key(requester, rule)
        entry = self.entries.get(key)
        if entry is not None:
            if entry[1] != subject:
                entry[3] = entry[3] or entry[0] > 0
                entry[1] = subject
            entry[0] += 1
            return None
        self.entries[key] = [0, subject, True, False]
        self._pairs += key[0] is not None
        self._rules += key[0] is None and key[1] is not None
        return key[0] or MANY, key[1] or MANY

    def untold(self, requester: str, rule: str) -> None:
        """Count a first refusal after all."""
        self.entries[self._key(requester, rule)][0] += 1

    def take(self, *, minute_over: bool) -> list[Count]:
        """Everything that was counted and not yet taken, and start again.

        :param minute_over: forget the keys that were silent for a whole minute; their next refusal is a first one.
        """
        counts = []
        silent = []
        for key, entry in self.entries.items():
            if entry[0]:
                counts.append(Count(key[0] or MANY, key[1] or MANY, entry[1], several=entry[3], count=entry[0]))
                entry[0], entry[3] = 0, False
            elif minute_over and not entry[2]:
                silent.append(key)
            if minute_over:
                entry[2] = False
        for key in silent:
            del self.entries[key]
            self._pairs -= key[0] is not None
            self._rules -= key[0] is None and key[1] is not None
        return counts

    def _key(self, requester: str, rule: str) -> Key:
        if (requester, rule) in self.entries or self._pairs < self._max_pairs:
            return requester, rule
        if (None, rule) in self.entries or self._rules < self._max_rules:
            return None, rule
        return None, None
