"""Backup of a whole deployment, the audit chain intact. See `stanzagate.restore` for the way back.

An archive is a file that only its owner may read, because it holds every key and secret of the deployment: the
database, the key of the device credentials, the audit key and head, the configuration, the files that it names, and
the other files of its folder: authorities, certificates, the server's snippet, the unit. It can be made while the
service runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from component.base.audit_rows import stored_head
from component.base.errors import Conflict, InputError, NotFound
from component.base.files import sync_folder
from component.base.store import Store
from stanzagate import __version__, migrations, snapshot
from stanzagate.archive import (
    AUDIT_HEAD,
    AUDIT_KEY,
    AUDIT_PUBLIC,
    CONFIGURATION,
    CREDENTIALS_KEY,
    DATABASE,
    FILE,
    BackupInfo,
    Manifest,
    Member,
    described,
    opened,
    read_configuration,
    read_manifest,
    scratch_folder,
    unpack,
    write_archive,
)
from stanzagate.deployment import Deployment, Kind, absolute, files_of
from stanzagate.restore import inspect, restore

__all__ = ["BackupInfo", "Deployment", "complete", "create", "inspect", "restore"]

ATTEMPTS = 5
ELSEWHERE = "elsewhere"


@dataclass
class _Content:
    """What goes into an archive: members, and copies of them that no longer change."""

    deployment: Deployment
    scratch: Path
    members: list[Member] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def new_copy(self) -> Path:
        """A file for the copy of the next member."""
        path = self.scratch / str(len(self.copies))
        path.touch(mode=0o600)
        return path

    def add(self, original: Path, copy: Path, role: str = FILE, key: str = "") -> None:
        name = self.deployment.name(original)
        outside = name is None
        name = name or f"{ELSEWHERE}{absolute(original)}"
        while self.has(name):
            name += "_"
        self.members.append(described(name, role, copy, key if outside else ""))
        self.copies.append(copy)

    def add_file(self, original: Path, role: str = FILE, key: str = "") -> None:
        """Copy a file, or say why it is left out. One that has gone meanwhile is not missed."""
        copy = self.new_copy()
        try:
            with original.open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
                copy.chmod(os.fstat(source.fileno()).st_mode & 0o777)
        except FileNotFoundError:
            return
        except PermissionError:
            self.left_out.append(f"{self.deployment.name(original) or original} {Kind.UNREADABLE}")
            return
        self.add(original, copy, role, key)

    def folders(self) -> dict[str, int]:
        """The modes of the folders of the members."""
        names = {parent.as_posix() for member in self.members for parent in PurePosixPath(member.name).parents}
        paths = {name: self.deployment.folder / name for name in sorted(names)}
        return {name: path.stat().st_mode & 0o777 for name, path in paths.items() if path.is_dir()}

    def has(self, name: str) -> bool:
        return any(member.name == name for member in self.members)

    def add_folder(self) -> None:
        """What the configuration names, and everything else in its folder."""
        deployment = self.deployment
        named = deployment.named()
        there = {absolute(named[member.key]) for member in self.members if member.key}
        for key, path in named.items():
            name = deployment.name(path)
            if absolute(path) not in there and not (name and self.has(name)) and _is_file(path):
                there.add(absolute(path))
                self.add_file(path, key=key)
        for found in files_of(deployment.folder, list(deployment.places().values())):
            if self.has(found.name):
                continue
            if found.kind is Kind.SAVED:
                self.add_file(found.path)
            else:
                self.left_out.append(f"{found.name} {found.kind}")


def create(
    deployment: Deployment, archive: Path, *, overwrite: bool = False, clock: Callable[[], float] = time.time
) -> BackupInfo:
    """Write an archive of everything; the service may be running. Blocks: call it on a thread.

    The archive holds all keys and secrets; it is readable by its owner only.

    :raises Conflict: when the archive exists and `overwrite` is false.
    :raises NotFound: when a part of the deployment is missing.
    :raises InputError: when the archive cannot be written, or the folder of the configuration holds too much.
    """
    if archive.exists() and not overwrite:
        raise Conflict(f"The archive {archive} exists already.", hint="Choose another name.")
    try:
        with scratch_folder(archive.parent) as scratch:
            info = _create(deployment, archive, scratch, clock())
            (scratch / "archive").replace(archive)
        sync_folder(archive.parent)
    except FileNotFoundError as error:
        raise NotFound(f"The backup lacks {error.filename}: there is no such file.") from None
    except OSError as error:
        raise _unwritable(archive, error) from None
    return info


def _unwritable(archive: Path, error: OSError) -> InputError:
    return InputError(
        f"The archive {archive} cannot be written: {error.strerror or error}.",
        hint="Check that its folder exists and that the disk has room.",
    )


def _create(deployment: Deployment, archive: Path, scratch: Path, now: float) -> BackupInfo:
    content = _Content(deployment, scratch)
    content.add_file(deployment.file, CONFIGURATION)
    if not content.members:
        raise FileNotFoundError(2, "", str(deployment.file))
    revision, rows = _consistent_copy(content)
    if (public := deployment.places()[AUDIT_PUBLIC]).exists():
        content.add_file(public, AUDIT_PUBLIC)
    content.add_folder()
    manifest = Manifest(
        now, __version__, revision, rows, str(deployment.folder), content.folders(),
        tuple(content.members), tuple(content.left_out),
    )  # fmt: skip
    write_archive(scratch / "archive", manifest, content.copies)
    return manifest.info(archive)


def _consistent_copy(content: _Content) -> tuple[str, int]:
    """Copy the database in one read transaction, and what must fit to it; see `_described_database`."""
    deployment = content.deployment
    places = deployment.places()
    keys = {role: places[role] for role in (AUDIT_KEY, CREDENTIALS_KEY, AUDIT_HEAD)}
    database = content.new_copy()
    for _ in range(ATTEMPTS):
        # The head before the database: it may be older than that, never newer.
        data = {role: path.read_bytes() for role, path in keys.items() if role != AUDIT_HEAD or path.exists()}
        database.unlink(missing_ok=True)
        snapshot.take(deployment.url, database)
        if keys[CREDENTIALS_KEY].read_bytes() == data[CREDENTIALS_KEY]:
            break
    else:
        raise Conflict("The credential key changes all the time.", hint="Try again when the rotation is over.")
    description = _described_database(database)  # opening it changes the file
    content.add(places[DATABASE], database, DATABASE)
    for role, key in data.items():
        copy = content.new_copy()
        copy.write_bytes(key)
        content.add(keys[role], copy, role)
    return description


def _described_database(file: Path) -> tuple[str, int]:
    """Its revision, and the number of the last row of the audit record."""
    store = Store(f"sqlite:///{file}")
    try:
        head = store.read_now(stored_head)
        return store.read_now(migrations.revision), head.seq if head else 0
    finally:
        store.close()


def complete(archive: Path) -> BackupInfo:
    """Add to a new archive what the service could not read and the caller can, such as keys that belong to root.

    Only files of the folder that the archive was made from are added, and only when that folder and the configuration
    in it belong to root or the caller: a service that was taken over must not choose what root reads.

    :raises InputError: when the archive is damaged or cannot be written.
    """
    manifest, configuration = read_configuration(archive)
    if not manifest.left_out:
        return manifest.info(archive)
    file = Path(manifest.folder) / manifest.role(CONFIGURATION).name
    if not _is_ours(file, configuration):
        return manifest.info(archive)
    try:
        with scratch_folder(archive.absolute().parent) as scratch, opened(archive) as tar:
            content = _Content(Deployment.of(file), scratch, list(manifest.members))
            content.copies = [scratch / str(number) for number in range(len(manifest.members))]
            places = {member.name: copy for member, copy in zip(content.members, content.copies, strict=True)}
            unpack(tar, read_manifest(tar, archive), archive, places)
            content.add_folder()
            added = replace(
                manifest, folders=content.folders(), members=tuple(content.members), left_out=tuple(content.left_out)
            )
            write_archive(scratch / "archive", added, content.copies)
            (scratch / "archive").replace(archive)
        sync_folder(archive.absolute().parent)
    except OSError as error:
        raise _unwritable(archive, error) from None
    return added.info(archive)


def _is_ours(file: Path, content: bytes) -> bool:
    try:
        owners = {status.st_uid for status in (file.lstat(), file.parent.stat())}
        return owners <= {0, os.geteuid()} and file.read_bytes() == content
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False
