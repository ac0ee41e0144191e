"""``python -m stanzagate.sandbox``: the supervisor of a detached sandbox; people use ``stanzagate sandbox up``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from component.base.errors import StanzagateError
from component.base.pluginstatus import Guard
from stanzagate.config import ServerKind
from stanzagate.plugin import CACHE_SIZE, Mode, Plugin
from stanzagate.sandbox.control import Options, Parts, up


def main() -> int:
    """Run a sandbox until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stanzagate.sandbox")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--server", type=ServerKind, choices=list(ServerKind), default=ServerKind.PROSODY)
    parser.add_argument("--part", type=Parts, choices=list(Parts), action="append")
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=Mode.ENFORCE)
    parser.add_argument("--guard", type=Guard, choices=list(Guard), default=Guard.CONNECTION_REQUESTS)
    parser.add_argument("--cache-size", type=int, default=CACHE_SIZE)
    parser.add_argument("--partner", action="append", default=[])
    parser.add_argument("--status", type=int, help="descriptor that learns how the start went")
    arguments = parser.parse_args()
    parts = frozenset(arguments.part) if arguments.part else frozenset({Parts.SERVER, Parts.SERVE})
    plugin = Plugin(arguments.mode, arguments.guard, arguments.cache_size)
    options = Options(arguments.dir, arguments.server, parts, plugin, tuple(arguments.partner))
    status = _Status(arguments.status)
    try:
        up(options, lambda: status.tell({}))
    except StanzagateError as error:
        print(f"{error}", *error.details, sep="\n", file=sys.stderr, flush=True)
        with contextlib.suppress(StanzagateError):
            status.tell(
                {"error": error.message, "hint": error.hint, "details": error.details, "exit_code": error.exit_code}
            )
        return error.exit_code
    if status.waiting:
        with contextlib.suppress(StanzagateError):
            status.tell(
                {"error": "The sandbox was stopped before it was up.", "hint": "", "details": [], "exit_code": 1}
            )
        return 1
    return 0


class _Status:
    """The pipe to whoever started us; told once, then closed."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    @property
    def waiting(self) -> bool:
        return self._descriptor is not None

    def tell(self, content: object) -> None:
        """:raises StanzagateError: nobody waits any more, so nobody would ever stop what we start."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.write(descriptor, json.dumps(content).encode())
        except BrokenPipeError:
            raise StanzagateError("Whoever started the sandbox went away before it was up.") from None
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
