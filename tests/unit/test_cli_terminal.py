"""The command line on a terminal, in pipes, and where something is in the way."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from component.base.clientsessions import ClientSession
from component.base.errors import InputError
from component.base.jid import prepare
from stanzagate.cli import files, main, output
from tests.unit.adminkit import Scene, registered, scene


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running:
        yield running


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Any:
    return capfd.readouterr


@pytest.fixture
def screen() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for descriptor in (ours, theirs):
        os.close(descriptor)


async def run(here: Scene, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "stanzagate", *arguments, "--socket", str(here.socket))
    return await asyncio.create_subprocess_exec(*command, **options)


# -- who is online ---------------------------------------------------------------------------------------------------


async def test_nobody_is_called_offline_while_nobody_reports(here: Scene, said: Any) -> None:
    await registered(here)
    assert await here.run("device", "list", "--online") == 0
    out, err = said()
    assert out == "" and "Nobody reports sessions at the moment" in err
    assert await here.run("device", "list", "--offline") == 0
    out, err = said()
    assert out.count("unknown") == 3 and "Nobody reports sessions at the moment" in err
    assert await here.run("device", "show", "d1") == 0
    assert "online       unknown\n" in said().out
    assert await here.run("device", "list", "--json") == 0
    device = json.loads(said().out)[0]
    assert (device["online"], device["since"], device["sessions"]) == (False, None, "not-reported")


async def test_reported_sessions_are_shown(here: Scene, said: Any) -> None:
    await registered(here)
    sessions = here.services.devices.sessions
    sessions.replace("cpe.test", [ClientSession("s1", prepare("cpe2@cpe.test/tr069"), 1.8e9)])
    assert await here.run("device", "list") == 0
    assert [line.split()[2] for line in said().out.splitlines()] == ["ONLINE", "no", "yes", "no"]
    assert await here.run("device", "list", "--online") == 0
    out, err = said()
    assert out.splitlines()[1].startswith("d2 ") and err == ""
    assert await here.run("device", "show", "d2", "--json") == 0
    shown = json.loads(said().out)
    assert (shown["online"], shown["since"], shown["sessions"]) == (True, 1.8e9, "reported")
    sessions.forget("cpe.test")
    assert await here.run("device", "show", "d2") == 0
    assert "online       unknown\n" in said().out


# -- output ----------------------------------------------------------------------------------------------------------


async def test_results_go_to_the_file_and_the_bar_to_the_terminal(
    here: Scene, tmp_path: Path, screen: tuple[int, int]
) -> None:
    await registered(here)
    for arguments, lines in (
        (("wake", "--group", "lab", "--rate", "unlimited"), 4),
        (("device", "export"), 4),
        (("device", "list"), 4),
        (("audit", "verify"), 1),
        (("secrets", "rotate"), 1),
        (("device", "import", str(tmp_path / "in.csv")), 1),
    ):
        (tmp_path / "in.csv").write_text("id,jid,cr_username,cr_password,groups\nd1,cpe1@cpe.test/tr069,,,lab\n")
        with (tmp_path / "out").open("wb") as out:
            process = await run(here, *arguments, stdout=out, stderr=screen[1])
            assert await process.wait() == 0, arguments
        assert len((tmp_path / "out").read_text().splitlines()) == lines, arguments
    assert b"Traceback" not in os.read(screen[0], 65536)


async def test_a_reader_that_leaves_interrupts_a_group_and_is_told_how_to_go_on(here: Scene) -> None:
    await registered(here)
    reading, writing = os.pipe()
    process = await run(
        here, "wake", "--group", "lab", "--rate", "1/min", stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    await asyncio.to_thread(os.read, reading, 100)
    os.close(reading)
    process.send_signal(signal.SIGINT)  # as Ctrl-C does to a whole pipe
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"1 device is done, 2 are not" in err and b"--resume" in err and b"Traceback" not in err


def test_a_table_grows_wider_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "ROWS_TOGETHER", 2)
    assert output.table(("A", "B"), iter([("1", "x"), ("22", "y"), ("333333", "z"), ("4", "w")]))
    assert capsys.readouterr().out.splitlines() == ["A   B", "1   x", "22  y", "333333  z", "4       w"]
    assert not output.table(("A", "B"), iter([]))
    output.listing(iter([]))
    output.listing(iter([{"a": 1}, {"b": "ü"}]))
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert (json.loads(first), json.loads(rest)) == ([], [{"a": 1}, {"b": "ü"}])


async def test_no_locale_no_colour_and_a_dumb_terminal(here: Scene, screen: tuple[int, int]) -> None:
    await here.services.devices.add("unix:test", "dü", "gerät@cpe.test/x")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    for extra in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {}):
        process = await run(
            here, "device", "list", stdout=asyncio.subprocess.PIPE, stderr=screen[1], env=clean | extra
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, extra
        assert out.splitlines()[1].split()[0] in {"dü".encode(), b"d\\xfc"}


# -- what is in the way ----------------------------------------------------------------------------------------------


def test_a_socket_of_another_user_is_no_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(file))
    (tmp_path / "stanzagate.yaml").touch(mode=0o600)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for place in (["--socket", str(file)], ["--dir", str(tmp_path)]):
        assert main(["jid", "list", *place]) == (3 if place[0] == "--socket" else 2)
        err = capsys.readouterr().err
        assert "You may not use the admin socket" in err or "is not a configuration" in err
    assert main(["check-config", str(tmp_path / "stanzagate.yaml")]) == 2
    assert "must be a mapping" in capsys.readouterr().err


def test_a_file_that_is_no_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        assert main(["jid", "list", "--socket", str(path)]) == 3
        assert f"{path} is not a socket" in capsys.readouterr().err


async def test_files_that_cannot_be_read_are_named(here: Scene, said: Any, tmp_path: Path) -> None:
    for command in ("device", "jid"):
        for file in (str(tmp_path), str(tmp_path / "none"), "/proc/self/mem"):
            assert await here.run(command, "import", file) == 2
            out, err = said()
            assert not out and err.startswith(f"stanzagate: error: {file} cannot be read: ")


async def test_thousands_of_bad_lines_are_all_named(here: Scene, said: Any, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("id,jid,cr_username,cr_password,groups\n" + "".join(f"b{n},nowhere,,,\n" for n in range(5000)))
    assert await here.run("device", "import", str(file)) == 2
    out, err = said()
    assert not out and "5000 bad lines" in err and "line 2, " in err and "5001" in err
    assert (await here.services.devices.list()).devices == ()


@pytest.mark.parametrize("domain", ["a b", "@", "", "x@"])
def test_init_names_what_is_no_domain(domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = ["init", str(tmp_path / "d"), "--server", "prosody", "--acs-domain", "acs.test", "--cpe-domain", domain]
    assert main(init) == 2
    assert "is not a domain" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_what_may_not_be_touched_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may everything, so the operating system is played."""

    def refused(path: Path, *_arguments: object, **_options: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "sandbox.pid").write_text("{}")
    monkeypatch.setattr(Path, "read_text", refused)
    assert main(["sandbox", "down", "--dir", str(tmp_path)]) == 1
    assert "belongs to another user" in capsys.readouterr().err
    assert (tmp_path / "sandbox.pid").exists()
    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        files.private_output(str(tmp_path / "b.tar"), overwrite=False).__enter__()
    assert main(["device", "list", "--dir", str(tmp_path)]) == 3
    assert "sandbox.json cannot be read: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["prosody", "ejabberd"])
def test_next_steps_restart_the_server_when_all_it_needs_is_there(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = ["init", str(tmp_path / "d"), "--server", kind, "--cpe-domain", "cpe.test", "--acs-domain", "acs.test"]
    assert main([*init, "--dry-run", "--component-port", "5999"]) == 0
    text = capsys.readouterr().out
    restart = text.index(f"systemctl restart {kind}")
    assert text.index("certs/*") < restart and text.index("5999") < restart
    assert restart < text.index("systemctl enable --now stanzagate") < text.index("/healthz")
