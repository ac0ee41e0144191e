"""A whole file of rules as one change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from component.base.jid import Jid
from component.gate import impact, rows
from component.gate.badlines import BadLines
from component.gate.changes import Change, Loss, Plan, unchanged
from component.gate.rules import Rule, Suspension, counted
from component.gate.rules_csv import RuleLine, format_time, parse_rules
from component.gate.scopes import Scope, held_rule, held_suspension

if TYPE_CHECKING:
    from component.gate.policy import Policy

AUDITED_TOGETHER = 200
"""So many rules stand in one audit row."""

BREATH = 50
"""After so many requesters the event loop has its turn."""


async def import_rules(policy: Policy, actor: str, text: str, *, dry_run: bool) -> Change:
    """See `Policy.import_rules`."""

    async def plan() -> Plan:
        now = policy.clock()
        policy.index.expire(now)
        bad = BadLines()
        lines = await asyncio.to_thread(parse_rules, text, policy.find_target, now, bad)
        rules, suspensions, known = _new(policy, actor, lines, now, bad)
        bad.check("The rules")
        loses, gains = await _impact(policy, rules, suspensions)
        summary = f"Added: {counted(len(rules), 'rule')}, {counted(len(suspensions), 'suspension')}"
        change = Change(f"{summary}; {known} were there already." if known else f"{summary}.", loses, gains)

        def write(connection: Connection) -> tuple[list[Rule], list[Suspension]]:
            for number in rows.ended(connection, now, 1_000_000)[0]:
                rows.delete_rule(connection, policy.audit, rows.EXPIRY, number, policy.shown_target, rows.EXPIRED)
            for number in rows.ended(connection, now, 1_000_000)[1]:
                rows.delete_suspension(connection, policy.audit, rows.EXPIRY, number)
            stored = rows.insert_all(connection, rules, suspensions)
            _record(policy, connection, actor, *stored)
            return stored

        def apply(stored: tuple[list[Rule], list[Suspension]]) -> Change:
            for rule in stored[0]:
                policy.index.put_rule(rule)
            for suspension in stored[1]:
                policy.index.put_suspension(suspension)
            policy.changes.look_again()
            return replace(change, created=tuple(str(rule.id) for rule in stored[0]))

        if not rules and not suspensions:
            return unchanged(change)
        return Plan(change, write, apply)

    return await policy.changes.make(plan, dry_run=dry_run)


def _new(
    policy: Policy, actor: str, lines: Iterable[RuleLine], now: float, bad: BadLines
) -> tuple[list[Rule], list[Suspension], int]:
    rules: list[Rule] = []
    suspensions: list[Suspension] = []
    known = 0
    for line in lines:
        existing: Rule | Suspension | None
        if line.effect is None or line.target is None:
            existing = policy.index.find_suspension(line.requester)
        else:
            existing = policy.index.find_rule(line.effect, line.requester, line.target)
        if existing is not None:
            if existing.expires == line.expires:
                known += 1
                continue
            ends = format_time(existing.expires) or "never"
            kind = "rule" if isinstance(existing, Rule) else "suspension"
            reason = f"{kind} {existing.id} says the same with another expiry ({ends}); remove it first"
            general = "it is there already with another expiry; remove it first"
            bad.add(line.line, "expires", format_time(line.expires), reason, general)
        elif line.effect is None or line.target is None:
            suspensions.append(Suspension(0, line.requester, line.expires, line.comment, now, actor))
        else:
            rules.append(Rule(0, line.effect, line.requester, line.target, line.expires, line.comment, now, actor))
    return rules, suspensions, known


async def _impact(
    policy: Policy, rules: list[Rule], suspensions: list[Suspension]
) -> tuple[tuple[Loss, ...], tuple[Loss, ...]]:
    after: dict[str, Scope] = {}

    def scope(requester: Jid) -> Scope:
        if requester.bare not in after:
            after[requester.bare] = policy.index.scope(requester.bare)
        return after[requester.bare].within(requester)

    for rule in rules:
        scope(rule.requester).put(rule.effect, policy.index.target_key(rule.target), held_rule(rule, ""))
    for suspension in suspensions:
        scope(suspension.requester).suspended = held_suspension(suspension)
    census = impact.Census(policy.index.devices)
    loses: list[Loss] = []
    gains: list[Loss] = []
    for count, (bare, changed) in enumerate(after.items()):
        lost, gained = impact.of_rules(policy.index, bare, changed, census)
        loses += lost
        gains += gained
        if count % BREATH == BREATH - 1:
            await asyncio.sleep(0)
    return tuple(loses), tuple(gains)


def _record(
    policy: Policy, connection: Connection, actor: str, rules: list[Rule], suspensions: list[Suspension]
) -> None:
    shown = policy.shown_target
    added = [[rule.id, rule.effect.value, rule.requester.full, shown(rule.target), rule.expires] for rule in rules]
    suspended = [[item.id, "suspend", item.requester.full, "", item.expires] for item in suspensions]
    for action, items in (("rule.imported", added), ("requester.suspended", suspended)):
        for start in range(0, len(items), AUDITED_TOGETHER):
            piece = items[start : start + AUDITED_TOGETHER]
            subject = f"{piece[0][0]}-{piece[-1][0]}"
            policy.audit.append(connection, actor=actor, action=action, subject=subject, detail={"rows": piece})
