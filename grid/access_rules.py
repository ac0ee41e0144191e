"""The model of authorization: rules as people write them and as they are stored, and roles.

A rule says that a node, or the nodes of a group, may do something with topics, or may not. What it says they do is an
action, or a role: a named set of actions. The topic is a name or a pattern, and covers its subtopics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    delete,
    insert,
    select,
)

from component.base.errors import InputError
from component.base.jid import prepare
from component.base.store import metadata
from grid.model import Action, Effect, Rule
from grid.topics_names import DEEPEST, shown

GROUP = "group:"
LONGEST_COMMENT = 1000
_GROUP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

ROLES: Mapping[str, tuple[Action, ...]] = MappingProxyType(
    {
        "sensor": (Action.PUBLISH,),
        "read-only": (Action.SUBSCRIBE, Action.READ, Action.BULK),
        "consumer": (Action.SUBSCRIBE, Action.READ, Action.WRITE, Action.BULK),
        "provider": (Action.PUBLISH, Action.SUBSCRIBE, Action.READ),
        "member": tuple(Action),
    }
)
"""The roles that are there without configuration."""

access_rule_table = Table(
    "grid_rule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("effect", String(8), nullable=False),
    Column("subject", String(2047), nullable=False),
    Column("action", String(32), nullable=False),
    Column("topic", String(DEEPEST), nullable=False),
    Column("comment", String(LONGEST_COMMENT), nullable=False),
    Column("by", String(255), nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("subject", "topic", "action", "effect"),
    sqlite_autoincrement=True,  # an id that the audit record names is never given to another rule
)


def all_roles(configured: Mapping[str, tuple[Action, ...]]) -> dict[str, tuple[Action, ...]]:
    """The built-in roles and those of the configuration.

    :raises InputError: a name that is taken or no name, or a role without actions.
    """
    for name, actions in configured.items():
        if name in ROLES or name in tuple(Action):
            raise InputError(f"The role {name!r} is built in.", hint="Choose another name in grid.roles.")
        if not _ROLE.fullmatch(name):
            raise InputError(
                f"{shown(name)} is not a role.", hint="Use up to 32 of a-z 0-9 - in grid.roles; begin with a letter."
            )
        if not actions:
            raise InputError(f"The role {name!r} has no actions.", hint=f"Use some of {', '.join(Action)}.")
    return {**ROLES, **{name: tuple(dict.fromkeys(actions)) for name, actions in configured.items()}}


def checked_subject(text: str) -> str:
    """Whom a rule is about, prepared: a bare JID or ``group:NAME``.

    :raises InputError: it is neither.
    """
    if text.startswith(GROUP):
        name = text[len(GROUP) :]
        if not _GROUP_NAME.fullmatch(name):
            raise InputError(
                f"{shown(name)} is not a group name.",
                hint="Use 1 to 64 of A-Z a-z 0-9 _ . + - and begin with a letter, a digit or _.",
            )
        return text
    if "*" in text:
        raise InputError(f"{shown(text)} is not a node: there are no wildcards.", hint="Put nodes into a group.")
    jid = prepare(text)
    if jid.resource or not jid.local:
        raise InputError(f"{shown(text)} is not a node.", hint="Write a bare JID, local@domain, or group:NAME.")
    return jid.bare


def checked_action(text: str, roles: Mapping[str, tuple[Action, ...]]) -> str:
    """An action or the name of a role.

    :raises InputError: it is neither.
    """
    if text not in tuple(Action) and text not in roles:
        raise InputError(
            f"{shown(text)} is neither an action nor a role.",
            hint=f"Actions: {', '.join(Action)}. Roles: {', '.join(sorted(roles))}.",
        )
    return str(text)


def checked_comment(text: str) -> str:
    """A comment without control characters.

    :raises InputError: it is too long or has some.
    """
    text = text.strip()
    if len(text) > LONGEST_COMMENT:
        raise InputError(f"The comment has {len(text)} characters.", hint=f"Use at most {LONGEST_COMMENT}.")
    if _CONTROL.search(text):
        raise InputError("The comment has control characters.", hint="Write it as one line of text.")
    return text


def actions_of(rule: Rule, roles: Mapping[str, tuple[Action, ...]]) -> tuple[Action, ...]:
    """What a rule is about.

    A role that is not configured any more permits nothing, but still forbids everything: what was forbidden must not
    become allowed by a change of the configuration.
    """
    if rule.action in tuple(Action):
        return (Action(rule.action),)
    return roles.get(rule.action) or (tuple(Action) if rule.effect is Effect.FORBID else ())


def sentence(rule: Rule) -> str:
    """A rule in words, without its number."""
    return f"{rule.effect} {rule.subject} {rule.action} {rule.topic}"


# Rows


def read_rules(connection: Connection) -> list[Rule]:
    """Every rule, by id."""
    return [_rule(row) for row in connection.execute(select(access_rule_table).order_by(access_rule_table.c.id))]


def insert_rule(connection: Connection, rule: Rule) -> int:
    """Store a rule; returns its id."""
    values = {
        "effect": rule.effect.value, "subject": rule.subject, "action": rule.action, "topic": rule.topic,
        "comment": rule.comment, "by": rule.by, "created": rule.created,
    }  # fmt: skip
    statement = insert(access_rule_table).values(values).returning(access_rule_table.c.id)
    return int(connection.execute(statement).scalar_one())


def delete_rule(connection: Connection, rule_id: int) -> None:
    """Remove a rule."""
    connection.execute(delete(access_rule_table).where(access_rule_table.c.id == rule_id))


def detail_of(rule: Rule) -> dict[str, Any]:
    """A rule for the audit record."""
    return {
        "effect": rule.effect.value, "subject": rule.subject, "action": rule.action, "topic": rule.topic,
        "comment": rule.comment,
    }  # fmt: skip


def _rule(row: Row[Any]) -> Rule:
    return Rule(row.id, Effect(row.effect), row.subject, row.action, row.topic, row.comment, row.by, row.created)
