"""``stanzagate secrets``: the keys that protect what is stored."""

from __future__ import annotations

import typer

from stanzagate.cli import output, progress
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

app = output.application()


@app.callback()
def _secrets(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Keys that protect what is stored."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate secrets rotate")
def rotate(
    ctx: typer.Context,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Encrypt all device credentials with a new key.

    The old one is forgotten. A rotation that was interrupted is gone on with.
    """
    with service(ctx, directory, socket) as client, progress.waiting("encrypting"):
        answer = client.send("POST", "/v1/credentials/rotation", {"dry_run": dry_run}, patience=None)
    if as_json:
        output.document(answer)
    elif dry_run:
        output.say(
            f"Nothing was changed (--dry-run). The credentials of {answer['sealed']} devices would be encrypted with "
            "a new key. Nobody would lose access."
        )
    else:
        output.say(f"The credentials of {answer['sealed']} devices are encrypted with a new key.")
