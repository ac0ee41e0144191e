"""``python -m stanzagate.demo``: exit code 0 only when every step did what it must."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from component.base.errors import StanzagateError
from stanzagate.demo.devices import Devices
from stanzagate.demo.grid import Grid
from stanzagate.demo.local import sandbox
from stanzagate.demo.step import OPERATOR, Step, command
from stanzagate.signals import cancel_on_signals

_WIDTH = 132  # of the summary when it is not printed on a terminal


@dataclass(frozen=True)
class Shown:
    """The steps that were gone through: about devices, about the grid, and in the end about the record."""

    devices: list[Step] = field(default_factory=list)
    grid: list[Step] = field(default_factory=list)
    record: list[Step] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """All of them."""
        return [*self.devices, *self.grid, *self.record]


async def demonstrate(kind: str, console: Console) -> Shown:
    """Bring up a sandbox and go through all steps.

    :raises StanzagateError: the sandbox does not come up, or a step could not even be tried.
    """
    console.print(f"Starting a private {kind}, the gate, the grid and five devices …")
    shown = Shown()
    async with sandbox(kind) as local:
        console.print(f"{kind} {local.facts['version']} is up; three ACS and a rogue log in over TLS.")
        for part, steps in ((shown.devices, Devices(local).run()), (shown.grid, Grid(local).run())):
            async with aclosing(steps):
                async for step in steps:
                    part.append(step)
                    _progress(console, step)
        shown.record.append(await command(local, "audit verify", "the record is whole"))
        _progress(console, shown.record[0])
    return shown


def _progress(console: Console, step: Step) -> None:
    console.print(f"  {'ok ' if step.done else 'BAD'} {step.who} {step.what}: {step.seen}", highlight=False)


def summary(title: str, steps: Iterable[Step], *, informed: bool = False) -> Table:
    """A table of steps.

    :param informed: whether they are about devices, which report to the ACS.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("who", "what", "must be", "was", *(["device's Inform"] if informed else [])):
        table.add_column(name)
    table.add_column("ms", justify="right")
    table.add_column("")
    for step in steps:
        cells = [step.who, step.what, step.expected, step.seen, *([step.informed] if informed else [])]
        table.add_row(*map(Text, cells), f"{step.elapsed_ms:.1f}", "ok" if step.done else "BAD")
    return table


def conclusion(kind: str, shown: Shown, console: Console) -> None:
    """What was allowed, refused and delivered."""
    console.print(summary(f"Stanzagate on {kind}: who may wake a device", shown.devices, informed=True))
    console.print(summary(f"Stanzagate on {kind}: the grid", [*shown.grid, *shown.record]))
    for step in shown.grid:
        for line in step.told.splitlines():
            console.print(Text(f"  {'explained' if step.who == OPERATOR else 'delivered'}  {line}"), soft_wrap=True)
    woken, forbidden = _count(shown.devices, "accepted"), _count(shown.devices, "auth/forbidden")
    console.print(f"\nDevices: {woken} requests allowed and delivered, {forbidden} refused.")
    received = sum(step.what == "receives it" and step.done for step in shown.grid)
    refused = _count(shown.grid, "auth/forbidden", "cancel/item-not-found")
    published = _count(shown.grid, "published")
    console.print(f"Grid: {published} incidents published, {received} delivered, {refused} requests refused.")


def _count(steps: Sequence[Step], *seen: str) -> int:
    return sum(step.seen in seen for step in steps)


async def _until_signal(kind: str, console: Console) -> Shown:
    cancel_on_signals()
    return await demonstrate(kind, console)


def main() -> int:
    """The program; returns its exit code: 0 all steps did what they must, 1 not, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="script/demo", description="Show the main job on a real server.")
    parser.add_argument("--server", choices=("prosody", "ejabberd"), default="prosody")
    kind: str = parser.parse_args().server
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    try:
        shown = asyncio.run(_until_signal(kind, console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("Interrupted; everything that was started is stopped.")
        return 130
    except StanzagateError as error:
        console.print(f"FAILED: {error}", highlight=False, markup=False)
        return 1
    conclusion(kind, shown, console)
    failed = sum(not step.done for step in shown.steps)
    console.print(f"{failed} of {len(shown.steps)} steps FAILED." if failed else "Every step did what it must.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
