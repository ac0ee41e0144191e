"""The page of an incident: what stands on it, and what is said of documents that are not valid."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stanzagate.cli import main
from tests.unit.iodef.pagekit import (
    MINIMAL,
    NIGHT,
    OLD,
    PAGES,
    Said,
    document,
    lines,
    section,
    shown,
    summary,
)

# -- what stands on it -----------------------------------------------------------------------------------------------


def test_a_minimal_document_gives_a_short_page(capsys: Said) -> None:
    assert (
        shown(MINIMAL, capsys)
        == f"""\
{"=" * 80}
Incident 492382
HANDLING      PRIVATE: may not be shared
{"=" * 80}
Reported by   contact@csirt.example.com
Number        492382 of csirt.example.com
Purpose       reporting
Severity      not stated

WHEN
  written       2015-07-18 09:00:00 -05:00 = 14:00:00 UTC

CONTACTS
  contact@csirt.example.com (creator, organization)
"""
    )


def test_what_matters_at_night_is_on_the_page(capsys: Said) -> None:
    text = shown(NIGHT, capsys)
    assert "Reported by   CSIRT for example.com, contact@csirt.example.com, +1 555 0100" in text
    assert section(text, "WHAT IS ASKED OF US") == [
        "  BLOCK-HOST (severity high)",
        "    Block the sources at your border.",
        "    until 2027-02-03 06:00:00 +01:00 = 05:00:00 UTC",
        "  [AMBER] CONTACT-SENDER",
    ]
    assert section(text, "WHEN") == [
        "  started       2027-02-03 01:10:00 +01:00 = 00:10:00 UTC",
        "  detected      2027-02-03 02:58:12 +01:00 = 01:58:12 UTC",
        "  reported      2027-02-03 03:05:00 (no time zone)",
        "  written       2027-02-03 02:11:00 UTC",
    ]
    assert section(text, "SOURCES (2)") == [
        "  192.0.2.200, 2001:db8::17, bot.example.org", "    57 packet per minute",
        "  192.0.2.16/28, 64496 (asn)", "    spoofed",
    ]  # fmt: skip
    assert section(text, "TARGETS")[:2] == ["  203.0.113.7", "    tcp/22 OpenSSH 9.2p1  udp/53,5000-5010"]
    assert section(text, "OTHER SYSTEMS") == ["  intermediate: 198.51.100.1"]
    assert "[RED] high, takeover-system, succeeded: root on two hosts" in text
    assert section(text, "METHOD") == ["  CVE-2024-6387 - https://example.org/regresshion"]
    assert "  campaign C-2015-59405 - Orange Giraffe" in section(text, "RELATED (2)")
    assert section(text, "HISTORY (2)")[:2] == ["  2027-02-03 03:00:00 +01:00 = 02:00:00 UTC", "    investigate"]
    assert section(text, "EXTENSIONS") == ["  ticket: INC-17"]


def test_a_long_list_of_indicators_is_shortened_with_a_count(capsys: Said) -> None:
    found = section(shown(NIGHT, capsys), "INDICATORS (2)")
    assert "    14 entries" in found and "    ... and 2 more; --json shows all" in found
    assert sum("domain-name: " in line for line in found) == 12
    assert "AND indicator G90823490) OR" in " ".join(found)


def test_version_1_0_is_shown_alike_and_incidents_follow_each_other(capsys: Said) -> None:
    text = shown(OLD, capsys)
    assert text.index("Incident 189493 (1 of 2)") < text.index("Incident 189494 (2 of 2)")
    assert "HANDLING      PRIVATE: may not be shared (not stated; this is the default)" in text
    assert "HANDLING      PUBLIC: may be freely distributed" in text
    assert "  impact        medium, admin, failed: Nobody was taken over." in text
    assert section(text, "SOURCES (2)") == [
        "  [NEED-TO-KNOW] 192.0.2.200, worm.example.org", "    57 event, event 1",
        "  [NEED-TO-KNOW] 192.0.2.201", "    event 1.1",
    ]  # fmt: skip
    assert section(text, "TARGETS")[1] == "    tcp/80 Example httpd 1.3"
    assert section(text, "WHAT IS ASKED OF US") == ["  [NEED-TO-KNOW] BLOCK-HOST (event 1)"]
    assert "    fax +1 555 0199" in text and "    arin example-com" in text


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2027-01-01T23:30:00-05:00", "2027-01-01 23:30:00 -05:00 = 2027-01-02 04:30:00 UTC"),
        ("2027-01-01T00:00:00.25Z", "2027-01-01 00:00:00.25 UTC"),
        ("2027-01-01T00:00:00", "2027-01-01 00:00:00 (no time zone)"),
        ("12027-01-01T00:00:00+01:00", "12027-01-01 00:00:00+01:00 (no time zone)"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01 00:00:00+14:00 (no time zone)"),
        ("soon", "soon"),
    ],
)
def test_times_are_shown_as_written_and_in_utc(given: str, wanted: str) -> None:
    found = lines(document().replace("2027-01-01T00:00:00Z", given))
    assert f"  written       {wanted}" in found


# -- handling --------------------------------------------------------------------------------------------------------


def test_a_restriction_is_inherited_until_there_is_another() -> None:
    """RFC 7970 §3.3.1."""
    text = document(
        attributes=' restriction="green"', contact=' restriction="partner"',
        rest="""<EventData restriction="red"><Description>inner</Description>
        <Flow><System category="source"><Node><Address category="ipv4-addr">192.0.2.1</Address></Node></System>
        <System category="target" restriction="white"><Node><Address category="ipv4-addr">192.0.2.2</Address></Node>
        </System></Flow></EventData>
        <History><HistoryItem action="other"><DateTime>2027-01-01T00:00:00Z</DateTime>
        <Contact role="user" type="person" restriction="private"><ContactName>Jane</ContactName></Contact>
        </HistoryItem></History>""",
    )  # fmt: skip
    found = summary(text)
    assert (found.restriction, found.restriction_stated, found.stricter) == ("green", True, "private")
    assert [each.restriction for each in found.systems] == ["red", "white"]
    shown = "\n".join(lines(text))
    assert "HANDLING      GREEN (partner): for a closed community" in shown
    assert "parts of it are PRIVATE" in shown
    assert "  [RED] 192.0.2.1" in shown and "  [WHITE] 192.0.2.2" in shown and "[RED] inner" in shown
    assert "\n  CSIRT (creator" in shown  # green and partner are the same
    assert (
        "  [PRIVATE] 2027-01-01 00:00:00 UTC\n    other by Jane" in shown
    )  # as strict as the strictest of what is told


def test_a_laxer_part_never_stands_for_what_it_is_part_of() -> None:
    system = """<EventData><Flow><System category="source"{}>
    <Node><Address category="ipv4-addr">192.0.2.1</Address></Node>
    <AdditionalData dtype="string" restriction="{}">x</AdditionalData></System></Flow></EventData>"""
    for own, part, wanted in (
        ("default", "public", "default"), ("default", "red", "private"), ("red", "public", "red"),
        ("green", "amber", "need-to-know"),
    ):  # fmt: skip
        found = summary(document(rest=system.format(f' restriction="{own}"', part)))
        assert found.systems[0].restriction == wanted


def test_an_extended_restriction_is_shown_by_its_own_name() -> None:
    text = document(attributes=' restriction="ext-value" ext-restriction="orchid"')
    assert "HANDLING      ORCHID: a rule of its sender" in lines(text)
    assert "HANDLING      DEFAULT: as the parties have agreed beforehand" in lines(
        document(attributes=' restriction="default"')
    )


# -- not valid, not there --------------------------------------------------------------------------------------------


def test_a_document_that_is_not_valid_is_shown_with_a_warning(tmp_path: Path, capsys: Said) -> None:
    """A value that has been registered since our schema was written (RFC 7970 §4.3) must not hide the incident."""
    file = tmp_path / "new.xml"
    file.write_text(document(attributes=' status="brand-new"', rest="<Surprise/>"))
    assert main(["iodef", "show", str(file)]) == 1
    out, err = capsys.readouterr()
    assert "NOT VALID     line 2: /IODEF-Document/Incident/@status: found 'brand-new'" in out
    assert "Purpose       reporting, brand-new" in out
    assert err == f"{file} is not valid; `stanzagate iodef validate` names every problem.\n"
    assert main(["iodef", "show", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["valid"] is False


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"), (b"\x7fELF", "neither XML nor JSON"), (b"<a>", "not well-formed"),
        (b"<a/>", "no incident in it"),
        (b'{"version": "2.0"}', "Incident"), (b"[]", ""), (b"<!DOCTYPE a><a/>", "DOCTYPE"),
    ],
)  # fmt: skip
def test_what_is_no_incident_is_refused(tmp_path: Path, content: bytes, words: str, capsys: Said) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    assert main(["iodef", "show", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"stanzagate: error: {file}: ") and words in err and "Traceback" not in err
    assert main(["iodef", "show", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count(str(tmp_path)) == 1


# -- for programs, and on a terminal ---------------------------------------------------------------------------------


def test_json_has_everything_and_nothing_is_shortened(capsys: Said) -> None:
    assert main(["iodef", "show", str(NIGHT), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["file"], found["version"], found["valid"]) == (str(NIGHT), "2.00", True)
    (incident,) = found["incidents"]
    assert len(incident["indicators"][0]["values"]) == 14
    assert incident["times"]["detect"] == {"given": "2027-02-03T02:58:12+01:00", "utc": "2027-02-03T01:58:12Z"}
    assert incident["times"]["report"]["utc"] is None
    assert incident["systems"][0]["addresses"][1] == {"value": "2001:db8::17", "category": "ipv6-addr"}
    assert incident["contacts"][0]["contacts"][0]["restriction"] == "private"
    assert (incident["severity"], incident["restriction"], incident["stricter"]) == ("high", "green", "private")


def test_json_documents_are_shown_like_xml(tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "a.json"
    assert main(["iodef", "convert", str(PAGES / "plain.xml"), "-o", str(file)]) == 0
    assert shown(file, capsys) == shown(PAGES / "plain.xml", capsys)


@pytest.mark.parametrize(("extra", "emphasized"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_only_a_terminal_gets_emphasis(extra: dict[str, str], emphasized: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stanzagate", "iodef", "show", str(MINIMAL)]
    process = subprocess.run(
        command, stdout=theirs, env={**environment, "TERM": "xterm", **extra}, check=False, timeout=60
    )
    os.close(theirs)
    text = os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 0
    assert (b"\x1b[1mIncident 492382\x1b[0m" in text) is emphasized and (b"\x1b" in text) is emphasized


def test_a_pipe_has_80_columns_unless_told_otherwise() -> None:
    command = [sys.executable, "-m", "stanzagate", "iodef", "show", "-"]
    for columns, width in (("", 80), ("40", 40)):
        environment = {**os.environ, "COLUMNS": columns}
        run = subprocess.run(
            command, input=NIGHT.read_bytes(), capture_output=True, env=environment, check=True, timeout=60
        )
        assert run.stdout.decode().splitlines()[0] == "=" * width and b"\x1b" not in run.stdout
