"""The audit record as its users see it: what is recorded, when, and what a flood or a broken disk does to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, Table, insert, select

from component.base import audit as audit_module
from component.base.audit import Audit, AuditFilter, AuditKey, verify
from component.base.audit_chain import audit_head_table, audit_table
from component.base.audit_counts import MANY, RefusalCounts
from component.base.errors import Conflict, InputError
from component.base.store import DatabaseError, Store, metadata


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_020.0  # the start of a minute

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store("sqlite:///gate.db", tmp_path)
    opened.write_now(lambda c: metadata.create_all(c, [audit_table, audit_head_table]))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audit(store: Store, tmp_path: Path, clock: Clock) -> Audit:
    key = AuditKey.open(tmp_path / "audit.key", create=True)
    return Audit(store, key, tmp_path / "audit.head", clock=clock)


@contextlib.asynccontextmanager
async def running(audit: Audit) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.get_running_loop().create_task(audit.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def change(store: Store, audit: Audit, subject: str, actor: str = "unix:root") -> None:
    await store.write(
        lambda c: audit.append(c, actor=actor, action="rule.added", subject=subject, detail={"n": subject})
    )


def accepted(audit: Audit, device: str) -> None:
    audit.wake(actor="a@x", requester="a@x", device=device, outcome="accepted", rule="7", elapsed_ms=12)


async def test_a_change_and_its_row_are_one_transaction(store: Store, audit: Audit) -> None:
    await change(store, audit, "1")

    def fails(connection: object) -> None:
        audit.append(connection, actor="unix:root", action="rule.added", subject="2", detail={})  # type: ignore[arg-type]
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.write(fails)
    await change(store, audit, "3")
    assert [(row.seq, row.subject) for row in await audit.rows()] == [(1, "1"), (2, "3")]
    assert verify(store, audit.public_key, audit.head_file).ok


async def test_two_rows_in_one_transaction(store: Store, audit: Audit) -> None:
    def two(connection: object) -> None:
        for subject in "ab":
            audit.append(connection, actor="x", action="rule.added", subject=subject, detail={})  # type: ignore[arg-type]

    await store.write(two)
    await change(store, audit, "c")
    assert [row.subject for row in await audit.rows()] == ["a", "b", "c"]
    assert verify(store, audit.public_key, audit.head_file).ok


async def test_what_cannot_be_json_changes_nothing(store: Store, audit: Audit) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await store.write(lambda c: audit.append(c, actor="x", action="y", subject="z", detail={"n": float("nan")}))
    assert await audit.rows() == []


async def test_odd_text_survives(store: Store, audit: Audit) -> None:
    odd = "Müller\0\ud800\u202e'\"\n"
    await store.write(lambda c: audit.append(c, actor=odd, action="x.y", subject=odd, detail={odd: odd}))
    (row,) = await audit.rows()
    assert row.actor.startswith("Müller")
    assert verify(store, audit.public_key, audit.head_file).ok


async def test_wakes_are_written_by_run_in_order(audit: Audit, store: Store) -> None:
    rows = audit.follow()
    async with running(audit):
        for number in range(50):
            accepted(audit, f"d{number}")
        seen = [await anext(rows) for _ in range(50)]
    assert [row.subject for row in seen] == [f"d{number}" for number in range(50)]
    assert seen[0].action == "wake.accepted"
    assert seen[0].detail == {"elapsed_ms": 12, "outcome": "accepted", "requester": "a@x", "rule": "7"}
    await rows.aclose()  # type: ignore[attr-defined]


async def test_stopping_writes_what_is_left(audit: Audit, store: Store) -> None:
    async with running(audit):
        await asyncio.sleep(0)
        accepted(audit, "d1")
        for _ in range(5):
            audit.refusal("b@x", "d1", "none", "no rule")
    assert [(row.action, row.detail.get("count")) for row in await audit.rows()] == [
        ("wake.accepted", None),
        ("wake.denied", None),
        ("wake.denied.counted", 4),
    ]


async def test_refusals_first_at_once_then_counted_by_the_minute(audit: Audit, clock: Clock) -> None:
    rows = audit.follow()
    async with running(audit):
        audit.refusal("b@x", "d1", "none", "no rule allows it")
        first = await anext(rows)
        assert (first.action, first.actor, first.subject) == ("wake.denied", "b@x", "d1")
        assert first.detail["reason"] == "no rule allows it"
        for number in range(1000):
            audit.refusal("b@x", f"d{number}", "none", "no rule allows it")
        clock.now += 60
        accepted(audit, "d2")  # something that makes it look at the clock
        assert (await anext(rows)).action == "wake.accepted"
        counted = await anext(rows)
        assert counted.action == "wake.denied.counted"
        assert (counted.detail["count"], counted.subject, counted.detail["last_device"]) == (1000, "", "d999")
        audit.refusal("b@x", "d1", "none", "no rule allows it")  # goes on: no second first row
        await audit.flush()
        one = await anext(rows)  # of one device this time, though it was not the last one before
        assert (one.detail["count"], one.subject, one.detail["last_device"]) == (1, "d1", "d1")
        for _ in range(2):  # a silent minute, and it is forgotten
            clock.now += 60
            await audit.flush()
        audit.refusal("b@x", "d1", "none", "no rule allows it")
        assert (await anext(rows)).action == "wake.denied"
    await rows.aclose()  # type: ignore[attr-defined]


async def test_a_minute_ends_by_itself(audit: Audit, clock: Clock) -> None:
    clock.now += 59.99
    audit.refusal("b@x", "d1", "none", "no")
    audit.refusal("b@x", "d2", "none", "no")
    rows = audit.follow(after=0)
    async with running(audit):
        assert (await anext(rows)).action == "wake.denied"
        clock.now += 0.02
        assert (await anext(rows)).detail["count"] == 1
    await rows.aclose()  # type: ignore[attr-defined]


async def test_a_flood_of_addresses_makes_few_rows(audit: Audit) -> None:
    for number in range(20_000):
        audit.refusal(f"r{number}@x", "d", f"{number % 100}", "no")
    await audit.flush()
    rows = await audit.rows()
    assert len(rows) < 400
    firsts = sum(row.action == "wake.denied" for row in rows)
    counted = sum(row.detail["count"] for row in rows if row.action == "wake.denied.counted")
    assert firsts + counted == 20_000


async def test_notes_are_written_by_run_in_order_with_wakes(audit: Audit) -> None:
    rows = audit.follow()
    async with running(audit):
        accepted(audit, "d1")
        audit.note("soc1@grid.test", "node.registered", "soc1@grid.test", {"state": "pending", "groups": ["lab"]})
        accepted(audit, "d2")
        seen = [await anext(rows) for _ in range(3)]
    assert [row.action for row in seen] == ["wake.accepted", "node.registered", "wake.accepted"]
    assert (seen[1].actor, seen[1].detail) == ("soc1@grid.test", {"state": "pending", "groups": ["lab"]})
    await rows.aclose()  # type: ignore[attr-defined]


async def test_a_long_detail_of_a_note_is_cut(audit: Audit) -> None:
    audit.note("a@x", "item.read", "t", {"text": "x" * 1_000_000})
    await audit.settle()
    (row,) = await audit.rows()
    assert row.detail["length"] > 1_000_000
    assert len(row.detail["cut"]) == audit_module.MAX_DETAIL


async def test_notes_that_find_no_room_are_told_with_the_wakes(store: Store, tmp_path: Path) -> None:
    audit = Audit(store, AuditKey.open(tmp_path / "audit.key", create=True), tmp_path / "audit.head", max_queued=2)
    for number in range(5):
        audit.note("a@x", "item.read", f"{number}", {})
    await audit.settle()
    rows = await audit.rows()
    assert ([row.subject for row in rows], rows[-1].detail["rows"]) == (["0", "1", "audit"], 3)
    assert audit.lost == 3


async def test_a_note_that_cannot_be_json_is_refused(audit: Audit) -> None:
    with pytest.raises(ValueError, match="JSON"):
        audit.note("a@x", "item.read", "t", {"n": float("inf")})
    await audit.flush()
    assert await audit.rows() == []


async def test_refusals_of_other_actions_are_counted_by_themselves(audit: Audit, clock: Clock) -> None:
    for number in range(20_000):
        audit.refusal(f"r{number}@x", "d", "none", "no")  # the gate is flooded
    for _ in range(3):
        audit.refusal("soc1@grid.test", "IODEF-1.0", "none", "no right", action="grid.denied")
    audit.refusal("soc1@grid.test", "Other-1.0", "none", "no right", action="grid.denied")
    audit.refusal("soc1@grid.test", "d", "none", "no", action="".join(["wake.", "denied"]))
    await audit.flush()
    first, counted = await audit.rows(wanted=AuditFilter(action="grid."))
    assert (first.action, first.subject, first.actor) == ("grid.denied", "IODEF-1.0", "soc1@grid.test")
    assert (counted.action, counted.subject) == ("grid.denied.counted", "")
    assert (counted.detail["count"], counted.detail["last_subject"]) == (3, "Other-1.0")
    assert "last_device" not in counted.detail
    clock.now += 60
    audit.refusal("soc1@grid.test", "IODEF-1.0", "other", "no right", action="grid.denied")
    await audit.flush()
    rows = await audit.rows()
    assert len([row for row in rows if row.action == "wake.denied"]) < 200
    assert sum(row.detail["count"] for row in rows if row.action == "wake.denied.counted") > 19_800


def test_counts_with_a_requester_called_like_the_wild_card() -> None:
    counts = RefusalCounts(max_pairs=1, max_rules=1)
    assert counts.add(MANY, "d", "r") == (MANY, "r")
    assert counts.add("b", "d", "r") == (MANY, "r")
    assert counts.add("c", "d", "s") == (MANY, MANY)
    assert counts.add("c", "d", "s") is None
    counts.untold("b", "r")
    assert [(count.requester, count.rule, count.count) for count in counts.take(minute_over=True)] == [
        (MANY, "r", 1),
        (MANY, MANY, 1),
    ]
    for _ in range(2):
        assert counts.take(minute_over=True) == []
    assert counts.entries == {}
    assert counts.add("z", "d", "r") == ("z", "r")


async def test_a_database_that_cannot_be_written(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_module, "RETRY_SECONDS", (0.01,))
    key = AuditKey.open(tmp_path / "audit.key", create=True)
    audit = Audit(store, key, tmp_path / "audit.head", clock=clock, max_queued=10)
    await change(store, audit, "1")
    failed = asyncio.Event()
    real_write = store.write
    tries = 0

    async def full(work: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            failed.set()
        raise DatabaseError("The database cannot be written: database or disk is full.")

    with caplog.at_level(logging.WARNING):
        async with running(audit):
            monkeypatch.setattr(store, "write", full)
            accepted(audit, "d0")
            await failed.wait()
            for number in range(1, 26):
                accepted(audit, f"d{number}")
            audit.refusal("b@x", "d1", "none", "no")  # the queue is full: it is counted instead
            assert audit.lost == 15
            rows = audit.follow()
            monkeypatch.setattr(store, "write", real_write)
            seen = [await anext(rows) for _ in range(12)]
            accepted(audit, "d99")
            await anext(rows)
            await rows.aclose()  # type: ignore[attr-defined]
    assert [row.subject for row in seen] == [*(f"d{number}" for number in range(11)), "audit"]
    assert (seen[-1].action, seen[-1].detail["rows"]) == ("audit.lost", 15)
    (counted,) = await audit.rows(wanted=AuditFilter(action="wake.denied.counted"))
    assert counted.detail["count"] == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert verify(store, audit.public_key, audit.head_file).ok


async def test_filters_and_pages(store: Store, audit: Audit, clock: Clock) -> None:
    for number in range(5):
        clock.now += 1
        await change(store, audit, f"{number}", actor="token:ops" if number % 2 else "unix:root")
    assert [row.seq for row in await audit.rows(limit=2, after=2)] == [3, 4]
    assert [row.seq for row in await audit.rows(limit=2, newest=True)] == [4, 5]
    assert [row.seq for row in await audit.rows(wanted=AuditFilter(actor="token:ops"))] == [2, 4]
    assert [row.seq for row in await audit.rows(wanted=AuditFilter(subject="0", action="rule."))] == [1]
    assert await audit.rows(wanted=AuditFilter(action="rule")) == []
    window = AuditFilter(since=1_000_000_022.0, until=1_000_000_024.0)
    assert [row.seq for row in await audit.rows(wanted=window)] == [2, 3]


async def test_follow_skips_what_is_not_wanted_and_ends_cleanly(store: Store, audit: Audit) -> None:
    rows = audit.follow(after=0, wanted=AuditFilter(actor="token:ops"))
    waiting = asyncio.get_running_loop().create_task(anext(rows))  # type: ignore[arg-type]
    await change(store, audit, "1")
    await change(store, audit, "2", actor="token:ops")
    assert (await waiting).seq == 2
    await rows.aclose()  # type: ignore[attr-defined]
    await change(store, audit, "3")


async def test_the_key_is_private(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    with pytest.raises(InputError, match="cannot be used"):
        AuditKey.open(path)
    key = AuditKey.open(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(key)
    path.chmod(0o644)
    with pytest.raises(InputError, match="read by others"):
        AuditKey.open(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(InputError, match="private key"):
        AuditKey.open(path)


async def test_head_file_that_cannot_be_written_does_not_fail_the_change(
    store: Store, audit: Audit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await change(store, audit, "1")
    audit.head_file.unlink()
    audit.head_file.mkdir()  # root may write into a read-only folder, but not replace a folder by a file
    await change(store, audit, "2")
    await change(store, audit, "3")
    assert len([record for record in caplog.records if "head file" in record.message]) == 1
    audit.head_file.rmdir()
    await change(store, audit, "4")
    assert verify(store, audit.public_key, audit.head_file).ok


# -- the store ------------------------------------------------------------------------------------------------------

numbers = Table("numbers_of_this_test", metadata.__class__(), Column("n", Integer, primary_key=True))


async def test_store_reports_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("component.base.store.LOCK_PATIENCE_MS", 1)
    store = Store("sqlite:///x.db", tmp_path)
    await store.write(numbers.create)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="end that program"):
        await store.write(lambda c: c.execute(insert(numbers).values(n=1)))
    other.execute("COMMIT")
    other.close()
    await store.write(lambda c: c.execute(insert(numbers).values(n=1)))
    store.close()


async def test_store_reports_a_full_disk_and_recovers(tmp_path: Path) -> None:
    store = Store("sqlite:///x.db", tmp_path)
    await store.write(numbers.create)
    await store.write(lambda c: c.exec_driver_sql("CREATE TABLE blobs (b BLOB)"))
    pages = await store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=6").scalar())
    assert pages == 6
    with pytest.raises(DatabaseError, match="Make room"):
        await store.write(lambda c: c.exec_driver_sql("INSERT INTO blobs VALUES (zeroblob(1000000))"))
    await store.write(lambda c: c.execute(insert(numbers).values(n=1)))
    assert await store.read(lambda c: c.scalars(select(numbers.c.n)).all()) == [1]
    store.close()


async def test_store_makes_no_file_by_reading(tmp_path: Path) -> None:
    store = Store("sqlite:///missing.db", tmp_path)
    with pytest.raises(DatabaseError, match="no such file"):
        await store.read(lambda c: c.exec_driver_sql("SELECT 1").scalar())
    assert not (tmp_path / "missing.db").exists()
    store.close()
    with pytest.raises(DatabaseError, match="closed"):
        await store.read(lambda c: None)


async def test_store_file_is_private_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    store = Store("sqlite:///x.db", tmp_path)
    await store.write(numbers.create)
    assert [path.name for path in (tmp_path / "x.db", tmp_path / "x.db-wal") if path.stat().st_mode & 0o077] == []
    store.close()
    with pytest.raises(DatabaseError, match="cannot be created"):
        await Store("sqlite:///none/x.db", tmp_path).write(numbers.create)
    (tmp_path / "text.db").write_text("this is not a database at all, but it is long enough" * 20)
    with pytest.raises(DatabaseError, match="something else"):
        await Store("sqlite:///text.db", tmp_path).read(lambda c: c.exec_driver_sql("SELECT 1").scalar())


async def test_a_write_inside_a_write_is_refused(tmp_path: Path) -> None:
    store = Store("sqlite:///x.db", tmp_path)
    with pytest.raises(RuntimeError, match="inside"):
        await store.write(lambda _: store.write_now(lambda c: None))
    await store.write(numbers.create)
    with pytest.raises(Conflict, match="refused"):
        await store.write(lambda c: c.execute(insert(numbers), [{"n": 1}, {"n": 1}]))
    connections = []
    await store.write(connections.append)
    with pytest.raises(RuntimeError, match="after_commit"):
        store.after_commit(connections[0], lambda: None)
    store.close()


async def test_a_cancelled_write_still_happens_whole(tmp_path: Path) -> None:
    store = Store("sqlite:///x.db", tmp_path)
    await store.write(numbers.create)
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    told = []

    def work(connection: object) -> None:
        loop.call_soon_threadsafe(started.set)
        connection.execute(insert(numbers).values(n=1))  # type: ignore[attr-defined]
        store.after_commit(connection, lambda: told.append(1))  # type: ignore[arg-type]

    task = loop.create_task(store.write(work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.write(lambda c: None)
    assert await store.read(lambda c: c.scalars(select(numbers.c.n)).all()) == [1]
    assert told == [1]
    store.close()
