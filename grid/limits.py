"""How many control requests a node may send, and what becomes of one that goes on beyond that
(draft-ietf-mile-xmpp-grid-01 §5.3.1, §5.3.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from component.base.limits import KEYS, Buckets
from grid.alerts import Alert, AlertKind, Raise
from grid.errors import Refusal, resource_constraint
from grid.settings import GridLimits

WINDOW = 60.0
"""Seconds within which the excess is counted."""


@dataclass(slots=True)
class _Excess:
    since: float
    count: int = 0
    told: bool = False


class Limiter:
    """The rate limit of nodes. The memory is bounded: the longest unused are forgotten.

    :param limits: the configured limits.
    :param clock: monotonic seconds.
    :param alert: told of a node's first excess within a minute.
    :param overrun: told of a bare JID once a minute, when it was refused `disable_after` times within it; it must not
        wait. Whether it is a node, and can be disabled, is its affair.
    :ivar refused: requests that were refused.
    """

    def __init__(
        self,
        limits: GridLimits,
        clock: Callable[[], float],
        *,
        alert: Raise,
        overrun: Callable[[str], None],
        keys: int = KEYS,
    ) -> None:
        self.refused = 0
        self._limits = limits
        self._clock = clock
        self._alert = alert
        self._overrun = overrun
        self._keys = keys
        self._buckets = Buckets(limits.requests, keys)
        self._excess: OrderedDict[str, _Excess] = OrderedDict()

    def spend(self, jid: str) -> Refusal | None:
        """Take one request of a node.

        :param jid: bare JID; of a node, or of anybody else who sends requests.
        :returns: None, or the refusal to answer with.
        """
        now = self._clock()
        if self._buckets.take(jid, now):
            return None
        self.refused += 1
        self._exceeded(jid, now)
        return resource_constraint("Too many requests.")

    def forget(self, jid: str) -> None:
        """Begin anew with a node: an administrator has enabled it."""
        self._buckets.forget(jid)
        self._excess.pop(jid, None)

    def _exceeded(self, jid: str, now: float) -> None:
        excess = self._excess.get(jid)
        if excess is None or now - excess.since >= WINDOW:
            self._excess.pop(jid, None)
            excess = self._excess[jid] = _Excess(now)
            if len(self._excess) > self._keys:
                self._excess.popitem(last=False)
            rate = str(self._limits.requests)
            self._alert(Alert(AlertKind.LIMIT, jid, "It sends more requests than it may.", {"limit": rate}))
        excess.count += 1
        after = self._limits.disable_after
        if after and excess.count >= after and not excess.told:
            excess.told = True
            self._overrun(jid)
