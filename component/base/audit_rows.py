"""Reading the audit tables as they are: whatever somebody put there is to be seen, not to be converted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, select, type_coerce
from sqlalchemy.types import NullType

from component.base.audit_chain import Head, audit_head_table, audit_table, link, row_hash
from component.base.store import DatabaseError, Store

PAGE = 2_000


class RawRow(NamedTuple):
    """A row as it is stored; anything may stand in it."""

    seq: Any
    time: Any
    actor: Any
    action: Any
    subject: Any
    detail: Any
    previous: Any
    hash: Any
    signature: Any

    def digest(self, seq: int, previous: Any) -> bytes | None:
        """Its hash if it were row `seq`, or None when it holds values of a wrong type."""
        texts = (self.actor, self.action, self.subject, self.detail)
        if not all(isinstance(text, str) for text in texts) or not isinstance(previous, bytes):
            return None
        try:
            return row_hash(seq, self.time, *texts, previous)
        except struct.error:
            return None

    @property
    def sound(self) -> bool:
        """Whether its hash is that of its content, and a signature is a signature."""
        return self.link is not None and self.digest(self.seq, self.previous) == self.hash

    @property
    def link(self) -> bytes | None:
        """What the next row must hold."""
        if not isinstance(self.hash, bytes) or not isinstance(self.signature, bytes | None):
            return None
        return link(self.hash, self.signature)

    def head(self, chain: bytes) -> Head | None:
        """The head that was signed when this row was the last one."""
        if not isinstance(self.hash, bytes) or not isinstance(self.signature, bytes):
            return None
        return Head(chain, self.seq, self.hash, self.signature)


_COLUMNS: list[Any] = [type_coerce(audit_table.c[name], NullType()).label(name) for name in RawRow._fields]
_RAW: Select[Any] = select(*_COLUMNS)
_HEAD_COLUMNS: list[Any] = [
    type_coerce(audit_head_table.c[name], NullType()) for name in ("chain", "seq", "hash", "signature")
]


def read_rows(store: Store, last: int) -> Iterator[RawRow]:
    """Every row up to `last`, in order, a page in memory at a time."""
    after: int | None = None
    while True:
        page = _page(store, after, last)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].seq


def overview(connection: Connection) -> tuple[Head | None, int, int]:
    """The head in the database, the number of the last row, and how many rows there are."""
    statement = select(func.max(audit_table.c.seq), func.count()).select_from(audit_table)
    last, count = connection.execute(statement).one()
    return stored_head(connection), last or 0, count


def stored_head(connection: Connection) -> Head | None:
    """The head in the database; None when there is none, or one that no program of ours has written."""
    row = connection.execute(select(*_HEAD_COLUMNS)).first()
    if row is None or not isinstance(row[1], int):
        return None
    chain, digest, signature = (_blob(value) for value in (row[0], row[2], row[3]))
    return Head(chain, row[1], digest, signature)


def last_row(connection: Connection) -> Head | None:
    """The last row as if it were the head of a chain without a name."""
    rows = _rows(connection, _RAW.order_by(audit_table.c.seq.desc()).limit(1))
    if not rows:
        return None
    row = rows[0]
    return Head(b"", row.seq, _blob(row.hash), row.signature if isinstance(row.signature, bytes | None) else b"")


def _blob(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def first_signed(connection: Connection, first: int, last: int) -> RawRow | None:
    """The first row between two, inclusive, that has a signature."""
    columns = audit_table.c
    found = _rows(
        connection,
        _RAW.where(columns.seq >= first, columns.seq <= last, columns.signature.is_not(None))
        .order_by(columns.seq)
        .limit(1),
    )
    return found[0] if found else None


def _page(store: Store, after: int | None, last: int) -> list[RawRow]:
    try:
        return store.read_now(lambda connection: _rows(connection, _between(_RAW, after, last)))
    except DatabaseError:
        # One value that the database cannot even hand over must not hide the others.
        numbers = select(audit_table.c.seq)
        seqs = store.read_now(lambda connection: connection.scalars(_between(numbers, after, last)).all())
        return [_single(store, seq) for seq in seqs]


def _single(store: Store, seq: int) -> RawRow:
    try:
        return store.read_now(lambda connection: _rows(connection, _RAW.where(audit_table.c.seq == seq)))[0]
    except DatabaseError:
        return RawRow(seq, *[None] * 8)


def _between(statement: Select[Any], after: int | None, last: int) -> Select[Any]:
    if after is not None:
        statement = statement.where(audit_table.c.seq > after)
    return statement.where(audit_table.c.seq <= last).order_by(audit_table.c.seq).limit(PAGE)


def _rows(connection: Connection, statement: Select[Any]) -> list[RawRow]:
    return [
        RawRow(*(bytes(value) if isinstance(value, memoryview) else value for value in row))
        for row in connection.execute(statement)
    ]
