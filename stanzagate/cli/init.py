"""``stanzagate init``: write a production deployment."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from component.base.pluginstatus import Guard
from stanzagate.cli import output
from stanzagate.cli.options import AsJson
from stanzagate.config import ServerKind
from stanzagate.plugin import Mode, Plugin
from stanzagate.production import Choices, Written, write


def init(  # noqa: PLR0917  typer makes options of parameters
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="Where to write it, for example /etc/stanzagate.")
    ],
    server: Annotated[
        ServerKind, typer.Option("--server", help="The XMPP server that is there.", show_default=False)
    ],
    cpe_domain: Annotated[
        str, typer.Option("--cpe-domain", metavar="DOMAIN", help="Where the devices have their accounts.")
    ],
    acs_domain: Annotated[
        list[str], typer.Option("--acs-domain", metavar="DOMAIN", help="Where the ACSs have theirs; may be repeated.")
    ],
    gate: Annotated[
        str, typer.Option("--gate", metavar="DOMAIN", help="The domain of the gate; by default cr.CPE-DOMAIN.")
    ] = "",
    grid_domain: Annotated[
        str, typer.Option("--grid-domain", metavar="DOMAIN", help="The domain of an XMPP-Grid, if there is one.")
    ] = "",
    partner: Annotated[
        list[str] | None,
        typer.Option(
            "--partner",
            metavar="DOMAIN",
            show_default=False,
            help="Another server's domain, reached through the relay; may be repeated.",
        ),
    ] = None,
    component_port: Annotated[
        int, typer.Option("--component-port", min=1, max=65535, help="Where the gate attaches to the server.")
    ] = 5347,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Whether the in-server plugin only logs at first, or enforces at once.")
    ] = Mode.LOG_ONLY,
    guard: Annotated[
        Guard, typer.Option("--guard", help="What the plugin holds back from devices.")
    ] = Guard.CONNECTION_REQUESTS,
    user: Annotated[str, typer.Option("--user", help="The system user of the service.")] = "stanzagate",
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there; keys and secrets are kept all the same.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a production deployment: configuration, secrets, CAs, server snippets and plugin, a hardened unit.

    Nothing outside of DIR is touched; NEXT-STEPS.txt says what to do with the files.
    """
    choices = Choices(
        folder=Path(os.path.abspath(folder)),  # noqa: PTH100  a link stays what the operator calls it
        kind=server,
        cpe_domain=cpe_domain,
        acs_domains=tuple(dict.fromkeys(acs_domain)),
        gate=gate or f"cr.{cpe_domain}",
        grid_domain=grid_domain or None,
        component_port=component_port,
        program=_program(),
        plugin=Plugin(mode, guard),
        user=user,
        partners=tuple(partner or ()),
    )
    _show(choices, write(choices, force=force, dry_run=dry_run), dry_run=dry_run, as_json=as_json)


def _program() -> Path:
    """The installed program: the one beside our interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("stanzagate")
    return beside if beside.exists() else Path(shutil.which("stanzagate") or "/usr/local/bin/stanzagate")


def _show(choices: Choices, written: Written, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.document({"dir": str(choices.folder), "dry_run": dry_run} | asdict(written))
        return
    for name in written.files:
        action = "kept" if name in written.kept else "would write" if dry_run else "wrote"
        output.say(f"{action} {choices.folder / name}")
    output.say()
    for line in written.next_steps.splitlines():
        output.say(line)
