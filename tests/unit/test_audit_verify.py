"""Every way to tamper with the record that we could think of, and what `verify` says to it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from component.base.audit import Audit, AuditKey, ProblemKind, Verification, verify
from component.base.audit_chain import audit_head_table, audit_table, link, row_hash
from component.base.store import Store, metadata

ROWS = 12


def copied(new: int | str, old: int) -> str:
    columns = "time, actor, action, subject, detail, previous, hash, signature"
    return f"INSERT INTO audit SELECT {new}, {columns} FROM audit WHERE seq={old}"


@dataclass
class Record:
    folder: Path
    key: AuditKey

    @property
    def head_file(self) -> Path:
        return self.folder / "audit.head"

    def open(self) -> tuple[Store, Audit]:
        store = Store("sqlite:///gate.db", self.folder)
        return store, Audit(store, self.key, self.head_file)

    def append(self, *subjects: str) -> None:
        store, audit = self.open()
        for subject in subjects:
            store.write_now(lambda c, s=subject: audit.append(c, actor="a", action="x.y", subject=s, detail={"s": s}))  # type: ignore[misc]
        store.close()

    def batch(self, *subjects: str) -> None:
        store, audit = self.open()
        store.write_now(
            lambda c: [audit.append(c, actor="a", action="x.y", subject=s, detail={"s": s}) for s in subjects]
        )
        store.close()

    def sql(self, *statements: str) -> None:
        connection = sqlite3.connect(self.folder / "gate.db")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def verify(self, head_file: bool = True) -> Verification:
        store, _ = self.open()
        try:
            return verify(store, self.key.public, self.head_file if head_file else None)
        finally:
            store.close()

    def found(self, head_file: bool = True) -> list[tuple[int, str]]:
        result = self.verify(head_file)
        assert result.ok == (not result.problems)
        return [(problem.seq, problem.kind.value) for problem in result.problems]

    def forge(self, first: int, last: int) -> None:
        """Change row `first` and hash everything anew up to `last`, as someone without the key can."""
        connection = sqlite3.connect(self.folder / "gate.db")
        connection.execute("UPDATE audit SET subject='forged' WHERE seq=?", (first,))
        columns = "seq, time, actor, action, subject, detail, previous, signature"
        rows = connection.execute(
            f"SELECT {columns} FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
        ).fetchall()
        previous = rows[0][6]
        for *content, _, signature in rows:
            digest = row_hash(*content, previous)  # type: ignore[call-arg]
            connection.execute("UPDATE audit SET previous=?, hash=? WHERE seq=?", (previous, digest, content[0]))
            previous = link(digest, signature)
        connection.commit()
        connection.close()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    store = Store("sqlite:///gate.db", tmp_path)
    store.write_now(lambda c: metadata.create_all(c, [audit_table, audit_head_table]))
    store.close()
    made = Record(tmp_path, AuditKey.open(tmp_path / "audit.key", create=True))
    made.append(*(f"s{number}" for number in range(1, ROWS + 1)))
    return made


def test_an_untouched_record(record: Record) -> None:
    result = record.verify()
    assert result.ok
    assert (result.rows, result.seq) == (ROWS, ROWS)
    assert result.hash == json.loads(record.head_file.read_text())["hash"]


@pytest.mark.parametrize(
    "assignment",
    [
        "time=time+1", "actor='b'", "action='x.z'", "subject=''", "detail='{}'", "detail=detail||' '",
        "previous=zeroblob(32)", "hash=zeroblob(32)", "signature=zeroblob(64)", "signature=NULL",
        "actor=x'fffe'", "subject=cast(x'ff' as text)", "time='soon'", "hash='text'", "previous=NULL", "time=1.5",
    ],
)  # fmt: skip
@pytest.mark.parametrize("seq", [1, 5, ROWS])
def test_any_changed_value_names_its_row(record: Record, assignment: str, seq: int) -> None:
    record.sql(
        "PRAGMA writable_schema=ON", "UPDATE sqlite_master SET sql=replace(sql,' NOT NULL','') WHERE name='audit'"
    )
    record.sql(f"UPDATE audit SET {assignment} WHERE seq={seq}")
    found = record.found()
    assert (seq, "changed") in found
    assert {number for number, _ in found} == {seq}
    assert record.found(head_file=False)


@pytest.mark.parametrize("seq", [1, 2, 6, ROWS - 1])
def test_removed(record: Record, seq: int) -> None:
    record.sql(f"DELETE FROM audit WHERE seq={seq}")
    assert record.found() == [(seq, "removed")]


def test_removed_range_and_two_places(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq IN (2,3,4,8)")
    assert record.found() == [(2, "removed"), (8, "removed")]
    assert "rows 2 to 4 are missing" in record.verify().problems[0].text


def test_removed_and_the_rest_renumbered(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq=5", "UPDATE audit SET seq=-seq WHERE seq>5")
    record.sql("UPDATE audit SET seq=-seq-1 WHERE seq<0")
    found = record.found()
    assert (5, "reordered") in found
    assert (ROWS, "cut-off") in found
    assert "row 5 is what was written as row 6" in {problem.text for problem in record.verify().problems}


@pytest.mark.parametrize(("one", "other"), [(3, 4), (2, 9), (1, ROWS)])
def test_reordered(record: Record, one: int, other: int) -> None:
    record.sql(f"UPDATE audit SET seq=-{one} WHERE seq={one}", f"UPDATE audit SET seq={one} WHERE seq={other}")
    record.sql(f"UPDATE audit SET seq={other} WHERE seq=-{one}")
    found = record.found()
    assert (one, "reordered") in found
    assert (other, "reordered") in found


def test_content_of_two_rows_swapped(record: Record) -> None:
    record.sql("UPDATE audit SET subject=(CASE seq WHEN 3 THEN 's7' ELSE 's3' END) WHERE seq IN (3,7)")
    assert [number for number, _ in record.found()] == [3, 7]


def test_tail_cut_off_is_named_by_the_head(record: Record) -> None:
    record.sql("DELETE FROM audit WHERE seq>9")
    found = record.found(head_file=False)
    assert found == [(10, "cut-off")]
    assert record.verify().problems[0].text.startswith("rows 10 to 12 are cut off")


def test_tail_cut_off_with_a_genuine_older_head(record: Record) -> None:
    """The whole database is an older copy of itself: only the head file knows."""
    copy = record.folder / "older.db"
    shutil.copy(record.folder / "gate.db", copy)
    record.append("s13", "s14")
    for path in record.folder.glob("gate.db*"):
        path.unlink()
    copy.rename(record.folder / "gate.db")
    assert record.found(head_file=False) == []
    assert record.found() == [(13, "cut-off")]
    assert "rows 13 to 14 are cut off" in record.verify().problems[0].text


def test_everything_deleted(record: Record) -> None:
    record.sql("DELETE FROM audit", "DELETE FROM audit_head")
    assert (1, "cut-off") in record.found()


def test_going_on_after_a_cut_keeps_the_evidence(record: Record) -> None:
    row9 = (
        sqlite3.connect(record.folder / "gate.db").execute("SELECT hash, signature FROM audit WHERE seq=9").fetchone()
    )
    record.sql("DELETE FROM audit WHERE seq>9")
    connection = sqlite3.connect(record.folder / "gate.db")
    connection.execute("UPDATE audit_head SET seq=9, hash=?, signature=?", row9)
    connection.commit()
    connection.close()
    assert record.found() == [(10, "cut-off")]
    record.append("new")
    store, _ = record.open()
    rows = store.read_now(lambda c: c.execute(audit_table.select().where(audit_table.c.seq >= 10)).all())
    store.close()
    assert [row.action for row in rows] == ["audit.mismatch", "x.y"]
    assert "rows 10 to 12 are cut off" in rows[0].detail
    record.append("s12", "s13", "s14")
    assert record.found() == [(12, "cut-off")]


@pytest.mark.parametrize("values", ["13", "40", "-5", "0"])
def test_inserted_copy(record: Record, values: str) -> None:
    record.sql(copied(values, 4))
    assert record.found() == [(int(values), "inserted")]


def test_inserted_between_by_renumbering(record: Record) -> None:
    record.sql("UPDATE audit SET seq=-seq-1 WHERE seq>5", "UPDATE audit SET seq=-seq WHERE seq<0")
    record.sql(copied(6, 5))
    reordered = [(seq, "reordered") for seq in range(7, ROWS + 1)]
    assert record.found() == [(6, "changed"), *reordered, (ROWS + 1, "inserted")]


@pytest.mark.parametrize("number", ["'x'", "2.5", "NULL"])
def test_a_number_that_is_none(record: Record, number: str) -> None:
    record.sql("CREATE TABLE other AS SELECT * FROM audit", "DROP TABLE audit", "ALTER TABLE other RENAME TO audit")
    record.sql(copied(number, 5))
    assert (0, "inserted") in record.found()


def test_duplicate_number(record: Record) -> None:
    record.sql("CREATE TABLE other AS SELECT * FROM audit", "DROP TABLE audit", "ALTER TABLE other RENAME TO audit")
    record.sql("INSERT INTO audit SELECT * FROM audit WHERE seq=5")
    assert record.found() == [(5, "inserted")]


@pytest.mark.parametrize(("first", "last"), [(4, 4), (4, 8), (4, ROWS), (1, ROWS), (ROWS, ROWS)])
def test_forged_with_fresh_hashes_but_without_the_key(record: Record, first: int, last: int) -> None:
    record.forge(first, last)
    assert (first, "changed") in record.found(head_file=False)


def test_forged_inside_a_batch_names_the_batch(record: Record) -> None:
    record.batch("b1", "b2", "b3")
    record.append("after")
    record.forge(14, 16)
    forged = [(14, "changed"), (16, "changed")]  # where the chain of the batch breaks, and the signature after it
    assert record.found(head_file=False) == record.found() == forged


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_head",
        "UPDATE audit_head SET seq=5",
        "UPDATE audit_head SET seq='x'",
        "UPDATE audit_head SET hash=zeroblob(32)",
        "UPDATE audit_head SET signature=zeroblob(64)",
        "UPDATE audit_head SET chain=zeroblob(16)",
        "UPDATE audit_head SET seq=5, hash=(SELECT hash FROM audit WHERE seq=5), "
        "signature=(SELECT signature FROM audit WHERE seq=5)",
    ],
)
def test_tampered_head_is_seen_and_does_not_stop_the_service(record: Record, statement: str) -> None:
    record.sql(statement)
    assert record.found()
    record.append("next", "and another")
    connection = sqlite3.connect(record.folder / "gate.db")
    actions = connection.execute("SELECT action FROM audit WHERE seq>? ORDER BY seq", (ROWS,)).fetchall()
    connection.close()
    assert actions == [("audit.mismatch",), ("x.y",), ("x.y",)]


def test_head_file_missing_forged_or_unreadable(record: Record) -> None:
    kept = record.head_file.read_text()
    record.head_file.unlink()
    assert record.found() == [(0, "head-file")]
    record.head_file.write_text("{}")
    assert (0, "head-file") in record.found()
    content = json.loads(kept)
    record.head_file.write_text(json.dumps({**content, "seq": 5}))
    assert (0, "head-file") in record.found()
    other = AuditKey.open(record.folder / "other.key", create=True)
    store, _ = record.open()
    assert not verify(store, other.public, None).ok
    store.close()


def test_rows_appended_after_a_crash_before_the_head_file(record: Record) -> None:
    kept = record.head_file.read_bytes()
    record.append("one", "two")
    record.head_file.write_bytes(kept)
    assert record.found() == []
    record.append("three")
    assert record.found() == []
    assert record.verify().seq == ROWS + 3


def test_crash_before_the_first_row(tmp_path: Path) -> None:
    store = Store("sqlite:///gate.db", tmp_path)
    store.write_now(lambda c: metadata.create_all(c, [audit_table, audit_head_table]))
    record = Record(tmp_path, AuditKey.open(tmp_path / "audit.key", create=True))
    assert record.found() == []
    audit = Audit(store, record.key, record.head_file)

    def killed(connection: object) -> None:
        audit.append(connection, actor="a", action="x.y", subject="s", detail={})  # type: ignore[arg-type]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write_now(killed)
    store.close()
    assert record.head_file.exists()
    assert record.found() == []
    record.append("s")
    assert record.found() == []


def test_a_forged_row_in_the_way_stops_one_change_only(record: Record) -> None:
    store, audit = record.open()
    append: Callable[[str], None] = lambda s: store.write_now(  # noqa: E731
        lambda c: audit.append(c, actor="a", action="x.y", subject=s, detail={})
    )
    append("13")
    record.sql(copied(14, 4))
    with pytest.raises(Exception, match="UNIQUE"):
        append("14")
    append("15")
    append("16")
    store.close()
    assert (14, "changed") in record.found()


def test_many_problems_are_bounded(record: Record) -> None:
    record.append(*(f"m{number}" for number in range(150)))
    record.sql("UPDATE audit SET actor='b'")
    result = record.verify()
    assert result.found >= ROWS + 150
    assert len(result.problems) <= 103


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seq=st.integers(1, ROWS),
    column=st.sampled_from(["time", "actor", "action", "subject", "detail", "previous", "hash", "signature"]),
    value=st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20), st.binary(max_size=64)),
)
def test_no_single_change_goes_unseen(record: Record, seq: int, column: str, value: int | str | bytes) -> None:
    database = record.folder / "gate.db"
    kept = database.read_bytes()
    try:
        connection = sqlite3.connect(database)
        before = connection.execute(f"SELECT {column} FROM audit WHERE seq=?", (seq,)).fetchone()[0]
        try:
            value.encode() if isinstance(value, str) else value
            connection.execute(f"UPDATE audit SET {column}=? WHERE seq=?", (value, seq))
        except UnicodeEncodeError:
            return
        after = connection.execute(f"SELECT {column} FROM audit WHERE seq=?", (seq,)).fetchone()[0]
        connection.commit()
        connection.close()
        if before == after and type(before) is type(after):
            return
        result = record.verify(head_file=False)
        assert not result.ok
        assert seq in {problem.seq for problem in result.problems}
    finally:
        for path in record.folder.glob("gate.db?*"):
            path.unlink()
        database.write_bytes(kept)


def test_kinds_are_words() -> None:
    assert {str(kind) for kind in ProblemKind} >= {"changed", "removed", "inserted", "reordered", "cut-off"}
