"""The policy service on a real database."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from component.base.errors import Conflict, InputError, NotFound, StanzagateError
from component.base.jid import prepare
from component.base.store import DatabaseError
from component.gate.changes import Change
from component.gate.rules import Effect

from .gatekit import Kit, csv_of, opened

LAB = csv_of((f"D{i}", f"cpe{i}@cpe.test/tr069", "lab") for i in range(3)) + "E,other@cpe.test/r,,,\n"
RULES = "effect,requester,target,expires,comment\n"


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as kit:
        await kit.import_text(LAB)
        yield kit


def _says(kit: Kit, requester: str, device: str) -> tuple[str, str]:
    decision = kit.policy.check(requester, device)
    return decision.effect.value, decision.rule


async def _allow(kit: Kit, requester: str, target: str, **more: Any) -> Change:
    return await kit.policy.add_rule("unix:test", Effect.ALLOW, requester, target, **more)


async def _deny(kit: Kit, requester: str, target: str, **more: Any) -> Change:
    return await kit.policy.add_rule("unix:test", Effect.DENY, requester, target, **more)


async def test_deny_wins_over_allow_and_suspend_over_everything(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "group:lab")
    await _deny(kit, "acs@acs.test", "d1")
    assert _says(kit, "acs@acs.test/any", "D0") == ("allow", "1")
    assert _says(kit, "acs@acs.test/any", "D1") == ("deny", "2")
    assert _says(kit, "acs@acs.test/any", "cpe0@cpe.test") == ("allow", "1")
    assert _says(kit, "acs@acs.test/any", "E") == ("deny", "none")
    await kit.policy.suspend("unix:test", "acs@acs.test")
    assert _says(kit, "acs@acs.test/any", "D0") == ("deny", "suspended:1")
    await kit.policy.resume("unix:test", "ACS@acs.test")
    assert _says(kit, "acs@acs.test/any", "D0") == ("allow", "1")
    await kit.policy.load()
    assert _says(kit, "acs@acs.test/any", "D1") == ("deny", "2")
    assert kit.policy.check("acs@acs.test", "d1").device == "D1"


@pytest.mark.parametrize(
    ("requester", "effect"),
    [
        ("acs@acs.test/only", "allow"),
        ("ACS@Acs.Test/only", "allow"),
        ("acs@acs.test/onlyX", "deny"),
        ("acs@acs.test/Only", "deny"),
        ("acs@acs.test", "deny"),
        ("acs@acs.test.evil/only", "deny"),
        ("acsx@acs.test/only", "deny"),
        ("bare@acs.test/whatever", "allow"),
        ("bare@acs.test", "allow"),
        ("bare@acs.test.evil", "deny"),
        ("\uff42are@acs.test/x", "allow"),  # a full-width letter is prepared to the ordinary one
        ("acs.test", "deny"),
    ],
)
async def test_comparison_is_exact_on_prepared_jids(kit: Kit, requester: str, effect: str) -> None:
    await _allow(kit, "acs@acs.test/only", "D0")
    await _allow(kit, "Bare@ACS.test", "D0")
    assert _says(kit, requester, "D0")[0] == effect


async def test_for_unknown_devices_only_all_rules_count(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "group:lab")
    assert _says(kit, "acs@acs.test", "nobody@cpe.test") == ("deny", "none")
    await _allow(kit, "acs@acs.test", "all")
    assert _says(kit, "acs@acs.test", "nobody@cpe.test") == ("allow", "2")
    assert _says(kit, "acs@acs.test", "nothing") == ("allow", "2")


@pytest.mark.parametrize(
    ("requester", "target", "error", "message"),
    [
        ("a@b@c", "all", InputError, "not a JID"),
        ("", "all", InputError, "not a JID"),
        ("*@acs.test", "all", InputError, "no wildcards"),
        ("acs@acs.test", "group:", InputError, "not a group name"),
        ("acs@acs.test", "group:a;b", InputError, "not a group name"),
        ("acs@acs.test", "nothing", NotFound, "There is no device"),
        ("acs@acs.test", "nobody@cpe.test", NotFound, "There is no device"),
        ("acs@acs.test", "a b", InputError, "cannot be a device id"),
        ("acs@acs.test", "gate", InputError, "reserved"),
    ],
)
async def test_bad_rules_change_nothing(
    kit: Kit, requester: str, target: str, error: type[Exception], message: str
) -> None:
    epoch = kit.policy.epoch
    with pytest.raises(error, match=message):
        await _allow(kit, requester, target)
    assert (kit.policy.epoch, await kit.policy.rules()) == (epoch, [])


async def test_the_same_again_is_a_conflict_that_names_it(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "D0")
    with pytest.raises(Conflict, match="Rule 1 says that already"):
        await _allow(kit, "ACS@acs.test", "cpe0@cpe.test/tr069")
    await _deny(kit, "acs@acs.test", "D0")
    await kit.policy.suspend("unix:test", "acs@acs.test")
    with pytest.raises(Conflict, match="suspension 1"):
        await kit.policy.suspend("unix:test", "acs@acs.test", expires=kit.clock.now + 5)


async def test_removing_what_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound, match="no rule 7"):
        await kit.policy.remove_rule("unix:test", 7)
    with pytest.raises(NotFound, match="not suspended"):
        await kit.policy.resume("unix:test", "acs@acs.test")


async def test_ids_are_never_used_again(kit: Kit) -> None:
    assert (await _allow(kit, "acs@acs.test", "D0")).created == ("1",)
    await kit.policy.remove_rule("unix:test", 1)
    assert (await _allow(kit, "acs@acs.test", "D0")).created == ("2",)


async def test_every_change_is_recorded_and_moves_the_epoch(kit: Kit) -> None:
    start = kit.policy.epoch
    await _allow(kit, "acs@acs.test", "D0", comment=" why ")
    await kit.policy.suspend("token:ops", "acs@acs.test")
    await kit.policy.resume("token:ops", "acs@acs.test")
    await kit.policy.remove_rule("unix:test", 1)
    assert kit.policy.epoch == start + 4
    rows = await kit.audit.rows()
    assert [(row.actor, row.action, row.subject) for row in rows][-4:] == [
        ("unix:test", "rule.added", "1"),
        ("token:ops", "requester.suspended", "acs@acs.test"),
        ("token:ops", "requester.resumed", "acs@acs.test"),
        ("unix:test", "rule.removed", "1"),
    ]
    assert rows[-4].detail["comment"] == "why"


async def test_a_dry_run_tells_who_would_lose_access(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "group:lab")
    await _allow(kit, "acs@acs.test/x", "E")
    epoch, rows = kit.policy.epoch, len(await kit.audit.rows())
    change = await kit.policy.remove_rule("unix:test", 1, dry_run=True)
    assert change.dry_run and change.epoch == epoch
    assert [(loss.requester, loss.devices, loss.examples) for loss in change.loses] == [
        ("acs@acs.test", 3, ("D0", "D1", "D2")),
        ("acs@acs.test/x", 3, ("D0", "D1", "D2")),
    ]
    change = await kit.policy.suspend("unix:test", "acs@acs.test", dry_run=True)
    assert {loss.requester: loss.devices for loss in change.loses} == {"acs@acs.test": 3, "acs@acs.test/x": 4}
    change = await _deny(kit, "acs@acs.test", "D0", dry_run=True)
    assert [(loss.requester, loss.examples) for loss in change.loses] == [
        ("acs@acs.test", ("D0",)),
        ("acs@acs.test/x", ("D0",)),
    ]
    change = await _allow(kit, "new@acs.test", "all", dry_run=True)
    assert [(gain.requester, gain.devices) for gain in change.gains] == [("new@acs.test", 4)]
    assert (kit.policy.epoch, len(await kit.audit.rows()), len(await kit.policy.rules())) == (epoch, rows, 2)


async def test_notes_about_what_may_not_be_meant(kit: Kit) -> None:
    assert "only the server itself" in (await _allow(kit, "acs.test", "all")).summary
    assert "No device is in group empty yet" in (await _allow(kit, "acs@acs.test", "group:empty")).summary
    assert _says(kit, "user@acs.test", "D0") == ("deny", "none")
    assert _says(kit, "acs.test", "D0") == ("allow", "1")


async def test_rules_end_at_their_time_and_are_removed(kit: Kit) -> None:
    end = kit.clock.now + 60
    await _allow(kit, "acs@acs.test", "D0", expires=end)
    await kit.policy.suspend("unix:test", "b@acs.test", expires=end)
    verdict = kit.policy.index.decide(prepare("acs@acs.test"), kit.policy.find_device("D0"), kit.clock.now)
    assert verdict.expires == end
    kit.clock.now = end
    assert _says(kit, "acs@acs.test", "D0") == ("deny", "none")
    assert await kit.policy.rules() == []
    change = await _allow(kit, "acs@acs.test", "D0")  # the ended one makes room
    assert change.created == ("2",)
    told: list[Change] = []

    async def listener(change: Change) -> None:
        told.append(change)

    kit.policy.listeners.append(listener)
    task = asyncio.get_running_loop().create_task(kit.policy.run_expiry())
    expected = {("system:expiry", "rule.expired", "1"), ("system:expiry", "requester.resumed", "b@acs.test")}
    async with asyncio.timeout(10):
        while not expected <= {(row.actor, row.action, row.subject) for row in await kit.audit.rows()}:
            await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert told == []  # every decision knew when it would end
    with pytest.raises(InputError, match="has passed"):
        await _allow(kit, "c@acs.test", "D0", expires=kit.clock.now)
    with pytest.raises(InputError, match="9999"):
        await _allow(kit, "c@acs.test", "D0", expires=float("nan"))


async def test_listeners_are_awaited_before_a_change_returns(kit: Kit) -> None:
    told: list[tuple[str, int]] = []

    async def first(change: Change) -> None:
        told.append((change.requester, change.epoch))
        raise StanzagateError("prosody1 has not confirmed.")

    async def second(change: Change) -> None:
        told.append((change.device, change.epoch))

    kit.policy.listeners.extend((first, second))
    with pytest.raises(StanzagateError, match="prosody1"):
        await _allow(kit, "acs@acs.test/x", "D0")
    assert told == [("acs@acs.test", kit.policy.epoch), ("cpe0@cpe.test", kit.policy.epoch)]
    assert _says(kit, "acs@acs.test/x", "D0") == ("allow", "1")


async def test_a_change_is_finished_when_its_caller_goes_away(kit: Kit) -> None:
    told = asyncio.Event()

    async def listener(_: Change) -> None:
        told.set()

    kit.policy.listeners.append(listener)
    task = asyncio.get_running_loop().create_task(_allow(kit, "acs@acs.test", "D0"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await told.wait()
    assert _says(kit, "acs@acs.test", "D0") == ("allow", "1")
    assert kit.policy.available


async def test_concurrent_changes_leave_memory_equal_to_the_database(kit: Kit) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(_allow(kit, f"acs{number % 7}@acs.test", f"group:g{number}"))
            group.create_task(kit.policy.suspend("unix:test", f"s{number}@acs.test"))
    before = (await kit.policy.rules(), await kit.policy.suspensions(), kit.policy.epoch)
    await kit.policy.load()
    assert (await kit.policy.rules(), await kit.policy.suspensions(), kit.policy.epoch) == before
    assert len(before[0]) == 30


async def test_a_failed_write_changes_nothing(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(kit.audit, "append", full)
    with pytest.raises(DatabaseError):
        await _allow(kit, "acs@acs.test", "D0")
    assert kit.policy.available
    assert _says(kit, "acs@acs.test", "D0") == ("deny", "none")


async def test_nothing_is_decided_when_memory_may_differ_until_it_was_read_again(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(kit.policy.index, "put_rule", broken)
        with pytest.raises(RuntimeError):
            await _allow(kit, "acs@acs.test", "D0")
    assert not kit.policy.available
    with pytest.raises(Conflict, match="Rule 1 says that already"):  # the next change reads everything first
        await _allow(kit, "acs@acs.test", "D0")
    assert kit.policy.available
    assert _says(kit, "acs@acs.test", "D0") == ("allow", "1")


async def test_a_commit_that_failed_but_happened_is_noticed(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    write = kit.store.write

    async def lying(work: Any) -> Any:
        await write(work)
        raise DatabaseError("The connection was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(kit.store, "write", lying)
        with pytest.raises(DatabaseError):
            await _allow(kit, "acs@acs.test", "D0")
    assert not kit.policy.available
    told: list[tuple[str, str, int]] = []

    async def listener(change: Change) -> None:
        told.append((change.requester, change.device, change.epoch))

    kit.policy.listeners.append(listener)
    task = asyncio.get_running_loop().create_task(kit.policy.run_expiry())
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0)
    task.cancel()
    assert _says(kit, "acs@acs.test", "D0") == ("allow", "1")
    assert told == [("", "", kit.policy.epoch)]  # nobody had been told of it: everything may be another than before


async def test_rules_round_trip_as_csv(kit: Kit, tmp_path: Path) -> None:
    await _allow(kit, "acs@acs.test", "group:lab", comment='says "hi", twice')
    await _allow(kit, "acs@acs.test/x, y", "D0", expires=kit.clock.now + 86400.25)
    await _deny(kit, "rogue@acs.test", "all")
    await kit.policy.suspend("unix:test", "acs2@acs.test", expires=kit.clock.now + 5, comment="until fixed")
    exported = await kit.policy.export_rules()
    epoch = kit.policy.epoch
    assert 'allow,"acs@acs.test/x, y",D0,2027-01-16T08:00:00.250000Z,' in exported
    change = await kit.policy.import_rules("unix:test", exported)
    assert change.summary == "Added: 0 rules, 0 suspensions; 4 were there already."
    assert change.epoch == kit.policy.epoch == epoch
    (tmp_path / "other").mkdir()
    async with opened(tmp_path / "other") as other:
        await other.import_text(LAB)
        change = await other.policy.import_rules("unix:test", exported)
        assert change.created == ("1", "2", "3")
        assert await other.policy.export_rules() == exported
        await other.policy.load()
        assert await other.policy.export_rules() == exported
        assert _says(other, "acs2@acs.test", "D0") == ("deny", "suspended:1")


async def test_an_import_of_rules_names_every_bad_line_and_changes_nothing(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "D0")
    lines = [
        "permit,a@acs.test,all,,",
        "allow,a@b@c,all,,",
        "allow,a@acs.test,nothing,,",
        "allow,a@acs.test,all,tomorrow,",
        "allow,a@acs.test,all,2020-01-01T00:00:00Z,",
        "allow,a@acs.test,all,2030-01-01T00:00:00,",
        "suspend,a@acs.test,all,,",
        "allow,a@acs.test,all",
        "allow,good@acs.test,all,,",
        "allow,GOOD@acs.test,all,,",
        "allow,acs@acs.test,D0,2030-01-01T00:00:00Z,",
    ]
    epoch = kit.policy.epoch
    with pytest.raises(InputError, match="10 bad lines") as caught:
        await kit.policy.import_rules("unix:test", RULES + "\n".join(lines))
    expected = ["the effect is", "is not a JID", "no device", "ISO 8601", "has passed", "ISO 8601", "no target"]
    expected += ["it has 3 columns", "it says the same as line 10", "rule 1 says the same with another expiry"]
    for line, message in zip([*range(2, 10), 11, 12], expected, strict=True):
        assert any(detail.startswith(f"line {line}") and message in detail for detail in caught.value.details), line
    assert (kit.policy.epoch, len(await kit.policy.rules())) == (epoch, 1)


async def test_a_dry_run_of_an_import_of_rules(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "group:lab")
    text_ = RULES + "deny,acs@acs.test,D1,,\nallow,b@acs.test,group:lab,,\nsuspend,c@acs.test,,,\n"
    change = await kit.policy.import_rules("unix:test", text_, dry_run=True)
    assert [(loss.requester, loss.examples) for loss in change.loses] == [("acs@acs.test", ("D1",))]
    assert [(gain.requester, gain.devices) for gain in change.gains] == [("b@acs.test", 3)]
    assert len(await kit.policy.rules()) == 1


async def test_thousands_of_rules_and_suspensions(kit: Kit) -> None:
    lines = [f"allow,acs@acs.test,group:g{number},,\n" for number in range(5000)]
    lines += [f"suspend,s{number}@acs.test,,,\n" for number in range(5000)]
    await kit.policy.import_rules("unix:test", RULES + "".join(lines))
    assert _says(kit, "s4999@acs.test/x", "D0") == ("deny", "suspended:5000")
    await kit.devices.update("unix:test", "D0", groups=["g4321"])
    assert _says(kit, "acs@acs.test", "D0") == ("allow", "4322")
    assert await kit.store.read(_count) == 5000


def _count(connection: Connection) -> int:
    return int(connection.execute(text("select count(*) from rule")).scalar_one())


async def test_the_record_names_devices_as_they_were_registered(kit: Kit) -> None:
    await _allow(kit, "acs@acs.test", "d0")
    await kit.policy.import_rules("unix:test", RULES + "deny,acs@acs.test,d0,,\n")
    await kit.policy.remove_rule("unix:test", 1)
    await kit.devices.remove("unix:test", "d0")
    rows = [row for row in await kit.audit.rows() if row.action.startswith("rule.")]
    assert [(row.action, row.detail.get("target") or row.detail["rows"][0][3]) for row in rows] == [
        ("rule.added", "D0"), ("rule.imported", "D0"), ("rule.removed", "D0"), ("rule.removed", "D0"),
    ]  # fmt: skip


async def test_a_full_jid_that_is_not_the_registered_one_is_no_device(kit: Kit) -> None:
    known = kit.policy.index.device(kit.policy.find_device("D0"))
    for name in (known.jid.full, known.jid.bare, known.jid.bare.upper()):
        assert kit.policy.find_device(name) == kit.policy.find_device("D0")
    other = f"{known.jid.bare}/other"
    message = re.escape(f"There is no device '{other}': 'D0' is registered as '{known.jid.full}'.")
    with pytest.raises(NotFound, match=message):
        kit.policy.check("acs@acs.test", other)
    with pytest.raises(NotFound, match=message):
        await _allow(kit, "acs@acs.test", other)
    with pytest.raises(NotFound, match=message):
        await kit.devices.show(other)
    with pytest.raises(InputError) as caught:
        await kit.policy.import_rules("unix:test", f"{RULES}allow,acs@acs.test,{other},,\n")
    assert "is registered as" in caught.value.details[0]
    assert kit.policy.check("acs@acs.test", "nobody@cpe.test/other").effect == "deny"
