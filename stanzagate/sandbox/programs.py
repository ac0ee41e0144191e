"""How the sandbox starts programs of this distribution, installed or not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[2]


def python_command(module: str, *arguments: str) -> tuple[str, ...]:
    """``python -m module``, by the interpreter that runs us; modules of the current folder are not looked at."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_environment() -> dict[str, str]:
    """Our environment, in which a program of a checkout finds the checkout's packages."""
    environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    if (_PACKAGES / "pyproject.toml").is_file():
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGES), *([known] if known else [])])
    return environment
