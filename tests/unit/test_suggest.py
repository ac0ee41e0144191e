"""Rules proposed from what was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.gate.rules import Effect
from component.gate.suggest import MOST_REQUESTERS, Observations

from .gatekit import Kit, csv_of, opened


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as kit:
        lab = [(f"L{i}", f"l{i}@cpe.test/r", "lab;all10") for i in range(5)]
        rest = [(f"R{i}", f"r{i}@cpe.test/r", "rest;all10") for i in range(5)]
        await kit.import_text(csv_of(lab + rest))
        yield kit


async def test_a_group_is_proposed_for_most_of_it_else_single_devices(kit: Kit) -> None:
    seen = Observations(kit.store)
    for device in ("L0", "L1", "L2", "L3", "R0", "L3", "gone"):
        seen.observe("acs@acs.test", device)
    found = seen.suggest(kit.policy)
    assert [(item.target, item.seen, item.devices) for item in found] == [("group:lab", 4, 5), ("R0", 1, 1)]
    assert found[0].command == "stanzagate jid allow acs@acs.test --to group:lab"


async def test_what_is_allowed_or_denied_meanwhile_is_not_proposed(kit: Kit) -> None:
    seen = Observations(kit.store)
    for device in ("L0", "L1", "R0"):
        seen.observe("acs@acs.test", device)
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "L0")
    await kit.policy.add_rule("unix:test", Effect.DENY, "acs@acs.test", "R0")
    assert [item.target for item in seen.suggest(kit.policy)] == ["L1"]


async def test_observations_survive_a_restart_and_can_be_forgotten(kit: Kit) -> None:
    seen = Observations(kit.store)
    seen.observe("a@acs.test", "L0")
    seen.observe("a@acs.test", "L0")
    await seen.flush()
    again = Observations(kit.store)
    await again.load()
    again.observe("a@acs.test", "L0")
    again.observe("a@acs.test", "L1")
    await again.flush()
    assert [item.target for item in again.suggest(kit.policy)] == ["L0", "L1"]
    await again.forget()
    assert again.suggest(kit.policy) == []


async def test_strangers_do_not_fill_the_memory_and_commands_are_quoted(kit: Kit) -> None:
    seen = Observations(kit.store)
    seen.observe("it's@acs.test", "L0")
    for number in range(MOST_REQUESTERS + 10):
        seen.observe(f"s{number}@acs.test", "gone")
    assert seen.ignored == 11
    assert [item.command for item in seen.suggest(kit.policy)] == [
        "stanzagate jid allow 'it'\"'\"'s@acs.test' --to L0"
    ]
