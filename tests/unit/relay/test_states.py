"""The tables of the S2S machines, and the page that is drawn from them."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from component.relay.wire.states import INCOMING, OUTGOING, Input, State, Table, violation

ROOT = Path(__file__).parents[3]
TABLES = pytest.mark.parametrize("table", [INCOMING, OUTGOING], ids=["incoming", "outgoing"])


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "docs/draw_states.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_not_stale(drawing: ModuleType) -> None:
    assert (ROOT / "docs/states.md").read_text() == drawing.page(), "run script/states"


def test_the_page_draws_every_step_that_can_be_taken(drawing: ModuleType) -> None:
    page = drawing.page()
    for table in (INCOMING, OUTGOING):
        used = drawing.reachable(table)
        ends = drawing.everywhere({step: after for step, after in table.items() if step[0] in used}, used)
        assert set(ends) == {Input.CLOSE, Input.END, Input.ERROR, Input.LOST}
        for (before, happened), after in table.items():
            if before in used and happened not in ends:
                lines = [
                    line for line in page.splitlines() if line.startswith(f"    {before.name} --> {after.name}: ")
                ]
                assert any(happened.value in line for line in lines), (before, happened)


def test_a_page_that_is_stale_or_missing_is_noticed(
    drawing: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "PAGE", tmp_path / "states.md")
    assert drawing.main(["--check"]) == 1
    assert "script/states" in capsys.readouterr().err
    assert drawing.main([]) == 0 and drawing.main(["--check"]) == 0
    (tmp_path / "states.md").write_text(drawing.page().replace("OPEN", "SHUT"))
    assert drawing.main(["--check"]) == 1


def test_the_script_takes_no_other_argument() -> None:
    done = subprocess.run(
        ["script/states", "--draw"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2 and "usage: script/states" in done.stderr


@TABLES
def test_every_stream_can_end(table: Table, drawing: ModuleType) -> None:
    for state in drawing.reachable(table):
        if state is not State.CLOSED:
            assert table[state, Input.LOST] is State.CLOSED
            assert table[state, Input.CLOSE] is State.CLOSING


@TABLES
def test_nothing_follows_the_end(table: Table) -> None:
    assert not [step for step in table if step[0] is State.CLOSED]


@TABLES
def test_stanzas_are_taken_only_when_a_pair_is_authorized(table: Table, drawing: ModuleType) -> None:
    takes = {state for state in drawing.reachable(table) if (state, Input.STANZA) in table}
    # the initiator has its <success/> there, and the peer's certificate; a pair is authorized with the first stanza
    early = {State.SASL_HEADER} if table is OUTGOING else set()
    assert takes == {State.OPEN, State.CLOSING} | early
    assert violation(Input.STANZA) == "not-authorized"


@TABLES
def test_a_stream_is_open_only_behind_tls(table: Table) -> None:
    """Without the step that TLS makes, nothing but the clear and the end can be reached."""
    found, todo = {State.HEADER}, [State.HEADER]
    while todo:
        here = todo.pop()
        steps = {after for (before, each), after in table.items() if before is here and each is not Input.ESTABLISHED}
        todo += steps - found
        found |= steps
    assert found <= {State.HEADER, State.PLAIN, State.PROCEED, State.TLS, State.CLOSING, State.CLOSED}
