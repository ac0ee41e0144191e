"""``stanzagate sandbox up`` and ``down``: a complete local installation in one folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from component.base.errors import StanzagateError
from component.base.pluginstatus import Guard
from stanzagate.cli import output
from stanzagate.cli.options import AsJson
from stanzagate.config import ServerKind
from stanzagate.plugin import Mode, Plugin
from stanzagate.sandbox.control import Options, Parts, down, up, up_detached
from stanzagate.sandbox.plan import Layout

app = output.application(help="A real server, the gate and accounts to try them with, on loopback, in one folder.")

Folder = Annotated[
    Path, typer.Option("--dir", metavar="DIR", help="The folder of the sandbox.", show_default=False, readable=False)
]


@app.command("up")
def up_command(
    folder: Folder,
    server: Annotated[ServerKind, typer.Option("--server", help="Which XMPP server.")] = ServerKind.PROSODY,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is up; it stays behind.")] = False,
    with_cpes: Annotated[bool, typer.Option("--with-cpes", help="Connect the five reference devices.")] = False,
    mode: Annotated[Mode, typer.Option("--mode", help="Whether the plugin enforces or only logs.")] = Mode.ENFORCE,
    guard: Annotated[
        Guard, typer.Option("--guard", help="What the plugin holds back from devices.")
    ] = Guard.CONNECTION_REQUESTS,
    as_json: AsJson = False,
) -> None:
    """Start a sandbox; stay until Ctrl-C, or return when everything answers (--detach).

    DIR/sandbox.json tells addresses, accounts and keys; it is written last. DIR/log has a log for each part.
    SIGUSR1 to the process in DIR/sandbox.pid restarts the XMPP server.
    """
    parts = {Parts.SERVER, Parts.SERVE} | ({Parts.CPES} if with_cpes else set())
    options = Options(Layout(folder).folder, server, frozenset(parts), Plugin(mode, guard))
    was_up = False

    def ready() -> None:
        nonlocal was_up
        was_up = True
        _tell(options, detach=detach, as_json=as_json)

    if detach:
        up_detached(options)
        ready()
        return
    up(options, ready)
    if not was_up:
        raise StanzagateError("The sandbox was stopped before it was up.")


@app.command("down")
def down_command(folder: Folder, as_json: AsJson = False) -> None:
    """Stop the sandbox of DIR and everything that belongs to it; its files stay."""
    down(folder)
    if as_json:
        output.document({"dir": str(Layout(folder).folder), "running": False})
    else:
        output.say(f"The sandbox in {Layout(folder).folder} is stopped.")


def _tell(options: Options, *, detach: bool, as_json: bool) -> None:
    layout = Layout(options.folder)
    if as_json:
        told = {"dir": str(layout.folder), "server": options.kind, "running": True, "sandbox": str(layout.report)}
        output.document(told)
        sys.stdout.flush()
        return
    end = f"stanzagate sandbox down --dir {layout.folder}" if detach else "Ctrl-C"
    output.say(f"The sandbox is up ({options.kind}): {layout.report}")
    output.say(f"Stop it: {end}")
    sys.stdout.flush()  # whoever reads a pipe waits for this
