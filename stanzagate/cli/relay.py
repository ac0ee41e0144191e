"""``stanzagate relay``: the companion relay, and how it is doing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from stanzagate.cli import output
from stanzagate.cli.client import Client, lines_of
from stanzagate.cli.options import remember
from stanzagate.cli.relay_page import change, page, policy_change
from stanzagate.cli.relay_place import VARIABLE, find_relay

app = output.application(invoke_without_command=True, no_args_is_help=False)

PATIENCE_SECONDS = 20.0
"""A relay that is silent for so long in the middle of a stream of snapshots hangs."""

Config = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", show_default=False, readable=False, help="The configuration."),
]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", show_default=False, readable=False, help="The folder of that file."),
]
Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket", metavar="PATH", show_default=False, readable=False,
        help=f"The relay's status socket; else ${VARIABLE}.",
    ),
]  # fmt: skip


@app.callback(epilog="Example:  stanzagate relay -c /etc/stanzagate/relay.yaml")
def relay(ctx: typer.Context, config: Config = None) -> None:
    """Run the relay in the foreground: server-to-server streams with the partners that the configuration names.

    SIGTERM drains, SIGHUP reads the configuration again. Logs go to stderr.
    """
    if ctx.invoked_subcommand is not None:
        ctx.meta["relay.config"] = config
        return
    if config is None:
        raise typer.BadParameter("Name the configuration with -c FILE, or ask for `relay status`.")
    from stanzagate.relay import run  # noqa: PLC0415  # everything else is imported with it

    raise typer.Exit(run(config))


@app.command(epilog="Example:  stanzagate relay status --follow -c /etc/stanzagate/relay.yaml")
def status(
    ctx: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, and show what changes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --follow one in each line.")
    ] = False,
    config: Config = None,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Show the relay's partners and streams: what is up, since when, how it is protected, and why the rest is not.

    Exits with 3 when the relay cannot be reached. With --follow a terminal shows a live view until Ctrl-C; elsewhere
    there is a line for each partner, and one for each change.
    """
    remember(ctx, directory, socket)
    place = find_relay(config or ctx.meta.get("relay.config"), ctx.obj.directory, ctx.obj.socket)
    with Client(place, service="relay", called="status socket") as client:
        if not follow:
            _shown(client.get("/v1/status"), as_json)
            return
        with client.stream("GET", "/v1/status/follow", patience=PATIENCE_SECONDS) as response:
            _follow(lines_of(response), as_json)


def _shown(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.document(document)
        return
    for line in page(document):
        output.say(line)


def _follow(snapshots: Iterator[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for snapshot in snapshots:
            sys.stdout.write(f"{output.as_json(snapshot)}\n")
            sys.stdout.flush()
    elif sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        _live(snapshots)
    else:
        _changes(snapshots)


def _live(snapshots: Iterator[dict[str, Any]]) -> None:
    """The page, drawn anew with each snapshot; what does not fit is below the edge."""
    from rich.console import Console  # noqa: PLC0415  # only terminals need it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    before: dict[str, Any] | None = None
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        for snapshot in snapshots:
            lines = [output.plain(line) for line in page(snapshot, before)]
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
            before = snapshot


def _changes(snapshots: Iterator[dict[str, Any]]) -> None:
    """A line for the policy and for each partner at first, then one whenever something about them has changed."""
    last: dict[str, tuple[object, ...]] = {}
    for snapshot in snapshots:
        now = snapshot["time"]
        rows = {partner["domain"]: change(partner, now) for partner in snapshot["partners"]}
        rows[""] = policy_change(snapshot["policy"], now)
        for name, row in rows.items():
            if last.get(name, ())[1:] != row[1:]:
                output.row([cell for cell in row if cell])
        for name in last.keys() - rows.keys():
            output.row([output.when(now), name, "removed"])
        last = rows
        sys.stdout.flush()
