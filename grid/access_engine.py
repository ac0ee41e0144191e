"""The rule engine: rules become Cedar policies, and Cedar decides.

Every rule is one policy. A rule about a topic becomes a scope over the hierarchy of topics and subtopics, one about a
pattern becomes `like`:

    permit(principal in Group::"lab", action in [Action::"publish"], resource in Topic::"IODEF-1.0");
    forbid(principal == Node::"a@grid.test", action in [Action::"read"], resource)
        when { resource.name like "Host-*" || resource.name like "Host-*/*" };

Nothing of a name gets into that text as it is: whatever is not a plain letter, digit or one of a few signs is
written as its number. A decision about something takes the policies that could be about it, of the node and its
groups, parsed once, so that it takes Cedar the same time however many rules there are. Answers are remembered for all
nodes of which the rules say the same. An engine is never changed: `added` and `removed` make another one, which
forgets all answers and keeps what was parsed.
"""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import cedarpy

from component.base.errors import InputError
from grid.access_rules import GROUP, actions_of
from grid.model import Action, Effect, Rule, Verdict
from grid.topics_names import ANYTHING, SEPARATOR, base_of, covers, topic_or_subtopic

K = TypeVar("K")
V = TypeVar("V")
log = logging.getLogger(__name__)

REMEMBERED = 100_000
"""Answers that are remembered; each takes about 250 bytes."""

PARSED = 4_096
"""Sets of policies that are kept parsed."""

NOT_PERMITTED = Verdict(False, (), "no rule permits it")
FAILED = Verdict(False, (), "the rules could not be evaluated; the log says why")

_PLAIN = frozenset(string.ascii_letters + string.digits + "_-.:@+=~/ ")
_DONE = {
    Action.PUBLISH: "publish to", Action.SUBSCRIBE: "subscribe to", Action.READ: "read", Action.WRITE: "write to",
    Action.BULK: "retrieve in bulk",
}  # fmt: skip


def literal(text: str) -> str:
    """A text as a Cedar string, quotes included; ``*`` is a wildcard where `like` takes it."""
    return '"' + "".join(char if char in _PLAIN or char == "*" else f"\\u{{{ord(char):x}}}" for char in text) + '"'


def policy(rule: Rule, actions: Iterable[Action]) -> str:
    """A rule as Cedar text, annotated with its id."""
    if rule.subject.startswith(GROUP):
        principal = f"principal in Group::{literal(rule.subject[len(GROUP) :])}"
    else:
        principal = f"principal == Node::{literal(rule.subject)}"
    listed = ", ".join(f"Action::{literal(action.value)}" for action in actions)
    resource, condition = f"resource in Topic::{literal(rule.topic)}", ""
    if ANYTHING in rule.topic:
        below = literal(rule.topic + SEPARATOR + ANYTHING)
        resource = "resource"
        condition = f" when {{ resource.name like {literal(rule.topic)} || resource.name like {below} }}"
    return f'@id("{rule.id}") {rule.effect.value}({principal}, action in [{listed}], {resource}){condition};'


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The rules of one subject.

    :ivar named: those about a topic or its subtopics, by the topic.
    :ivar patterns: the others, each with what a name must begin with.
    """

    named: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    patterns: tuple[tuple[str, Rule], ...] = ()

    def added(self, rule: Rule) -> _Shelf:
        if ANYTHING in rule.topic:
            return _Shelf(self.named, (*self.patterns, (rule.topic.partition(ANYTHING)[0], rule)))
        base = base_of(rule.topic)
        return _Shelf({**self.named, base: (*self.named.get(base, ()), rule)}, self.patterns)

    def removed(self, rule: Rule) -> _Shelf | None:
        if ANYTHING in rule.topic:
            named = self.named
            patterns = tuple(item for item in self.patterns if item[1].id != rule.id)
        else:
            base = base_of(rule.topic)
            left = tuple(item for item in self.named[base] if item.id != rule.id)
            named = {**self.named, base: left} if left else {k: v for k, v in self.named.items() if k != base}
            patterns = self.patterns
        return _Shelf(named, patterns) if named or patterns else None

    def about(self, base: str, name: str) -> Iterable[Rule]:
        """Those that could be about a name; Cedar says which are."""
        yield from self.named.get(base, ())
        for start, rule in self.patterns:
            if name.startswith(start):
                yield rule


class Engine:
    """A set of rules that answers; make the first one with `Engine.of`.

    :ivar rules: by id.
    """

    def __init__(
        self,
        rules: Mapping[int, Rule],
        shelves: Mapping[str, _Shelf],
        roles: Mapping[str, tuple[Action, ...]],
        parsed: dict[tuple[int, ...], cedarpy.PolicySet],
    ) -> None:
        self.rules = rules
        self._shelves = shelves
        self._roles = roles
        self._parsed = parsed
        self._answers: dict[tuple[tuple[str, ...], str, Action, str], Verdict] = {}
        self._verdicts: dict[tuple[bool, tuple[int, ...], Action], Verdict] = {}

    @classmethod
    def of(cls, rules: Iterable[Rule], roles: Mapping[str, tuple[Action, ...]]) -> Engine:
        """An engine with these rules."""
        sorted_out: dict[str, list[Rule]] = {}
        everything: dict[int, Rule] = {}
        for rule in rules:
            everything[rule.id] = rule
            sorted_out.setdefault(rule.subject, []).append(rule)
        return cls(everything, {subject: _shelved(found) for subject, found in sorted_out.items()}, roles, {})

    def added(self, rule: Rule) -> Engine:
        """An engine with one rule more. A rule with the id 0 is only tried: it leaves nothing behind."""
        shelf = self._shelves.get(rule.subject, _Shelf()).added(rule)
        parsed = self._parsed if rule.id else dict(self._parsed)
        return Engine({**self.rules, rule.id: rule}, {**self._shelves, rule.subject: shelf}, self._roles, parsed)

    def removed(self, rule: Rule) -> Engine:
        """An engine without one of its rules."""
        shelves = dict(self._shelves)
        shelf = shelves.pop(rule.subject).removed(rule)
        if shelf is not None:
            shelves[rule.subject] = shelf
        return Engine({k: v for k, v in self.rules.items() if k != rule.id}, shelves, self._roles, self._parsed)

    def find(self, effect: Effect, subject: str, action: str, topic: str) -> Rule | None:
        """The rule that says exactly this."""
        shelf = self._shelves.get(subject)
        if shelf is None:
            return None
        listed = [rule for _, rule in shelf.patterns] if ANYTHING in topic else shelf.named.get(base_of(topic), ())
        wanted = (effect, action, topic)
        return next((rule for rule in listed if (rule.effect, rule.action, rule.topic) == wanted), None)

    def about(self, topic: str) -> Iterator[Rule]:
        """The rules that are about a topic or subtopic, whoever their subjects are."""
        named, patterns = self._by_topic
        for rule in (*named.get(base_of(topic), ()), *patterns):
            if covers(rule.topic, topic):
                yield rule

    @cached_property
    def _by_topic(self) -> tuple[dict[str, list[Rule]], list[Rule]]:
        named: dict[str, list[Rule]] = {}
        patterns: list[Rule] = []
        for rule in self.rules.values():
            (patterns if ANYTHING in rule.topic else named.setdefault(base_of(rule.topic), [])).append(rule)
        return named, patterns

    def actions(self, rule: Rule) -> tuple[Action, ...]:
        """What a rule is about, its role taken apart."""
        return actions_of(rule, self._roles)

    def has_own(self, jid: str) -> bool:
        """Whether there are rules about just this node."""
        return jid in self._shelves

    def decide(self, jid: str, groups: tuple[str, ...], action: Action, topic: str) -> Verdict:
        """Whether the rules permit something to an active node.

        :param jid: bare.
        :param groups: in alphabetical order.
        :param topic: a topic's name or a subtopic's.
        """
        key = (groups, jid if jid in self._shelves else "", action, topic)
        found = self._answers.get(key)
        if found is None:
            found = self._evaluated(jid, groups, action, topic)
            _keep(self._answers, key, found, REMEMBERED)
        return found

    def _evaluated(self, jid: str, groups: tuple[str, ...], action: Action, topic: str) -> Verdict:
        try:
            topic_or_subtopic(topic)
        except InputError as error:
            return Verdict(False, (), f"no rule can permit it: {error.message}")
        candidates = self._candidates(jid, groups, topic)
        if not any(action in self.actions(rule) for rule in candidates):
            return NOT_PERMITTED
        try:
            result = cedarpy.is_authorized(
                {
                    "principal": {"type": "Node", "id": jid},
                    "action": {"type": "Action", "id": action.value},
                    "resource": {"type": "Topic", "id": topic},
                },
                self._policies(candidates),
                json.dumps(_entities(jid, groups, topic)),
            )
        except ValueError:
            log.exception("Cedar could not decide; it is denied.")
            return FAILED
        if result.diagnostics.errors:  # a policy that fails is skipped, also one that forbids
            log.error("Cedar could not evaluate a rule; it is denied: %s", "; ".join(result.diagnostics.errors))
            return FAILED
        decided = tuple(sorted(int(number) for number in result.diagnostics.id_annotations_by_reason.values()))
        return self._verdict(result.allowed, decided, action)

    def _candidates(self, jid: str, groups: tuple[str, ...], topic: str) -> list[Rule]:
        """What could be about a node and a topic, whatever the action: so all actions share what is parsed."""
        base = base_of(topic)
        found: list[Rule] = []
        for subject in (jid, *(GROUP + group for group in groups)):
            shelf = self._shelves.get(subject)
            if shelf is not None:
                found += [rule for rule in shelf.about(base, topic) if self.actions(rule)]
        return found

    def _policies(self, rules: list[Rule]) -> cedarpy.PolicySet:
        key = tuple(sorted(rule.id for rule in rules))
        found = self._parsed.get(key)
        if found is None:
            found = cedarpy.PolicySet.from_str("\n".join(policy(rule, self.actions(rule)) for rule in rules))
            _keep(self._parsed, key, found, PARSED)
        return found

    def _verdict(self, permitted: bool, decided: tuple[int, ...], action: Action) -> Verdict:
        if not decided:
            return NOT_PERMITTED
        key = (permitted, decided, action)
        found = self._verdicts.get(key)
        if found is None:
            names = tuple(f"rule {number}" for number in decided)
            rule = self.rules[decided[0]]
            verb = "permits" if permitted else "forbids"
            role = f" ({rule.action})" if rule.action != action else ""
            others = f", and so {'does' if len(names) == 2 else 'do'} {', '.join(names[1:])}" if names[1:] else ""
            reason = f"{names[0]} {verb} {rule.subject}{role} to {_DONE[action]} {rule.topic}{others}"
            found = Verdict(permitted, names, reason)
            _keep(self._verdicts, key, found, REMEMBERED)
        return found


def _shelved(rules: list[Rule]) -> _Shelf:
    named: dict[str, list[Rule]] = {}
    patterns: list[tuple[str, Rule]] = []
    for rule in rules:
        if ANYTHING in rule.topic:
            patterns.append((rule.topic.partition(ANYTHING)[0], rule))
        else:
            named.setdefault(base_of(rule.topic), []).append(rule)
    return _Shelf({base: tuple(found) for base, found in named.items()}, tuple(patterns))


def _entities(jid: str, groups: tuple[str, ...], topic: str) -> list[dict[str, Any]]:
    """The node in its groups, and the topic with what it is a subtopic of, as Cedar's JSON."""
    parts = topic.split(SEPARATOR)
    above = [SEPARATOR.join(parts[:depth]) for depth in range(1, len(parts))]
    return [
        {
            "uid": {"type": "Node", "id": jid},
            "attrs": {},
            "parents": [{"type": "Group", "id": group} for group in groups],
        },
        {
            "uid": {"type": "Topic", "id": topic},
            "attrs": {"name": topic},
            "parents": [{"type": "Topic", "id": name} for name in above],
        },
    ]


def _keep(cache: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember something, and forget the oldest when there is too much."""
    if len(cache) >= most:
        del cache[next(iter(cache))]
    cache[key] = value
