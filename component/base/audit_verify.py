"""Recomputing the audit chain: which rows were changed, removed, inserted, reordered or cut off.

Everything is read in pages, so memory does not grow with the record. The database may be in use: what is read
first is the head file, then the head, then the rows up to it, and rows never change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from component.base.audit_chain import AuditPublicKey, Head, evidence_files, genesis, read_head_file
from component.base.audit_rows import PAGE, RawRow, first_signed, overview, read_rows
from component.base.store import Store

MAX_PROBLEMS = 100
MAX_SUSPECTS = 200


class ProblemKind(StrEnum):
    """What is wrong with a row, or with the head."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT_OFF = "cut-off"
    HEAD = "head"  # the head in the database
    HEAD_FILE = "head-file"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    :ivar seq: the row, or the first one of several; 0 when it is about no row.
    """

    seq: int
    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    :ivar rows: how many rows were read.
    :ivar seq: the last row that the head in the database names; `hash` is its hash, hexadecimal.
    :ivar problems: the first ones, by seq; `found` is how many there are altogether.
    """

    ok: bool
    rows: int
    seq: int
    hash: str
    problems: tuple[Problem, ...] = ()
    found: int = 0


class _Anchor(NamedTuple):
    head: Head
    name: str
    evidence: bool


def verify(
    store: Store,
    public_key: AuditPublicKey,
    head_file: Path | None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Recompute the whole chain and name every row that is not as it was written.

    :param head_file: the head outside the database; without it a tail that was cut off together with the head in the
        database cannot be seen.
    :param progress: called with the number of rows read so far.
    :raises DatabaseError: when the database cannot be read at all.
    """
    return _Verifier(store, public_key, head_file, progress).result()


class _Verifier:
    def __init__(
        self, store: Store, key: AuditPublicKey, head_file: Path | None, progress: Callable[[int], None] | None
    ) -> None:
        self.store = store
        self.key = key
        self.head_file = head_file
        self.progress = progress
        self.problems: dict[tuple[int, ProblemKind], str] = {}
        self.found = 0
        self.rows = 0
        self.anchors: list[_Anchor] = []
        self.anchor_hashes: dict[int, Any] = {}
        self.suspects: dict[int, RawRow] = {}  # rows whose hash is wrong: changed, or moved
        self.missing: list[int] = []
        self.segment = 1  # the first row after the last break: from here on the links are whole

    def result(self) -> Verification:
        self._read_anchors()
        head, last_seq, count = self.store.read_now(overview)
        chain = self._check_head(head, last_seq)
        last = self._walk(genesis(chain) if chain is not None else None, last_seq, head)
        if self.rows != count:
            self._report(0, ProblemKind.INSERTED, f"there are {count} rows, but {self.rows} numbers of rows")
        self._check_end(head, last)
        self._check_anchors(chain, last)
        self._classify()
        problems = tuple(Problem(*key, text) for key, text in sorted(self.problems.items()))
        return Verification(
            ok=not self.found,
            rows=self.rows,
            seq=head.seq if head else 0,
            hash=head.hash.hex() if head else "",
            problems=problems,
            found=self.found,
        )

    def _report(self, seq: int, kind: ProblemKind, text: str) -> None:
        if (seq, kind) in self.problems:
            return
        self.found += 1
        if len(self.problems) < MAX_PROBLEMS or kind in (
            ProblemKind.HEAD,
            ProblemKind.HEAD_FILE,
            ProblemKind.CUT_OFF,
        ):
            self.problems[seq, kind] = text

    # -- heads -----------------------------------------------------------------------------------------------------

    def _read_anchors(self) -> None:
        if self.head_file is None:
            return
        paths = [self.head_file, *evidence_files(self.head_file)]
        for path in paths:
            evidence = path is not self.head_file
            try:
                head = read_head_file(path)
            except (OSError, ValueError) as error:
                self._report(0, ProblemKind.HEAD_FILE, f"{path} cannot be read: {error}")
                continue
            if head is not None and self.key.accepts(head):
                self.anchors.append(_Anchor(head, str(path), evidence))
            elif head is not None:
                self._report(0, ProblemKind.HEAD_FILE, f"{path} was not signed with the key of this record")
        self.anchor_hashes = {anchor.head.seq: None for anchor in self.anchors}

    def _check_head(self, head: Head | None, last_seq: int) -> bytes | None:
        """The name of the chain, as far as it is known."""
        if head is not None and not self.key.accepts(head):
            self._report(
                head.seq, ProblemKind.HEAD, "the head in the database was not signed with the key of this record"
            )
        used = last_seq or any(anchor.head.seq for anchor in self.anchors)
        if head is None and used:
            self._report(0, ProblemKind.HEAD, "the head is missing from the database")
        if not self.anchors and self.head_file is not None and (used or head is not None):
            self._report(0, ProblemKind.HEAD_FILE, f"there is no usable head file {self.head_file}")
        if self.anchors and (head is None or not self.key.accepts(head)):
            return self.anchors[0].head.chain
        return head.chain if head is not None else None

    def _check_end(self, head: Head | None, last: RawRow | None) -> None:
        last_seq = last.seq if last is not None else 0
        if head is None:
            return
        if last_seq < head.seq:
            self._cut_off(last_seq, head.seq, "the head in the database")
            return
        named = last is not None and last_seq == head.seq
        signed = self.key.accepts(head)
        if signed and named and last is not None and (last.hash, last.signature) != (head.hash, head.signature):
            signed = False
            self._report(last_seq, ProblemKind.CHANGED, f"row {last_seq} is not the one that the head names")
        if not signed and last_seq:
            self._unsigned_from(self.segment, last_seq, head.chain)

    def _cut_off(self, last_seq: int, named: int, by: str) -> None:
        rows = f"row {named} is" if named == last_seq + 1 else f"rows {last_seq + 1} to {named} are"
        self._report(last_seq + 1, ProblemKind.CUT_OFF, f"{rows} cut off: {by} names row {named} as the last one")

    def _check_anchors(self, chain: bytes | None, last: RawRow | None) -> None:
        last_seq = last.seq if last is not None else 0
        for head, name, evidence in self.anchors:
            if chain is not None and head.chain != chain:
                self._report(head.seq, ProblemKind.HEAD_FILE, f"{name} belongs to another record than the database")
            elif head.seq > last_seq:
                self._cut_off(last_seq, head.seq, name)
            elif head.seq and self.anchor_hashes[head.seq] != head.hash:
                kind = ProblemKind.CUT_OFF if evidence else ProblemKind.CHANGED
                text = f"row {head.seq} is not the one that {name} names"
                if evidence:
                    text += "; rows were cut off or changed, and others written in their place"
                self._report(head.seq, kind, text)
            elif evidence:
                self._report(head.seq, ProblemKind.HEAD_FILE, f"{name} is evidence of tampering that was seen before")

    # -- rows ------------------------------------------------------------------------------------------------------

    def _walk(self, origin: bytes | None, last_seq: int, head: Head | None) -> RawRow | None:
        """Look at each row once; return the last one that the head covers."""
        before: RawRow | None = None
        before_sound = True
        for row in read_rows(self.store, last_seq):
            self.rows += 1
            if not isinstance(row.seq, int):
                self._report(0, ProblemKind.INSERTED, f"a row has {row.seq!r:.40} for a number")
                continue
            if row.seq in self.anchor_hashes:
                self.anchor_hashes[row.seq] = row.hash
            expected = before.seq + 1 if before is not None else 1
            if head is not None and row.seq > head.seq:
                self._report(
                    row.seq, ProblemKind.INSERTED, f"row {row.seq} stands after the signed end of the record"
                )
                continue
            if row.seq < expected:
                self._report(
                    row.seq, ProblemKind.INSERTED, f"row {row.seq} stands there although the first is row 1, or twice"
                )
                continue
            self._gap(expected, row.seq)
            due = before.link if before is not None else origin
            sound = row.sound
            if not sound:
                self._suspect(row)
            elif row.seq == expected and row.previous != due and due is not None and before_sound:
                self._broken_link(row, before, head)
            if row.seq != expected or not sound:
                self.segment = row.seq if sound else row.seq + 1
            before, before_sound = row, sound
            if self.progress is not None and self.rows % PAGE == 0:
                self.progress(self.rows)
        return before

    def _gap(self, expected: int, seq: int) -> None:
        if seq == expected:
            return
        rows = f"row {expected} is" if seq == expected + 1 else f"rows {expected} to {seq - 1} are"
        self._report(expected, ProblemKind.REMOVED, f"{rows} missing")
        self.missing += range(expected, min(seq, expected + MAX_SUSPECTS - len(self.missing)))

    def _suspect(self, row: RawRow) -> None:
        self._report(row.seq, ProblemKind.CHANGED, f"row {row.seq} was changed: its hash is that of another content")
        if len(self.suspects) < MAX_SUSPECTS:
            self.suspects[row.seq] = row

    def _broken_link(self, row: RawRow, before: RawRow | None, head: Head | None) -> None:
        """Both rows are sound in themselves, but this one was built on another one than stands before it."""
        if before is None:
            self._report(row.seq, ProblemKind.CHANGED, f"row {row.seq} does not begin this record")
            return
        changed = self._unsigned_from(self.segment, before.seq, head.chain) if head is not None else 0
        if not changed:
            self._report(
                before.seq,
                ProblemKind.CHANGED,
                f"row {before.seq} was replaced: row {row.seq} was built on another one",
            )
        self.segment = row.seq

    def _unsigned_from(self, first: int, last: int, chain: bytes) -> int:
        """Report the first row of a whole stretch that is not covered by a signature, and return it, or 0.

        Whoever replaces a row and recomputes all hashes after it cannot sign them: signatures hold before that row
        and fail from there on, so bisecting finds it.
        """
        low, high, bad = first, last, 0
        while low <= high:
            middle = (low + high) // 2
            signed = self.store.read_now(partial(first_signed, first=middle, last=last))
            head = signed.head(chain) if signed is not None else None
            if signed is None:
                high = middle - 1
            elif head is not None and self.key.accepts(head):
                low = signed.seq + 1
            else:
                bad, high = signed.seq, middle - 1
        if bad:
            rows = f"row {low} was" if low == bad else f"one of the rows {low} to {bad} was"
            self._report(
                low, ProblemKind.CHANGED, f"{rows} replaced and hashed anew: the signature of row {bad} fails"
            )
        return low if bad else 0

    def _classify(self) -> None:
        """Among the rows whose hash is wrong, find those that are whole but stand in another row's place."""
        for here, there in permutations([*self.suspects, *self.missing], 2):
            row = self.suspects.get(here)
            if row is None:
                continue
            moved = row.digest(there, row.previous) == row.hash
            other = self.suspects.get(there)
            if not moved and other is not None:
                moved = row.digest(there, other.previous) == other.hash
            if moved and self.problems.pop((here, ProblemKind.CHANGED), None):
                self.problems[here, ProblemKind.REORDERED] = f"row {here} is what was written as row {there}"
