"""The command line without a service: usage, the way to the service, what is imported, what is documented."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from component.base.errors import InputError, StanzagateError, Unreachable
from stanzagate.cli import COMMANDS, files, loaded, main, output
from stanzagate.cli.place import find_socket

DOCS = Path(__file__).parents[2] / "docs"


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its path."""
    inner = getattr(command, "commands", None)
    if inner is None or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in (inner or {}).items():
        yield from walk(child, f"{path} {name}")


ALL = [entry for name in COMMANDS for entry in walk(loaded(name), name)]
IDS = [path for path, _ in ALL]


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


# -- what there is ---------------------------------------------------------------------------------------------------

CONTRACT = {
    "serve", "check-config", "relay", "relay status", "sandbox up", "sandbox down", "init",
    "jid allow", "jid deny", "jid remove", "jid list", "jid check", "jid suspend", "jid resume", "jid import",
    "jid export", "jid render", "jid suggest",
    "device add", "device import", "device list", "device show", "device remove", "device export",
    "wake", "iodef validate", "iodef convert", "iodef show", "audit", "audit verify",
    "backup create", "backup restore", "secrets rotate",
    "node add", "node list", "node show", "node approve", "node reject", "node disable", "node enable", "node delete",
    "node group add", "node group remove", "node clear",
    "topic add", "topic list", "topic show", "topic enable", "topic disable", "topic delete",
    "access permit", "access forbid", "access list", "access remove", "access explain",
    "publish", "watch", "ca init", "ca issue", "ca revoke", "ca crl",
}  # fmt: skip
CHANGES = {
    "jid allow", "jid deny", "jid remove", "jid suspend", "jid resume", "jid import",
    "device add", "device set", "device import", "device remove", "backup restore", "secrets rotate",
    "node add", "node approve", "node reject", "node disable", "node enable", "node delete", "node group add",
    "node group remove", "node clear",
    "topic add", "topic configure", "topic enable", "topic disable", "topic delete",
    "access permit", "access forbid", "access remove", "ca init", "ca issue", "ca revoke", "ca crl",
}  # fmt: skip
OFFLINE = {
    "serve", "check-config", "relay", "sandbox up", "sandbox down", "init", "backup restore",
    "iodef validate", "iodef convert", "iodef show",
}  # fmt: skip
NODES = {"publish", "watch"}
"""Commands of a node, which knows nothing of the service."""
NOTHING_TO_SHOW = {"serve", "relay", "jid export", "device export", "iodef convert"}


def test_every_command_of_the_contract_is_there() -> None:
    assert set(IDS) >= CONTRACT


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_every_command_has_what_the_contract_says(path: str, command: Any) -> None:
    found = options(command)
    assert ("--dry-run" in found) >= (path in CHANGES)
    assert ("--json" in found) >= (path not in NOTHING_TO_SHOW)
    assert found >= (set() if path in OFFLINE | NODES else {"--dir", "--socket"})


@pytest.mark.parametrize("path", IDS)
def test_help_fits_a_terminal_and_has_an_example(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    if path.split(maxsplit=1)[0] not in {"sandbox", "init"}:  # those speak for themselves
        assert f"stanzagate {path}" in text


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_every_command_and_option_is_documented(path: str, command: Any) -> None:
    text = (DOCS / "commands.md").read_text()
    heading = re.search(rf"^#+ `stanzagate {re.escape(path)}[ `]", text, re.MULTILINE)
    assert heading, f"docs/commands.md has no heading for {path}"
    section = re.split(r"^#+ ", text[heading.start() :], flags=re.MULTILINE)[1]
    common = {"--dir", "--socket", "--json", "--dry-run", "--help"}
    assert not [option for option in options(command) - common if f"`{option}" not in section]
    assert all(f"`{option}" in text for option in common)


# -- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"], ["jid"], ["jid", "nonsense"], ["jid", "check", "a"], ["jid", "allow", "a"],
        ["jid", "remove", "x"],
        ["jid", "render", "d", "--via", "air"], ["wake"], ["wake", "d", "--group", "g"], ["wake", "d", "--resume"],
        ["wake", "d", "--rate", "1/s"], ["wake", "d", "--timeout", "0"], ["wake", "--group", "g", "--as", "a@b.test"],
        ["device", "add", "d"], ["device", "add", "d", "--jid", "j", "--cr-username", "u"], ["device", "set", "d"],
        ["device", "set", "d", "--group", "g", "--no-groups"], ["audit", "verify", "--head", "x"],
        ["audit", "verify", "--database", "x"], ["audit", "--last", "-1"], ["--nonsense"], ["serve"],
        ["relay"], ["relay", "nonsense"], ["relay", "status", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_says_where_help_is(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("stanzagate: error: ", "Usage: ")) and "--help" in err


def test_nobody_there_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    long = tmp_path / ("x" * 120)
    for place in (
        ["--socket", str(tmp_path / "none.sock")], ["--socket", str(stale)], ["--socket", str(long / "a.sock")],
        ["--dir", str(tmp_path / "none")], ["--dir", str(tmp_path)],
    ):  # fmt: skip
        for command in (["jid", "list"], ["wake", "d1"], ["device", "import", "-"], ["audit"], ["audit", "verify"]):
            assert main([*command, *place]) == 3
            out, err = capsys.readouterr()
            assert out == "" and err.startswith("stanzagate: error: ")


def test_a_configuration_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stanzagate.yaml"
    text = "server: {kind: prosody}\ngate: {jid: gate.test, secret: {file: s}, guarded_hosts: [cpe.test]}\n"
    file.write_text(text)
    assert main(["check-config", str(file)]) == 2
    assert "gate.secret" in capsys.readouterr().err
    (tmp_path / "s").write_text("secret\n")
    assert main(["check-config", str(file)]) == 0
    file.write_text(text + "gatte: {}\n")
    assert main(["check-config", str(file)]) == 2
    err = capsys.readouterr().err
    assert f"{file}:3" in err and "gatte" in err
    assert main(["serve", "-c", str(tmp_path / "none.yaml")]) == 2
    assert main(["serve", "-c", str(file)]) == 2


# -- where the service is --------------------------------------------------------------------------------------------


def test_the_socket_is_found_by_option_folder_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANZAGATE_SOCKET", "/env.sock")
    assert find_socket(None, None) == Path("/env.sock")
    (tmp_path / "stanzagate.yaml").write_text("admin: {socket: run/a.sock}\n")
    assert find_socket(tmp_path, None) == tmp_path / "run/a.sock"
    (tmp_path / "stanzagate.yaml").write_text("server: {kind: prosody}\n")
    assert find_socket(tmp_path, None) == tmp_path / "admin.sock"
    (tmp_path / "sandbox.json").write_text(json.dumps({"admin": {"socket": "/box.sock"}}))
    assert find_socket(tmp_path, None) == Path("/box.sock")
    assert find_socket(tmp_path, Path("/mine.sock")) == Path("/mine.sock")


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("sandbox.json", '{"admin": null}', Unreachable),
        ("sandbox.json", "{", InputError),
        ("sandbox.json", "{}", InputError),
        ("stanzagate.yaml", "[1]", InputError),
        ("stanzagate.yaml", "{", InputError),
    ],
)
def test_a_folder_that_cannot_be_understood(tmp_path: Path, name: str, text: str, error: type[Exception]) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=str(tmp_path)):
        find_socket(tmp_path, None)


# -- the rest --------------------------------------------------------------------------------------------------------


def test_a_client_command_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from stanzagate.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'sqlalchemy', 'fastapi', 'uvicorn', 'slixmpp', 'alembic', 'numpy', 'cryptography', 'ruamel'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["jid", "check", "a@b.test", "d", "--socket", str(tmp_path / "none")], ["--help"]):
        run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1].endswith("[]"), run.stdout


def test_what_others_wrote_cannot_play_tricks_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("A",), [["\x1b[31mred\n"]])
    output.error(StanzagateError("m", hint="h", details=["\x07"]))
    out, err = capsys.readouterr()
    assert "\x1b" not in out and out == "A\n\\x1b[31mred\\n\n"
    assert err == "stanzagate: error: m\n  h\n  - \\x07\n"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" with spaces \r\n")
    assert files.read_secret(str(file)) == " with spaces "
    for content in (b"", b"\n", b"\xff\n"):
        file.write_bytes(content)
        with pytest.raises(InputError):
            files.read_secret(str(file))


def test_a_full_disk_and_a_strange_encoding_are_told_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stanzagate"]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([*command, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (run.returncode, run.stderr) == (
        1,
        "stanzagate: error: The output cannot be written: No space left on device.\n",
    )
    strange = [*command, "jid", "check", b"\xff@a.test", "d", "--socket", str(tmp_path / "none")]
    told = subprocess.run(strange, stderr=subprocess.PIPE, check=False)
    assert told.returncode in {2, 3} and b"Traceback" not in told.stderr
