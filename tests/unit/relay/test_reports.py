"""What happens at the relay gets into the audit record, once, and never more than there is room for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from component.relay.policyapi import Away, BadAnswer, NotAllowed, PolicyApi
from component.relay.reports import BATCH_EVENTS, MAX_DETAIL, MAX_TEXT, Reports
from tests.unit.adminkit import Scene, scene
from tests.unit.fakeserver import Tasks
from tests.unit.relay.policykit import Clock, Proxy, until

MINUTE = 1_700_000_040.0  # one begins then


class Record:
    """Takes reports as the admin API does; a test says when it does not."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[dict[str, Any]]]] = []
        self.errors: list[Exception] = []
        self.attempts = 0

    async def report(self, batch: str, events: bytes) -> None:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append((batch, json.loads(events)))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, batch in self.batches for event in batch]

    def rows(self) -> list[tuple[str, str]]:
        return [(event["action"], event["subject"]) for event in self.events]


def reports(record: Any, clock: Clock | None = None, **settings: Any) -> Reports:
    numbers = iter(range(10**9))
    settings = {"gather": 0.001, "retry": (0.001,), "new_id": lambda: f"b{next(numbers)}", **settings}
    return Reports(record, clock=clock or Clock(MINUTE), **settings)


@contextlib.asynccontextmanager
async def running(told: Reports) -> AsyncIterator[None]:
    tasks = Tasks()
    tasks("reports", told.run())
    try:
        yield
    finally:
        await tasks.end()


async def test_events_come_in_order_and_together() -> None:
    record = Record()
    told = reports(record)
    async with running(told):
        for number in range(3):
            told.note("relay.authorized", f"partner{number}.test", {"by": "external", "number": number})
        assert told.waiting == 3
        await until(lambda: record.batches)
        assert record.batches == [
            ("b0", [
                {"time": MINUTE, "action": "relay.authorized", "subject": f"partner{number}.test",
                 "detail": {"by": "external", "number": number}}
                for number in range(3)
            ]),
        ]  # fmt: skip
        await until(lambda: told.waiting == 0)


async def test_refusals_are_told_at_once_and_then_counted_by_the_minute() -> None:
    clock, record = Clock(MINUTE), Record()
    told = reports(record, clock)
    for number in range(1000):
        told.refusal("rogue.test", f"cpe{number}@cpe.test", "dialback", "the key is not its own", "relay.stranger")
    told.refusal("rogue.test", "cpe1@cpe.test", "certificate", "it has expired", "relay.stranger")
    told.refusal("rogue.test", "isp.test", "dialback", "no")
    assert told.waiting == 3
    clock.now += 60
    async with running(told):
        await until(lambda: len(record.events) == 4)
    counted = record.events[3]
    assert counted["action"] == "relay.stranger.counted" and counted["subject"] == ""
    assert counted["detail"] == {
        "requester": "rogue.test", "rule": "dialback", "count": 999, "since": MINUTE, "until": MINUTE + 60,
        "last_subject": "cpe999@cpe.test",
    }  # fmt: skip
    assert record.rows()[:3] == [
        ("relay.stranger", "cpe0@cpe.test"), ("relay.stranger", "cpe1@cpe.test"), ("relay.refused", "isp.test"),
    ]  # fmt: skip


async def test_a_flood_of_strangers_makes_a_bounded_number_of_rows() -> None:
    record = Record()
    told = reports(record, max_pairs=16)
    for number in range(10_000):
        told.refusal(f"rogue{number}.test", "isp.test", "stranger", "no partner")
    await told.flush()
    kinds = Counter(action for action, _ in record.rows())
    assert kinds == {"relay.refused": 17, "relay.refused.counted": 1}
    assert record.events[-1]["detail"]["count"] == 10_000 - 17
    assert record.events[16]["detail"]["counted_as"] == "* stranger"


async def test_while_the_api_is_away_events_wait_and_none_is_recorded_twice() -> None:
    record = Record()
    record.errors = [Away("Nobody answers."), NotAllowed("No such token."), Away("Nobody answers.")]
    told = reports(record)
    async with running(told):
        told.note("relay.authorized", "one.test", {})
        await until(lambda: record.attempts >= 2)
        told.note("relay.authorized", "two.test", {})
        await until(lambda: told.waiting == 0)
    assert [batch for batch, _ in record.batches] == ["b0", "b1"]  # the same number until it was taken
    assert [subject for _, subject in record.rows()] == ["one.test", "two.test"] and told.lost == 0


@pytest.mark.parametrize("settings", [{"max_events": 10}, {"max_bytes": 900}])
async def test_what_does_not_fit_is_counted_and_the_count_is_recorded(settings: Any) -> None:
    record = Record()
    told = reports(record, **settings)
    for number in range(100):
        told.note("relay.authorized", "partner.test", {"number": number})
    kept = told.waiting
    assert 0 < kept <= 10 and told.lost == 100 - kept
    for number in range(100):  # refusals are counted beside it, without room
        told.refusal(f"rogue{number % 5}.test", "isp.test", "stranger", "no partner")
    assert told.waiting == kept
    await told.flush()
    assert [event["detail"]["number"] for event in record.events if event["action"] == "relay.authorized"] == list(
        range(kept)
    )
    lost = next(event for event in record.events if event["action"] == "relay.lost")
    assert lost["detail"]["events"] == 100 - kept
    counted = [event["detail"]["count"] for event in record.events if event["action"] == "relay.refused.counted"]
    assert sum(counted) == 100
    assert told.waiting == 0 and told._bytes == 0
    told.note("relay.authorized", "partner.test", {})
    assert told.waiting == 1


async def test_a_long_absence_fills_no_memory_with_counts() -> None:
    clock, record = Clock(MINUTE), Record()
    told = reports(record, clock, max_events=10)
    for _ in range(200):
        record.errors = [Away("Nobody answers.")]
        for number in range(50):
            told.refusal(f"rogue{number}.test", "isp.test", "stranger", "no partner")
        clock.now += 60
        with contextlib.suppress(Away):
            await told.flush()
    assert told.waiting < 200


async def test_what_the_api_refuses_is_counted_as_lost_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    record = Record()
    record.errors = [BadAnswer("It is not JSON.")]
    told = reports(record)
    async with running(told):
        told.note("relay.authorized", "one.test", {})
        await until(lambda: told.lost == 1)
        told.note("relay.authorized", "two.test", {})
        await until(lambda: len(record.events) == 2)
    assert sorted(record.rows()) == [("relay.authorized", "two.test"), ("relay.lost", "audit")]
    assert "refuses 1 events" in caplog.text


async def test_batches_are_bounded() -> None:
    record = Record()
    told = reports(record)
    for _ in range(2 * BATCH_EVENTS + 1):
        told.note("relay.authorized", "partner.test", {})
    await told.flush()
    assert [len(batch) for _, batch in record.batches] == [BATCH_EVENTS, BATCH_EVENTS, 1]


async def test_a_long_detail_is_cut_and_what_is_not_json_is_an_error() -> None:
    record = Record()
    told = reports(record)
    told.note("relay.authorized", "x" * 5000, {"text": "ü" * MAX_DETAIL})
    told.refusal("r" * 5000, "isp.test", "stranger", "w" * 5000)
    for wrong in (float("nan"), object()):
        with pytest.raises(ValueError, match="JSON"):
            told.note("relay.authorized", "partner.test", {"x": wrong})
    await told.flush()
    first, second = record.events[:2]
    assert len(first["subject"]) == MAX_TEXT and len(first["detail"]["cut"]) == MAX_DETAIL
    assert first["detail"]["length"] > MAX_DETAIL
    assert len(second["detail"]["requester"]) == len(second["detail"]["reason"]) == MAX_TEXT


async def test_the_end_hands_over_what_is_left_with_the_counts_of_the_minute() -> None:
    record = Record()
    told = reports(record, gather=60)
    async with running(told):
        told.note("relay.authorized", "partner.test", {})
        for _ in range(3):
            told.refusal("rogue.test", "isp.test", "stranger", "no partner")
        await asyncio.sleep(0)
    assert [action for action, _ in record.rows()] == ["relay.authorized", "relay.refused", "relay.refused.counted"]


async def test_the_end_does_not_wait_for_an_api_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    record = Record()
    record.errors = [Away("Nobody answers.")] * 1000
    told = reports(record)
    async with running(told):
        told.note("relay.authorized", "partner.test", {})
        await until(lambda: record.attempts > 2)
    assert "1 events that are not in the audit record" in caplog.text
    assert len([line for line in caplog.records if "trying again" in line.getMessage()]) == 1


# -- with the real API -----------------------------------------------------------------------------------------------


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running_scene:
        yield running_scene


async def test_reports_are_rows_of_the_record_also_when_the_api_was_killed_in_between(here: Scene) -> None:
    line = Proxy(here.folder / "line.sock", here.socket)
    await line.start()
    api = PolicyApi("edge", socket=line.path)
    told = Reports(api, gather=0.001, retry=(0.005,))
    async with running(told):
        told.note("relay.authorized", "one.test", {"by": "external"})
        await until(lambda: told.waiting == 0)
        line.hang()  # this one arrives, and its answer does not
        told.note("relay.authorized", "two.test", {})
        told.refusal("rogue.test", "isp.test", "stranger", "no partner")
        await until(lambda: told._in_flight)
        line.kill()
        line.go_on()
        told.note("relay.authorized", "three.test", {})
        await until(lambda: not told._works)
        await line.start()
        await until(lambda: told.waiting == 0)
    rows = [row for row in await here.actions() if row[0].startswith("relay:")]
    assert rows == [
        ("relay:edge", "relay.authorized", "one.test"),
        ("relay:edge", "relay.authorized", "two.test"),
        ("relay:edge", "relay.refused", "isp.test"),
        ("relay:edge", "relay.authorized", "three.test"),
    ]
    assert here.services.relays.reported == 4
    await api.close()
    line.kill()


async def test_an_answer_that_is_lost_makes_no_second_row(here: Scene) -> None:
    api = PolicyApi("edge", socket=here.socket)

    class Deaf:
        """The real API, whose first answer gets lost."""

        heard = False

        async def report(self, batch: str, events: bytes) -> None:
            await api.report(batch, events)
            if not self.heard:
                self.heard = True
                raise Away("The connection broke.")

    told = Reports(Deaf(), gather=0.001, retry=(0.001,))
    async with running(told):
        told.note("relay.authorized", "one.test", {})
        await until(lambda: told.waiting == 0)
    assert [row for row in await here.actions() if row[0] == "relay:edge"] == [
        ("relay:edge", "relay.authorized", "one.test")
    ]
    await api.close()
