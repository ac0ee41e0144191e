"""Rules and suspensions as rows of the database, each change with its audit row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from component.gate.changes import Trail
from component.gate.rules import (
    Effect,
    Rule,
    Suspension,
    Target,
    rule_table,
    stored_jid,
    stored_target,
    suspension_table,
)

EXPIRY = "system:expiry"
"""The actor of what happens because a rule's time has come."""

EXPIRED = "rule.expired"

Shown = Callable[[Target], str]
"""Targets as people know them: stored are prepared ids, recorded the ids as they were registered."""


def ended(connection: Connection, now: float, limit: int) -> tuple[list[int], list[int]]:
    """The ids of up to `limit` rules and of up to `limit` suspensions that have ended."""
    rules = select(rule_table.c.id).where(rule_table.c.expires <= now).limit(limit)
    over = select(suspension_table.c.id).where(suspension_table.c.expires <= now).limit(limit)
    return list(connection.scalars(rules)), list(connection.scalars(over))


def insert_all(
    connection: Connection, rules: Sequence[Rule], suspensions: Sequence[Suspension]
) -> tuple[list[Rule], list[Suspension]]:
    """Store many rules and suspensions; returns them with their ids. The caller records them."""
    columns, others = rule_table.c, suspension_table.c
    last = connection.execute(select(func.coalesce(func.max(columns.id), 0))).scalar_one()
    last_other = connection.execute(select(func.coalesce(func.max(others.id), 0))).scalar_one()
    if rules:
        connection.execute(insert(rule_table), [_values(rule) | _aim(rule) for rule in rules])
    if suspensions:
        connection.execute(insert(suspension_table), [_values(suspension) for suspension in suspensions])
    new = connection.execute(select(rule_table).where(columns.id > last))
    return [_rule(row) for row in new], [
        _suspension(row) for row in connection.execute(select(suspension_table).where(others.id > last_other))
    ]


def read_rules(connection: Connection) -> tuple[list[Rule], list[Suspension]]:
    """Everything that is stored, also what has ended."""
    rules = [_rule(row) for row in connection.execute(select(rule_table))]
    return rules, [_suspension(row) for row in connection.execute(select(suspension_table))]


def insert_rule(connection: Connection, trail: Trail, actor: str, rule: Rule, shown: Shown) -> int:
    """Store a rule and record it; one that says the same and has ended makes room. Returns its id."""
    columns = rule_table.c
    same = select(columns.id).where(
        columns.requester == rule.requester.full,
        columns.target == str(rule.target),
        columns.effect == rule.effect.value,
        columns.expires <= rule.created,
    )
    for ended in list(connection.scalars(same)):
        delete_rule(connection, trail, EXPIRY, ended, shown, EXPIRED)
    number = connection.execute(
        insert(rule_table).values(_values(rule) | _aim(rule)).returning(rule_table.c.id)
    ).scalar_one()
    trail.append(connection, actor=actor, action="rule.added", subject=str(number), detail=_of_rule(rule, shown))
    return int(number)


def delete_rule(
    connection: Connection, trail: Trail, actor: str, number: int, shown: Shown, action: str = "rule.removed"
) -> bool:
    """Remove a rule and record it; False when it is not there."""
    row = connection.execute(select(rule_table).where(rule_table.c.id == number)).first()
    if row is None:
        return False
    connection.execute(delete(rule_table).where(rule_table.c.id == number))
    trail.append(connection, actor=actor, action=action, subject=str(number), detail=_of_rule(_rule(row), shown))
    return True


def insert_suspension(connection: Connection, trail: Trail, actor: str, suspension: Suspension) -> int:
    """Store a suspension and record it; an ended one of the same requester makes room. Returns its id."""
    columns = suspension_table.c
    same = select(columns.id).where(
        columns.requester == suspension.requester.full, columns.expires <= suspension.created
    )
    for ended in list(connection.scalars(same)):
        delete_suspension(connection, trail, EXPIRY, ended, "requester.resumed")
    number = connection.execute(
        insert(suspension_table).values(_values(suspension)).returning(suspension_table.c.id)
    ).scalar_one()
    detail = _of_suspension(suspension) | {"suspension": number}
    trail.append(
        connection, actor=actor, action="requester.suspended", subject=suspension.requester.full, detail=detail
    )
    return int(number)


def delete_suspension(
    connection: Connection, trail: Trail, actor: str, number: int, action: str = "requester.resumed"
) -> bool:
    """End a suspension and record it; False when it is not there."""
    row = connection.execute(select(suspension_table).where(suspension_table.c.id == number)).first()
    if row is None:
        return False
    suspension = _suspension(row)
    connection.execute(delete(suspension_table).where(suspension_table.c.id == number))
    detail = _of_suspension(suspension) | {"suspension": number}
    trail.append(connection, actor=actor, action=action, subject=suspension.requester.full, detail=detail)
    return True


def _values(item: Rule | Suspension) -> dict[str, Any]:
    return {
        "requester": item.requester.full,
        "expires": item.expires,
        "comment": item.comment,
        "created": item.created,
        "actor": item.actor,
    }


def _aim(rule: Rule) -> dict[str, Any]:
    return {"effect": rule.effect.value, "target": str(rule.target)}


def _of_rule(rule: Rule, shown: Shown) -> dict[str, Any]:
    return {
        "effect": rule.effect.value,
        "requester": rule.requester.full,
        "target": shown(rule.target),
        "expires": rule.expires,
        "comment": rule.comment,
    }


def _of_suspension(suspension: Suspension) -> dict[str, Any]:
    return {"expires": suspension.expires, "comment": suspension.comment}


def _rule(row: Row[Any]) -> Rule:
    return Rule(
        id=row.id,
        effect=Effect(row.effect),
        requester=stored_jid(row.requester),
        target=stored_target(row.target),
        expires=row.expires,
        comment=row.comment,
        created=row.created,
        actor=row.actor,
    )


def _suspension(row: Row[Any]) -> Suspension:
    return Suspension(
        id=row.id,
        requester=stored_jid(row.requester),
        expires=row.expires,
        comment=row.comment,
        created=row.created,
        actor=row.actor,
    )
