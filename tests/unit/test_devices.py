"""Single devices of the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.base.clientsessions import ClientSession
from component.base.errors import Conflict, InputError, NotFound
from component.base.secrets import SealError
from component.gate.rules import Effect

from .gatekit import Kit, csv_of, opened


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as kit:
        yield kit


async def test_a_device_from_its_beginning_to_its_end(kit: Kit) -> None:
    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "group:lab")
    change = await kit.devices.add(
        "unix:test", "00256D-A", "Cpe@cpe.test/Tr069", groups=["lab", "lab"], cr_username="u", cr_password="geheim"
    )
    assert change.created == ("00256D-A",)
    assert [(gain.requester, gain.examples) for gain in change.gains] == [("acs@acs.test", ("00256D-A",))]
    info = await kit.devices.show("00256d-a")
    assert (info.id, info.jid.full, info.groups) == ("00256D-A", "cpe@cpe.test/Tr069", ("lab",))
    assert [rule.id for rule in info.rules] == [1]
    assert await kit.devices.credentials("00256D-A") == ("u", "geheim")
    assert "geheim" not in repr(info) and "geheim" not in str([row.detail for row in await kit.audit.rows()])
    assert b"geheim" not in (kit.vault.path.parent / "gate.db").read_bytes()

    change = await kit.devices.update("unix:test", "cpe@cpe.test", groups=[])
    assert [(loss.requester, loss.devices) for loss in change.loses] == [("acs@acs.test", 1)]
    assert kit.policy.check("acs@acs.test", "00256D-A").effect != "allow"
    await kit.devices.update("unix:test", "00256D-A", jid="new@cpe.test/r", cr_username="", cr_password="")
    assert await kit.devices.credentials("00256D-A") is None
    assert kit.policy.index.by_jid("cpe@cpe.test") == -1

    await kit.policy.add_rule("unix:test", Effect.ALLOW, "acs@acs.test", "00256D-A")
    change = await kit.devices.remove("unix:test", "new@cpe.test", dry_run=True)
    assert "rules that name it go with it: 2" in change.summary
    assert [(loss.requester, loss.examples) for loss in change.loses] == [("acs@acs.test", ("00256D-A",))]
    assert len(kit.policy.index.devices) == 1
    await kit.devices.remove("unix:test", "new@cpe.test")
    assert [rule.id for rule in await kit.policy.rules()] == [1]
    for again in (False, True):
        if again:
            await kit.policy.load()
        assert len(kit.policy.index.devices) == 0
        with pytest.raises(NotFound):
            await kit.devices.show("00256D-A")


@pytest.mark.parametrize(
    ("name", "jid", "groups", "error", "message"),
    [
        ("gate", "x@cpe.test/r", [], InputError, "reserved"),
        ("a@b", "x@cpe.test/r", [], InputError, "cannot be a device id"),
        ("\ud800", "x@cpe.test/r", [], InputError, "cannot be a device id"),
        ("x", "x@cpe.test", [], InputError, "no resource"),
        ("x", "cpe.test/r", [], InputError, "no local part"),
        ("x", "x@cpe..test/r", [], InputError, "not a JID"),
        ("x", "x@cpe.test/r", ["a b"], InputError, "not a group name"),
        ("D", "x@cpe.test/r", [], Conflict, "There is a device d"),
        ("x", "D@cpe.test/other", [], Conflict, "is the JID of device d"),
    ],
)
async def test_bad_devices_change_nothing(
    kit: Kit, name: str, jid: str, groups: list[str], error: type[Exception], message: str
) -> None:
    await kit.devices.add("unix:test", "d", "d@cpe.test/r")
    with pytest.raises(error, match=message):
        await kit.devices.add("unix:test", name, jid, groups=groups)
    assert len(kit.policy.index.devices) == 1


async def test_a_jid_of_another_device_cannot_be_taken_over(kit: Kit) -> None:
    await kit.import_text(csv_of([("a", "a@cpe.test/r", ""), ("b", "b@cpe.test/r", "")]))
    with pytest.raises(Conflict, match="is the JID of device b"):
        await kit.devices.update("unix:test", "a", jid="b@cpe.test/r")


async def test_listing_goes_page_by_page(kit: Kit) -> None:
    names = [f"D{number:04}" for number in range(250)]
    rows = [(name, f"{name}@cpe.test/r", "even" if int(name[1:]) % 2 == 0 else "odd;all3") for name in names]
    await kit.import_text(csv_of(rows))
    await kit.import_text(csv_of(rows[:50]))  # replaced ones have had two rows
    seen: list[str] = []
    after = ""
    while True:
        page = await kit.devices.list(after=after, limit=60)
        seen += [info.id for info in page.devices]
        after = page.next
        if not after:
            break
    assert seen == names
    page = await kit.devices.list(group="odd", limit=10, after="D0100")
    assert [info.id for info in page.devices][:2] == ["D0101", "D0103"]
    assert page.next == "D0119"
    assert (await kit.devices.list(group="none")).devices == ()
    with pytest.raises(InputError):
        await kit.devices.list(limit=0)


async def test_sessions_tell_who_is_online(kit: Kit) -> None:
    await kit.import_text(csv_of([("a", "a@cpe.test/r", ""), ("b", "b@cpe.test/r", "")]))
    assert (await kit.devices.list(online=True)).devices == ()
    jid = (await kit.devices.show("a")).jid
    session = ClientSession("s1", jid, 12.0)
    kit.devices.sessions.up("cpe.test", session)
    assert [(info.id, info.since) for info in (await kit.devices.list(online=True)).devices] == [("a", 12.0)]
    assert [info.id for info in (await kit.devices.list(online=False)).devices] == ["b"]
    newer = ClientSession("s2", jid, 15.0)
    kit.devices.sessions.up("cpe.test", newer)  # a resource conflict: the new one comes before the old one has gone
    kit.devices.sessions.down("cpe.test", session)
    assert (await kit.devices.show("a")).since == 15.0
    kit.devices.sessions.down("cpe.test", newer)
    shown = await kit.devices.show("a")
    assert (shown.online, shown.sessions) == (False, "reported")
    kit.devices.sessions.forget("cpe.test")
    assert (await kit.devices.show("a")).sessions == "not-reported"


async def test_key_rotation_goes_on_after_an_interruption(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"D{number}" for number in range(1200)]
    await kit.import_text(csv_of((name, f"{name}@cpe.test/r", "") for name in names))

    class Interrupted(Exception):
        pass

    def interrupt(_: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        await kit.devices.rotate_key("unix:test", interrupt)
    assert await kit.devices.credentials("D0") == ("u-D0", "p-D0")
    assert await kit.devices.credentials("D1199") == ("u-D1199", "p-D1199")
    await kit.devices.add("unix:test", "new", "new@cpe.test/r", cr_username="u", cr_password="p")
    assert await kit.devices.rotate_key("unix:test") == 700
    assert not kit.vault.rotating
    assert await kit.devices.credentials("D0") == ("u-D0", "p-D0")
    assert await kit.devices.credentials("new") == ("u", "p")
    assert await kit.devices.rotate_key("unix:test") == 1201


async def test_credentials_open_for_their_own_device_only(kit: Kit) -> None:
    sealed = kit.devices.sealed("a", "u", "p")
    assert sealed is not None
    with pytest.raises(SealError):
        kit.devices.opened("b", sealed)
