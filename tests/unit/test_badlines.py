"""Naming every bad line in bounded memory."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base.errors import InputError
from component.gate import badlines
from component.gate.badlines import OTHER, BadLines


def _refused(bad: BadLines) -> InputError:
    with pytest.raises(InputError) as caught:
        bad.check("The rules")
    return caught.value


def _named(details: tuple[str, ...]) -> set[int]:
    named: set[int] = set()
    for detail in details:
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", detail.partition(":")[0].partition("c")[0]):
            named.update(range(int(first), int(last or first) + 1))
    return named


def test_nothing_bad_refuses_nothing() -> None:
    BadLines().check("The rules")


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 4)), min_size=1).map(sorted), st.integers(0, 5))
def test_every_line_is_named_and_counted_once(problems: list[tuple[int, int]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(badlines, "NAMED_LINES", limit)
        patched.setattr(badlines, "REASONS", 2)
        patched.setattr(badlines, "RANGES_TOGETHER", 2)
        bad = BadLines()
        for line, kind in problems:
            bad.add(line, f"c{kind}", "v", f"reason {kind}")
        error = _refused(bad)
    lines = {line for line, _ in problems}
    assert error.message.startswith(f"The rules: {len(lines)} bad line")
    assert _named(error.details) == lines


def test_what_one_line_alone_has_is_left_out_where_lines_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badlines, "NAMED_LINES", 0)
    bad = BadLines()
    for line in range(2, 5):
        bad.add(line, "jid", f"v{line}", f"'v{line}' is not a JID.")
    bad.add(9, "", "", "line 2 says so", "another line says so")
    assert _refused(bad).details == ("lines 2-4, jid: … is not a JID.", "line 9: another line says so")


def test_long_reasons_count_against_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badlines, "NAMED_CHARACTERS", 1000)
    bad = BadLines()
    for line in range(1, 100):
        bad.add(line, "", "", "x" * 600)
    assert [detail.partition(":")[0] for detail in _refused(bad).details] == ["line 1", "line 2", "lines 3-99"]


def test_too_many_reasons_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badlines, "NAMED_LINES", 0)
    monkeypatch.setattr(badlines, "REASONS", 2)
    bad = BadLines()
    for line in range(1, 7):
        bad.add(line, "c", "", f"reason {line}")
    assert _refused(bad).details == ("line 1, c: reason 1", "line 2, c: reason 2", f"lines 3-6: {OTHER}")


def test_too_many_ranges_are_counted_between_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badlines, "NAMED_LINES", 0)
    monkeypatch.setattr(badlines, "RANGES", 2)
    bad = BadLines()
    for line in (2, 4, 5, 8, 10, 13):
        bad.add(line, "", "", "bad")
    details = _refused(bad).details
    assert details[0] == "lines 2, 4-5: bad"
    assert details[1].startswith("lines 8 to 13: 3 more problems")
