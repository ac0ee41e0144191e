"""Backup of a whole deployment, the audit chain intact. See `stanzagate.restore` for the way back.

An archive is a file that only its owner may read, because it holds every key and secret of the deployment: the
database, the key of the device credentials, the audit key and head, the configuration and the files that it names.
It can be made while the service runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy.engine import URL, make_url

from component.base.audit_rows import stored_head
from component.base.errors import Conflict, InputError, NotFound
from component.base.files import sync_folder
from component.base.store import Store
from stanzagate import __version__, config, migrations, snapshot
from stanzagate.archive import (
    AUDIT_HEAD,
    AUDIT_KEY,
    CREDENTIALS_KEY,
    DATABASE,
    FILE,
    BackupInfo,
    Manifest,
    described,
    scratch_folder,
    write_archive,
)
from stanzagate.restore import inspect, restore

__all__ = ["BackupInfo", "Deployment", "create", "inspect", "restore"]

ATTEMPTS = 5
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Deployment:
    """Where the parts of a deployment are.

    :ivar database: the URL of the configuration; a relative SQLite path is relative to `folder`.
    :ivar folder: where restored files go, and what names of files are relative to.
    :ivar state: the folder of keys and audit head.
    :ivar files: everything else that belongs to it: the configuration and the files that it names.
    """

    database: str
    folder: Path
    state: Path
    files: tuple[Path, ...] = ()

    @classmethod
    def of(cls, file: Path) -> Deployment:
        """The deployment that a configuration file describes, with every file that it names.

        :raises ConfigError: when the configuration cannot be used.
        """
        settings = config.load(file)
        base = file.absolute().parent
        files = dict.fromkeys((file.absolute(), *_named_files(settings, base)))
        return cls(settings.database, base, config.state_folder(settings), tuple(files))

    @property
    def database_file(self) -> Path:
        """The file of an embedded database.

        :raises InputError: for another kind of database.
        """
        return snapshot.file_of(self.url)

    @property
    def url(self) -> URL:
        """The database with an absolute path."""
        url = make_url(self.database)
        if url.get_backend_name() == "sqlite" and url.database:
            return url.set(database=str((self.folder / url.database).absolute()))
        return url


def create(
    deployment: Deployment, archive: Path, *, overwrite: bool = False, clock: Callable[[], float] = time.time
) -> BackupInfo:
    """Write an archive of everything; the service may be running. Blocks: call it on a thread.

    The archive holds all keys and secrets; it is readable by its owner only.

    :raises Conflict: when the archive exists and `overwrite` is false.
    :raises NotFound: when a part of the deployment is missing.
    :raises InputError: when the archive cannot be written.
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
        raise InputError(
            f"The archive {archive} cannot be written: {error.strerror or error}.",
            hint="Check that its folder exists and that the disk has room.",
        ) from None
    return info


def _create(deployment: Deployment, archive: Path, scratch: Path, now: float) -> BackupInfo:
    roles = _consistent_copy(deployment, scratch)
    sources = {_member_name(deployment, original): (role, copy) for role, (original, copy) in roles.items()}
    public = (deployment.state / AUDIT_KEY).with_suffix(".pub")
    for path in (*deployment.files, *([public] if public.exists() else [])):
        sources.setdefault(_member_name(deployment, path), (FILE, path))
    revision, rows = _described_database(scratch / DATABASE)
    members = tuple(described(name, role, path) for name, (role, path) in sources.items())
    manifest = Manifest(now, __version__, revision, rows, members)
    write_archive(scratch / "archive", manifest, [path for _, path in sources.values()])
    return manifest.info(archive)


def _consistent_copy(deployment: Deployment, scratch: Path) -> dict[str, tuple[Path, Path]]:
    """Copy the database in one read transaction, and what must fit to it: original and copy by role."""
    originals = {role: deployment.state / role for role in (AUDIT_KEY, CREDENTIALS_KEY, AUDIT_HEAD)}
    database = scratch / DATABASE
    for _ in range(ATTEMPTS):
        # The head before the database: it may be older than that, never newer.
        data = {role: path.read_bytes() for role, path in originals.items() if role != AUDIT_HEAD or path.exists()}
        database.unlink(missing_ok=True)
        snapshot.take(deployment.url, database)
        if originals[CREDENTIALS_KEY].read_bytes() == data[CREDENTIALS_KEY]:
            break
    else:
        raise Conflict("The credential key changes all the time.", hint="Try again when the rotation is over.")
    copies = {DATABASE: (deployment.database_file, database)}
    for role, content in data.items():
        copy = scratch / role
        copy.touch(mode=0o600)
        copy.write_bytes(content)
        copies[role] = originals[role], copy
    return copies


def _described_database(file: Path) -> tuple[str, int]:
    """Its revision, and the number of the last row of the audit record."""
    store = Store(f"sqlite:///{file}")
    try:
        head = store.read_now(stored_head)
        return store.read_now(migrations.revision), head.seq if head else 0
    finally:
        store.close()


def _member_name(deployment: Deployment, path: Path) -> str:
    """The path inside the deployment's folder; what is kept elsewhere goes to a folder of that name."""
    absolute = path.absolute()
    with contextlib.suppress(ValueError):
        return absolute.relative_to(deployment.folder.absolute()).as_posix()
    return f"{ELSEWHERE}/{absolute.relative_to(absolute.anchor).as_posix()}"


def _named_files(value: object, base: Path) -> Iterator[Path]:
    """Every file that exists and that the configuration names, in whatever section."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named_files(getattr(value, name), base)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _named_files(item, base)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named_files(item, base)
    elif isinstance(value, str | Path) and _is_file(base / value):
        yield base / value


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False
