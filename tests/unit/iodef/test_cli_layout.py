"""The page of an incident: how it fits, and that nothing in a document can play tricks."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from stanzagate.cli import main
from stanzagate.cli.iodef_layout import cells, wrap
from stanzagate.cli.iodef_page import page
from stanzagate.cli.iodef_summary import incidents
from tests.unit.iodef.pagekit import (
    DOCUMENTS,
    MINIMAL,
    NIGHT,
    OLD,
    Said,
    document,
    lines,
    shown,
    summary,
)

# -- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 20, 37, 55, 56, 80, 100, 300])
@pytest.mark.parametrize("file", [NIGHT, OLD, *sorted(DOCUMENTS.glob("*.xml"))], ids=lambda file: file.stem)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off(file: Path, width: int) -> None:
    def squeezed(width: int) -> str:
        return "".join("".join(line.text for line in page(incident, width)).split()).replace("=", "")

    found = incidents(etree.parse(file).getroot())
    for incident in found or incidents(next(etree.parse(file).getroot().iter("{*}IODEF-Document"))):
        texts = [line.text for line in page(incident, width, doubts=["line 3: " + "x" * 200])]
        assert max(map(cells, texts)) <= max(20, min(width, 100))
        assert squeezed(width) == squeezed(100)


def test_wide_and_combining_characters_are_counted_as_the_terminal_does() -> None:
    assert list(wrap("語" * 5, 4)) == ["語語", "語語", "語"]
    assert list(wrap("e\u0301" * 4, 4)) == ["e\u0301" * 4]
    assert list(wrap("a bb ccc\ndddddd", 4)) == ["a bb", "ccc", "dddd", "dd"]
    assert list(wrap("語", 1)) == ["語"]  # nothing else can be done
    assert list(wrap("", 4)) == [""]


def test_paragraphs_stay_and_other_white_space_does_not() -> None:
    found = lines(document(description="<Description>one\n   two\t three\n \nfour</Description>"))
    assert "Summary       one two three" in found and "              four" in found


def test_another_language_is_named() -> None:
    description = '<Description>Scan</Description><Description xml:lang="de">Suche</Description>'
    assert summary(document(description=description)).description == ("Scan", "[de] Suche")


# -- hostile content -------------------------------------------------------------------------------------------------


def test_nothing_in_a_document_can_play_tricks_on_a_terminal(tmp_path: Path, capsys: Said) -> None:
    """XML 1.0 allows C1 control characters, and with them CSI; bidi overrides are plain characters."""
    evil = "&#x9B;31m&#x85;\u202egnp.exe\u2066&#x7F;\u200b\u2028"
    file = tmp_path / "evil.xml"
    file.write_text(
        document(
            attributes=' restriction="ext-value" ext-restriction="\u202eder"',
            name=evil, description=f"<Description>{evil}</Description>",
            rest=f"""<IndicatorData><Indicator><IndicatorID name="{evil}" version="1">i</IndicatorID><Observable>
            <BulkObservable><BulkObservableList>{evil}</BulkObservableList></BulkObservable></Observable></Indicator>
            </IndicatorData><AdditionalData dtype="string" name="{evil}">{evil}</AdditionalData>""",
        )
    )  # fmt: skip
    text = shown(file, capsys)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x9b31m" in text and "\\u202egnp.exe\\u2066\\x7f" in text
    assert main(["iodef", "validate", str(file)]) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_a_terminal_escape_in_json_is_refused(tmp_path: Path, capsys: Said) -> None:
    """JSON can carry what XML cannot."""
    file = tmp_path / "evil.json"
    assert main(["iodef", "convert", str(MINIMAL), "-o", str(file)]) == 0
    file.write_text(file.read_text().replace("492382", "\\u001b]0;owned\\u0007"))
    assert main(["iodef", "show", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "/Incident/0/IncidentID/id" in err and "\x1b" not in err


def test_hostile_structure_is_laid_out_too() -> None:
    deep = "<EventData>" * 200 + "<Description>bottom</Description>" + "</EventData>" * 200
    found = summary(document(rest=deep))
    assert len(found.events) == 200 and found.events[-1].description == ("bottom",)
    nested = '<Contact role="irt" type="person"><ContactName>n</ContactName>' * 100 + "</Contact>" * 100
    assert max(map(cells, lines(document().replace("</Contact>", f"{nested}</Contact>")))) <= 80
    number = f'<EventData><Flow><System><Node/><Service ip-protocol="{"9" * 5000}"/></System></Flow></EventData>'
    assert len(summary(document(rest=number)).systems) == 1


JUNK = ["", "  ", "ext-value", "\x9b31m", "9" * 400, "\u0663", "語" * 50, "-", "T", "2027-99-99T00:00:00Z", "x" * 300]
NAMES = ["category", "restriction", "action", "type", "ext-type", "name", "dtype", "ip-protocol", "severity", "lang"]


@pytest.mark.parametrize("file", ["everything-1.0.xml", "everything-2.0.xml"])
def test_whatever_is_wrong_with_a_document_it_can_be_shown(file: str) -> None:
    whole = etree.parse(DOCUMENTS / file).getroot()
    chance = random.Random(file)
    for _ in range(60):
        root = copy.deepcopy(whole)
        for _ in range(chance.randint(1, 25)):
            spoil(chance.choice(list(root.iter("*"))[1:]), chance)
        for incident in incidents(root):
            found = [line.text for line in page(incident, 80, doubts=["spoiled"])]
            assert max(map(cells, found)) <= 80 and all(map(str.isprintable, found))


def spoil(element: Any, chance: random.Random) -> None:
    """Make something of an element that no schema would accept."""
    others = list(element.getroottree().getroot().iter("*"))[1:]
    match chance.randrange(6):
        case 0 if len(others) > 1:
            element.getparent().remove(element)
        case 1 if element.attrib:
            del element.attrib[chance.choice(list(element.attrib))]
        case 2:
            element.set(chance.choice(NAMES), chance.choice(JUNK))
        case 3:
            element.append(copy.deepcopy(chance.choice(others)))
        case 4:
            element.tag = chance.choice(others).tag
        case _:
            element.text = chance.choice(JUNK)


def test_thousands_of_systems_are_shortened_with_a_count() -> None:
    system = '<System category="source"><Node><Address category="ipv4-addr">192.0.2.1</Address></Node></System>'
    found = lines(document(rest=f"<EventData><Flow>{system * 3000}</Flow></EventData>"))
    assert "SOURCES (3000)" in found and "  ... and 2988 more; --json shows all" in found and len(found) < 60


def test_a_long_text_is_shortened_with_a_count() -> None:
    found = lines(document(description=f"<Description>{'word ' * 100_000}</Description>"))
    assert "              ... and 495999 more characters; --json shows all" in found and len(found) < 100
