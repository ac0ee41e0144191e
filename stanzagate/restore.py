"""Restoring a deployment: everything is checked in a folder of its own, and only then put in place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from component.base.audit import Audit, AuditKey, verify
from component.base.errors import Conflict, InputError, StanzagateError
from component.base.files import own_like_folder, sync_folder
from component.base.store import Store
from stanzagate import migrations, snapshot
from stanzagate.archive import (
    AUDIT_HEAD,
    AUDIT_KEY,
    DATABASE,
    BackupInfo,
    Manifest,
    opened,
    read_manifest,
    scratch_folder,
    unpack,
)
from stanzagate.lock import DeploymentLock


def inspect(archive: Path) -> BackupInfo:
    """What an archive says it holds; nothing is checked but the form of its manifest.

    :raises InputError: when it is no archive of ours.
    """
    with opened(archive) as tar:
        return read_manifest(tar, archive).info(archive)


def restore(
    archive: Path,
    target: Path,
    *,
    actor: str,
    overwrite: bool = False,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> BackupInfo:
    """Bring back a deployment from an archive, after checking all of it.

    Files that are replaced are kept beside the new ones as ``NAME.before-restore-TIME``.

    :param target: the folder of the deployment; made when it is missing.
    :param actor: who restores, for the audit record.
    :param overwrite: replace files that are there.
    :param dry_run: check the archive and the target, and change nothing.
    :raises Conflict: when a service uses the deployment, or files are in the way.
    :raises InputError: when the archive is damaged, or the target cannot be written.
    :raises DatabaseError: when the archive was written by a newer program.
    :raises StanzagateError: when the audit record in the archive does not verify.
    """
    try:
        made = not target.exists()
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _restore(archive, target, actor, overwrite, dry_run, clock)
        finally:
            if made and not any(target.iterdir()):
                target.rmdir()
    except OSError as error:
        raise InputError(
            f"{target} cannot be restored: {error.strerror or error}.",
            hint="Check that the folder belongs to you and that the disk has room; then run it again.",
        ) from None


def _restore(
    archive: Path, target: Path, actor: str, overwrite: bool, dry_run: bool, clock: Callable[[], float]
) -> BackupInfo:
    with opened(archive) as tar, contextlib.ExitStack() as stack:
        manifest = read_manifest(tar, archive)
        database = _places(manifest, target)[DATABASE]
        if database.exists():
            stack.enter_context(DeploymentLock(database))
        _check_room(manifest, target, overwrite)
        scratch = stack.enter_context(scratch_folder(target))
        unpack(tar, manifest, archive, scratch)
        places = _places(manifest, scratch)
        _check_chain(places, archive)
        migrations.upgrade(f"sqlite:///{places[DATABASE]}")
        if not dry_run:
            _record(places, actor, archive, manifest, clock)
            _put_in_place(manifest, scratch, target, f".before-restore-{int(clock())}")
    return manifest.info(archive)


def _places(manifest: Manifest, folder: Path) -> dict[str, Path]:
    """Where the parts with a role are; a record without rows has no head file yet, but a place for it."""
    places = {member.role: folder / member.name for member in manifest.members}
    places.setdefault(AUDIT_HEAD, places[AUDIT_KEY].with_name(AUDIT_HEAD))
    return places


def _check_room(manifest: Manifest, target: Path, overwrite: bool) -> None:
    present = [member.name for member in manifest.members if (target / member.name).exists()]
    if present and not overwrite:
        raise Conflict(
            f"{target} is in use; the restore would replace {len(present)} files.",
            hint="Say that they may be overwritten; the old ones are kept as NAME.before-restore-TIME.",
            details=present,
        )


def _check_chain(paths: Mapping[str, Path], archive: Path) -> None:
    key = AuditKey.open(paths[AUDIT_KEY])
    store = Store(f"sqlite:///{paths[DATABASE]}")
    try:
        result = verify(store, key.public, paths[AUDIT_HEAD])
    finally:
        store.close()
    if not result.ok:
        raise StanzagateError(
            f"The audit record in {archive} does not verify: {result.found} problems; nothing was restored.",
            hint="Use another backup.",
            details=[problem.text for problem in result.problems],
        )


def _put_in_place(manifest: Manifest, scratch: Path, target: Path, suffix: str) -> None:
    """Move everything to where it belongs, the database last: a deployment without one does not start by mistake."""
    sources, targets = _places(manifest, scratch), _places(manifest, target)
    moves = {sources[AUDIT_HEAD]: targets[AUDIT_HEAD]}
    moves |= {scratch / member.name: target / member.name for member in manifest.members}
    snapshot.set_aside(targets[DATABASE], suffix)
    for source, path in sorted(moves.items(), key=lambda move: move[0] == sources[DATABASE]):
        _make_folder(path.parent)
        if path.exists():
            path.replace(path.with_name(path.name + suffix))
        own_like_folder(source.replace(path))
    head = targets[AUDIT_HEAD]
    for evidence in head.parent.glob(f"{head.name}.evidence-*"):  # about the record that was replaced
        evidence.replace(evidence.with_name(evidence.name.replace(".evidence", f"{suffix}.evidence")))
    for folder in {path.parent for path in moves.values()}:
        sync_folder(folder)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700)
        own_like_folder(folder)


def _record(
    paths: Mapping[str, Path], actor: str, archive: Path, manifest: Manifest, clock: Callable[[], float]
) -> None:
    store = Store(f"sqlite:///{paths[DATABASE]}")
    audit = Audit(store, AuditKey.open(paths[AUDIT_KEY]), paths[AUDIT_HEAD], clock=clock)
    detail = {"archive": archive.name, "created": manifest.created, "version": manifest.version}
    try:
        store.write_now(
            lambda c: audit.append(c, actor=actor, action="backup.restored", subject="deployment", detail=detail)
        )
    finally:
        store.close()
