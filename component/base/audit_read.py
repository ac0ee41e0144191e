"""Reading the audit record: rows, filters, pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.sql.elements import ColumnElement

from component.base.audit_chain import MICROSECONDS, audit_head_table, audit_table


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the record.

    :ivar time: seconds since 1970.
    :ivar hash: the row's hash, hexadecimal.
    """

    seq: int
    time: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows are wanted; an empty field wants all.

    :ivar action: an action (`rule.added`), or all that begin with it when it ends in a full stop (`rule.`).
    :ivar since: seconds since 1970, inclusive; `until` is exclusive.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    since: float | None = None
    until: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same as conditions on the table."""
        columns = audit_table.c
        wanted: list[ColumnElement[bool]] = []
        if self.actor:
            wanted.append(columns.actor == self.actor)
        if self.action.endswith("."):
            wanted.append(columns.action.startswith(self.action, autoescape=True))
        elif self.action:
            wanted.append(columns.action == self.action)
        if self.subject:
            wanted.append(columns.subject == self.subject)
        if self.since is not None:
            wanted.append(columns.time >= round(self.since * MICROSECONDS))
        if self.until is not None:
            wanted.append(columns.time < round(self.until * MICROSECONDS))
        return wanted


class Page(NamedTuple):
    """Some rows.

    :ivar reached: every row up to here was looked at.
    """

    rows: list[AuditRow]
    reached: int


def read_page(connection: Connection, after: int, limit: int, wanted: AuditFilter | None, newest: bool) -> Page:
    """The next rows after `after`, or the newest ones, always in order."""
    columns = audit_table.c
    last = last_seq(connection)
    statement = (
        select(
            columns.seq, columns.time, columns.actor, columns.action, columns.subject, columns.detail, columns.hash
        )
        .where(columns.seq > after, *(wanted.conditions() if wanted else ()))
        .order_by(columns.seq.desc() if newest else columns.seq)
        .limit(limit)
    )
    found: Sequence[Any] = connection.execute(statement).all()
    rows = [
        AuditRow(
            row.seq, row.time / MICROSECONDS, row.actor, row.action, row.subject, _detail(row.detail), row.hash.hex()
        )
        for row in (reversed(found) if newest else found)
    ]
    return Page(rows, rows[-1].seq if len(rows) == limit else max(last, after))


def last_seq(connection: Connection) -> int:
    """The number of the last row, or 0."""
    return connection.execute(select(audit_head_table.c.seq)).scalar() or 0


def _detail(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"unreadable": text}  # somebody changed it: `verify` says so
