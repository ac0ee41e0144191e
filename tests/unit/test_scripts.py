"""The scripts and the pinned packages behind them."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
BACK_ENDS = ("pip", "hatchling", "editables", "setuptools", "wheel")


def pins() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {canonicalize_name(name): version for name, version in pairs}


def needed() -> set[str]:
    """Every distribution that product, tests, linters and build pull in here."""
    found: set[str] = set()
    todo = [Requirement("stanzagate[test,lint]"), *map(Requirement, BACK_ENDS)]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in found and not wanted.extras:
            continue
        found.add(name)
        try:
            further = map(Requirement, requires(name) or ())
        except PackageNotFoundError:
            continue  # a back end that this environment did not need
        extras = wanted.extras or {""}
        todo += [
            item for item in further if not item.marker or any(item.marker.evaluate({"extra": e}) for e in extras)
        ]
    return found - {"stanzagate"}


def test_everything_is_pinned() -> None:
    assert needed() <= set(pins())


def test_the_constraints_name_no_index_and_no_hash() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"|#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["script/demo", "--server", "nonsense"], 2, "usage"),
        (["script/demo", "--nonsense"], 2, "usage"),
        (["script/demo", "--help"], 0, "usage"),
        (["script/bench", "nonsense"], 1, "there is no benchmark bench/nonsense.py"),
        (["script/packages"], 2, "usage"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_installed(arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def lib(code: str, folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run shell code with script/lib.sh in a folder of its own, and with these programs in place of the real ones."""
    (folder / "script").mkdir()
    (folder / "script/lib.sh").write_text((ROOT / "script/lib.sh").read_text())
    (folder / "bin").mkdir()
    for name, text in programs.items():
        program = folder / "bin" / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", "-c", f". script/lib.sh; {code}", "script/x"]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip


def test_missing_packages_without_rights_are_named(tmp_path: Path) -> None:
    done = lib("need_packages one two", tmp_path, id="echo 1000", dpkg_query="exit 1", sudo="exit 1")
    assert done.returncode == 1
    assert "one two" in done.stderr and "sudo" in done.stderr


def test_nothing_is_installed_when_nothing_is_missing(tmp_path: Path) -> None:
    done = lib("need_packages one two; echo fine", tmp_path, id="echo 1000", dpkg_query="printf installed")
    assert (done.returncode, done.stdout) == (0, "fine\n")


def test_an_unfinished_environment_is_not_current(tmp_path: Path) -> None:
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    prepare = "mkdir -p .venv/bin; printf '#!/bin/sh\\necho 3' >.venv/bin/python; chmod +x .venv/bin/python"
    ask = "if environment_current run; then echo yes; else echo no; fi"
    finish = "fingerprint >.venv/.ready-run"
    script = f"{prepare}; {ask}; {finish}; {ask}; touch .venv/.unfinished; {ask}; rm .venv/.unfinished; {ask}"
    change = f"echo new >>constraints.txt; {ask}"
    assert lib(f"{script}; {change}", tmp_path).stdout.split() == ["no", "yes", "no", "yes", "no"]
