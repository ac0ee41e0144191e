"""The renderer: values are quoted for the language of the file, and nothing is guessed."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from component.base.errors import InputError, StanzagateError
from stanzagate import render as rendering
from stanzagate.render import deploy_folder, erlang, lua, render, shell, unit, yaml

PRINTABLE = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cs"]))
JSON_OK = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc", "Zl", "Zp"]))


def test_templates_are_found_in_a_checkout() -> None:
    assert (deploy_folder() / "prosody" / "mod_stanzagate_external.lua").is_file()


def test_templates_are_found_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "stanzagate"
    (package / "_data" / "deploy").mkdir(parents=True)
    (package / "_data" / "deploy" / "stanzagate.yaml.j2").touch()
    monkeypatch.setattr(rendering, "__file__", str(package / "render.py"))
    assert deploy_folder() == package / "_data" / "deploy"


def test_an_incomplete_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "__file__", str(tmp_path / "stanzagate" / "render.py"))
    with pytest.raises(StanzagateError, match="missing"):
        deploy_folder()


def test_a_value_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(StanzagateError, match=r"stanzagate\.yaml\.j2 cannot be filled in"):
        render("stanzagate.yaml.j2", {"kind": "prosody"})


@given(PRINTABLE)
def test_a_lua_string_keeps_its_value(text: str) -> None:
    literal = lua(text)
    assert literal[0] == literal[-1] == '"'
    unquoted = literal[1:-1].replace("\\\\", "\0")
    assert '"' not in unquoted.replace('\\"', "")
    assert unquoted.replace('\\"', '"').replace("\0", "\\") == text


@given(JSON_OK)
def test_a_yaml_string_keeps_its_value(text: str) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {yaml(text)}\n") == {"key": text}


@given(PRINTABLE)
def test_a_word_of_a_shell_keeps_its_value(text: str) -> None:
    assert shlex.split(shell(text)) == [text]


def test_other_values() -> None:
    assert (lua(True), lua(5222), lua([]), lua(["a", "b"])) == ("true", "5222", "{ }", '{ "a", "b" }')
    assert json.loads(yaml(Path("/a b"))) == "/a b"
    assert erlang('a"\\') == '"a\\"\\\\"'


@pytest.mark.parametrize("quote", [lua, yaml, erlang, unit, shell])
def test_control_characters_are_refused(quote: Callable[[str], str]) -> None:
    with pytest.raises(InputError, match="control character"):
        quote('a"\nrun_as_root = true')


@pytest.mark.parametrize("text", ["", "a b", "a;b", "$HOME", "50%", "a'b", "\\"])
def test_a_unit_file_takes_plain_words_only(text: str) -> None:
    with pytest.raises(InputError, match="unit file"):
        unit(text)


LUA = sorted((deploy_folder() / "prosody").rglob("*.lua"))


@pytest.mark.parametrize("file", LUA, ids=[file.name for file in LUA])
def test_the_lua_modules_compile(file: Path) -> None:
    for compiler in ("luac5.4", "luac5.3", "luac5.2", "luac"):
        try:
            done = subprocess.run([compiler, "-p", str(file)], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        assert done.returncode == 0, done.stderr
        return
    pytest.skip("no Lua compiler here; Prosody itself compiles the module in the interop tests")
