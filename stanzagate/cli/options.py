"""Options that many commands have, and where they say that the service is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from stanzagate.cli.client import Client
from stanzagate.cli.place import find_socket

SERVICE = "Where the service is"

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", show_default=False, readable=False,
        help="The service of this folder, a sandbox or a deployment.",
    ),
]  # fmt: skip
Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket", metavar="PATH", show_default=False, readable=False,
        help="The service's admin socket; else $STANZAGATE_SOCKET.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and who would lose access.")]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="WHEN", show_default=False, help="When it ends: 30d, 12h, or 2027-01-31T12:00:00Z."
    ),
]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", show_default=False, help="Why.")]


@dataclass
class _Place:
    directory: Path | None = None
    socket: Path | None = None


def remember(ctx: typer.Context, directory: Path | None, socket: Path | None) -> None:
    """Keep what was said before the subcommand; what a subcommand says itself counts more."""
    earlier = ctx.obj if isinstance(ctx.obj, _Place) else _Place()
    given = directory is not None or socket is not None
    ctx.obj = _Place(directory, socket) if given else earlier


def service(ctx: typer.Context, directory: Path | None, socket: Path | None) -> Client:
    """A client of the service that the options name.

    :raises Unreachable: there is none.
    """
    remember(ctx, directory, socket)
    return Client(find_socket(ctx.obj.directory, ctx.obj.socket))
