"""Token buckets, one for each key, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

from component.base.settings import Rate

KEYS = 100_000
"""Keys that are remembered. A flood of new ones forgets the longest unused: its bucket is full again by then."""


class Buckets:
    """Limits how often each key may act.

    :param rate: refill and burst of every bucket.
    :param keys: how many buckets are kept.
    """

    def __init__(self, rate: Rate, keys: int = KEYS) -> None:
        self.rate = rate
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Take one token for `key`.

        :param now: monotonic seconds.
        :returns: whether there was one.
        """
        rate = self.rate
        if rate.unlimited:
            return True
        tokens, since = self._buckets.pop(key, (rate.burst, now))
        tokens = min(rate.burst, tokens + (now - since) * rate.per_second)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return allowed

    def forget(self, key: str) -> None:
        """Give `key` a full bucket."""
        self._buckets.pop(key, None)

    def __len__(self) -> int:
        return len(self._buckets)
