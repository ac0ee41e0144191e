"""``stanzagate serve`` and ``stanzagate check-config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stanzagate.cli import output
from stanzagate.cli.options import AsJson


def serve(
    config: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", readable=False, help="The configuration.")
    ],
) -> None:
    """Run the services that a configuration names, in the foreground; SIGTERM drains.

    Logs go to stderr. Example:  stanzagate serve -c /etc/stanzagate/stanzagate.yaml
    """
    from stanzagate.serve import run  # noqa: PLC0415  # everything else is imported with it

    raise typer.Exit(run(config))


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="The configuration.")],
    as_json: AsJson = False,
) -> None:
    """Validate a configuration, for `serve` and for `relay`; an error names file, line and key. Nothing is changed.

    Files with secrets are read; environment variables are not looked at, they may be set for the service only.
    Example:  stanzagate check-config /etc/stanzagate/stanzagate.yaml
    """
    from stanzagate.config import load_all, read_secret, secrets_of  # noqa: PLC0415

    for key, secret in secrets_of(*load_all(file)):
        if secret.file is not None:
            read_secret(file, key, secret)
    if as_json:
        output.document({"file": str(file), "ok": True})
    else:
        output.say(f"{file} is a valid configuration.")
