"""Every example of docs/iodef.md does what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "iodef.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(Path(__file__).parent / "documents" / "rfc7970-7.2.xml", tmp_path / "incident.xml")
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
