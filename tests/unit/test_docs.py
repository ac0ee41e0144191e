"""The documentation says everything that there is, and nothing that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from component.base.settings import Rate, Secret, parse_duration, parse_size
from component.gate.answers import Refusal
from component.gate.outcome import Outcome
from component.relay.settings import RelaySettings
from stanzagate.admin.routes import access, audit, ca, devices, health, nodes, relay, rules, topics, upkeep, wakes
from stanzagate.config import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
NOT_KEYS = {"base", "relay"}  # where the file is; a section that another process reads


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a section as a dotted path; the names in a mapping of sections are written NAME."""
    for name, field in model.model_fields.items():
        if not prefix and name in NOT_KEYS:
            continue
        section, mapping = nested(field.annotation)
        if section is None:
            yield prefix + name, field
        else:
            yield from keys(section, f"{prefix}{name}.NAME." if mapping else f"{prefix}{name}.")


def nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section behind an annotation, and whether there is a mapping of them."""
    if get_origin(annotation) is Annotated:
        return nested(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return nested(get_args(annotation)[1])[0], True
    if get_origin(annotation) in {Union, UnionType}:
        return next((found for part in get_args(annotation) if (found := nested(part))[0]), (None, False))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Secret:
        return annotation, False
    return None, False


def table() -> dict[str, str]:
    """Key and default of each row of the tables in configuration.md."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", (DOCS / "configuration.md").read_text(), re.MULTILINE)
    return {key: default.strip().strip("`") for key, default in rows}


KEYS = [*keys(Config), *keys(RelaySettings, "relay.")]


def test_every_key_is_documented_and_nothing_else() -> None:
    assert set(table()) == {key for key, _ in KEYS}


@pytest.mark.parametrize(("key", "field"), KEYS, ids=[key for key, _ in KEYS])
def test_the_documented_default_is_the_real_one(key: str, field: FieldInfo) -> None:
    documented = table()[key]
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        assert documented == "required"
    elif default in (None, "", (), {}):
        assert documented == "none"
    elif isinstance(default, bool):
        assert documented == str(default).lower()
    elif isinstance(default, float):
        assert parse_duration(documented) == default
    elif isinstance(default, int) and documented.endswith("iB"):
        assert parse_size(documented) == default
    elif isinstance(default, tuple):
        assert documented == f"[{', '.join(default)}]"
    else:
        assert isinstance(default, (str, int, Path, Rate))
        assert documented == str(default)


def test_every_answer_of_the_gate_is_documented() -> None:
    text = (DOCS / "protocol.md").read_text()
    for refusal in Refusal:
        assert f"`{refusal.kind}` / `{refusal.condition}`" in text, refusal
    for outcome in Outcome:
        assert f"`{outcome}`" in text, outcome


def test_every_route_of_the_admin_api_is_documented() -> None:
    text = (DOCS / "admin-api.md").read_text()
    for module in (access, audit, ca, devices, health, nodes, relay, rules, topics, upkeep, wakes):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            path = re.escape(re.sub(r":\w+}", "}", route.path))
            for method in route.methods:
                assert re.search(rf"{method} {path}[`?\[]", text), f"{method} {route.path}"


def commands() -> list[str]:
    """Every command of the command line, with its group."""
    import typer.main

    from stanzagate.cli import app

    def walk(command: Any, path: str) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None or (path and getattr(command, "invoke_without_command", False)):
            yield path
        for name, child in (inner or {}).items():
            if not child.hidden:
                yield from walk(child, f"{path} {name}".strip())

    return sorted(walk(typer.main.get_command(app), ""))


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    missing = [command for command in commands() if not re.search(rf"\b{re.escape(command)}\b", text)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_in_examples_exist(page: Path) -> None:
    known = commands()
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^(?:[$#] )?(?:\.venv/bin/)?stanzagate ([a-z].*)$", block, re.MULTILINE):
            assert any(line == command or line.startswith(f"{command} ") for command in known), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
