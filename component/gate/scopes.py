"""What the rules say about one requester, compiled so that a decision is a few dictionary lookups."""

from __future__ import annotations

from dataclasses import dataclass

from component.base.jid import Jid
from component.gate.rules import Effect, Rule, Suspension
from component.gate.table import Groups

FOREVER = float("inf")
ALL_DEVICES = None

TargetKey = str | int | None
"""A group's name, a device's number, or `ALL_DEVICES`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision.

    :ivar rule: the id of the rule that decided, ``suspended:<id>`` or ``none``.
    :ivar reason: a short sentence for people.
    :ivar expires: Unix time in seconds at which the decision may change by itself, or None.
    """

    allowed: bool
    rule: str
    reason: str
    expires: float | None


NO_RULE = Verdict(False, "none", "no rule allows it", None)


@dataclass(frozen=True, slots=True)
class Held:
    """A rule, or a suspension, with its verdict, which all devices share.

    :ivar lasts: when it ends; of several that decide, the one that lasts longest is named, so that nothing
        changes before it ends.
    """

    id: int
    lasts: float
    verdict: Verdict


def held_rule(rule: Rule, target: str) -> Held:
    """The verdict that a rule gives.

    :param target: the rule's target as people know it.
    """
    allowed = rule.effect is Effect.ALLOW
    who = "every resource of" if not rule.requester.resource and rule.requester.local else "exactly"
    verb = "allows" if allowed else "denies"
    reason = f"rule {rule.id} {verb} {who} {rule.requester} to wake {target}"
    return _held(rule.id, rule.expires, Verdict(allowed, str(rule.id), reason, rule.expires))


def held_suspension(suspension: Suspension) -> Held:
    """The verdict that a suspension gives."""
    reason = f"{suspension.requester} is suspended"
    verdict = Verdict(False, f"suspended:{suspension.id}", reason, suspension.expires)
    return _held(suspension.id, suspension.expires, verdict)


def _held(number: int, expires: float | None, verdict: Verdict) -> Held:
    return Held(number, FOREVER if expires is None else expires, verdict)


class Scope:
    """The rules of one requester: of a bare JID, or of one resource of it, on top of those of the bare JID.

    :ivar named: numbers of devices that a rule of this scope names.
    :ivar memo: verdicts by group set, for devices that no rule names; the owner clears it.
    """

    __slots__ = ("allow", "deny", "memo", "named", "parent", "resources", "suspended")

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.resources: dict[str, Scope] = {}
        self.suspended: Held | None = None
        self.allow: dict[TargetKey, Held] = {}
        self.deny: dict[TargetKey, Held] = {}
        self.named: set[int] = set()
        self.memo: dict[int, Verdict] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is said here."""
        return not (self.suspended or self.allow or self.deny or self.resources)

    def within(self, requester: Jid) -> Scope:
        """This scope for a bare JID, the one of its resource for a full JID; made when there is none yet."""
        if not requester.resource:
            return self
        special = self.resources.get(requester.resource)
        if special is None:
            special = self.resources[requester.resource] = Scope(self)
        return special

    def put(self, effect: Effect, key: TargetKey, held: Held) -> None:
        """Add a rule; there is at most one of an effect for a target."""
        (self.allow if effect is Effect.ALLOW else self.deny)[key] = held
        if isinstance(key, int):
            self.named.add(key)

    def drop(self, effect: Effect, key: TargetKey) -> None:
        """Remove a rule."""
        (self.allow if effect is Effect.ALLOW else self.deny).pop(key, None)
        if isinstance(key, int) and key not in self.allow and key not in self.deny:
            self.named.discard(key)

    def names(self, device: int) -> bool:
        """Whether a rule names this very device."""
        return device in self.named or (self.parent is not None and device in self.parent.named)

    def clear(self) -> int:
        """Forget what was worked out; returns how many verdicts that were."""
        count = len(self.memo) + sum(len(scope.memo) for scope in self.resources.values())
        self.memo.clear()
        for scope in self.resources.values():
            scope.memo.clear()
        return count

    def resolve(self, device: int, groups: Groups) -> Verdict:
        """Work out the verdict: a suspension wins over everything, then a denial over a permission.

        :param device: a number, or -1, which no rule names.
        """
        parent = self.parent
        decided = self.suspended if parent is None else _longer(self.suspended, parent.suspended)
        if decided is None:
            keys = (ALL_DEVICES, device, *groups)
            decided = _best(self.deny, keys)
            if parent is not None:
                decided = _longer(decided, _best(parent.deny, keys))
            if decided is None:
                decided = _best(self.allow, keys)
                if parent is not None:
                    decided = _longer(decided, _best(parent.allow, keys))
        return NO_RULE if decided is None else decided.verdict

    def copy(self) -> Scope:
        """An independent copy of this scope and its resources, with nothing worked out."""
        other = Scope(self.parent)
        other.suspended = self.suspended
        other.allow, other.deny, other.named = self.allow.copy(), self.deny.copy(), self.named.copy()
        for resource, scope in self.resources.items():
            twin = other.resources[resource] = scope.copy()
            twin.parent = other
        return other


def _best(rules: dict[TargetKey, Held], keys: tuple[TargetKey, ...]) -> Held | None:
    best: Held | None = None
    if rules:
        for key in keys:
            held = rules.get(key)
            if held is not None:
                best = held if best is None else _longer(best, held)
    return best


def _longer(first: Held | None, second: Held | None) -> Held | None:
    if first is None or second is None:
        return first or second
    return second if (second.lasts, -second.id) > (first.lasts, -first.id) else first
