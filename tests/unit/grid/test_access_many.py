"""Many nodes and many rules: the same answers, found from the rules that could be about the question."""

from __future__ import annotations

from grid.access_engine import Engine
from grid.access_rules import ROLES
from grid.model import Action, Effect, Rule


def test_ten_thousand_rules_of_one_group() -> None:
    rules = [
        Rule(number, Effect.PERMIT, "group:all", "publish", f"T{number}-1" if number % 2 else f"T{number}-*")
        for number in range(1, 10_001)
    ]
    rules.append(Rule(10_001, Effect.FORBID, "group:all", "publish", "*7-1"))
    engine = Engine.of(rules, ROLES)
    for number in (1, 2, 5_000, 9_999, 10_000):
        verdict = engine.decide("a@g.test", ("all",), Action.PUBLISH, f"T{number}-1/x")
        assert verdict.policies == (f"rule {number}",)
    assert engine.decide("a@g.test", ("all",), Action.PUBLISH, "T77-1").policies == ("rule 10001",)
    assert not engine.decide("a@g.test", ("all",), Action.PUBLISH, "T10001-1").permitted
    fewer = engine.removed(engine.rules[10_001])
    assert fewer.decide("a@g.test", ("all",), Action.PUBLISH, "T77-1").permitted
    assert [rule.id for rule in engine.about("T77-1")] == [77, 10_001]


def test_a_flood_of_names_fills_no_memory() -> None:
    engine = Engine.of([Rule(1, Effect.PERMIT, "group:g", "read", "A*")], ROLES)
    for number in range(101_000):
        engine.decide("a@g.test", (), Action.READ, f"T{number}")
    assert len(engine._answers) == 100_000
    assert engine.decide("a@g.test", ("g",), Action.READ, "A1").permitted
