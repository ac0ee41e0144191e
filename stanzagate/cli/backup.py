"""``stanzagate backup``: save and restore a deployment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanzagate.cli import files, output, progress
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

if TYPE_CHECKING:
    from stanzagate.restore import Restored

app = output.application()

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.callback()
def _backup(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Save and restore everything: policy, devices, audit record, keys and configuration."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate backup create /var/backups/stanzagate.tar")
def create(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The archive; may be -.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Write an archive of the running deployment.

    It holds every key and secret: keep it safe. Run it as root where the service has a user of its own, because
    that user may not read every key.
    """
    with (
        service(ctx, directory, socket) as client,
        files.private_output(file, overwrite=overwrite) as archive,
        progress.waiting("saving"),
        client.stream("POST", "/v1/backups", patience=None) as response,
    ):
        for piece in response.iter_bytes():
            archive.write(piece)
    if file == files.STANDARD:
        return
    from stanzagate.backup import complete  # noqa: PLC0415  # slow to import

    info = complete(Path(file))
    size = info.archive.stat().st_size
    if as_json:
        output.document({
            "file": file, "bytes": size, "members": list(info.members), "left_out": list(info.left_out)
        })  # fmt: skip
        return
    output.say(f"{file}: {len(info.members)} files, {size} bytes. It holds every key and secret of the deployment.")
    if info.left_out:
        output.say("Not in it:")
        for line in info.left_out:
            output.say(f"  {line}")


@app.command(epilog="Example:  stanzagate backup restore stanzagate.tar --dir /etc/stanzagate --dry-run")
def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An archive of `backup create`; may be -.")],
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", readable=False, help="The folder of the configuration.")
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there; it is kept as NAME.before-restore-TIME.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring back a deployment from an archive.

    Everything in it is checked first. The service must not be running. The database and the keys go where the
    restored configuration says, which may be outside of DIR.
    """
    from stanzagate.backup import restore as restore_all  # noqa: PLC0415  # slow to import

    with _archive(file) as archive, progress.waiting("checking" if dry_run else "restoring"):
        restored = restore_all(archive, folder, actor=_actor(), overwrite=overwrite, dry_run=dry_run)
    if as_json:
        output.document({**_plain(restored), "dir": str(folder), "dry_run": dry_run})
    else:
        _show(restored, folder, dry_run=dry_run)


def _show(restored: Restored, folder: Path, *, dry_run: bool) -> None:
    info = restored.info
    made = output.when(info.created)
    if dry_run:
        output.say(f"Nothing was changed (--dry-run). The archive of {made} is whole; these files would be written:")
    else:
        output.say(f"{folder} is what it was at {made}: {info.audit_rows} audit rows. Restored:")
    for place in restored.places:
        notes = ["outside of DIR"] if place.outside else []
        if place.replaces:
            notes.append("would replace the one that is there" if dry_run else "replaced the one that was there")
        output.say(f"  {place.path}{'  (' + ', '.join(notes) + ')' if notes else ''}")
    if any(place.outside for place in restored.places):
        output.say("What is outside of DIR is where the configuration in the archive wants it.")
    if any(place.replaces for place in restored.places):
        output.say(f"The old files {'would be' if dry_run else 'are'} kept as NAME{restored.kept}.")


@contextmanager
def _archive(name: str) -> Iterator[Path]:
    if name != files.STANDARD:
        yield Path(name)
        return
    with tempfile.TemporaryDirectory() as folder, files.opened(name) as stream:
        copy = Path(folder) / "archive"
        copy.touch(mode=0o600)
        with copy.open("wb") as file:
            shutil.copyfileobj(stream, file)
        yield copy


def _actor() -> str:
    from stanzagate.admin.access import unix_caller  # noqa: PLC0415  # slow to import

    return unix_caller(os.getuid()).actor


def _plain(restored: Restored) -> dict[str, Any]:
    info = restored.info
    written = [
        {"path": str(place.path), "outside": place.outside, "replaces": place.replaces} for place in restored.places
    ]
    return {
        "created": info.created, "version": info.version, "revision": info.revision,
        "audit_rows": info.audit_rows, "members": list(info.members),
        "files": written, "kept": restored.kept,
    }  # fmt: skip
