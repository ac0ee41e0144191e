"""What the gate decides for the in-server plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.base.enforcement import Decision, NoDecision
from component.base.jid import prepare
from component.base.pluginstatus import PluginMode
from component.gate.decider import PolicyDecider, mode_recorder
from component.gate.rules import Effect
from tests.unit.fakeserver import Tasks
from tests.unit.gatekit import Kit, csv_of, opened

ENFORCE = PluginMode.ENFORCE
DEVICE = prepare("cpe1@cpe.test/tr069")


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as opened_kit:
        await opened_kit.import_text(csv_of([("D1", DEVICE.full, "lab")]))
        yield opened_kit


def decider(kit: Kit, observed: list[tuple[str, str]] | None = None) -> PolicyDecider:
    def observe(requester: str, device: str) -> None:
        if observed is not None:
            observed.append((requester, device))

    return PolicyDecider(kit.policy, kit.audit, observe=observe, clock=kit.clock)


async def test_a_decision_is_that_of_the_policy_with_its_number_and_end(kit: Kit) -> None:
    end = kit.clock.now + 60
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "group:lab", expires=end)
    reason = "rule 1 allows every resource of acs@acs.test to wake group:lab"
    found = decider(kit)(prepare("acs@acs.test/r"), DEVICE, ENFORCE)
    assert found == Decision(True, True, "1", reason, kit.policy.epoch, end)


async def test_a_rule_for_one_resource_makes_decisions_count_for_one(kit: Kit) -> None:
    decide = decider(kit)
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "D1")
    await kit.policy.suspend("unix:test", "acs@acs.test/old")
    for resource, allowed in (("old", False), ("new", True)):
        found = decide(prepare(f"acs@acs.test/{resource}"), DEVICE, ENFORCE)
        assert (found.allowed, found.every_resource) == (allowed, False)
    await kit.policy.resume("unix:test", "acs@acs.test/old")
    assert decide(prepare("acs@acs.test/old"), DEVICE, ENFORCE).every_resource


async def test_refusals_are_recorded_and_those_for_want_of_a_rule_observed(kit: Kit) -> None:
    observed: list[tuple[str, str]] = []
    decide = decider(kit, observed)
    await kit.policy.add_rule("unix:test", Effect.DENY, "bad@acs.test", "all")
    for requester, device in (("new@acs.test/r", DEVICE), ("bad@acs.test", DEVICE), ("new@acs.test", "no@cpe.test")):
        assert not decide(prepare(requester), prepare(str(device)), ENFORCE).allowed
    assert observed == [("new@acs.test", "D1")]
    await kit.audit.flush()
    rows = [(row.actor, row.action, row.subject) for row in await kit.audit.rows()]
    assert ("new@acs.test", "wake.denied", "D1") in rows and ("bad@acs.test", "wake.denied", "D1") in rows


async def test_what_was_permitted_and_what_was_let_through_stands_in_the_record(kit: Kit) -> None:
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "D1")
    decide = decider(kit)
    for resource in ("r", "s", "t"):  # resources cost nothing, and must not fill the record
        decide(prepare(f"acs@acs.test/{resource}"), DEVICE, ENFORCE)
    decide(prepare("new@acs.test/r"), DEVICE, PluginMode.LOG_ONLY)
    kit.clock.now += 60
    decide(prepare("acs@acs.test/u"), DEVICE, ENFORCE)
    await kit.audit.flush()
    found = [row for row in await kit.audit.rows() if row.action.startswith("wake.")]
    assert [(row.actor, row.action, row.subject, row.detail["rule"]) for row in found] == [
        ("acs@acs.test/r", "wake.permitted", "D1", "1"),
        ("new@acs.test", "wake.denied", "D1", "log-only:none"),
        ("acs@acs.test/u", "wake.permitted", "D1", "1"),
    ]


async def test_the_mode_of_a_plugin_is_recorded_when_it_changes(kit: Kit) -> None:
    tasks = Tasks()
    record = mode_recorder(kit.audit, kit.store, tasks)
    for mode, before in (
        (ENFORCE, PluginMode.UNKNOWN), (PluginMode.ABSENT, PluginMode.UNKNOWN), (PluginMode.BYPASS, ENFORCE),
        (ENFORCE, PluginMode.BYPASS), (PluginMode.ABSENT, ENFORCE), (PluginMode.LOG_ONLY, PluginMode.UNKNOWN),
    ):  # fmt: skip
        record("cpe.test", mode, before)
        await tasks.done()
    found = [row for row in await kit.audit.rows() if row.action == "plugin.mode"]
    assert [(row.actor, row.subject, row.detail["before"], row.detail["mode"]) for row in found] == [
        ("plugin", "cpe.test", "enforce", "bypass"), ("plugin", "cpe.test", "bypass", "enforce"),
        ("plugin", "cpe.test", "enforce", "absent"), ("plugin", "cpe.test", "unknown", "log-only"),
    ]  # fmt: skip


async def test_an_unregistered_device_can_be_reached_by_those_who_may_reach_all(kit: Kit) -> None:
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "all")
    assert decider(kit)(prepare("acs@acs.test"), prepare("new@cpe.test/r"), ENFORCE).allowed


async def test_while_memory_may_differ_from_the_database_nothing_is_decided(kit: Kit) -> None:
    kit.policy.changes.available = False
    with pytest.raises(NoDecision):
        decider(kit)(prepare("acs@acs.test"), DEVICE, ENFORCE)
