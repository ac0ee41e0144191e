"""Every example of docs/iodef.md does what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from grid.iodef import demands, parsing
from grid.iodef.errors import MOST
from grid.iodef.json import text
from grid.iodef.names import V2
from grid.iodef.rules import RULES
from grid.iodef.tightening import IDENTIFYING

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "iodef.md"
ERRATA = ROOT / "docs" / "iodef-errata.md"
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
    assert rows["elements and attributes"] == f"{parsing.Limits().elements:,} |"
    assert f"At most {MOST} problems" in PAGE.read_text()
    assert rows["values"] == f" | {text.Limits().values:,}"


def test_every_rule_beyond_the_schemas_is_told() -> None:
    """By the sections that the rules themselves name."""
    told = PAGE.read_text().partition("## What is checked")[2].partition("## Limits")[0]
    rules = [demands.extensions, demands.private, *(rule for each in RULES[V2].values() for rule in each)]
    for rule in rules:
        (first, *_) = re.findall(r"§(\d[\d.]*\d)", rule.__doc__ or "")
        assert first in told, f"{rule.__name__} (RFC 7970, {first}) is not in docs/iodef.md"
    for name in IDENTIFYING:
        assert re.search(rf"\b{name}\b", told), f"that the text of {name} is required is not in docs/iodef.md"


@pytest.mark.parametrize(("schema", "standard"), [("iodef-2.0.xsd", "RFC 7970"), ("iodef-1.0.xsd", "RFC 5070")])
def test_every_erratum_of_the_schemas_is_told(schema: str, standard: str) -> None:
    told = ERRATA.read_text().partition(f"## {standard}\n")[2].partition("\n## ")[0]
    sections = set(re.findall(r"[\d.]*\d", " ".join(re.findall(r"^\| ([\d., ]+) \|", told, re.MULTILINE))))
    source = (ROOT / "schemas" / schema).read_text()
    documented = re.finditer(r"<xs:documentation>RFC \d+, sections? ([\d.]*\d)", source)
    classes = [(found.start(), found[1]) for found in documented]
    comments = list(re.finditer(r"<!--\s*(ERRATUM.*?)-->", source, re.DOTALL))
    assert len(comments) > 10
    for comment in comments:
        # the section that the comment names, or that of the class where it stands
        named = re.findall(r"sections? (\d[\d.]*\d|\d)", comment[1])
        before = [section for place, section in classes if place < comment.start()]
        after = [section for place, section in classes if place > comment.start()]
        near = {*named, *before[-1:]} if named else {*before[-1:], *after[:1]}
        assert near & sections, f"{comment[1]} is not in {ERRATA.name}"


def test_every_erratum_of_the_json_schema_is_told() -> None:
    told = ERRATA.read_text().partition("## RFC 8727\n")[2].partition("\n## ")[0]
    sections = set(re.findall(r"[\d.]*\d", " ".join(re.findall(r"^\| ([\d., ]+);", told, re.MULTILINE))))
    source = (ROOT / "schemas" / "iodef-json.schema.json").read_text()
    found = {
        re.findall(r"\d+\.[\d.]*\d", text)[0] for text in re.findall(r'"description": "([^"]*ERRATUM[^"]*)"', source)
    }
    assert len(found) > 5 and found - sections <= {"4.4"}  # SpecID, of RFC 7203
