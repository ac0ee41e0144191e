"""The registry of nodes: who becomes what, who is told, and what is left on disk."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlalchemy import delete

from component.base.enforcement import NotConfirmed
from component.base.errors import Conflict, InputError, NotFound
from component.base.store import DatabaseError
from grid.accounts import NodeChange
from grid.accounts_rows import clearance_from, node_table
from grid.errors import Refusal
from grid.model import Action, Clearance, Credential, NodeState, Right

from .nodekit import NOW, certified, node_ca, world

SOC1 = "soc1@grid.test"
NOBODY = Credential("SCRAM-SHA-1")


def condition(caught: pytest.ExceptionInfo[Refusal]) -> tuple[str, str]:
    return caught.value.kind, caught.value.condition


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.iterdir() if text in path.read_bytes()]


async def test_a_node_registers_is_approved_and_may_not_register_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first = await here.accounts.register(SOC1, NOBODY)
        assert (first.state, first.since, first.account) == (NodeState.PENDING, NOW, False)
        assert (await here.accounts.register(SOC1, NOBODY)).state is NodeState.PENDING
        change = await here.accounts.approve("unix:root", SOC1, groups=["lab", "sensors", "lab"])
        assert change.summary == f"{SOC1} is approved and put into groups lab, sensors."
        node = here.accounts.get(SOC1)
        assert node is not None
        assert (node.state, node.groups, node.account) == (NodeState.ACTIVE, ("lab", "sensors"), True)
        with pytest.raises(Refusal) as caught:
            await here.accounts.register(SOC1, NOBODY)
        assert condition(caught) == ("cancel", "conflict")
        assert [item.after and item.after.state for item in here.told] == ["pending", "active"]
        assert await here.actions() == [("node.registered", SOC1), ("node.approved", SOC1)]


async def test_the_first_request_of_whatever_kind_makes_it_pending(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        met = await here.accounts.met(SOC1, NOBODY)
        assert met is not None and met.state is NodeState.PENDING
        assert await here.accounts.met(SOC1, NOBODY) == met
        assert len(here.told) == 1
        assert (await here.accounts.register(SOC1, NOBODY)).state is NodeState.PENDING


@pytest.mark.parametrize("jid", ["a@elsewhere.test", "grid.test", "a@sub.grid.test", "a@grid.test.evil.test"])
async def test_other_domains_are_none_of_our_business(tmp_path: Path, jid: str) -> None:
    async with world(tmp_path) as here:
        assert await here.accounts.met(jid, NOBODY) is None
        with pytest.raises(Refusal) as caught:
            await here.accounts.register(jid, NOBODY)
        assert condition(caught) == ("auth", "forbidden")
        with pytest.raises(InputError):
            await here.accounts.add("unix:root", jid)
        assert list(here.accounts.all()) == []


async def test_a_node_of_a_federated_domain_has_no_account_here_and_the_plugin_is_not_told(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", "siem@partner.test")
        await here.accounts.add("unix:root", SOC1)
        node = here.accounts.get("siem@partner.test")
        assert node is not None and node.state is NodeState.ACTIVE and not node.account
        assert [jid for _, jid, _, _ in here.accounts.changes_since(0)] == [SOC1]
        with pytest.raises(InputError, match="has no account here"):
            await here.accounts.add("unix:root", "b@partner.test", password="x")


async def test_who_was_admitted_registers_once(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1, groups=["lab"], clearance="need-to-know", reason="asked by mail")
        assert not here.accounts.has_registered(SOC1)
        node = await here.accounts.register(SOC1, NOBODY)
        assert (node.state, node.groups, node.clearance) == (NodeState.ACTIVE, ("lab",), Clearance.AMBER)
        assert here.accounts.has_registered(SOC1)
        with pytest.raises(Refusal):
            await here.accounts.register(SOC1, NOBODY)
        with pytest.raises(Conflict, match="known already and active"):
            await here.accounts.add("unix:root", SOC1)


async def test_adding_one_that_waits_lets_it_in(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, NOBODY)
        await here.accounts.group_add("a", SOC1, "lab")
        await here.accounts.clear("a", SOC1, "white")
        tried = await here.accounts.add("a", SOC1, groups=["ops"], password="sesam", dry_run=True)
        assert tried.summary == f"{SOC1} would be admitted and put into group ops. It had been waiting."
        assert here.accounts.get(SOC1) in list(here.accounts.all(NodeState.PENDING))
        told = await here.accounts.add("a", SOC1, groups=["ops"], password="sesam", reason="known")
        assert told.summary == f"{SOC1} is admitted and put into group ops. It had been waiting."
        node = here.accounts.get(SOC1)
        assert node is not None and node.account
        assert (node.state, node.groups, node.reason) == (NodeState.ACTIVE, ("lab", "ops"), "known")
        assert node.clearance is Clearance.WHITE and here.told[-1].password == "sesam"
        with pytest.raises(Refusal):
            await here.accounts.register(SOC1, NOBODY)  # it has registered itself before
        await here.accounts.disable("a", SOC1)
        with pytest.raises(Conflict, match="known already and disabled"):
            await here.accounts.add("a", SOC1)


async def test_one_that_was_only_met_is_admitted_and_may_register_then(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.met(SOC1, NOBODY)
        await here.accounts.add("a", SOC1, clearance="red")
        node = await here.accounts.register(SOC1, NOBODY)
        assert (node.state, node.clearance) == (NodeState.ACTIVE, Clearance.RED)


async def test_asking_again_while_it_waits_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first = await here.accounts.register(SOC1, NOBODY)
        before = here.epochs.current, await here.actions(), len(here.told)
        assert await here.accounts.register(SOC1, NOBODY) == first
        assert await here.accounts.met(SOC1, NOBODY) == first
        assert (here.epochs.current, await here.actions(), len(here.told)) == before


async def test_what_becomes_of_the_account_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for jid in (SOC1, "soc2@grid.test", "x@partner.test"):
            await here.accounts.add("a", jid)
        await here.accounts.note_account("soc2@grid.test", False)
        await here.accounts.register("soc3@grid.test", NOBODY)
        told = [await here.accounts.delete("a", node.jid, dry_run=True) for node in here.accounts.all()]
        assert [change.summary for change in told] == [
            f"{SOC1} would be deleted.",
            "soc2@grid.test would be deleted. "
            "Its account on the server stays, with its password: it was not made here.",
            "soc3@grid.test would be deleted. If it has an account on the server, that stays: it was not made here.",
            "x@partner.test would be deleted.",
        ]
        rejected = await here.accounts.reject("a", "soc3@grid.test")
        assert rejected.summary.startswith("soc3@grid.test is rejected. If it has an account")


async def test_a_password_is_handed_on_and_kept_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1, password="correct horse")
        assert here.told[0].password == "correct horse"
        assert "correct horse" not in repr(here.told[0])
        assert "correct horse" not in str([row.detail for row in await here.audit.rows()])
    assert not files_with(tmp_path, b"correct horse")
    assert "correct horse" not in caplog.text


async def test_disabled_is_shut_out_and_comes_back(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1)
        await here.accounts.disable("unix:root", SOC1, reason="odd traffic")
        node = here.accounts.get(SOC1)
        assert node is not None and (node.state, node.reason) == (NodeState.DISABLED, "odd traffic")
        with pytest.raises(Refusal) as caught:
            await here.accounts.register(SOC1, NOBODY)
        assert condition(caught) == ("auth", "forbidden")
        for verb in (here.accounts.approve, here.accounts.reject, here.accounts.disable):
            with pytest.raises(Conflict, match="is disabled and so cannot be"):
                await verb("unix:root", SOC1)
        await here.accounts.enable("unix:root", SOC1)
        assert [state for _, _, state, _ in here.accounts.changes_since(0)] == ["active"]


async def test_the_rejected_are_forgotten_and_may_ask_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, NOBODY)
        await here.accounts.reject("unix:root", SOC1)
        assert here.accounts.get(SOC1) is None
        assert [(jid, state) for _, jid, state, _ in here.accounts.changes_since(0)] == [(SOC1, "unknown")]
        assert (await here.accounts.register(SOC1, NOBODY)).state is NodeState.PENDING
        assert [state for _, _, state, _ in here.accounts.changes_since(0)] == ["unknown"]


async def test_the_plugin_hears_of_what_it_has_missed_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for number in range(1, 5):
            await here.accounts.add("unix:root", f"n{number}@grid.test")
        seen = here.epochs.current
        await here.accounts.disable("unix:root", "n3@grid.test")
        await here.accounts.delete("unix:root", "n1@grid.test")
        await here.accounts.register("n9@grid.test", NOBODY)
        expected = [("n3@grid.test", "disabled"), ("n1@grid.test", "unknown"), ("n9@grid.test", "unknown")]
        assert [(jid, state) for _, jid, state, _ in here.accounts.changes_since(seen)] == expected
        numbers = [epoch for epoch, _, _, _ in here.accounts.changes_since(0)]
        assert numbers == sorted(set(numbers)) and numbers[-1] == here.epochs.current
    async with world(tmp_path) as again:
        assert [(jid, state) for _, jid, state, _ in again.accounts.changes_since(seen)] == expected


async def test_so_many_may_wait_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"pending": 2}) as here:
        await here.accounts.register("a@grid.test", NOBODY)
        await here.accounts.met("b@grid.test", NOBODY)
        for ask in (here.accounts.register, here.accounts.met):
            with pytest.raises(Refusal) as caught:
                await ask("c@grid.test", NOBODY)
            assert condition(caught) == ("wait", "resource-constraint")
        await here.accounts.approve("unix:root", "a@grid.test")
        assert (await here.accounts.register("c@grid.test", NOBODY)).state is NodeState.PENDING


async def test_groups_and_clearance(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1)
        await here.accounts.group_add("unix:root", SOC1, "lab")
        assert list(here.accounts.members("lab")) == [SOC1]
        with pytest.raises(Conflict, match="in group lab already"):
            await here.accounts.group_add("unix:root", SOC1, "lab")
        with pytest.raises(NotFound, match="is not in group ops"):
            await here.accounts.group_remove("unix:root", SOC1, "ops")
        await here.accounts.group_remove("unix:root", SOC1, "lab")
        assert list(here.accounts.members("lab")) == [] and list(here.accounts.groups()) == []
        await here.accounts.clear("unix:root", SOC1, "private")
        node = here.accounts.get(SOC1)
        assert node is not None and node.clearance is Clearance.RED
        with pytest.raises(Conflict, match="cleared to red already"):
            await here.accounts.clear("unix:root", SOC1, "red")


@pytest.mark.parametrize(
    ("word", "level"),
    [("white", 0), ("public", 0), ("green", 1), ("partner", 1), ("amber", 2), ("need-to-know", 2), ("RED", 3)],
)
def test_levels_have_two_names(word: str, level: int) -> None:
    assert clearance_from(word) == level


@pytest.mark.parametrize("group", ["", "a b", "a;b", "-a", "x" * 65, "größe"])
async def test_names_of_groups_are_checked(tmp_path: Path, group: str) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(InputError, match="is not a group name"):
            await here.accounts.add("unix:root", SOC1, groups=[group])


@pytest.mark.parametrize("jid", ["soc1", "soc1@grid.test/x", "@grid.test", "a b@grid.test", ""])
async def test_what_is_no_account_is_not_admitted(tmp_path: Path, jid: str) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(InputError):
            await here.accounts.add("unix:root", jid)


async def test_a_trial_says_who_loses_what_and_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1, groups=["lab"])
        here.rights[SOC1] = [Right(SOC1, Action.PUBLISH, "T"), Right(SOC1, Action.SUBSCRIBE, "T")]
        before = (here.accounts.get(SOC1), list(here.accounts.members("lab")), await here.actions())
        for verb in (here.accounts.disable, here.accounts.delete):
            change = await verb("unix:root", SOC1, dry_run=True)
            assert change.dry_run and change.losses == 2 and change.loses == tuple(here.rights[SOC1])
        assert (here.accounts.get(SOC1), list(here.accounts.members("lab")), await here.actions()) == before
        assert not here.accounts.has_registered(SOC1)
        told = await here.accounts.disable("unix:root", SOC1)
        assert told.losses == 2 and told.epoch == here.epochs.current
        assert (await here.accounts.enable("unix:root", SOC1, dry_run=True)).won == 2


async def test_a_trial_of_what_is_unknown_leaves_no_trace(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1)
        await here.accounts.delete("unix:root", SOC1)
        gone = list(here.accounts.changes_since(0))
        await here.accounts.add("unix:root", SOC1, groups=["lab"], dry_run=True)
        assert here.accounts.get(SOC1) is None and not list(here.accounts.groups())
        assert list(here.accounts.changes_since(0)) == gone


async def test_a_change_that_is_not_confirmed_has_been_made(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        heard: list[str] = []

        async def silent(_change: NodeChange) -> None:
            raise NotConfirmed("The plugin does not answer.")

        async def after(change: NodeChange) -> None:
            heard.append(change.jid)

        here.accounts.listeners[:0] = [silent]
        here.accounts.listeners.append(after)
        with pytest.raises(NotConfirmed):
            await here.accounts.add("unix:root", SOC1)
        assert here.accounts.get(SOC1) is not None and heard == [SOC1]
        assert (await here.accounts.register("n@grid.test", NOBODY)).state is NodeState.PENDING  # it is not held up
    async with world(tmp_path) as again:
        assert {node.jid for node in again.accounts.all()} == {SOC1, "n@grid.test"}


async def test_listeners_may_use_the_registry(tmp_path: Path) -> None:
    async with world(tmp_path) as here:

        async def found_there(change: NodeChange) -> None:
            await here.accounts.note_account(change.jid, False)

        here.accounts.listeners.append(found_there)
        await here.accounts.add("unix:root", SOC1)
        node = here.accounts.get(SOC1)
        assert node is not None and not node.account
    async with world(tmp_path) as again:
        assert again.accounts.get(SOC1) == node


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    mine = certified(authority, SOC1)
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, mine)
        await here.accounts.approve("unix:root", SOC1, groups=["lab"])
        await here.accounts.add("unix:root", "b@grid.test", clearance="red")
        await here.accounts.disable("unix:root", "b@grid.test", reason="for now")
        before = list(here.accounts.all())
    async with world(tmp_path) as again:
        assert list(again.accounts.all()) == before
        assert again.accounts.has_registered(SOC1) and not again.accounts.has_registered("b@grid.test")
        assert again.accounts.bindings.fingerprints(SOC1) == [mine.fingerprint]
        assert again.accounts.counts() == {"pending": 0, "active": 1, "disabled": 1}


async def test_memory_follows_the_database_after_trouble(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1)
        moved = tmp_path / "moved.db"
        (tmp_path / "grid.db").rename(moved)
        with pytest.raises(DatabaseError):
            await here.accounts.disable("unix:root", SOC1)
        node = here.accounts.get(SOC1)
        assert node is not None and node.state is NodeState.ACTIVE
        moved.rename(tmp_path / "grid.db")
        await here.store.write(lambda connection: connection.execute(delete(node_table)))  # as if it had happened
        here.told.clear()
        with pytest.raises(NotFound):
            await here.accounts.disable("unix:root", SOC1)
        await here.accounts.add("unix:root", "b@grid.test")
        assert [(change.jid, change.after is None) for change in here.told] == [(SOC1, True), ("b@grid.test", False)]


@pytest.mark.parametrize(
    ("rules", "jid", "state", "groups"),
    [
        ([{"pattern": "sensor-*@grid.test", "group": "sensors"}], "sensor-1@grid.test", "active", ("sensors",)),
        ([{"pattern": "sensor-*@grid.test"}], "soc1@grid.test", "pending", ()),
        ([{"pattern": "a*"}, {"pattern": "*", "group": "rest"}], "b@grid.test", "active", ("rest",)),
        ([{"issuer": "ab" * 32}], "a@grid.test", "pending", ()),
    ],
)
async def test_rules_approve_at_once(
    tmp_path: Path, rules: list[dict[str, str]], jid: str, state: str, groups: tuple[str, ...]
) -> None:
    async with world(tmp_path, auto_approve=rules) as here:
        node = await here.accounts.register(jid, NOBODY)
        assert (node.state, node.groups) == (state, groups)


async def test_automatic_approval_is_on_record(tmp_path: Path) -> None:
    async with world(tmp_path, approval="automatic") as here:
        met = await here.accounts.met(SOC1, NOBODY)
        assert met is not None and met.state is NodeState.ACTIVE and met.account
        (row,) = await here.audit.rows()
        assert (row.actor, row.action, row.detail["approved_by"]) == (SOC1, "node.met", "approval: automatic")


async def test_unknown_nodes_are_named(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for verb in (here.accounts.approve, here.accounts.disable, here.accounts.delete):
            with pytest.raises(NotFound, match="There is no node"):
                await verb("unix:root", SOC1)
