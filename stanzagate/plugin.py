"""The in-server plugin: what it can be told, which files it consists of, and how ejabberd's part is compiled."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from component.base.errors import StanzagateError
from component.base.pluginstatus import Guard
from stanzagate.config import ServerKind
from stanzagate.render import deploy_folder

MODULE = "mod_stanzagate"
MODULES = (MODULE, f"{MODULE}_broker", f"{MODULE}_grid")
"""Prosody's: of a host of devices, which the others share parts of; of the pubsub service, of the host of nodes."""

COMPILER = "compile"
CACHE_SIZE = 100_000
_COMPILE_TIMEOUT_S = 120.0


class Mode(StrEnum):
    """What the plugin does with a request that the policy does not allow."""

    ENFORCE = "enforce"
    LOG_ONLY = "log-only"


@dataclass(frozen=True)
class Plugin:
    """The options of the plugin on a guarded host; the defaults are its own.

    :ivar cache_size: how many decisions it keeps.
    """

    mode: Mode = Mode.ENFORCE
    guard: Guard = Guard.CONNECTION_REQUESTS
    cache_size: int = CACHE_SIZE


DEFAULTS = Plugin()


def sources(kind: ServerKind) -> tuple[Path, ...]:
    """The plugin's files, relative to ``deploy/``; for ejabberd the script that compiles them, too."""
    root = deploy_folder()
    found = (
        [path for module in MODULES for path in (root / "prosody" / module).glob("*.lua")]
        if kind is ServerKind.PROSODY
        else [*(root / "ejabberd").glob(f"{MODULE}*.erl"), root / "ejabberd" / COMPILER]
    )
    return tuple(sorted(path.relative_to(root) for path in found))


def beams() -> tuple[str, ...]:
    """The names of the files that the module for ejabberd is compiled to."""
    return tuple(f"{name.stem}.beam" for name in sources(ServerKind.EJABBERD) if name.suffix == ".erl")


def ejabberd_code() -> Path | None:
    """The folder of ejabberd's compiled code, wherever this Debian put it; none when it is not installed."""
    patterns = ("usr/lib/*/ejabberd-*/ebin", "usr/lib/ejabberd*/ebin", "opt/ejabberd*/lib/ejabberd-*/ebin")
    folders = (folder for pattern in patterns for folder in Path("/").glob(pattern))
    return max((folder for folder in folders if (folder / "ejabberd.app").is_file()), default=None)


def compile_for_ejabberd(out: Path) -> None:
    """Compile the module into the folder `out`, when that has not been done since its sources were changed.

    :raises StanzagateError: ejabberd or the compiler is missing, or does not take the module.
    """
    files = [deploy_folder() / name for name in sources(ServerKind.EJABBERD)]
    newest = max(file.stat().st_mtime_ns for file in files)
    compiled = [out / name for name in beams()]
    if all(beam.exists() and beam.stat().st_mtime_ns >= newest for beam in compiled):
        return
    script = next(file for file in files if file.name == COMPILER)
    try:
        done = subprocess.run(
            ["sh", str(script), str(out)], capture_output=True, text=True, check=False, timeout=_COMPILE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise StanzagateError(f"{script} did not end within {_COMPILE_TIMEOUT_S:g} s.") from None
    if done.returncode != 0:
        said = tuple(line for line in (done.stdout + done.stderr).splitlines() if line.strip())
        raise StanzagateError("The module for ejabberd could not be compiled.", details=said)
