"""Every example of docs/iodef.md does what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from grid.iodef import demands, parsing
from grid.iodef.json import text
from grid.iodef.names import V2
from grid.iodef.rules import RULES

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "iodef.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for source, name in (("rfc7970-7.2.xml", "incident.xml"), ("v1-worm.xml", "old.xml")):
        shutil.copy(Path(__file__).parent / "documents" / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_example_prints_what_the_page_says(folder: Path) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert {kind for kind, _ in blocks} == {"python", "text"}
    names: dict[str, object] = {"__name__": "example"}
    run = 0
    for (kind, code), (next_kind, wanted) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind != "python":
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, str(PAGE), "exec"), names)
        assert said.getvalue() == (wanted if next_kind == "text" else ""), code
        run += 1
    assert run == sum(kind == "python" for kind, _ in blocks) > 8


def test_the_limits_are_the_real_ones() -> None:
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    mebibytes = f"{parsing.Limits().size // 1024**2} MiB"
    assert rows["size"] == f"{mebibytes} | {text.Limits().size // 1024**2} MiB"
    assert rows["nesting"] == f"{parsing.DEPTH} elements | {text.Limits().depth} lists and objects"
    assert rows["values"] == f" | {text.Limits().values:,}"


def test_every_rule_beyond_the_schemas_is_told() -> None:
    """By the sections that the rules themselves name."""
    told = PAGE.read_text().partition("## What is checked")[2].partition("## Limits")[0]
    rules = [demands.extensions, demands.private, *(rule for each in RULES[V2].values() for rule in each)]
    for rule in rules:
        (first, *_) = re.findall(r"§(\d[\d.]*\d)", rule.__doc__ or "")
        assert first in told, f"{rule.__name__} (RFC 7970, {first}) is not in docs/iodef.md"
