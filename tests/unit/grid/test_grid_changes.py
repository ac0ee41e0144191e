"""What happens to a registry when its caller goes away, when many change it at once, and when the database fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from component.base.errors import Conflict
from component.base.store import DatabaseError
from grid.access_rules import read_rules
from grid.model import Provider, Subscribed, Topic
from tests.unit.grid.registrykit import Registries, registries

SOC = "soc1@grid.test"


async def same(here: Registries) -> None:
    """Memory says what the database says."""
    assert await here.store.read(read_rules) == here.access.rules()
    before = set(here.topics.all()), here.topics.subscriptions(), here.topics.find("q")
    await here.topics.load()
    assert (set(here.topics.all()), here.topics.subscriptions(), here.topics.find("q")) == before


async def test_equal_changes_at_once_are_one(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        changes = await asyncio.gather(*(here.access.permit("root", SOC, "read", "T") for _ in range(10)))
        assert {change.data["rule"] for change in changes} == {1}
        made = await asyncio.gather(
            *(here.topics.add("root", Topic("", "Host", "1")) for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(each, Conflict) for each in made) == 4
        await asyncio.gather(*(here.topics.subscribe(SOC, "Host-1", Subscribed.PENDING) for _ in range(5)))
        await asyncio.gather(*(here.topics.enroll(Provider(SOC, "Host-1", ("q",))) for _ in range(5)))
        rows = [row for row in await here.actions() if row[0] != "system:start"]
        assert [action for _, action, _ in rows] == [
            "access.permitted", "topic.added", "topic.pending", "topic.enrolled",
        ]  # fmt: skip
        await same(here)


async def test_who_goes_away_in_the_middle_leaves_no_half(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        for number in range(30):
            work = asyncio.gather(
                here.access.permit("root", SOC, "read", f"T{number}"),
                here.topics.add("root", Topic(f"N{number}", "")),
                return_exceptions=True,
            )
            for _ in range(number):
                await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        await here.access.permit("root", SOC, "read", "last")
        await same(here)


async def test_a_database_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    async with registries(tmp_path) as here:
        await here.access.permit("root", SOC, "read", "T")
        epoch = here.epochs.current
        hidden = tmp_path / "hidden.db"
        (tmp_path / "grid.db").rename(hidden)
        with pytest.raises(DatabaseError):
            await here.access.permit("root", SOC, "read", "U")
        with pytest.raises(DatabaseError):
            await here.topics.disable("root", "IODEF-1.0")
        hidden.rename(tmp_path / "grid.db")
        assert here.epochs.current == epoch and here.topics.known("IODEF-1.0").enabled
        assert [rule.topic for rule in here.access.rules()] == ["T"]
        assert (await here.access.permit("root", SOC, "read", "U")).epoch == epoch + 1
        await here.topics.disable("root", "IODEF-1.0")
        await same(here)


async def test_an_epoch_is_used_once(tmp_path: Path) -> None:
    heard: list[int] = []

    async with registries(tmp_path) as here:

        async def listener(change: object) -> None:
            heard.append(change.epoch)  # type: ignore[attr-defined]

        here.access.listeners.append(listener)
        here.topics.listeners.append(listener)
        here.topics.member_listeners.append(listener)
        await asyncio.gather(
            here.access.permit("root", SOC, "read", "T"),
            here.topics.add("root", Topic("N", "")),
            here.topics.subscribe(SOC, "IODEF-1.0", Subscribed.SUBSCRIBED),
            here.topics.enroll(Provider(SOC, "IODEF-1.0")),
            here.access.forbid("root", SOC, "read", "T"),
        )
        assert sorted(heard) == list(range(2, 7)) and here.epochs.current == 6
