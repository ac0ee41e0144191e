"""The device's own limit on connection requests, against denial of service (Annex K.2.3)."""

from __future__ import annotations

from collections.abc import Callable

from component.base.settings import Rate


class Bucket:
    """A token bucket.

    :param clock: monotonic seconds.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = rate.burst
        self._at = clock()

    def take(self) -> bool:
        """Whether one more is within the limit; counts it if so."""
        if self._rate.unlimited:
            return True
        now = self._clock()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
