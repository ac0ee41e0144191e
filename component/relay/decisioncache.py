"""What the policy has decided, by requester and device, for as long as that may be used.

A decision is used for `ttl` seconds; in the second half of them it is asked for anew while it is still used. Until
`stale` it helps out while nobody answers. There are never more than `size` decisions: the oldest denial goes first,
then the oldest permission, so that a flood of strangers pushes out only strangers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeGuard

from component.base.jid import Jid
from component.relay.policyapi import BadAnswer

SIZE = 50_000
LONGEST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Decision:
    """May a requester reach a device?

    :ivar rule: the id of the rule that decided, ``suspended:<id>`` or ``none``.
    :ivar ttl: seconds for which it may be used.
    :ivar stale: seconds for which it may while nobody answers.
    :ivar epoch: the number of the policy that it was taken from.
    :ivar every_resource: whether it is the same for all resources of the requester.
    """

    allowed: bool
    rule: str
    reason: str
    ttl: float
    stale: float
    epoch: int
    every_resource: bool


def read_decision(answer: Any) -> Decision:
    """Take an answer of the admin API apart; nothing is guessed.

    :raises BadAnswer: it is no decision.
    """
    if not isinstance(answer, dict):
        raise BadAnswer("The admin API has answered something that is no decision.")
    effect, scope, rule, reason = (answer.get(name) for name in ("effect", "scope", "rule", "reason"))
    ttl, stale, epoch = (answer.get(name) for name in ("ttl", "stale", "epoch"))
    if effect not in ("allow", "deny") or scope not in ("bare", "full"):
        raise BadAnswer("The admin API has answered a decision without a known effect and scope.")
    if not (isinstance(rule, str) and isinstance(reason, str) and len(rule) + len(reason) <= LONGEST_TEXT):
        raise BadAnswer("The admin API has answered a decision without a rule and a reason.")
    if not (is_seconds(ttl) and is_seconds(stale) and ttl <= stale):
        raise BadAnswer("The admin API has answered a decision that says not for how long it holds.")
    if not is_epoch(epoch):
        raise BadAnswer("The admin API has answered a decision without an epoch.")
    return Decision(effect == "allow", rule, reason, float(ttl), float(stale), epoch, scope == "bare")


def is_seconds(value: Any) -> TypeGuard[float]:
    """Whether something is a time span."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def is_epoch(value: Any) -> TypeGuard[int]:
    """Whether something is the number of a policy."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


@dataclass(eq=False, slots=True)
class Entry:
    """A decision that is remembered. Times are monotonic seconds.

    :ivar requester: a bare JID, which stands for every resource, or a full JID.
    """

    requester: str
    bare: str
    device: str
    decision: Decision
    refresh_at: float
    fresh_until: float
    usable_until: float


_Key = tuple[str, str]


class DecisionCache:
    """The decisions that are remembered."""

    def __init__(self, size: int = SIZE) -> None:
        self.evicted = 0
        self._size = size
        self._entries: dict[_Key, Entry] = {}
        self._ages: dict[bool, OrderedDict[_Key, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._of_requester: dict[str, set[_Key]] = {}
        self._of_device: dict[str, set[_Key]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, requester: Jid, device: str, now: float) -> Entry | None:
        """The decision about a requester and a device (bare JID), as long as it may be used at all."""
        entry = self._entries.get((requester.bare, device))
        if entry is None and requester.resource:
            entry = self._entries.get((requester.full, device))
        if entry is not None and now >= entry.usable_until:
            self._remove((entry.requester, device))
            return None
        return entry

    def put(self, requester: Jid, device: str, decision: Decision, now: float) -> None:
        """Keep a decision.

        :param now: when it was asked for: its time runs from there.
        """
        whose = requester.bare if decision.every_resource else requester.full
        key = (whose, device)
        if key in self._entries:
            self._remove(key)
        self._entries[key] = Entry(
            whose, requester.bare, device, decision, now + decision.ttl / 2, now + decision.ttl, now + decision.stale
        )
        self._ages[decision.allowed][key] = None
        self._of_requester.setdefault(requester.bare, set()).add(key)
        self._of_device.setdefault(device, set()).add(key)
        while len(self._entries) > self._size:
            oldest = next(iter(self._ages[False] or self._ages[True]))
            self._remove(oldest)
            self.evicted += 1

    def drop(self, requester: str = "", device: str = "") -> int:
        """Forget what is about a requester, a device (bare JIDs), or both; everything when neither is given.

        :returns: how many decisions that were.
        """
        if requester and device:
            keys = self._of_requester.get(requester, set()) & self._of_device.get(device, set())
        elif requester or device:
            keys = set(self._of_requester.get(requester, ()) if requester else self._of_device.get(device, ()))
        else:
            keys = set(self._entries)
        for key in keys:
            self._remove(key)
        return len(keys)

    def _remove(self, key: _Key) -> None:
        entry = self._entries.pop(key)
        del self._ages[entry.decision.allowed][key]
        for index, name in ((self._of_requester, entry.bare), (self._of_device, entry.device)):
            index[name].discard(key)
            if not index[name]:
                del index[name]
