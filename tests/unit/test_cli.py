"""The command line against a running service: what it prints, and how it exits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from component.base import guardedhost, ns
from component.base.pluginstatus import PluginMode
from tests.unit.adminkit import Scene, registered, scene


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running:
        yield running


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Any:
    """What the last command wrote: stdout and stderr."""
    return capfd.readouterr


async def started(here: Scene, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "stanzagate", *arguments, "--socket", str(here.socket))
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | options
    return await asyncio.create_subprocess_exec(*command, **pipes)


async def test_a_rule_from_dry_run_to_removal(here: Scene, said: Any) -> None:
    await registered(here)
    allow = ("jid", "allow", "acs@acs.test", "--to", "group:lab")
    assert await here.run(*allow, "--dry-run") == 0
    assert "Nothing was changed" in said().out
    assert await here.run("jid", "check", "acs@acs.test", "d1") == 1
    assert await here.run(*allow, "--expires", "30d", "--comment", "try it") == 0
    assert "gains  acs@acs.test  3 devices: d1, d2, d3" in said().out
    assert await here.run(*allow) == 1
    out, err = said()
    assert err.startswith("stanzagate: error: ") and "Traceback" not in err and not out
    assert await here.run("jid", "check", "acs@acs.test/x", "cpe1@cpe.test", "--json") == 0
    assert json.loads(said().out) == {
        "requester": "acs@acs.test/x", "device": "d1", "effect": "allow", "rule": "1",
        "reason": "rule 1 allows every resource of acs@acs.test to wake group:lab",
    }  # fmt: skip
    assert await here.run("jid", "deny", "acs@acs.test", "--to", "d1") == 0
    assert await here.run("jid", "check", "acs@acs.test", "d1") == 1
    assert await here.run("jid", "list") == 0
    lines = said().out.splitlines()
    assert lines[-1].split()[:4] == ["2", "deny", "acs@acs.test", "d1"]
    assert await here.run("jid", "remove", "1") == 0
    assert "loses  acs@acs.test  2 devices: d2, d3" in said().out
    assert await here.run("jid", "remove", "1") == 1


async def test_suspend_and_resume(here: Scene, said: Any) -> None:
    await registered(here)
    await here.run("jid", "allow", "acs@acs.test", "--to", "all")
    assert await here.run("jid", "suspend", "acs@acs.test", "--json") == 0
    changes = [json.loads(line) for line in said().out.splitlines() if line.startswith("{")]
    assert changes[-1]["loses"][0]["requester"] == "acs@acs.test"
    assert await here.run("jid", "check", "acs@acs.test", "d1", "--json") == 1
    assert json.loads(said().out)["rule"] == "suspended:1"
    assert await here.run("jid", "resume", "acs@acs.test", "--dry-run") == 0
    assert await here.run("jid", "resume", "acs@acs.test") == 0
    assert await here.run("jid", "check", "acs@acs.test", "d1") == 0


async def test_rules_go_out_and_come_in(here: Scene, said: Any, tmp_path: Path) -> None:
    await registered(here)
    await here.run("jid", "allow", "acs@acs.test", "--to", "d1")
    said()
    assert await here.run("jid", "export") == 0
    exported = said().out
    file = tmp_path / "rules.csv"
    file.write_text(exported)
    await here.run("jid", "remove", "1")
    assert await here.run("jid", "import", str(file)) == 0
    file.write_text(exported + "maybe,acs@acs.test,d1,,\nallow,@,d1,,\n")
    assert await here.run("jid", "import", str(file)) == 2
    err = said().err
    assert "line 3" in err and "line 4" in err


async def test_devices_by_hand(here: Scene, said: Any, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("geheim\n")
    add = ("device", "add", "00256D-0001", "--jid", "cpe1@cpe.test/tr069", "--group", "lab", "--group", "north")
    assert await here.run(*add, "--cr-username", "u", "--cr-password-file", str(password)) == 0
    assert await here.services.devices.credentials("00256D-0001") == ("u", "geheim")
    assert await here.run(*add) == 1
    said()
    assert await here.run("device", "show", "cpe1@cpe.test", "--json") == 0
    shown = json.loads(said().out)
    assert (shown["id"], shown["jid"], shown["groups"], shown["online"], shown["since"]) == (
        "00256D-0001", "cpe1@cpe.test/tr069", ["lab", "north"], False, None,
    )  # fmt: skip
    assert await here.run("device", "show", "00256d-0001") == 0
    assert "geheim" not in said().out
    assert await here.run("device", "set", "00256D-0001", "--no-groups") == 0
    assert await here.run("device", "list", "--group", "lab", "--json") == 0
    assert said().out.endswith("[]\n")
    assert await here.run("device", "list") == 0
    assert said().out.splitlines()[1].split() == ["00256D-0001", "cpe1@cpe.test/tr069", "unknown"]
    assert await here.run("device", "remove", "00256D-0001") == 0
    assert await here.run("device", "show", "00256D-0001") == 1


async def test_devices_by_file(here: Scene, said: Any, tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    lines = "".join(f"n{number},n{number}@cpe.test/x,u,p,lab;x\n" for number in range(6000))
    file.write_text("id,jid,cr_username,cr_password,groups\n" + lines)
    assert await here.run("device", "import", str(file), "--dry-run") == 0
    assert await here.run("device", "import", str(file)) == 0
    said()
    assert await here.run("device", "list", "--json") == 0
    assert len(json.loads(said().out)) == 6000
    assert await here.run("device", "export", "--credentials") == 0
    assert sorted(said().out.splitlines()) == sorted(file.read_text().splitlines())
    file.write_text("id,jid,cr_username,cr_password,groups\nn1,nowhere,,,\nn2,n2@cpe.test/x,,,a b\n")
    assert await here.run("device", "import", str(file)) == 2
    assert "line 2" in (err := said().err) and "line 3" in err


async def test_standard_input_is_a_file(here: Scene) -> None:
    process = await started(here, "device", "import", "-", stdin=asyncio.subprocess.PIPE)
    text = b"id,jid,cr_username,cr_password,groups\nd1,cpe1@cpe.test/x,,,\n"
    _, err = await process.communicate(text)
    assert process.returncode == 0, err
    assert (await here.services.devices.show("d1")).jid.full == "cpe1@cpe.test/x"


async def test_an_import_that_is_cut_off_changes_nothing(here: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "stanzagate")
    process = await started(here, "device", "import", "-", stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"id,jid,cr_username,cr_password,groups\nd1,cpe1@cpe.test/x,,,\n" + b"\n" * 300_000)
    await process.stdin.drain()
    while not here.services.devices._bulk:
        await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    while here.services.devices._bulk:
        await asyncio.sleep(0.01)
    assert (await here.services.devices.list()).devices == ()
    while "went away" not in caplog.text:
        await asyncio.sleep(0.01)
    assert "defect" not in caplog.text and "Traceback" not in caplog.text


async def test_wake_exits_with_1_unless_accepted(here: Scene, said: Any) -> None:
    await registered(here)
    assert await here.run("wake", "d1", "--json") == 0
    assert set(json.loads(said().out)) == {"device", "outcome", "via", "elapsed_ms", "detail"}
    here.silent.add("cpe2@cpe.test")
    assert await here.run("wake", "d2", "--timeout", "0.1") == 1
    assert said().out.startswith("d2  timeout  ")
    for arguments, outcome in (
        (("d1", "--as", "rogue@acs.test"), "denied"),
        (("d9",), "unknown-device"),
        (("cpe9@cpe.test",), "unknown-device"),
    ):
        assert await here.run("wake", *arguments, "--json") == 1
        assert json.loads(said().out)["outcome"] == outcome


async def test_wake_says_3_when_the_gate_has_no_server(here: Scene, said: Any) -> None:
    await registered(here)
    await here.server.stop()
    while here.services.link.attached.is_set():
        await asyncio.sleep(0.01)
    assert await here.run("wake", "d1") == 3
    assert "not attached" in said().err


async def test_a_group_gives_a_line_for_each_device_and_a_summary(here: Scene, said: Any) -> None:
    await registered(here)
    assert await here.run("wake", "--group", "lab", "--rate", "unlimited") == 0
    *lines, summary = said().out.splitlines()
    assert sorted(line.split()[:2] for line in lines) == [[f"d{number}", "accepted"] for number in (1, 2, 3)]
    assert summary == "lab: 3 of 3 done: 3 accepted"
    here.silent.add("cpe2@cpe.test")
    assert await here.run("wake", "--group", "lab", "--timeout", "0.1", "--json") == 1
    found = json.loads(said().out)
    assert found["summary"]["outcomes"] == {"accepted": 2, "timeout": 1} and len(found["results"]) == 3
    assert await here.run("wake", "--group", "lab", "--resume") == 1
    assert await here.run("wake", "--group", "empty") == 1


async def test_ctrl_c_says_what_is_done_and_how_to_go_on(here: Scene, said: Any) -> None:
    await registered(here)
    process = await started(here, "wake", "--group", "lab", "--rate", "1/min")
    assert process.stdout is not None and process.stderr is not None
    assert (await process.stdout.readline()).split()[1] == b"accepted"
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 1
    assert out == b"lab: 1 of 3 done: 1 accepted\n"
    assert b"1 device is done, 2 are not" in err and b"--resume" in err and b"Traceback" not in err
    while (latest := await here.services.campaigns.latest("lab")) is None or latest.state.value == "running":
        await asyncio.sleep(0.01)
    assert await here.run("wake", "--group", "lab", "--resume", "--rate", "unlimited") == 0
    assert said().out.splitlines()[-1] == "lab: 3 of 3 done: 3 accepted"


async def test_the_audit_record(here: Scene, said: Any) -> None:
    await registered(here)
    assert await here.run("audit", "--last", "2", "--json") == 0
    assert [row["subject"] for row in json.loads(said().out)] == ["d2", "d3"]
    assert await here.run("audit", "--action", "device.", "--since", "1h") == 0
    assert len(said().out.splitlines()) == 4
    assert await here.run("audit", "verify") == 0
    assert await here.run("audit", "verify", "--json") == 0
    said()
    files = {name: str(here.folder / f"audit.{name}") for name in ("pub", "head")}
    offline = ("audit", "verify", "--database", str(here.folder / "stanzagate.db"), "--public-key", files["pub"])
    assert await here.run(*offline, "--head", files["head"], "--json") == 0
    assert json.loads(said().out)["ok"]

    def tamper(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE audit SET subject = 'd9' WHERE seq = 2")

    await here.services.store.write(tamper)
    assert await here.run(*offline, "--head", files["head"]) == 1
    assert "row 2 was changed" in said().out
    assert await here.run("audit", "verify") == 1


async def test_following_shows_rows_as_they_are_written(here: Scene) -> None:
    process = await started(here, "audit", "--follow", "--json", "--last", "0")
    assert process.stdout is not None
    while not here.services.audit._followers:
        await asyncio.sleep(0.01)
    await registered(here, 1)
    assert json.loads(await process.stdout.readline())["subject"] == "d1"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130 and b"Traceback" not in err


async def test_a_reader_that_has_enough_is_no_error_to_look_at(here: Scene) -> None:
    await here.services.devices.import_csv(
        "unix:test",
        [b"id,jid,cr_username,cr_password,groups\n"]
        + [f"n{number},n{number}@cpe.test/x,,,\n".encode() for number in range(20_000)],
    )
    reading, writing = os.pipe()
    process = await started(here, "device", "export", stdout=writing)
    os.close(writing)
    await asyncio.to_thread(os.read, reading, 10)
    os.close(reading)
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")


async def test_backup_and_restore(here: Scene, said: Any, tmp_path: Path) -> None:
    await registered(here)
    archive = tmp_path / "backup.tar"
    assert await here.run("backup", "create", str(archive)) == 0
    assert archive.stat().st_mode & 0o777 == 0o600
    assert await here.run("backup", "create", str(archive)) == 1
    assert await here.run("backup", "create", str(tmp_path / "none" / "b.tar")) == 2
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]  # noqa: PTH208
    from stanzagate.cli import main

    target = tmp_path / "again"
    restore = ["backup", "restore", str(archive), "--dir", str(target)]
    assert main([*restore, "--dry-run"]) == 0
    assert not target.exists()
    assert main([*restore, "--json"]) == 0
    assert (target / "stanzagate.db").exists()
    assert main(restore) == 1


async def test_the_key_is_rotated(here: Scene, said: Any) -> None:
    await registered(here)
    assert await here.run("secrets", "rotate", "--dry-run") == 0
    assert "3 devices would be" in said().out
    assert await here.run("secrets", "rotate", "--json") == 0
    assert json.loads(said().out) == {"sealed": 3, "dry_run": False}


async def test_lists_for_devices_and_suggestions(here: Scene, said: Any) -> None:
    await registered(here)
    await here.run("jid", "allow", "acs@acs.test", "--to", "d1")
    said()
    assert await here.run("jid", "render", "d1", "--via", "both") == 0
    assert said().out == "gate@gate.test/gate\nacs@acs.test\n"
    assert await here.run("jid", "deny", "acs@acs.test", "--to", "d1") == 0
    assert await here.run("jid", "render", "d1", "--via", "direct") == 2
    assert "rule 2" in said().err
    assert await here.run("wake", "d2", "--as", "new@acs.test") == 1
    said()
    assert await here.run("jid", "suggest") == 0
    assert said().out.startswith("stanzagate jid allow new@acs.test --to d2 ")


async def test_the_service_may_be_named_anywhere_and_the_nearest_counts(here: Scene) -> None:
    from stanzagate.cli import main

    here_, nowhere = ["--socket", str(here.socket)], ["--socket", str(here.folder / "none")]
    for line in (
        [*here_, "jid", "list"],
        ["jid", *here_, "list"],
        ["jid", "list", *here_],
        [*nowhere, "jid", *here_, "list"],
        ["jid", *nowhere, "list", "--dir", str(here.folder)],
        [*here_, "audit"],
        ["audit", *here_, "verify"],
    ):
        assert await asyncio.to_thread(main, line) == 0, line


async def test_a_change_that_a_plugin_does_not_confirm_is_made_and_said(
    here: Scene, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardedhost, "CONFIRM_SECONDS", 0.1)
    await registered(here)
    here.silent.add("cpe.test")
    host = here.services.enforcement.hosts["cpe.test"]
    here.server.send(f"<message from='cpe.test' to='gate.test'><sessions xmlns='{ns.POLICY}' seq='0'/></message>")
    while host.mode is PluginMode.ABSENT:
        await asyncio.sleep(0.005)
    assert await here.run("jid", "allow", "acs1@acs.test", "--to", "d1") == 1
    err = said().err
    assert "Rule 1: allow acs1@acs.test to d1. But cpe.test (no answer within 0.1 s) has not confirmed it" in err
    assert await here.run("jid", "check", "acs1@acs.test", "d1") == 0
    here.silent.clear()
    assert await here.run("jid", "suspend", "acs1@acs.test") == 0
