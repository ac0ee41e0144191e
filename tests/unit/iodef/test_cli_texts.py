"""What the commands say: as much as is needed, where it can be read."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from grid.iodef.errors import MOST
from stanzagate.cli import main
from tests.unit.iodef.pagekit import MINIMAL, PAGES, Said, document, lines, section, summary


def test_of_very_many_problems_only_the_first_are_named(tmp_path: Path, capsys: Said) -> None:
    head, contact, tail = MINIMAL.read_text().partition("<Contact ")
    bad = '<Contact role="zz" type="person"><ContactName>x</ContactName></Contact>'
    (tmp_path / "many.xml").write_text(f"{head}{bad * (MOST * 5)}{contact}{tail}")
    (tmp_path / "one.xml").write_text(f"{head}{bad}{contact}{tail}")
    assert main(["iodef", "validate", str(tmp_path / "many.xml"), str(tmp_path / "one.xml")]) == 1
    *found, last, of_one, result = capsys.readouterr().out.splitlines()
    assert len(found) == MOST and all("'zz'" in line for line in [*found, of_one])
    assert last.startswith(f"{tmp_path / 'many.xml'}: there are more than")
    assert result == f"2 files: 0 valid, 2 not valid (more than {MOST + 1} problems)."


def test_on_a_terminal_a_problem_breaks_between_words(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(MINIMAL.read_text().replace('role="creator"', 'role="zz"'))
    command = [sys.executable, "-m", "stanzagate", "iodef", "validate", "a.xml"]
    piped = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=60, text=True).stdout
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "COLUMNS": "60"}
        subprocess.run(command, stdout=theirs, cwd=tmp_path, env=environment, check=False, timeout=60)
        shown = os.read(ours, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert len(piped.splitlines()) == 2 and len(piped.splitlines()[0]) > 120
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.split() == piped.split()


def test_what_becomes_of_what_json_cannot_say_is_told(tmp_path: Path, capsys: Said) -> None:
    source = PAGES / "two-flows.xml"
    assert main(["iodef", "convert", str(source), "-o", str(tmp_path / "a")]) == 2
    assert "Give --lossy to convert the rest." in capsys.readouterr().err
    assert main(["iodef", "convert", str(source), "-o", str(tmp_path / "a"), "--lossy"]) == 0
    first, *places = capsys.readouterr().err.splitlines()
    assert first == "JSON (RFC 8727) cannot say all of it. Left out or changed:"
    assert places
    for told in places:
        found = re.fullmatch(r"  line (\d+): (/IODEF-Document/[^:]*): .*", told)
        assert found is not None, told
        name = re.sub(r"/@.*|\[\d+\]", "", found[2]).rpartition("/")[2]
        assert f"<{name}" in source.read_text().splitlines()[int(found[1]) - 1]


def test_an_incident_that_stands_alone_is_told_what_to_do(tmp_path: Path, capsys: Said) -> None:
    for name, namespace in (("Incident", "urn:ietf:params:xml:ns:iodef-1.0"), ("report", "urn:xmpp:incident:2")):
        (tmp_path / "a").write_text(f'<{name} xmlns="{namespace}"/>')
        assert main(["iodef", "validate", str(tmp_path / "a")]) == 1
        assert "that stands alone, put it into an IODEF-Document\n" in capsys.readouterr().out
    (tmp_path / "a").write_text("<feed/>")
    assert main(["iodef", "validate", str(tmp_path / "a")]) == 1
    assert "stands alone" not in capsys.readouterr().out


def test_a_mail_is_no_wall_among_the_addresses() -> None:
    mail = "".join(f"<EmailBody>word{number} {'x ' * 200}</EmailBody>" for number in range(3))
    service = (
        f'<Service ip-protocol="6"><Port>25</Port><EmailData><EmailTo>a@b.test</EmailTo>{mail}</EmailData></Service>'
    )
    system = f'<System category="source"><Node><NodeName>n</NodeName></Node>{service}</System>'
    rest = f"<EventData><Flow>{system}</Flow></EventData>"
    found = section("\n".join(lines(document(rest=rest))), "SOURCES")
    assert "tcp/25" in found[1] and "a@b.test" in found[1] and len(found) < 8
    assert "more characters; --json shows all)" in " ".join(found)
    assert "word2" in summary(document(rest=rest)).systems[0].services[0]
