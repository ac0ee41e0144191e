"""The layers are kept, and the contracts for modules that do not exist yet bind as soon as they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # The program stands beside the interpreter in the environment; -c would read the installed packages otherwise.
    return subprocess.run(
        [LINT, "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=folder, env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The bare packages, each module empty."""
    for package in ("component/base", "component/gate", "component/relay", "grid", "stanzagate", "tests"):
        folder = tmp_path / package
        folder.mkdir(parents=True)
        for parent in (folder, *folder.parents):
            if parent == tmp_path:
                break
            (parent / "__init__.py").touch()
    (tmp_path / "component/base/store.py").touch()
    (tmp_path / "tests/import_contracts.py").write_text((ROOT / "tests/import_contracts.py").read_text())
    return tmp_path


def test_empty_packages_break_nothing(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("component/gate/one.py", "component.relay"),
        ("component/base/one.py", "component.gate"),
        ("grid/one.py", "component.gate"),
        ("component/relay/one.py", "stanzagate"),
        ("grid/agent.py", "sqlalchemy"),
        ("grid/protocol.py", "fastapi"),
        ("grid/filters.py", "cedarpy"),
        ("grid/iodef.py", "sqlalchemy"),
        ("component/relay/wire.py", "asyncio"),
        ("component/relay/wire.py", "time"),
        ("component/relay/one.py", "component.base.store"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(tree: Path, module: str, imported: str) -> None:
    (tree / module).write_text(f"import {imported}\n")
    result = lint(tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
