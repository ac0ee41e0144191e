"""Appending to the chain, on the store's writer thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from component.base.audit_chain import (
    AuditKey,
    Head,
    audit_head_table,
    audit_table,
    canonical_detail,
    genesis,
    link,
    new_chain,
    put_aside,
    read_head_file,
    row_hash,
    write_head_file,
)
from component.base.audit_rows import last_row, stored_head
from component.base.store import Store

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A row that has no place in the chain yet; every text is `clean`, `detail` is canonical JSON."""

    time: int
    actor: str
    action: str
    subject: str
    detail: str


class ChainWriter:
    """Keeps the chain. Every method runs on the thread that has the write transaction.

    :param announce: called after each commit that appended rows.
    """

    def __init__(self, store: Store, key: AuditKey, head_file: Path, announce: Callable[[], None]) -> None:
        self._store = store
        self._key = key
        self._head_file = head_file
        self._announce = announce
        self._committed: Head | None = None  # as this process left it
        self._proposed: Head | None = None  # of the transaction under way, or of one that failed
        self._head_file_writable = True
        self._collided = False

    def append(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Append rows; the last one is signed. The head file follows after the commit."""
        head = stored_head(connection)
        if head is None or self._collided or head not in (self._committed, self._proposed):
            head, extra = self._examined(connection, head)
            entries = [*extra, *entries]
        rows: list[dict[str, Any]] = []
        seq, digest, previous = head.seq, head.hash, head.link
        for entry in entries:
            seq += 1
            digest = row_hash(seq, *entry, previous)
            rows.append({**entry._asdict(), "seq": seq, "previous": previous, "hash": digest, "signature": None})
            previous = link(digest, None)
        head = self._key.sign(head.chain, seq, digest)
        rows[-1]["signature"] = head.signature
        try:
            connection.execute(insert(audit_table), rows)
        except IntegrityError:
            self._collided = True  # somebody else wrote rows; this change fails, and the next one tells of it
            raise
        _update_head_row(connection, head)
        self._proposed = head
        self._store.after_commit(connection, self._landed)

    def _landed(self) -> None:
        self._committed = self._proposed
        self._collided = False
        if self._committed is not None:
            self._write_head_file(self._committed)
        self._announce()

    def _write_head_file(self, head: Head) -> None:
        try:
            write_head_file(self._head_file, head)
        except OSError as error:
            if self._head_file_writable:
                log.error(
                    "the audit head file %s cannot be written (%s); until it can, a cut-off tail might go unseen",
                    self._head_file, error.strerror,
                )  # fmt: skip
            self._head_file_writable = False
        else:
            self._head_file_writable = True

    # -- the first append of a process, or one that finds another head than this process left ----------------------

    def _examined(self, connection: Connection, head: Head | None) -> tuple[Head, list[Entry]]:
        """Where to go on, and a row that tells of it when the database is not what the head file promises."""
        anchor, trouble = self._committed, ""
        if anchor is None:
            try:
                anchor = read_head_file(self._head_file)
            except (OSError, ValueError) as error:
                trouble = f"the head file cannot be read: {error}"
        last = last_row(connection)
        if head is None and last is None and (anchor is None or self._is_unused(anchor)) and not trouble:
            return self._begun(connection, anchor), []
        trouble = trouble or self._contradiction(connection, head, anchor, last)
        if head is not None and not trouble:
            return head, []
        return self._continued(connection, head, anchor, last, trouble)

    def _is_unused(self, anchor: Head) -> bool:
        return anchor.seq == 0 and anchor.hash == genesis(anchor.chain) and self._key.public.accepts(anchor)

    def _begun(self, connection: Connection, anchor: Head | None) -> Head:
        """A new chain. Its head file comes before its first row: a missing file always means something."""
        if anchor is None:
            chain = new_chain()
            anchor = self._key.sign(chain, 0, genesis(chain))
            self._write_head_file(anchor)
        _insert_head_row(connection, anchor)
        return anchor

    def _contradiction(
        self, connection: Connection, head: Head | None, anchor: Head | None, last: Head | None
    ) -> str:
        """What is wrong with the database, or the empty string."""
        if head is None:
            return "the head is missing from the database"
        if not self._key.public.accepts(head):
            return "the head in the database was not signed with this key"
        if anchor is None:
            return "the head file is missing"
        if anchor.chain != head.chain:
            return "the head file belongs to another chain"
        if anchor.seq > head.seq:
            return f"rows {head.seq + 1} to {anchor.seq} are cut off"
        if last is None or (last.seq, last.hash) != (head.seq, head.hash):
            return "the last row is not the one that the head names"
        if anchor.seq and _hash_of(connection, anchor.seq) != anchor.hash:
            return f"row {anchor.seq} is not the one that the head file names"
        return ""

    def _continued(
        self, connection: Connection, head: Head | None, anchor: Head | None, last: Head | None, trouble: str
    ) -> tuple[Head, list[Entry]]:
        """Go on after the last row that is there, tell what was found, and keep the head file as evidence."""
        log.error("the audit record was tampered with: %s; run `stanzagate audit verify`", trouble)
        known = head or anchor
        chain = known.chain if known is not None else new_chain()
        if head is None:
            _insert_head_row(connection, Head(chain, 0, genesis(chain)))
        found = last.seq if last is not None else 0
        put_aside(self._head_file, anchor, found)
        detail = {"found": trouble, "last_row": found, "head_file_row": anchor.seq if anchor else None}
        entry = Entry(time.time_ns() // 1000, "stanzagate", "audit.mismatch", "audit", canonical_detail(detail))
        if last is None:
            return Head(chain, 0, genesis(chain)), [entry]
        return Head(chain, last.seq, last.hash, last.signature), [entry]


def _insert_head_row(connection: Connection, head: Head) -> None:
    connection.execute(delete(audit_head_table))  # one that cannot be read may be there
    connection.execute(
        insert(audit_head_table).values(
            id=1, chain=head.chain, seq=head.seq, hash=head.hash, signature=head.signature or b""
        )
    )


def _update_head_row(connection: Connection, head: Head) -> None:
    connection.execute(
        update(audit_head_table).values(chain=head.chain, seq=head.seq, hash=head.hash, signature=head.signature)
    )


def _hash_of(connection: Connection, seq: int) -> bytes | None:
    return connection.execute(select(audit_table.c.hash).where(audit_table.c.seq == seq)).scalar()
