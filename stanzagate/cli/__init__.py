"""The command line ``stanzagate``: a client of the admin API, and the commands that start things.

Exit codes: 0 done, allowed, accepted; 1 refused, denied, failed or not found; 2 usage, malformed input or
configuration error; 3 the service cannot be reached. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer import Typer
from typer.core import TyperCommand, TyperGroup

from component.base.errors import StanzagateError
from stanzagate.cli import output
from stanzagate.cli.options import Directory, Socket, remember

INTERRUPTED = 130

COMMANDS = {
    "serve": ("stanzagate.cli.serve", "serve", "Run the services that a configuration names."),
    "check-config": ("stanzagate.cli.serve", "check_config", "Validate a configuration."),
    "relay": ("stanzagate.cli.relay", "app", "The companion relay: server-to-server streams with named partners."),
    "sandbox": ("stanzagate.cli.sandbox", "app", "A complete local installation to try things with."),
    "init": ("stanzagate.cli.init", "init", "Write a production deployment."),
    "jid": ("stanzagate.cli.jid", "app", "Who may wake which device."),
    "device": ("stanzagate.cli.device", "app", "The device registry."),
    "wake": ("stanzagate.cli.wake", "wake", "Wake a device, or a group of them."),
    "node": ("stanzagate.cli.node", "app", "The nodes of the grid: who has asked to join, and who may."),
    "ca": ("stanzagate.cli.ca", "app", "The node CA: the certificates of nodes."),
    "topic": ("stanzagate.cli.topic", "app", "Capabilities and topics of the grid."),
    "access": ("stanzagate.cli.access", "app", "Who may do what with which topic of the grid."),
    "publish": ("stanzagate.cli.publish", "publish", "Publish files to a topic of the grid, as a node."),
    "watch": ("stanzagate.cli.watch", "watch", "Show the items of a topic of the grid as they come."),
    "iodef": ("stanzagate.cli.iodef", "app", "Incidents in files: validate, convert, show."),
    "audit": ("stanzagate.cli.audit", "app", "The audit record."),
    "backup": ("stanzagate.cli.backup", "app", "Save and restore a deployment."),
    "secrets": ("stanzagate.cli.secrets", "app", "Keys that protect what is stored."),
}
"""Module, name in it, and one line of help of every command."""

# The base of all errors of usage is not exported by every version of typer; `BadParameter` is.
_USAGE_ERRORS: type[Exception] = typer.BadParameter.__mro__[2]


class _Commands(TyperGroup):
    """Knows the names of its commands, and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        settings["commands"] = {name: TyperCommand(name, help=text) for name, (_, _, text) in COMMANDS.items()}
        super().__init__(**settings)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and loaded(command.name or ""), rest


def loaded(name: str) -> Any:
    """The command of this name, imported."""
    module_name, attribute, _ = COMMANDS[name]
    module = __import__(module_name, fromlist=[attribute])
    found = getattr(module, attribute)
    if not isinstance(found, Typer):
        single = output.application()
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


app = output.application(cls=_Commands)


def _version(wanted: bool) -> None:
    if wanted:
        from stanzagate import __version__  # noqa: PLC0415

        typer.echo(f"stanzagate {__version__}")
        raise typer.Exit


@app.callback(epilog="Example:  stanzagate jid check acs1@acs.test 00256D-0001 --dir DIR")
def _root(
    ctx: typer.Context,
    directory: Directory = None,
    socket: Socket = None,
    _show_version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    """Decides, enforces and records who may wake which TR-069 device, and who may do what in an XMPP-Grid."""
    remember(ctx, directory, socket)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. Expected errors become a line on stderr, never a traceback."""
    output.prepare()
    try:
        result = app(args=arguments, prog_name="stanzagate", standalone_mode=False)
        sys.stdout.flush()
    except StanzagateError as error:
        output.error(error)
        return error.exit_code
    except _USAGE_ERRORS as error:
        return _usage(error)
    except BrokenPipeError:
        _forget_output()  # whoever read it has enough
        return 1
    except OSError as error:
        _forget_output()
        what = "The output cannot be written" if error.filename is None else f"{error.filename} cannot be used"
        output.error(StanzagateError(f"{what}: {error.strerror or error}."))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("stanzagate: interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _forget_output() -> None:
    """What is still in the buffer goes nowhere; Python would complain about it while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return 2
    path = context.command_path if context is not None else "stanzagate"
    message = error.format_message().replace(": Value error, ", ": ")  # typer's word for a choice that there is not
    output.error(StanzagateError(message, hint=f"Try `{path} --help`."))
    return 2
