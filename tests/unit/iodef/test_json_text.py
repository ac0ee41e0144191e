"""Bad text in JSON: encodings, syntax, numbers, characters, bounds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

import pytest

from grid.iodef.errors import MOST, Invalid, Problem
from grid.iodef.json import Limits, from_json
from tests.unit.iodef.test_json_examples import CAMPAIGN, MINIMAL

Change = Callable[[dict[str, Any]], Any]


def refused(source: str | bytes, **limits: int) -> list[Problem]:
    """The problems of a source that is refused."""
    with pytest.raises(Invalid) as error:
        from_json(source, limits=Limits(**limits))
    return list(error.value.problems)


def one(source: str | bytes, **limits: int) -> Problem:
    """Its only problem."""
    (problem,) = refused(source, **limits)
    return problem


def _costing(number: str) -> str:
    """The example with an impact of so much money."""
    kept = '{"BusinessImpact": {"type": "breach-proprietary"}}'
    return CAMPAIGN.replace(kept, kept + ', {"MonetaryImpact": {"value": ' + number + "}}")


def incident(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["Incident"][0]
    return found


# Text


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (b"\xef\xbb\xbf" + MINIMAL.encode(), 1, "byte order mark"),
        ("\ufeff" + MINIMAL, 1, "byte order mark"),
        (MINIMAL.encode("utf-16"), 1, "UTF-16"),
        (MINIMAL.encode("utf-16-le"), 1, "UTF-16"),
        (MINIMAL.encode("utf-16-be"), 1, "UTF-16"),
        (MINIMAL.encode("utf-32"), 1, "UTF-32"),
        (MINIMAL.replace("492382", "ä").encode("latin-1"), 8, "the byte 0xE4"),
        (MINIMAL.replace("492382", "\ud83d"), 8, "U+D83D is half of a character"),
        (b"", 0, "empty"),
        (" \n\t", 0, "empty"),
        ("{", 1, "not well-formed JSON"),
        (MINIMAL[:-1], 18, "not well-formed JSON"),
        (MINIMAL + "x", 18, "extra data"),
        (MINIMAL.replace('"version"', "'version'"), 2, "not well-formed JSON"),
        (MINIMAL.replace('"en",', '"en", // English'), 3, "not well-formed JSON"),
        (MINIMAL.replace("}]\n}", "}],\n}"), 18, "not well-formed JSON"),
        (MINIMAL.replace("492382", "a\nb"), 8, "control character"),
        (MINIMAL.replace("492382", "\\x"), 8, "escape"),
        (MINIMAL.replace("492382", "\\u12"), 8, "escape"),
        ("[" * 100_000, 0, "nested 100,000 deep"),
        ('{"a":' * 100_000, 0, "nested 100,000 deep"),
        ("<?xml version='1.0'?><IODEF-Document/>", 1, "not well-formed JSON"),
    ],
)
def test_what_is_no_json_in_utf_8(source: str | bytes, line: int, message: str) -> None:
    problem = one(source)
    assert message in problem.message
    assert (problem.line, problem.path) == (line, "")


def test_a_key_twice_is_found_with_both_its_place_and_its_line() -> None:
    source = MINIMAL.replace('"id": "492382",', '"id": "492382",\n\n"id": "492383",')
    problem = one(source)
    assert (problem.line, problem.path) == (10, "/Incident/0/IncidentID/id")
    assert "second time" in problem.message


def test_keys_are_the_same_when_their_escapes_differ() -> None:
    assert "second time" in one(MINIMAL.replace('"lang"', '"\\u006Cang": "en", "lang"', 1)).message


def test_a_key_twice_is_told_beside_other_problems() -> None:
    source = MINIMAL.replace('"lang": "en",', '"lang": "en",\n"lang": 5,').replace('"creator"', '"author"')
    found = [(problem.line, problem.path) for problem in refused(source)]
    assert found == [(3, "/lang"), (4, "/lang"), (15, "/Incident/0/Contact/0/role")]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_names_of_numbers_are_no_numbers(number: str) -> None:
    source = _costing(number)
    problem = one(source)
    assert problem.path == "/Incident/0/Assessment/0/Impact/1/MonetaryImpact/value"
    assert problem.line == 23
    assert f"found {number}" in problem.message


@pytest.mark.parametrize(
    "number",
    [
        "1e39",
        "1E999999999",
        "9" * 299,
        "9" * 5000,
        "0." + "1" * 100_000,
        "1e" + "1" * 400,
        "1e99999999999999999999",
        "-1E-99999999999999999999",
    ],
)
def test_numbers_have_bounds(number: str) -> None:
    source = _costing(number)
    assert {problem.path for problem in refused(source)} == {"/Incident/0/Assessment/0/Impact/1/MonetaryImpact/value"}


def test_size_depth_and_number_of_values_have_bounds() -> None:
    assert "472 bytes are more than the 400" in one(MINIMAL.encode(), size=400).message.replace(
        str(len(MINIMAL)), "472"
    )
    assert "nested 7 deep; 6 are allowed" in one(MINIMAL, depth=6).message
    assert "more than the 10" in one(MINIMAL, values=10).message
    assert from_json(MINIMAL, limits=Limits(size=len(MINIMAL), depth=7, values=30)).version == "2.00"


def test_brackets_in_strings_do_not_count() -> None:
    assert from_json(MINIMAL.replace("492382", '[{\\"[' * 1000)).incident[0].incident_id.value == '[{"[' * 1000


@pytest.mark.parametrize(
    "source", ['"' + '\\"' * 500_000, '"' + "\\" * 1_000_001, "[" + '"\\",' * 300_000, '{"' * 300_000]
)
def test_strings_that_nobody_closes_do_not_take_long(source: str) -> None:
    assert refused(source)


@pytest.mark.parametrize(
    "contact",
    [
        '{"role": 5}',
        '{"role": "creator", "type": "ext-value", "ContactName": ["wrong by RFC 7970 only"]}',
        '{"role": "creator", "type": "person", "ContactName": ["\\u0000"]}',
    ],
)
def test_thousands_of_problems_are_told_up_to_a_bound(contact: str) -> None:
    source = MINIMAL.replace('"Contact": [', '"Contact": [' + f"{contact}, " * 2000, 1)
    found = refused(source)
    assert len(found) == MOST + 1
    assert all(problem.path.startswith("/Incident/0/Contact/") for problem in found[:-1])
    assert found[-1] == Problem(0, "", f"there are more than these {MOST} problems; they are not told")


# Characters


@pytest.mark.parametrize(
    "escape", ["\\u0000", "\\u0008", "\\u001f", "\\ufffe", "\\uffff", "\\ud83d", "\\udca9\\ud83d"]
)
def test_characters_that_xml_cannot_carry_are_refused(escape: str) -> None:
    problem = one(MINIMAL.replace("492382", f"a{escape}"))
    assert (problem.line, problem.path) == (8, "/Incident/0/IncidentID/id")
    assert f"U+{escape[2:6].upper()}" in problem.message


def test_other_characters_are_kept() -> None:
    text = '\t\r\n ä \U0001f4a9 \u2028 \ue000 \ufffd \\ " / <&>'
    made = from_json(MINIMAL.replace('"492382"', json.dumps(text)))
    assert made.incident[0].incident_id.value == text


@pytest.mark.parametrize("place", ['"odd": {}, "version"', '"version": [{}], "x"'])
def test_a_number_that_nothing_holds_is_told_wherever_it_stands(place: str) -> None:
    found = refused(MINIMAL.replace('"version"', place.format("1e99999999999999999999"), 1))
    assert any("exponent" in problem.message for problem in found)


@pytest.mark.parametrize("key", ["a\\n\\u001b[31m", "\\ud800", "\\u009b", "\\u202e"])
def test_a_key_cannot_bring_characters_into_a_path_that_do_not_show(key: str) -> None:
    problem = one(MINIMAL.replace('"version"', f'"{key}": 1, "version"', 1))
    assert problem.path.isprintable()
    assert problem.line == 2
    problem.path.encode()
    assert problem.path == f"/{key.replace(chr(92) + 'n', chr(92) + 'n')}"


def test_many_unknown_keys_are_not_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comparison with what is known costs a millisecond."""
    compared: list[Any] = []
    real = difflib.get_close_matches

    def counted(*given: Any, **more: Any) -> list[str]:
        compared.append(given)
        return real(*given, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    keys = ", ".join(f'"k{number}": 1' for number in range(20_000))
    assert len(refused(MINIMAL.replace('"purpose"', f'{keys}, "purpose"', 1))) == MOST + 1
    assert len(compared) <= MOST + 1
