"""``python -m stanzagate.demo``: exit code 0 only when every step did what it must."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from component.base.errors import StanzagateError
from stanzagate.demo.local import sandbox
from stanzagate.demo.steps import Demonstration, Step
from stanzagate.signals import cancel_on_signals

_WIDTH = 132  # of the summary when it is not printed on a terminal


async def demonstrate(kind: str, console: Console) -> list[Step]:
    """Bring up a sandbox and go through all steps.

    :raises StanzagateError: the sandbox does not come up, or a step could not even be tried.
    """
    console.print(f"Starting a private {kind}, the gate and five devices …")
    steps = []
    async with sandbox(kind) as local:
        console.print(f"{kind} {local.facts['version']} is up; three ACS and a rogue log in over TLS.")
        async for step in Demonstration(local).run():
            steps.append(step)
            console.print(f"  {'ok ' if step.done else 'BAD'} {step.who} {step.what}: {step.seen}", highlight=False)
    return steps


def summary(kind: str, steps: list[Step]) -> Table:
    """The table at the end."""
    table = Table(title=f"Stanzagate on {kind}", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("who", "what", "must be", "was", "device's Inform"):
        table.add_column(name)
    table.add_column("ms", justify="right")
    table.add_column("")
    for step in steps:
        informed = step.informed
        verdict = "ok" if step.done else "BAD"
        table.add_row(step.who, step.what, step.expected, step.seen, informed, f"{step.elapsed_ms:.1f}", verdict)
    return table


async def _until_signal(kind: str, console: Console) -> list[Step]:
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
        steps = asyncio.run(_until_signal(kind, console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("Interrupted; everything that was started is stopped.")
        return 130
    except StanzagateError as error:
        console.print(f"FAILED: {error}", highlight=False, markup=False)
        return 1
    console.print(summary(kind, steps))
    failed = sum(not step.done for step in steps)
    woken = sum(step.seen == "accepted" for step in steps)
    refused = sum(step.seen == "auth/forbidden" for step in steps)
    console.print(f"{woken} requests allowed and delivered, {refused} refused.")
    console.print(f"{failed} of {len(steps)} steps FAILED." if failed else "Every step did what it must.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
