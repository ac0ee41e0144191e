"""The decision in memory: who may wake which of a million devices, in about a microsecond.

Rules are compiled for each requester when it first asks (`Scope`); what a requester may do is the same for all
devices that are in the same groups and that no rule names, so one verdict per group set is remembered. A
requester without rules leaves nothing behind, so a flood of strangers fills no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from component.base.jid import Jid
from component.gate.rules import Effect, Rule, Suspension, Target, TargetKind
from component.gate.scopes import ALL_DEVICES, FOREVER, NO_RULE, Scope, TargetKey, Verdict, held_rule, held_suspension
from component.gate.table import DeviceRef, DeviceTable

MEMO_LIMIT = 200_000
"""So many verdicts are remembered; then all are forgotten at once."""


_NOWHERE = 0xFFFFFFFF


class PolicyIndex:
    """Everything that a decision needs. Pure: no clock, no database, no event loop, one thread."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._suspensions: dict[int, Suspension] = {}
        self._of: dict[str, tuple[set[int], set[int]]] = {}  # bare JID: ids of its rules, of its suspensions
        self._scopes: dict[str, Scope] = {}
        self._ending: list[tuple[float, int, bool]] = []  # heap: when, id, whether it is a rule
        self._next_end = FOREVER
        self._remembered = 0
        self.use(DeviceTable())

    def use(self, table: DeviceTable) -> None:
        """Put another table of devices in place."""
        self.devices = table
        self.by_jid = table.jids.find
        """The number of the device with this prepared bare JID, or -1."""
        self.by_id = table.ids.find
        """The number of the device with this prepared id, or -1."""
        self._members = table.members
        self._group_sets = table.group_sets
        self._scopes = {}
        self._remembered = 0

    def device(self, number: int) -> DeviceRef:
        """Id and full JID of a device."""
        return self.devices.ref(number)

    def decide(self, requester: Jid, device: int, now: float) -> Verdict:
        """May `requester` wake `device` at `now`?

        :param device: a number from `by_jid` or `by_id`; for -1, an unknown device, only `all` rules count.
        :param now: Unix time in seconds; what has ended stays ended if the clock is set back.
        """
        if now >= self._next_end:
            self.expire(now)
        scope = self._scopes.get(requester[0])
        if scope is None:
            scope = self._compiled(requester[0])
            if scope is None:
                return NO_RULE
        if scope.resources and (special := scope.resources.get(requester[1])) is not None:
            scope = special
            named = scope.names(device)
        else:
            named = device in scope.named
        members = self._members[device]
        if named:  # not remembered: it would have to be forgotten when the device changes its groups
            return scope.resolve(device, self._group_sets[members])
        verdict = scope.memo.get(members)
        if verdict is None:
            verdict = self._resolved(scope, device, members)
        return verdict

    def put_rule(self, rule: Rule) -> None:
        """Let a rule count."""
        self._rules[rule.id] = rule
        self._of.setdefault(rule.requester.bare, (set(), set()))[0].add(rule.id)
        self._ends(rule.expires, rule.id, True)
        scope = self._scopes.get(rule.requester.bare)
        if scope is not None:
            self._remembered -= scope.clear()
            self._compile_rule(scope, rule)

    def drop_rule(self, rule_id: int) -> None:
        """Let a rule not count any more; one that is not there is none."""
        rule = self._rules.pop(rule_id, None)
        if rule is None:
            return
        self._forget(rule.requester.bare, rule_id, 0)
        scope = self._scopes.get(rule.requester.bare)
        if scope is not None:
            self._remembered -= scope.clear()
            scope.within(rule.requester).drop(rule.effect, self.target_key(rule.target))
            self._prune(scope, rule.requester)

    def put_suspension(self, suspension: Suspension) -> None:
        """Let a suspension count."""
        self._suspensions[suspension.id] = suspension
        self._of.setdefault(suspension.requester.bare, (set(), set()))[1].add(suspension.id)
        self._ends(suspension.expires, suspension.id, False)
        scope = self._scopes.get(suspension.requester.bare)
        if scope is not None:
            self._remembered -= scope.clear()
            scope.within(suspension.requester).suspended = held_suspension(suspension)

    def drop_suspension(self, suspension_id: int) -> None:
        """Let a suspension not count any more; one that is not there is none."""
        suspension = self._suspensions.pop(suspension_id, None)
        if suspension is None:
            return
        self._forget(suspension.requester.bare, suspension_id, 1)
        scope = self._scopes.get(suspension.requester.bare)
        if scope is not None:
            self._remembered -= scope.clear()
            scope.within(suspension.requester).suspended = None
            self._prune(scope, suspension.requester)

    def fill(self, rules: Iterable[Rule], suspensions: Iterable[Suspension]) -> None:
        """Replace all rules and suspensions."""
        self._rules = {rule.id: rule for rule in rules}
        self._suspensions = {suspension.id: suspension for suspension in suspensions}
        self._of = {}
        for rule in self._rules.values():
            self._of.setdefault(rule.requester.bare, (set(), set()))[0].add(rule.id)
        for suspension in self._suspensions.values():
            self._of.setdefault(suspension.requester.bare, (set(), set()))[1].add(suspension.id)
        self._ending = [(item.expires, item.id, True) for item in self._rules.values() if item.expires is not None]
        self._ending += [
            (item.expires, item.id, False) for item in self._suspensions.values() if item.expires is not None
        ]
        heapify(self._ending)
        self._next_end = self._ending[0][0] if self._ending else FOREVER
        self._scopes = {}
        self._remembered = 0

    def expire(self, now: float) -> None:
        """Let everything that ended at or before `now` not count any more."""
        while self._ending and self._ending[0][0] <= now:
            end, number, is_rule = heappop(self._ending)
            held: Rule | Suspension | None = (self._rules if is_rule else self._suspensions).get(number)
            if held is not None and held.expires == end:
                (self.drop_rule if is_rule else self.drop_suspension)(number)
        self._next_end = self._ending[0][0] if self._ending else FOREVER

    @property
    def next_end(self) -> float:
        """Unix time in seconds at which the next rule or suspension ends, or infinity."""
        return self._next_end

    @property
    def rules(self) -> dict[int, Rule]:
        """The rules that count, by id. Not to be changed."""
        return self._rules

    @property
    def suspensions(self) -> dict[int, Suspension]:
        """The suspensions that count, by id. Not to be changed."""
        return self._suspensions

    def requesters(self) -> Iterator[str]:
        """The bare JIDs of all that a rule or a suspension is about."""
        return iter(self._of)

    def suspensions_of(self, bare: str) -> list[Suspension]:
        """The suspensions of a requester and of its resources."""
        return [self._suspensions[number] for number in sorted(self._of.get(bare, ((), ()))[1])]

    def find_rule(self, effect: Effect, requester: Jid, target: Target) -> Rule | None:
        """The rule that says just this, if there is one."""
        scope = self._scopes.get(requester.bare) or self._compiled(requester.bare)
        if scope is not None and requester.resource:
            scope = scope.resources.get(requester.resource)
        if scope is None:
            return None
        held = (scope.allow if effect is Effect.ALLOW else scope.deny).get(self.target_key(target))
        return None if held is None else self._rules[held.id]

    def find_suspension(self, requester: Jid) -> Suspension | None:
        """The suspension of just this requester, if there is one."""
        return next((item for item in self.suspensions_of(requester.bare) if item.requester == requester), None)

    def scope(self, bare: str) -> Scope:
        """A copy of what the rules say about a requester, to try changes on; empty for a stranger."""
        return self.live_scope(bare).copy()

    def live_scope(self, bare: str) -> Scope:
        """What the rules say about a requester, not to be changed; empty for a stranger."""
        return self._scopes.get(bare) or self._compiled(bare) or Scope()

    def target_key(self, target: Target) -> TargetKey:
        """How scopes name a target; a device that is not registered gets a number that nobody has."""
        if target.kind is TargetKind.ALL:
            return ALL_DEVICES
        return target.name if target.kind is TargetKind.GROUP else self._number(target.name)

    def shown_target(self, target: Target) -> str:
        """A target as people write it: devices by the id with which they were registered."""
        number = self.by_id(target.name) if target.kind is TargetKind.DEVICE else -1
        return self.devices.id(number) if number >= 0 else str(target)

    def _number(self, key: str) -> int:
        number = self.by_id(key)
        return number if number >= 0 else _NOWHERE

    def _compiled(self, bare: str) -> Scope | None:
        known = self._of.get(bare)
        if known is None:
            return None
        scope = Scope()
        for number in known[0]:
            self._compile_rule(scope, self._rules[number])
        for number in known[1]:
            suspension = self._suspensions[number]
            scope.within(suspension.requester).suspended = held_suspension(suspension)
        self._scopes[bare] = scope
        return scope

    def _compile_rule(self, scope: Scope, rule: Rule) -> None:
        scope.within(rule.requester).put(
            rule.effect, self.target_key(rule.target), held_rule(rule, self.shown_target(rule.target))
        )

    def _resolved(self, scope: Scope, device: int, members: int) -> Verdict:
        if self._remembered >= MEMO_LIMIT:
            for other in self._scopes.values():
                other.clear()
            self._remembered = 0
        verdict = scope.memo[members] = scope.resolve(device, self._group_sets[members])
        self._remembered += 1
        return verdict

    def _ends(self, expires: float | None, number: int, is_rule: bool) -> None:
        if expires is not None:
            heappush(self._ending, (expires, number, is_rule))
            self._next_end = self._ending[0][0]

    def _forget(self, bare: str, number: int, kind: int) -> None:
        known = self._of[bare]
        known[kind].discard(number)
        if not known[0] and not known[1]:
            del self._of[bare]

    def _prune(self, scope: Scope, requester: Jid) -> None:
        if requester.resource and scope.resources[requester.resource].empty:
            del scope.resources[requester.resource]
        if scope.empty:
            self._scopes.pop(requester.bare, None)
