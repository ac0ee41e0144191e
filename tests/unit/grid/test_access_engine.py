"""The rule engine against a plain oracle, and against names that would like to be Cedar."""

from __future__ import annotations

import re

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid.access_engine import FAILED, NOT_PERMITTED, Engine, literal, policy
from grid.access_rules import ROLES, actions_of
from grid.model import Action, Effect, Rule

SUBJECTS = ["a@g.test", "b@g.test", "group:red", "group:blue"]
NAMES = ["A-1", "A-2", "A-1/x", "A-1/x/y", "AB-1", "B", "B/x", "*"]
PATTERNS = ["A-1", "A-1/x", "A-*", "*", "*/x", "A*1", "B", "*-1", "AB-1/*"]
RULES = st.builds(
    Rule,
    id=st.just(0),
    effect=st.sampled_from(Effect),
    subject=st.sampled_from(SUBJECTS),
    action=st.sampled_from([*Action, *ROLES]),
    topic=st.sampled_from(PATTERNS),
)


def numbered(rules: list[Rule]) -> list[Rule]:
    return [Rule(number, *_rest(rule)) for number, rule in enumerate(rules, 1)]


def _rest(rule: Rule) -> tuple[Effect, str, str, str]:
    return rule.effect, rule.subject, rule.action, rule.topic


def covered(pattern: str, name: str) -> bool:
    """What a pattern is about, said in the plainest way: the topic, or one of those above it, is matched."""
    regex = "".join(".*" if char == "*" else re.escape(char) for char in pattern)
    parts = name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return any(re.fullmatch(regex, each) for each in above)


def oracle(rules: list[Rule], jid: str, groups: tuple[str, ...], action: Action, topic: str) -> tuple[bool, set[int]]:
    about = [
        rule
        for rule in rules
        if rule.subject in (jid, *(f"group:{group}" for group in groups))
        and action in actions_of(rule, ROLES)
        and covered(rule.topic, topic)
    ]
    forbids = {rule.id for rule in about if rule.effect is Effect.FORBID}
    permits = {rule.id for rule in about if rule.effect is Effect.PERMIT}
    return (False, forbids) if forbids else (bool(permits), permits)


@settings(max_examples=150, deadline=None)
@given(
    rules=st.lists(RULES, max_size=8),
    jid=st.sampled_from(["a@g.test", "b@g.test", "c@g.test"]),
    groups=st.sampled_from([(), ("blue",), ("blue", "red")]),
    removed=st.integers(0, 8),
)
def test_it_says_what_the_oracle_says(rules: list[Rule], jid: str, groups: tuple[str, ...], removed: int) -> None:
    rules = numbered(rules)
    engine = Engine.of((), ROLES)
    for rule in rules:
        engine = engine.added(rule)
    if removed < len(rules):
        engine = engine.removed(rules.pop(removed))
    for action in Action:
        for topic in NAMES[:-1]:
            verdict = engine.decide(jid, groups, action, topic)
            permitted, decided = oracle(rules, jid, groups, action, topic)
            assert (verdict.permitted, set(verdict.policies)) == (permitted, {f"rule {number}" for number in decided})
            assert engine.decide(jid, groups, action, topic) is verdict  # remembered
            assert Engine.of(rules, ROLES).decide(jid, groups, action, topic) == verdict


HOSTILE = [
    'x", resource); permit(principal, action, resource); //',
    'a"b',
    "a\\",
    "a\\u{2a}",
    "*",
    "\\*",
    "a\nb",
    "a\r\n\tb",
    "\x00",
    "\u202e\u2028",
    "${x}",
    "// comment",
    '@id("7")',
    "?principal",
    "topic' or 1=1",
    "\U0001f41f",
    "ä" * 50,
    "\ufeff",
    "]}>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_cedar_text(name: str) -> None:
    """Also where the checks before the engine would have refused it."""
    for rule in (
        Rule(1, Effect.PERMIT, f"{name}@g.test", "publish", "T"),
        Rule(1, Effect.PERMIT, f"group:{name}", "publish", "T"),
        Rule(1, Effect.PERMIT, "a@g.test", "publish", name.replace("*", "")),
        Rule(1, Effect.PERMIT, "a@g.test", "publish", f"{name}*"),
    ):
        text = policy(rule, (Action.PUBLISH,))
        assert text.isascii() and len(cedarpy.PolicySet.from_str(text)) == 1
        others = {"principal": 'Node::"somebody@else"', "action": 'Action::"publish"', "resource": 'Topic::"Other"'}
        entities = [{"uid": {"type": "Topic", "id": "Other"}, "attrs": {"name": "Other"}, "parents": []}]
        assert not cedarpy.is_authorized(others, text, entities).allowed


@pytest.mark.parametrize("name", [name for name in HOSTILE if "*" not in name])
def test_a_hostile_jid_or_group_has_its_own_rights_and_no_others(name: str) -> None:
    jid = f"{name}@g.test"
    rules = [Rule(1, Effect.PERMIT, jid, "publish", "T"), Rule(2, Effect.PERMIT, f"group:{name}", "read", "T")]
    engine = Engine.of(rules, ROLES)
    assert engine.decide(jid, (), Action.PUBLISH, "T/x").policies == ("rule 1",)
    assert engine.decide("a@g.test", (name,), Action.READ, "T").policies == ("rule 2",)
    assert engine.decide("a@g.test", (), Action.PUBLISH, "T") is NOT_PERMITTED
    assert not engine.decide(jid, (), Action.PUBLISH, "T2").permitted


def test_half_a_character_is_denied() -> None:
    engine = Engine.of([Rule(1, Effect.PERMIT, "group:g", "member", "*")], ROLES)
    assert engine.decide("\ud800@g.test", ("g",), Action.READ, "T") == FAILED
    assert not engine.decide("a@g.test", ("g",), Action.READ, "\ud800").permitted


@pytest.mark.parametrize("topic", ["", "/", "A/", "/A", "A//b", "A b", "A*", "*", "A\nB", "x" * 2000])
def test_what_is_no_topic_is_never_permitted(topic: str) -> None:
    engine = Engine.of([Rule(1, Effect.PERMIT, "a@g.test", "member", "*")], ROLES)
    verdict = engine.decide("a@g.test", (), Action.READ, topic)
    assert not verdict.permitted and "no rule can permit it" in verdict.reason


def test_literals_are_what_they_were() -> None:
    for name in HOSTILE:
        text = f"permit(principal == Node::{literal(name)}, action, resource);"
        request = {"principal": {"type": "Node", "id": name}, "action": 'Action::"x"', "resource": 'T::"t"'}
        assert cedarpy.is_authorized(request, text, []).allowed


def test_nodes_of_which_the_rules_say_the_same_share_an_answer() -> None:
    engine = Engine.of([Rule(1, Effect.PERMIT, "group:g", "publish", "T")], ROLES)
    first = engine.decide("a@g.test", ("g",), Action.PUBLISH, "T")
    assert all(engine.decide(f"n{number}@g.test", ("g",), Action.PUBLISH, "T") is first for number in range(100))


def test_the_reason_is_for_people() -> None:
    rules = [
        Rule(1, Effect.PERMIT, "group:g", "sensor", "T*"),
        Rule(2, Effect.PERMIT, "a@g.test", "publish", "T"),
        Rule(3, Effect.FORBID, "b@g.test", "publish", "T"),
    ]
    engine = Engine.of(rules, ROLES)
    said = engine.decide("a@g.test", ("g",), Action.PUBLISH, "T").reason
    assert said == "rule 1 permits group:g (sensor) to publish to T*, and so does rule 2"
    assert engine.decide("b@g.test", ("g",), Action.PUBLISH, "T").reason == "rule 3 forbids b@g.test to publish to T"
    assert engine.decide("c@g.test", (), Action.PUBLISH, "T").reason == "no rule permits it"


def test_a_role_that_is_gone_permits_nothing_and_forbids_everything() -> None:
    rules = [
        Rule(1, Effect.PERMIT, "a@g.test", "member", "T"),
        Rule(2, Effect.PERMIT, "a@g.test", "gone", "U"),
        Rule(3, Effect.FORBID, "a@g.test", "gone", "T"),
    ]
    engine = Engine.of(rules, ROLES)
    for action in Action:
        assert engine.decide("a@g.test", (), action, "T").policies == ("rule 3",)
        assert engine.decide("a@g.test", (), action, "U") is NOT_PERMITTED


def test_trying_a_rule_leaves_nothing_behind() -> None:
    engine = Engine.of([Rule(1, Effect.PERMIT, "a@g.test", "publish", "T")], ROLES)
    for effect, permitted in ((Effect.FORBID, False), (Effect.PERMIT, True), (Effect.FORBID, False)):
        tried = engine.added(Rule(0, effect, "a@g.test", "publish", "T*"))
        assert tried.decide("a@g.test", (), Action.PUBLISH, "T").permitted is permitted
        assert engine.decide("a@g.test", (), Action.PUBLISH, "T").policies == ("rule 1",)
