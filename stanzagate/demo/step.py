"""One step of the demonstration, and the step that is a command of the administrator."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from component.base.errors import StanzagateError
from stanzagate.demo.local import INFORM, Local

OPERATOR = "operator"
"""Who types commands."""


@dataclass(frozen=True)
class Step:
    """One line of the summary.

    :ivar who: the account that asks, or the command that is run.
    :ivar what: what is asked.
    :ivar expected: what must happen.
    :ivar seen: what happened.
    :ivar elapsed_ms: milliseconds from the question to the answer.
    :ivar informed: what the device reported to the ACS; empty when it did not call.
    :ivar told: what is worth reading in full: an incident as it was received, a decision as it was explained.
    """

    who: str
    what: str
    expected: str
    seen: str
    elapsed_ms: float
    informed: str = ""
    told: str = ""

    @property
    def done(self) -> bool:
        """Whether the step did what it must; a device that was woken must have called the ACS."""
        return self.seen == self.expected and (self.expected != "accepted" or self.informed == INFORM)


class Clock:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000


async def command(
    local: Local, line: str, expected: str, *, code: int = 0, seen: Callable[[str], str] | None = None
) -> Step:
    """Run ``stanzagate LINE`` as an administrator types it.

    :param line: with quotes where a shell needs them.
    :param expected: what the step must show.
    :param code: the exit code that it must have.
    :param seen: what its output shows; without it `expected` is shown when the exit code is right.
    """
    clock = Clock()
    try:
        out = await local.command(*shlex.split(line), code=code)
    except StanzagateError as error:
        return Step(OPERATOR, line, expected, str(error), clock.ms)
    elapsed = clock.ms
    shown, told = (seen(out), out.strip()) if seen is not None else (expected, "")
    return Step(OPERATOR, line, expected, shown, elapsed, told=told)
