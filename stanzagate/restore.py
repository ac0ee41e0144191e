"""Restoring a deployment: everything is checked in folders of its own, and only then put in place.

The configuration in the archive says where things belong: the database where `database` points, keys and audit head
beside it, files that it names outside of its folder there, all others in its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from component.base.audit import Audit, AuditKey, verify
from component.base.audit_chain import evidence_files
from component.base.errors import ConfigError, Conflict, InputError, StanzagateError
from component.base.files import own_like_folder
from component.base.store import Store
from stanzagate import migrations, snapshot
from stanzagate.archive import (
    AUDIT_HEAD,
    AUDIT_KEY,
    CONFIGURATION,
    DATABASE,
    FILE,
    STATE,
    BackupInfo,
    Manifest,
    opened,
    read_configuration,
    read_manifest,
    scratch_folder,
    unpack,
)
from stanzagate.deployment import Deployment, absolute
from stanzagate.lock import DeploymentLock
from stanzagate.placing import free_suffix, kept_as, put_in_place, recover

STAGING = ".stanzagate-restore-"


@dataclass(frozen=True)
class Place:
    """Where a file of an archive goes.

    :ivar outside: whether that is outside of the folder that was named.
    :ivar replaces: whether there is a file already.
    """

    name: str
    role: str
    path: Path
    outside: bool
    replaces: bool


@dataclass(frozen=True)
class Restored:
    """What `restore` did, or would do.

    :ivar kept: the suffix of the old files that were replaced.
    """

    info: BackupInfo
    places: tuple[Place, ...]
    kept: str


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
) -> Restored:
    """Bring back a deployment from an archive, after checking all of it.

    Files that are replaced are kept beside the new ones as ``NAME.before-restore-TIME``. Everything is replaced, or
    nothing.

    :param target: the folder of the configuration; made when it is missing.
    :param actor: who restores, for the audit record.
    :param overwrite: replace files that are there.
    :param dry_run: check the archive and the target, and change nothing.
    :raises Conflict: when a service uses the deployment, or files are in the way.
    :raises InputError: when the archive is damaged.
    :raises DatabaseError: when the archive was written by a newer program.
    :raises StanzagateError: when something cannot be written, or the audit record in the archive does not verify.
    """
    folder = absolute(target)
    try:
        manifest, configuration = read_configuration(archive)
        deployment = _described(manifest, configuration, archive, folder)
        with contextlib.ExitStack() as stack:
            _check_writable(deployment, _places(manifest, deployment, archive))
            modes = _modes(manifest, deployment)
            _lock(deployment, stack, modes, dry_run=dry_run)
            if not dry_run:
                recover(folder)
            places = _places(manifest, deployment, archive)
            _check_free(places, overwrite=overwrite)
            job = _Job(archive, manifest, deployment, places, actor, clock)
            kept = job.check() if dry_run else job.run(stack)
    except OSError as error:
        raise StanzagateError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}. Nothing was restored.",
            hint="Check that it belongs to you and that the disk has room; then run it again.",
        ) from None
    return Restored(manifest.info(archive), places, kept)


def _described(manifest: Manifest, configuration: bytes, archive: Path, folder: Path) -> Deployment:
    """The deployment as it will be."""
    name = manifest.role(CONFIGURATION).name
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / Path(name).name
        file.write_bytes(configuration)
        try:
            deployment = Deployment.of(file, base=folder)
        except ConfigError as error:
            problem = error.message.replace(str(file), name)
            raise InputError(f"The configuration in {archive} cannot be used: {problem}", hint=error.hint) from None
    if Path(name).name != name:
        raise InputError(f"The manifest of {archive} is damaged.", hint="Use another backup.")
    return deployment


def _places(manifest: Manifest, deployment: Deployment, archive: Path) -> tuple[Place, ...]:
    """Where everything goes; a record without rows has no head file yet, but a place for it."""
    state, named = deployment.places(), deployment.named()
    state[DATABASE] = Path(os.path.realpath(state[DATABASE]))  # SQLite's own files are beside what a link leads to
    places = []
    for member in manifest.members:
        if member.role in STATE:
            path = state[member.role]
        elif member.key and member.role == FILE:
            if member.key not in named:
                raise InputError(f"{archive} is damaged: its configuration has no {member.key}.")
            path = named[member.key]
        else:
            path = deployment.folder / member.name
        places.append(_place(member.name, member.role, path, deployment.folder))
    if not any(place.role == AUDIT_HEAD for place in places):
        places.append(_place(AUDIT_HEAD, AUDIT_HEAD, state[AUDIT_HEAD], deployment.folder))
    if len({place.path for place in places}) != len(places):
        raise InputError(f"{archive} is damaged: two of its files have the same place.", hint="Use another backup.")
    return tuple(places)


def _place(name: str, role: str, path: Path, folder: Path) -> Place:
    path = absolute(path)
    real = Path(os.path.realpath(path.parent))
    return Place(name, role, path, not real.is_relative_to(os.path.realpath(folder)), os.path.lexists(path))


def _check_writable(deployment: Deployment, places: tuple[Place, ...]) -> None:
    for folder in dict.fromkeys((deployment.folder, *(place.path.parent for place in places))):
        there = folder
        while not os.path.lexists(there):
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            problem = f"You may not write into {there}" if there.is_dir() else f"{there} is not a folder"
            place = "there" if there == folder else f"into {folder}"
            raise StanzagateError(
                f"{problem}, but files of the archive belong {place}. Nothing was restored.",
                hint="Run it as root or as the owner of that folder." if there.is_dir() else "Move it away.",
            )


def _check_free(places: tuple[Place, ...], *, overwrite: bool) -> None:
    if folders := [str(place.path) for place in places if place.path.is_dir() and not place.path.is_symlink()]:
        raise Conflict(f"{folders[0]} is a folder; the archive has a file of that name.", hint="Move it away.")
    present = [str(place.path) for place in places if place.replaces]
    if present and not overwrite:
        raise Conflict(
            f"The restore would replace {len(present)} files; nothing was restored.",
            hint="Give --overwrite to replace them; the old ones are kept as NAME.before-restore-TIME.",
            details=present,
        )


def _modes(manifest: Manifest, deployment: Deployment) -> dict[Path, int]:
    """The modes of folders that may have to be made; that of database and keys is for their owner only."""
    folders = {deployment.folder / name: 0o700 | (mode & 0o055) for name, mode in manifest.folders.items()}
    return {deployment.state: 0o700} | folders


def _lock(deployment: Deployment, stack: contextlib.ExitStack, modes: Mapping[Path, int], *, dry_run: bool) -> None:
    """Keep services away from the database that is restored, and from the one that was in use here before."""
    database = deployment.database_file
    lock = DeploymentLock(database)
    with contextlib.suppress(ConfigError, InputError):
        old = DeploymentLock(Deployment.of(deployment.file).database_file)
        if old.path.exists() and absolute(old.path) != absolute(lock.path):
            stack.enter_context(old)
    new = not lock.path.exists()
    if not (dry_run and new):
        _make_folder(database.parent, stack, modes)
        stack.enter_context(lock)
        if new:
            stack.callback(_forget_lock, lock.path, database)


def _forget_lock(lock: Path, database: Path) -> None:
    if not os.path.lexists(database):
        lock.unlink(missing_ok=True)


def _make_folder(folder: Path, stack: contextlib.ExitStack, modes: Mapping[Path, int]) -> None:
    """Make a folder; it goes again at the end when nothing is in it."""
    if not folder.exists():
        _make_folder(folder.parent, stack, modes)
        folder.mkdir(mode=0o700)
        stack.callback(_remove_empty, folder)
        own_like_folder(folder)
        folder.chmod(modes.get(folder, 0o755))


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@dataclass(frozen=True)
class _Job:
    """A restore that may go on."""

    archive: Path
    manifest: Manifest
    deployment: Deployment
    places: tuple[Place, ...]
    actor: str
    clock: Callable[[], float]

    def check(self) -> str:
        """Check everything in the archive, in the system's folder of temporary files."""
        with tempfile.TemporaryDirectory(prefix=STAGING) as scratch:
            self._unpack({place: Path(scratch) / str(number) for number, place in enumerate(self.places)})
        return self._suffix()

    def run(self, stack: contextlib.ExitStack) -> str:
        """Unpack beside the places, check, and put in place."""
        scratch: dict[Path, Path] = {}
        for folder in dict.fromkeys((self.deployment.folder, *(place.path.parent for place in self.places))):
            _make_folder(folder, stack, _modes(self.manifest, self.deployment))
            for old in folder.glob(f"{STAGING}*/"):  # of a restore that was killed; the lock is ours
                shutil.rmtree(old, ignore_errors=True)
        with contextlib.ExitStack() as scratches:
            for place in self.places:
                if place.path.parent not in scratch:
                    scratch[place.path.parent] = scratches.enter_context(scratch_folder(place.path.parent, STAGING))
            staged = {place: scratch[place.path.parent] / str(number) for number, place in enumerate(self.places)}
            self._unpack(staged)
            self._record({place.role: path for place, path in staged.items()})
            suffix = self._suffix()
            order = sorted(self.places, key=lambda place: (place.role == CONFIGURATION, place.role == DATABASE))
            moves = {staged[place]: place.path for place in order}
            put_in_place(moves, self._aside(suffix), self.deployment.folder, suffix)
        return suffix

    def _unpack(self, staged: Mapping[Place, Path]) -> None:
        paths = {place.role: path for place, path in staged.items()}
        with opened(self.archive) as tar:
            if read_manifest(tar, self.archive) != self.manifest:
                raise InputError(f"{self.archive} was changed meanwhile.", hint="Run it again.")
            unpack(tar, self.manifest, self.archive, {place.name: path for place, path in staged.items()})
        self._check_chain(paths)
        migrations.upgrade(f"sqlite:///{paths[DATABASE]}")

    def _check_chain(self, paths: Mapping[str, Path]) -> None:
        key = AuditKey.open(paths[AUDIT_KEY])
        store = Store(f"sqlite:///{paths[DATABASE]}")
        try:
            result = verify(store, key.public, paths[AUDIT_HEAD])
        finally:
            store.close()
        if not result.ok:
            raise StanzagateError(
                f"The audit record in {self.archive} does not verify: {result.found} problems; nothing was restored.",
                hint="Use another backup.",
                details=[problem.text for problem in result.problems],
            )

    def _record(self, paths: Mapping[str, Path]) -> None:
        store = Store(f"sqlite:///{paths[DATABASE]}")
        audit = Audit(store, AuditKey.open(paths[AUDIT_KEY]), paths[AUDIT_HEAD], clock=self.clock)
        manifest = self.manifest
        detail = {"archive": self.archive.name, "created": manifest.created, "version": manifest.version}
        try:
            store.write_now(
                lambda c: audit.append(
                    c, actor=self.actor, action="backup.restored", subject="deployment", detail=detail
                )
            )
        finally:
            store.close()

    def _aside(self, suffix: str) -> dict[Path, Path]:
        """What belongs to the old database and audit record, and would be wrong beside the new ones."""
        paths = {place.role: place.path for place in self.places}
        database, head = paths[DATABASE], paths[AUDIT_HEAD]
        aside = {kept_as(database, end): kept_as(kept_as(database, suffix), end) for end in snapshot.COMPANIONS}
        for path in evidence_files(head):
            aside[path] = kept_as(kept_as(head, suffix), path.name.removeprefix(head.name))
        return {path: kept for path, kept in aside.items() if os.path.lexists(path)}

    def _suffix(self) -> str:
        return free_suffix(f".before-restore-{int(self.clock())}", [place.path for place in self.places])
