"""``stanzagate iodef``: files of every kind, what is printed, and how it exits."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from stanzagate.cli import iodef_source, main

DOCUMENTS = Path(__file__).parent / "documents"
PAGES = Path(__file__).parent / "pages"
MINIMAL = DOCUMENTS / "rfc7970-7.1.xml"
OLD = PAGES / "night-1.0.xml"

JSON = """{"version": "2.0", "lang": "en", "Incident": [{
  "purpose": "reporting", "restriction": "private",
  "IncidentID": {"id": "492382", "name": "csirt.example.com"},
  "GenerationTime": "2015-07-18T09:00:00-05:00",
  "Contact": [{"type": "organization", "role": "creator", "Email": [{"EmailTo": "contact@csirt.example.com"}]}]
}]}
"""
"""RFC 8727 §4.1."""

Said = pytest.CaptureFixture[str]


def found(said: Said) -> list[dict[str, object]]:
    """What ``validate --json`` printed."""
    out, err = said.readouterr()
    assert err == ""
    result = json.loads(out)
    assert isinstance(result, list)
    return result


def run(*arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "stanzagate", "iodef", *arguments]
    return subprocess.run(command, input=content, capture_output=True, check=False, timeout=60)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A document with two problems, in lines 5 and 7."""
    text = MINIMAL.read_text()
    file = tmp_path / "broken.xml"
    file.write_text(text.replace('purpose="reporting"', 'purpose="fun"').replace("2015-07-18T09", "2015-07-38T09"))
    return file


@pytest.fixture
def in_json(tmp_path: Path) -> Path:
    file = tmp_path / "incident.xml"  # the name says nothing
    file.write_text(JSON)
    return file


# -- validate --------------------------------------------------------------------------------------------------------


def test_valid_documents_of_every_form_are_valid(in_json: Path, capsys: Said) -> None:
    files = [str(MINIMAL), str(OLD), str(in_json)]
    assert main(["iodef", "validate", *files]) == 0
    assert capsys.readouterr().out == "3 files: all valid.\n"
    assert main(["iodef", "validate", "--json", *files]) == 0
    assert found(capsys) == [{"file": file, "valid": True, "errors": []} for file in files]


def test_every_problem_has_a_line_and_a_path(broken: Path, capsys: Said) -> None:
    assert main(["iodef", "validate", str(MINIMAL), str(broken)]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert summary == "2 files: 1 valid, 1 not valid (2 problems)."
    source = broken.read_text().splitlines()
    wrong = [number for number, line in enumerate(source, 1) if 'purpose="fun"' in line or "-38T" in line]
    places = [line.removeprefix(f"{broken}:").split(": ", 2) for line in lines]
    assert [path for _, path, _ in places] == [
        "/IODEF-Document/Incident/@purpose", "/IODEF-Document/Incident/GenerationTime",
    ]  # fmt: skip
    assert [int(line) for line, _, _ in places] == wrong
    assert "'fun'" in places[0][2]
    assert main(["iodef", "validate", "--json", str(broken)]) == 1
    (result,) = found(capsys)
    assert result["file"] == str(broken) and result["valid"] is False
    assert result["errors"] == [
        {"line": int(line), "path": path, "message": message} for line, path, message in places
    ]  # fmt: skip


def test_what_cannot_be_read_is_told_and_the_others_are_looked_at(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text(" \n\t")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "image").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "text").write_text("Dear CSIRT,\x1b[2J")
    (tmp_path / "half").write_text("<IODEF-Document")
    (tmp_path / "other.xml").write_text("<feed/>")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "half.json").write_text('{"version": ')
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    wanted = {
        "none": "No such file", ".": "directory", "empty": "empty", "blank": "empty",
        "binary": "neither XML nor JSON", "image": "neither XML nor JSON", "text": "begins with 'Dear CSIRT",
        "half": "not well-formed", "other.xml": "feed", "other.json": "", "half.json": "JSON",
        "socket": "cannot be read", "text/x": "Not a directory",
    }  # fmt: skip
    files = [str(tmp_path / name) for name in wanted]
    assert main(["iodef", "validate", "--json", *files, str(MINIMAL)]) == 1
    results = found(capsys)
    assert [each["file"] for each in results] == [*files, str(MINIMAL)]
    assert [each["valid"] for each in results] == [*([False] * len(files)), True]
    for result, words in zip(results, wanted.values(), strict=False):
        errors = result["errors"]
        assert isinstance(errors, list) and errors and words in errors[0]["message"], result
        assert all(set(each) == {"line", "path", "message"} for each in errors)
    assert main(["iodef", "validate", *files, str(MINIMAL)]) == 1
    out, err = capsys.readouterr()
    assert out.isprintable() is False and "\x1b" not in out and err == ""  # lines, and nothing else unprintable
    assert f"{tmp_path / 'none'}: cannot be read: No such file or directory\n" in out


def test_what_is_too_large_is_not_read(tmp_path: Path, capsys: Said) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10 * 1024**4)  # takes no room on the disk
    for name in (str(tmp_path / "huge"), "/dev/zero"):
        assert main(["iodef", "validate", name, "--json"]) == 1
        (result,) = found(capsys)
        assert "has more than" in str(result["errors"])


def test_a_fifo_is_read_and_one_without_a_writer_holds_nothing_up(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = f"exec {sys.executable} -m stanzagate iodef validate <(cat {MINIMAL})"
    piped = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (piped.returncode, piped.stdout) == (0, "1 file: valid.\n"), piped.stderr
    monkeypatch.setattr(iodef_source, "WRITER_SECONDS", 0)
    assert main(["iodef", "validate", str(fifo), str(MINIMAL)]) == 1
    assert capsys.readouterr().out.endswith("nobody wrote to it\n2 files: 1 valid, 1 not valid (1 problem).\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_are_known_by_content(tmp_path: Path, encoding: str, capsys: Said) -> None:
    text = MINIMAL.read_text().replace('encoding="UTF-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    (tmp_path / "a").write_bytes(text.encode(encoding))
    assert main(["iodef", "validate", str(tmp_path / "a")]) == 0, capsys.readouterr().out


def test_white_space_before_a_form_is_passed_over() -> None:
    for text in (" \n" * 5000 + "{}", "{}"):
        assert iodef_source.form_of(text.encode()) is iodef_source.Form.JSON
        assert iodef_source.form_of(text.encode("utf-16")) is iodef_source.Form.JSON
        assert iodef_source.form_of(text.replace("{}", "<a/>").encode("utf-32")) is iodef_source.Form.XML
    assert iodef_source.form_of("<a/>".encode("utf-16-le")) is iodef_source.Form.XML


def test_standard_input_is_a_file_but_only_once(in_json: Path) -> None:
    result = run("validate", "-", "--json", content=MINIMAL.read_bytes())
    assert (result.returncode, json.loads(result.stdout)) == (0, [{"file": "-", "valid": True, "errors": []}])
    result = run("validate", "-", str(in_json), content=b"")
    assert result.returncode == 1 and result.stdout.startswith(b"-: it is empty")
    closed = f"exec {sys.executable} -m stanzagate iodef validate - <&-"
    result = subprocess.run(["bash", "-c", closed], capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (1, b"") and result.stdout.startswith(b"-: cannot be read: Bad file")
    result = run("validate", "-", "-")
    assert result.returncode == 2 and b"only once" in result.stderr


def test_a_name_that_is_not_text_is_told_without_a_traceback(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/\xff"
    command: list[str | bytes] = [sys.executable, "-m", "stanzagate", "iodef", "validate", "--json", file]
    result = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert result.returncode == 1 and not result.stderr
    assert json.loads(result.stdout)[0]["valid"] is False


@pytest.mark.parametrize(
    "arguments", [["validate"], ["show"], ["convert"], ["convert", "a", "--to", "yaml"], ["show", "a", "b"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: Said) -> None:
    assert main(["iodef", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--help" in err and "Value error" not in err


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    program = (
        "import sys; from stanzagate.cli import main; code = main(sys.argv[1:]);"
        "print(code, sorted({'lxml', 'jsonschema', 'grid.iodef.v1', 'httpx', 'rich', 'slixmpp'} & set(sys.modules)))"
    )
    for arguments, wanted in ((["--help"], "0 []"), (["validate", str(MINIMAL)], "0 ['lxml']")):
        command = [sys.executable, "-c", program, "iodef", *arguments]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert lines[-1] == wanted


# -- convert ---------------------------------------------------------------------------------------------------------


def canonical(document: bytes) -> bytes:
    parser = etree.XMLParser(remove_blank_text=True, remove_comments=True)
    return etree.tostring(etree.fromstring(document, parser), method="c14n")


def test_to_json_and_back_changes_nothing(tmp_path: Path) -> None:
    made, again = tmp_path / "made.json", tmp_path / "again.xml"
    source = PAGES / "plain.xml"
    assert main(["iodef", "convert", str(source), "-o", str(made)]) == 0
    assert json.loads(made.read_text())["version"] == "2.0"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert main(["iodef", "convert", str(made), "-o", str(again)]) == 0
    assert canonical(again.read_bytes()) == canonical(source.read_bytes())
    assert main(["iodef", "validate", str(made), str(again)]) == 0


def test_the_form_may_be_named_and_a_pipe_is_a_file(
    in_json: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    result = run("convert", "-", "--to", "json", content=JSON.encode())
    assert result.returncode == 0 and json.loads(result.stdout) == json.loads(JSON)
    assert main(["iodef", "convert", str(in_json), "--to", "xml"]) == 0
    assert etree.fromstring(capsysbinary.readouterr().out).get("version") == "2.00"
    assert main(["iodef", "convert", str(OLD), "--to", "xml"]) == 0
    assert canonical(capsysbinary.readouterr().out) == canonical(OLD.read_bytes())


def test_1_0_has_no_json_form(capsys: Said) -> None:
    assert main(["iodef", "convert", str(OLD)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"stanzagate: error: {OLD}: It is IODEF 1.0 (RFC 5070)") and "8727" in err


def test_nothing_is_lost_unless_that_is_asked_for(tmp_path: Path, capsys: Said) -> None:
    """RFC 8727 has no Flow: which system was in which one cannot be said."""
    source, out = PAGES / "two-flows.xml", tmp_path / "out.json"
    assert main(["iodef", "convert", str(source), "-o", str(out)]) == 2
    err = capsys.readouterr().err
    assert not out.exists() and "--lossy" in err and "Flow" in err
    assert main(["iodef", "convert", str(source), "-o", str(out), "--lossy"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "Left out" in said.err and "Flow" in said.err
    assert main(["iodef", "validate", str(out)]) == 0
    assert len(json.loads(out.read_text())["Incident"][0]["EventData"][0]["System"]) == 2


def test_what_is_not_valid_is_not_converted(broken: Path, tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")
    assert main(["iodef", "convert", str(broken), "-o", str(out), "--overwrite"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"stanzagate: error: {broken}: ") and "/IODEF-Document/Incident/@purpose" in err
    assert out.read_text() == "old"
    for name, words in ((str(tmp_path / "none"), "No such file"), (str(tmp_path), "directory")):
        assert main(["iodef", "convert", name]) == 2
        assert f"error: {name} cannot be read" in (said := capsys.readouterr().err) and words in said


def test_what_is_there_is_replaced_only_when_asked_and_never_half(tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")
    assert main(["iodef", "convert", str(MINIMAL), "-o", str(out)]) == 1
    assert out.read_text() == "old" and "--overwrite" in capsys.readouterr().err
    assert main(["iodef", "convert", str(MINIMAL), "-o", str(out), "--overwrite"]) == 0
    assert json.loads(out.read_text())["Incident"]
    for place in (tmp_path / "none" / "out", tmp_path, Path("/dev/null")):
        assert main(["iodef", "convert", str(MINIMAL), "-o", str(place), "--overwrite"]) == 2
        assert str(place) in capsys.readouterr().err
    assert Path("/dev/null").is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]
