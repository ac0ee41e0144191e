"""Standard streams that are closed, and characters that must not reach a terminal as they are."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.base.errors import Conflict
from stanzagate.cli import files, output
from tests.unit.adminkit import Scene, registered, scene

DOCUMENTS = Path(__file__).parent / "iodef" / "documents"
MINIMAL = DOCUMENTS / "rfc7970-7.1.xml"
TRICKS = 'a\x9b31m\x7f\u202eb\u2028\ufeff\udcff\U000e0041\n"\\ü'
"""C1 and DEL, an override of direction, a line end, a half surrogate, a tag."""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running:
        yield running


def closed(closing: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line with streams closed; what remains of them is captured."""
    command = f"exec {shlex.join([sys.executable, '-m', 'stanzagate', *arguments])} {closing}"
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("iodef", "validate", str(MINIMAL)), 0),
        (("iodef", "validate", "--json", str(MINIMAL)), 0),
        (("iodef", "validate", str(MINIMAL), "none"), 1),
        (("iodef", "show", str(MINIMAL)), 0),
        (("iodef", "show", "--json", str(MINIMAL)), 0),
        (("iodef", "show", "none"), 2),
        (("iodef", "convert", "none"), 2),
        (("--help",), 0),
        (("--version",), 0),
        (("jid", "list", "--socket", "none"), 3),
    ],
)
def test_the_exit_code_is_right_when_stdout_is_closed(arguments: tuple[str, ...], code: int) -> None:
    done = closed(">&-", *arguments)
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
    assert bool(done.stderr) == (code > 1)
    assert closed(">&- 2>&-", *arguments).returncode == code


def test_a_result_that_would_be_lost_is_an_error(tmp_path: Path) -> None:
    done = closed(">&-", "iodef", "convert", str(MINIMAL))
    assert done.returncode == 1
    assert done.stderr == b"stanzagate: error: The output cannot be written: Bad file descriptor.\n"
    out = tmp_path / "out.json"
    done = closed(">&-", "iodef", "convert", str(MINIMAL), "-o", str(out))
    assert (done.returncode, done.stderr) == (0, b"") and json.loads(out.read_text())["Incident"]


def test_a_file_that_appears_while_one_is_written_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Conflict), files.private_output(str(out), overwrite=False) as file:
        file.write(b"ours")
        out.write_bytes(b"theirs")
    assert out.read_bytes() == b"theirs" and list(tmp_path.iterdir()) == [out]
    with files.private_output(str(out), overwrite=True) as file:
        file.write(b"ours")
    assert out.read_bytes() == b"ours" and out.stat().st_mode & 0o777 == 0o600


async def test_commands_of_the_service_know_no_closed_streams(here: Scene) -> None:
    await registered(here)
    for arguments, code in (
        (("jid", "list"), 0),
        (("jid", "list", "--json"), 0),
        (("jid", "allow", "acs9@acs.test", "--to", "d1"), 0),
        (("device", "list"), 0),
        (("audit",), 0),
        (("audit", "verify"), 0),
        (("jid", "export"), 1),
        (("device", "export"), 1),
    ):
        done = await asyncio.to_thread(closed, ">&-", *arguments, "--socket", str(here.socket))
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), (arguments, done.stderr)
        assert (b"cannot be written" in done.stderr) == bool(code), arguments
    assert any(row["requester"] == "acs9@acs.test" for row in json.loads((await listed(here)).stdout))
    done = await asyncio.to_thread(closed, "<&-", "jid", "import", "-", "--socket", str(here.socket))
    assert done.returncode == 2 and b"- cannot be read: Bad file descriptor." in done.stderr


async def listed(here: Scene) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(closed, "", "jid", "list", "--json", "--socket", str(here.socket))


def test_json_means_the_same_and_plays_no_tricks(capsys: pytest.CaptureFixture[str]) -> None:
    output.document({TRICKS: [TRICKS]})
    output.listing([TRICKS, "plain"])
    first, second, third = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {TRICKS: [TRICKS]}
    assert json.loads(second + third) == [TRICKS, "plain"]
    assert (first + second + third).isprintable() and "\\u009b" in first and "ü" in first


@pytest.mark.parametrize("form", ["xml", "json"])
def test_a_converted_document_plays_no_tricks_on_a_terminal(tmp_path: Path, form: str) -> None:
    text = "\x9b31m\x7f\u202eevil"
    source = MINIMAL.read_text().replace("<Contact ", f"<Description>{text}</Description><Contact ", 1)
    assert text in source
    (tmp_path / "a.xml").write_text(source)
    command = [sys.executable, "-m", "stanzagate", "iodef", "convert", "a.xml", "--to", form]
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, stdout=theirs, cwd=tmp_path, check=True, timeout=60)
        os.set_blocking(ours, False)
        shown = os.read(ours, 65536).replace(b"\r\n", b"\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert "evil" in shown.decode()
    assert not {unicodedata.category(char) for char in shown.decode().replace("\n", "")} & {"Cc", "Cf"}
    piped = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True, timeout=60).stdout
    assert text in piped.decode()
    (tmp_path / "shown").write_bytes(shown)
    again = [sys.executable, "-m", "stanzagate", "iodef", "convert", "shown", "--to", form]
    assert subprocess.run(again, capture_output=True, cwd=tmp_path, check=True, timeout=60).stdout == piped
