"""Importing devices from CSV."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from component.base.errors import Conflict, InputError
from component.gate import badlines
from component.gate.registry import device_table
from component.gate.rules import Effect

from .gatekit import HEADER, Kit, csv_of, opened

FIVE = csv_of((f"00256D-{i}", f"cpe{i}@cpe.test/tr069", "lab;north" if i < 3 else "lab") for i in range(5))


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as kit:
        yield kit


def _ids(kit: Kit) -> set[str]:
    table = kit.policy.index.devices
    return {table.id(int(number)) for number in range(len(table.ids)) if table.ids.text(int(number))}


async def _stored(kit: Kit) -> int:
    return await kit.store.read(lambda connection: connection.scalar(select(func.count()).select_from(device_table)))


async def test_import_registers_devices_and_survives_a_restart(kit: Kit, tmp_path: Path) -> None:
    seen: list[int] = []
    change = await kit.import_text(FIVE, progress=seen.append)
    assert change.summary == "5 devices added, 0 devices replaced."
    assert seen[-1] == 6
    for again in (False, True):
        if again:
            await kit.policy.load()
        info = await kit.devices.show("00256d-1")
        assert (info.id, info.jid.full, info.groups) == ("00256D-1", "cpe1@cpe.test/tr069", ("lab", "north"))
        assert info.has_credentials and not info.online and info.since is None
        assert await kit.devices.credentials("00256D-1") == ("u-00256D-1", "p-00256D-1")
        assert kit.policy.members("north") == ["00256D-0", "00256D-1", "00256D-2"]


async def test_import_merges_and_keeps_credentials_that_are_not_given(kit: Kit) -> None:
    await kit.import_text(FIVE)
    change = await kit.import_text(HEADER + "00256d-1,new1@cpe.test/r,,,\nextra,extra@cpe.test/r,u,p,lab\n")
    assert change.summary == "1 device added, 1 device replaced."
    assert len(kit.policy.index.devices) == 6
    assert kit.policy.index.by_jid("cpe1@cpe.test") == -1
    assert (await kit.devices.show("new1@cpe.test")).id == "00256d-1"
    assert await kit.devices.credentials("00256D-1") == ("u-00256D-1", "p-00256D-1")
    assert await _stored(kit) == 6
    await kit.policy.load()
    assert len(kit.policy.index.devices) == 6
    assert (await kit.devices.show("00256D-1")).groups == ()


async def test_two_devices_may_swap_their_jids(kit: Kit) -> None:
    await kit.import_text(FIVE)
    await kit.import_text(csv_of([("00256D-0", "cpe1@cpe.test/x", "lab"), ("00256D-1", "cpe0@cpe.test/x", "lab")]))
    for again in (False, True):
        if again:
            await kit.policy.load()
        assert (await kit.devices.show("cpe1@cpe.test")).id == "00256D-0"
        assert (await kit.devices.show("cpe0@cpe.test")).id == "00256D-1"


BAD = [
    ("a,cpe@cpe.test,u,p,", "line 2, jid 'cpe@cpe.test': 'cpe@cpe.test' has no resource"),
    ("a,cpe.test/r,u,p,", "has no local part"),
    ("a,c@p@e.test/r,u,p,", "is not a JID"),
    ("gate,a@cpe.test/r,u,p,", "is reserved"),
    ("GATE,a@cpe.test/r,u,p,", "is reserved"),
    ("all,a@cpe.test/r,u,p,", "is reserved"),
    ("a@b,a@cpe.test/r,u,p,", "cannot be a device id"),
    ("a b,a@cpe.test/r,u,p,", "cannot be a device id"),
    ("a:b,a@cpe.test/r,u,p,", "cannot be a device id"),
    ("a/b,a@cpe.test/r,u,p,", "cannot be a device id"),
    (",a@cpe.test/r,u,p,", "cannot be a device id"),
    ("x" * 1024 + ",a@cpe.test/r,u,p,", "cannot be a device id"),
    ("a," + "x" * 1024 + "@cpe.test/r,u,p,", "is not a JID"),
    ("a,a@cpe.test/r,u,p", "it has 4 columns, not 5"),
    ("a,a@cpe.test/r,u,p,x,y", "it has 6 columns, not 5"),
    ("a,a@cpe.test/r,u,p,two words", "is not a group name"),
    ("a,a@cpe.test/r,u,p,a;;b", "is not a group name"),
    ("a,a@cpe.test/r,u,p,group:x", "is not a group name"),
    ("a,a@cpe.test/r,u," + "secret" * 50 + ",", "The password has 300 characters"),
    ("a,a@cpe.test/r,u,sec\x01ret,", "The password has a character that cannot be sent"),
    ("a,a@cpe.test/r,u,sec\0ret,", "it has a NUL character"),
    ('a,a@cpe.test/r,u,"secret,', "a quotation mark is not closed"),
    ("x,x@cpe.test/r,u,p,\nX,y@cpe.test/r,u,p,", "line 3, id 'X': line 2 has the same id, which is x there"),
    ("x,x@cpe.test/r,u,p,\ny,X@CPE.test/other,u,p,", "line 3, jid 'x@cpe.test': line 2 has the same bare JID"),
    ("x,cpe3@cpe.test/r,u,p,", "line 2, jid 'cpe3@cpe.test': it is the JID of device 00256D-3"),
    ("straße,s1@cpe.test/r,u,p,\nstrasse,s2@cpe.test/r,u,p,", "line 2 has the same id, which is straße there"),
]


@pytest.mark.parametrize(("lines", "message"), BAD)
async def test_a_bad_line_is_named_and_changes_nothing(kit: Kit, lines: str, message: str) -> None:
    await kit.import_text(FIVE)
    epoch = kit.policy.epoch
    for dry_run in (False, True):
        with pytest.raises(InputError) as caught:
            await kit.import_text(HEADER + lines + "\ngood,good@cpe.test/r,u,p,\n", dry_run=dry_run)
        assert any(message in detail for detail in caught.value.details), caught.value.details
        assert not any("secret" in detail for detail in caught.value.details)
    assert kit.policy.epoch == epoch
    assert await _stored(kit) == 5
    assert _ids(kit) == {f"00256D-{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"id,jid,groups\na,a@cpe.test/r,x\n", "no header in its first line; nothing"),
        (bytes(range(128, 256)) * 40, "no header in its first line: it is not UTF-8"),
        (b"\0\x01\n" * 500, "no header in its first line: it has a NUL"),
        (b"x" * 100_000, "no header in its first line: it is longer"),
        (b'"id,jid\n', "no header in its first line: a quotation mark"),
        ("id,jid,cr_username,cr_password,groups\n".encode("utf-16"), "UTF-16"),
    ],
)
async def test_a_file_that_is_no_such_file_is_refused(kit: Kit, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        await kit.devices.import_csv("unix:test", io.BytesIO(data))


async def test_wrong_encoding_is_named_by_line(kit: Kit) -> None:
    data = (HEADER + "a,a@cpe.test/r,u,p,\nb,b@cpe.test/r,ü,p,\n").encode("latin-1")
    with pytest.raises(InputError) as caught:
        await kit.devices.import_csv("unix:test", io.BytesIO(data))
    assert caught.value.details == ("line 3: it is not UTF-8 (byte 0xfc at position 16); save the file as UTF-8",)


async def test_byte_order_mark_crlf_and_quotes_are_understood(kit: Kit) -> None:
    data = b"\xef\xbb\xbf" + (HEADER + 'a,a@cpe.test/r,"u,1","say ""x""",g\n').replace("\n", "\r\n").encode()
    await kit.devices.import_csv("unix:test", io.BytesIO(data))
    assert await kit.devices.credentials("a") == ("u,1", 'say "x"')


async def test_every_bad_line_is_named(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badlines, "NAMED_LINES", 3)
    text = (
        HEADER
        + "a b,a@cpe.test,u,p,\n" * 30
        + "good,good@cpe.test/r,u,p,\n"
        + "nonsense\n" * 2
        + "good,g@cpe.test/r,,,\n"
    )
    with pytest.raises(InputError) as caught:
        await kit.import_text(text)
    assert caught.value.message == "The devices: 33 bad lines; nothing was changed."
    assert [detail.partition(":")[0] for detail in caught.value.details] == [
        "line 2, id 'a b'", "line 2, jid 'a@cpe.test'", "line 3, id 'a b'", "line 3, jid 'a@cpe.test'",
        "line 4, id 'a b'", "line 4, jid 'a@cpe.test'", "lines 5-31, id", "lines 5-31, jid", "lines 33-34",
        "line 35, id",
    ]  # fmt: skip
    assert caught.value.details[7].startswith("lines 5-31, jid: … has no resource.")
    assert caught.value.details[-1] == "line 35, id: another line has the same id"


async def test_thirty_thousand_bad_lines_are_counted_once_each(kit: Kit) -> None:
    with pytest.raises(InputError, match="30000 bad lines") as caught:
        await kit.import_text(HEADER + "a b,nobody,u,p,\n" * 30_000)
    assert len(caught.value.details) == 20_002
    assert caught.value.details[-1].startswith("lines 10002-30001, jid: ")


async def test_an_import_in_which_nothing_is_new_is_no_new_policy(kit: Kit) -> None:
    await kit.import_text(FIVE)
    told: list[object] = []

    async def listener(change: object) -> None:
        told.append(change)

    kit.policy.listeners.append(listener)
    epoch = kit.policy.epoch
    without = HEADER + "00256D-1,cpe1@cpe.test/tr069,,,north;lab\n"
    for text in (FIVE, without, HEADER):
        change = await kit.import_text(text)
        assert (change.epoch, kit.policy.epoch, told) == (epoch, epoch, [])
    assert (await kit.import_text(FIVE)).summary == "0 devices added, 0 devices replaced; 5 were there already."
    assert (await kit.import_text(FIVE, dry_run=True)).summary.endswith("5 were there already.")
    assert await _stored(kit) == 5
    await kit.policy.load()
    assert (kit.policy.epoch, len(kit.policy.index.devices)) == (epoch, 5)


@pytest.mark.parametrize(
    "line",
    [
        "00256d-1,cpe1@cpe.test/tr069,,,lab;north",
        "00256D-1,cpe1@cpe.test/other,,,lab;north",
        "00256D-1,cpe1@cpe.test/tr069,,,lab",
        "00256D-1,cpe1@cpe.test/tr069,u-00256D-1,another,lab;north",
    ],
)
async def test_an_import_in_which_anything_is_new_is_a_new_policy(kit: Kit, line: str) -> None:
    await kit.import_text(FIVE)
    epoch = kit.policy.epoch
    assert (await kit.import_text(f"{HEADER}{line}\n")).epoch == epoch + 1
    assert await _stored(kit) == 5


async def test_an_import_undoes_what_was_changed_while_it_was_read(kit: Kit) -> None:
    await kit.import_text(FIVE)
    fed, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield FIVE.encode()
        fed.set()
        await go_on.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(kit.devices.import_csv("unix:test", slowly()))
        await fed.wait()
        await kit.devices.update("unix:test", "00256D-1", groups=["south"])
        epoch = kit.policy.epoch
        go_on.set()
    assert kit.policy.epoch == epoch + 1
    assert (await kit.devices.show("00256D-1")).groups == ("lab", "north")
    await kit.policy.load()
    assert (await kit.devices.show("00256D-1")).groups == ("lab", "north")


async def test_a_dry_run_tells_who_loses_and_gains_and_writes_nothing(kit: Kit) -> None:
    await kit.import_text(FIVE)
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "group:north")
    change = await kit.import_text(
        csv_of([("00256D-0", "cpe0@cpe.test/r", "lab"), ("n", "n@cpe.test/r", "north"), ("m", "m@cpe.test/r", "")]),
        dry_run=True,
    )
    assert change.dry_run
    assert [(loss.requester, loss.devices, loss.examples) for loss in change.loses] == [
        ("acs@acs.test", 1, ("00256D-0",))
    ]
    assert [(gain.requester, gain.devices, gain.examples) for gain in change.gains] == [("acs@acs.test", 1, ("n",))]
    assert await _stored(kit) == 5
    assert kit.policy.check("acs@acs.test", "00256D-0").effect == "allow"


async def test_changes_go_on_while_an_import_is_staged(kit: Kit) -> None:
    await kit.import_text(FIVE)
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "all")
    fed, go_on = asyncio.Event(), asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield csv_of([("00256D-0", "cpe0@cpe.test/new", "lab"), ("x", "x@cpe.test/r", "")]).encode()
        fed.set()
        await go_on.wait()
        yield b"y,y@cpe.test/r,,,\n"

    async def meanwhile() -> None:
        await fed.wait()
        await kit.policy.suspend("unix:test", "acs@acs.test")
        await kit.devices.add("unix:test", "z", "z@cpe.test/r", groups=["lab"])
        await kit.devices.remove("unix:test", "00256D-4")
        await kit.devices.update("unix:test", "00256D-3", groups=["south"])
        assert kit.policy.index.by_id("x") == -1
        with pytest.raises(Conflict, match="import is under way"):
            await kit.import_text(FIVE)
        go_on.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(kit.devices.import_csv("unix:test", stream()))
        group.create_task(meanwhile())
    expected = {"00256D-0", "00256D-1", "00256D-2", "00256D-3", "x", "y", "z"}
    for again in (False, True):
        if again:
            await kit.policy.load()
        assert _ids(kit) == expected
        assert (await kit.devices.show("00256D-3")).groups == ("south",)
        assert (await kit.devices.show("00256D-0")).jid.resource == "new"
        assert kit.policy.check("acs@acs.test", "y").rule == "suspended:1"


async def test_a_jid_that_was_taken_meanwhile_stops_the_import(kit: Kit) -> None:
    fed, go_on = asyncio.Event(), asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield csv_of([("x", "x@cpe.test/r", "")]).encode()
        fed.set()
        await go_on.wait()
        yield b"y,y@cpe.test/r,,,\n"

    async def meanwhile() -> None:
        await fed.wait()
        await kit.devices.add("unix:test", "z", "x@cpe.test/r")
        go_on.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(_caught(kit, stream()))
        group.create_task(meanwhile())
    assert "device z got the JID x@cpe.test" in task.result()
    assert _ids(kit) == {"z"}


async def _caught(kit: Kit, stream: AsyncIterator[bytes]) -> str:
    with pytest.raises(Conflict) as caught:
        await kit.devices.import_csv("unix:test", stream)
    return str(caught.value)


async def test_leftovers_of_a_crashed_import_are_not_seen_and_are_removed(kit: Kit) -> None:
    await kit.import_text(FIVE)
    staged = [
        {"key": f"s{i}", "generation": kit.policy.changes.generation + 1, "id": f"s{i}", "bare": f"s{i}@cpe.test",
         "resource": "r", "groups": ""}
        for i in range(1500)
    ]  # fmt: skip
    await kit.store.write(lambda connection: connection.execute(insert(device_table), staged) and None)
    await kit.policy.load()
    assert len(kit.policy.index.devices) == 5
    assert len((await kit.devices.list()).devices) == 5
    await kit.devices.tidy()
    assert await _stored(kit) == 5


async def test_export_round_trips(kit: Kit) -> None:
    await kit.import_text(FIVE + 'quoted,q@cpe.test/a b,"u,1","p""1",\n')
    with_secrets = "".join([part async for part in kit.devices.export(credentials=True)])
    without = "".join([part async for part in kit.devices.export()])
    assert "p-00256D-0" not in without
    for text in (with_secrets, without):
        change = await kit.import_text(text)
        assert change.summary == "0 devices added, 0 devices replaced; 6 were there already."
    assert await kit.devices.credentials("quoted") == ("u,1", 'p"1')
    assert "".join([part async for part in kit.devices.export(credentials=True)]) == with_secrets
