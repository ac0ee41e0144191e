"""The audit record: who changed what, who woke whom, who was refused.

There are two ways in. A change is recorded by `Audit.append` in the transaction that makes it, so there is never one
without the other. What happens on the wire is told with `Audit.note`, `Audit.wake` and `Audit.refusal`, which never
block; `Audit.run` writes it within 50 ms. Both end in the hash chain of `component.base.audit_chain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from component.base.audit_chain import (
    MICROSECONDS,
    AuditKey,
    AuditPublicKey,
    canonical_detail,
    clean,
)
from component.base.audit_counts import MANY, MAX_PAIRS, Count, RefusalCounts
from component.base.audit_read import AuditFilter, AuditRow, last_seq, read_page
from component.base.audit_verify import Problem, ProblemKind, Verification, verify
from component.base.audit_writer import ChainWriter, Entry
from component.base.errors import StanzagateError
from component.base.store import Store

__all__ = [
    "Audit", "AuditFilter", "AuditKey", "AuditPublicKey", "AuditRow", "Problem", "ProblemKind", "Verification",
    "verify",
]  # fmt: skip

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.02
"""How long `run` gathers before it writes; with the write itself it stays below the 50 ms of the contract."""

MINUTE_SECONDS = 60
MAX_QUEUED = 20_000
"""Rows that wait for a database that cannot be written; more are lost, and their number is recorded."""

MAX_BATCH = 2_000
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MAX_TEXT = 4_096
MAX_DETAIL = 16_384
"""Characters of a detail that `Audit.note` takes; a longer one is cut, so that strangers fill no disk."""

WAKE_DENIED = "wake.denied"


@dataclass
class _Follower:
    loop: asyncio.AbstractEventLoop
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Audit:
    """The audit record of a deployment. There is one in the one process that writes.

    :param store: where the rows go.
    :param key: signs the head of the chain.
    :param head_file: the signed head outside the database; its folder must be writable.
    :param clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        key: AuditKey,
        head_file: Path,
        *,
        clock: Callable[[], float] = time.time,
        max_queued: int = MAX_QUEUED,
        max_pairs: int = MAX_PAIRS,
    ) -> None:
        self.head_file = head_file
        self.public_key = key.public
        self.lost = 0
        """Wakes and notes of this process that are in no row; for the metrics."""
        self._store = store
        self._clock = clock
        self._writer = ChainWriter(store, key, head_file, self._announce)
        self._max_queued = max_queued
        self._queue: deque[Entry] = deque()
        self._max_pairs = max_pairs
        self._counts = {WAKE_DENIED: RefusalCounts(max_pairs)}
        self._wakes = self._counts[WAKE_DENIED].entries  # without a look-up, for a flood at the gate
        self._minute = int(clock() // MINUTE_SECONDS)
        self._minute_started = clock()
        self._unrecorded = 0
        self._in_flight: list[Entry] = []  # replaced on the loop when empty, emptied on the writer's thread
        self._flushing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._writable = True
        self._followers: list[_Follower] = []

    # -- changes ---------------------------------------------------------------------------------------------------

    def append(
        self, connection: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any]
    ) -> None:
        """Record a change in the transaction that makes it. Call it inside `Store.write`, in no savepoint.

        :param actor: who did it: ``unix:root``, ``token:ops``, a requester's JID.
        :param action: what was done, a word for the noun and one in the past tense: ``rule.added``.
        :param subject: to what: a device's id, a requester, a rule's id.
        :param detail: everything else that a reader needs; JSON, no secrets.
        :raises ValueError: when the detail is not JSON.
        """
        self._writer.append(connection, [self._entry(actor, action, subject, detail)])

    # -- what happens on the wire ----------------------------------------------------------------------------------

    def note(self, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Record something that happened. Never blocks; `run` writes it within 50 ms.

        What a stranger can make happen as often as he likes belongs into `refusal`, which counts.

        :param actor: who did it.
        :param action: as in `append`.
        :param subject: to what.
        :param detail: everything else that a reader needs; JSON, no secrets. More than `MAX_DETAIL` characters of it
            are cut.
        :raises ValueError: when the detail is not JSON.
        """
        if len(self._queue) >= self._max_queued:
            self._unrecorded += 1
            self.lost += 1
            return
        self._queue.append(_cut(self._entry(actor, action, subject, detail)))
        self._wanted.set()

    def wake(self, *, actor: str, requester: str, device: str, outcome: str, rule: str, elapsed_ms: int) -> None:
        """Record a connection request that was let through. Never blocks; `run` writes it within 50 ms.

        :param actor: on whose authority: the requester, or the operator who said `wake`.
        :param device: the device's id, or its JID when it has none.
        """
        detail = {"requester": requester[:MAX_TEXT], "outcome": outcome, "rule": rule, "elapsed_ms": elapsed_ms}
        self.note(actor, f"wake.{outcome}", device, detail)

    def refusal(self, requester: str, subject: str, rule: str, reason: str, action: str = WAKE_DENIED) -> None:
        """Record a request that was refused. Never blocks, about a tenth of a microsecond.

        The first of an (action, requester, rule) is written within 50 ms; those that follow are counted and written
        once a minute, as ``ACTION.counted``. See `component.base.audit_counts` for the bounds, which hold for each
        action by itself: a flood at the gate hides no requester of the grid.

        :param requester: best the bare JID, so that resources do not multiply the keys.
        :param subject: what was asked for: the device, the topic.
        :param action: a word of the program, never of a requester: ``wake.denied``, ``grid.denied``.
        """
        entry = (self._wakes if action is WAKE_DENIED else self._counts_of(action).entries).get((requester, rule))
        if entry is not None:
            if entry[1] != subject:
                entry[3] = entry[3] or entry[0] > 0
                entry[1] = subject
            entry[0] += 1
        else:
            self._first_refusal(requester, subject, rule, reason, action)

    def _first_refusal(self, requester: str, subject: str, rule: str, reason: str, action: str) -> None:
        counts = self._counts.get(action) or self._counts_of(action)
        key = counts.add(requester, subject, rule)
        if key is None:
            return
        if len(self._queue) >= self._max_queued:
            counts.untold(requester, rule)
            return
        detail = {"requester": requester[:MAX_TEXT], "rule": rule, "reason": reason[:MAX_TEXT]}
        if key[0] == MANY:
            detail["counted_as"] = f"{key[0]} {key[1]}"
        self._queue.append(self._entry(requester, action, subject, detail))
        self._wanted.set()

    def _counts_of(self, action: str) -> RefusalCounts:
        return self._counts.get(action) or self._counts.setdefault(action, RefusalCounts(self._max_pairs))

    def _entry(self, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> Entry:
        when = round(self._clock() * MICROSECONDS)
        return Entry(when, clean(actor[:MAX_TEXT]), action, clean(subject[:MAX_TEXT]), canonical_detail(detail))

    # -- writing it ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what `note`, `wake` and `refusal` record, until cancelled; then write what is left.

        While the database cannot be written it goes on trying, says so once, and loses rows only when the queue is
        full; how many is recorded as soon as it can be.
        """
        failures = 0
        try:
            while True:
                if not failures:
                    await self._something_to_do()
                await asyncio.sleep(
                    RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1] if failures else BATCH_SECONDS
                )
                self._wanted.clear()
                failures = 0 if await self._attempt() else failures + 1
        finally:
            await self._finish()

    async def _something_to_do(self) -> None:
        left = (self._minute + 1) * MINUTE_SECONDS - self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(left, 0.0), MINUTE_SECONDS)):
                await self._wanted.wait()

    async def _attempt(self) -> bool:
        try:
            await self._write_out(partial_counts=False)
        except StanzagateError as error:
            if self._writable:
                log.error("the audit record cannot be written; trying again until it can: %s", error)
            self._writable = False
            return False
        if not self._writable:
            log.warning("the audit record can be written again")
        self._writable = True
        return True

    async def _finish(self) -> None:
        try:
            await self.flush()
        except StanzagateError as error:
            left = len(self._queue) + len(self._in_flight)
            log.error("stopping with %d rows that are not in the audit record: %s", left, error)

    async def flush(self) -> None:
        """Return when everything recorded so far is on disk, the counts of the minute under way included.

        :raises DatabaseError: when the database cannot be written; nothing is lost by that.
        """
        await self._write_out(partial_counts=True)

    async def settle(self) -> None:
        """Return when every note, wake and first refusal recorded so far is on disk; counts wait for their minute.

        :raises DatabaseError: when the database cannot be written; nothing is lost by that.
        """
        await self._write_out(partial_counts=False)

    async def _write_out(self, *, partial_counts: bool) -> None:
        async with self._flushing:
            if self._in_flight:
                await self._store.write(self._write_in_flight)
            batches = 1 + len(self._queue) // MAX_BATCH  # what comes in meanwhile is for the next call
            for _ in range(batches):
                self._in_flight = self._take(partial_counts)
                if self._in_flight:
                    await self._store.write(self._write_in_flight)

    def _take(self, partial_counts: bool) -> list[Entry]:
        entries = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        now = self._clock()
        minute_over = int(now // MINUTE_SECONDS) != self._minute
        if minute_over or partial_counts:
            for action, counts in self._counts.items():
                taken = counts.take(minute_over=minute_over)
                entries += [self._counted(action, count, self._minute_started, now) for count in taken]
            self._minute_started = now
        self._minute = int(now // MINUTE_SECONDS)
        if self._unrecorded:
            detail = {"rows": self._unrecorded, "reason": "the database could not be written in time"}
            entries.append(self._entry("stanzagate", "audit.lost", "audit", detail))
            self._unrecorded = 0
        return entries

    def _counted(self, action: str, count: Count, since: float, until: float) -> Entry:
        last = "last_device" if action == WAKE_DENIED else "last_subject"
        detail = {
            "requester": count.requester[:MAX_TEXT], "rule": count.rule, "count": count.count,
            "since": round(since, 3), "until": round(until, 3), last: count.subject[:MAX_TEXT],
        }  # fmt: skip
        subject = "" if count.several else count.subject
        return self._entry(count.requester, f"{action}.counted", subject, detail)

    def _write_in_flight(self, connection: Connection) -> None:
        # Runs on the writer's thread, after whatever an earlier, cancelled caller began: it may be done already.
        if self._in_flight:
            self._writer.append(connection, self._in_flight)
            self._store.after_commit(connection, self._landed)

    def _landed(self) -> None:
        self._in_flight = []

    # -- reading it ------------------------------------------------------------------------------------------------

    async def rows(
        self, *, after: int = 0, limit: int = 1000, wanted: AuditFilter | None = None, newest: bool = False
    ) -> list[AuditRow]:
        """A page of the record, in order.

        :param after: the seq after which to begin; the last one of a page gives the next page.
        :param newest: the last `limit` rows instead of the first.
        """
        page = await self._store.read(lambda connection: read_page(connection, after, limit, wanted, newest))
        return page.rows

    async def follow(self, *, after: int | None = None, wanted: AuditFilter | None = None) -> AsyncIterator[AuditRow]:
        """Every row after `after` (default: from now on), as they are committed. Ends when the caller stops.

        The database is read only when something was appended.
        """
        follower = _Follower(asyncio.get_running_loop())
        self._followers.append(follower)
        try:
            if after is None:
                after = await self._store.read(last_seq)
            while True:
                follower.news.clear()
                position = after
                page = await self._store.read(lambda connection: read_page(connection, position, 1000, wanted, False))  # noqa: B023
                for row in page.rows:
                    yield row
                if page.reached == after:
                    await follower.news.wait()
                after = page.reached
        finally:
            self._followers.remove(follower)

    def _announce(self) -> None:
        for follower in tuple(self._followers):
            with contextlib.suppress(RuntimeError):  # its loop has ended
                follower.loop.call_soon_threadsafe(follower.news.set)


def _cut(entry: Entry) -> Entry:
    """The same row, with what there is room for of its detail."""
    if len(entry.detail) <= MAX_DETAIL:
        return entry
    return entry._replace(detail=canonical_detail({"cut": entry.detail[:MAX_DETAIL], "length": len(entry.detail)}))
