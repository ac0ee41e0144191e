"""What a deployment consists of, and where its parts are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy.engine import URL, make_url

from component.base.errors import InputError
from stanzagate import config, snapshot
from stanzagate.archive import DATABASE, STATE, is_archive

MAX_FILES = 1_000
MAX_BYTES = 256 << 20
"""How much the folder of the configuration may hold besides the database and what is never saved."""

SERVERS = tuple(str(kind) for kind in config.ServerKind)
NEVER = (
    ".*", "*.lock", "*.pid", "*.log", "*.log.*", "*.before-restore-*", "audit.head.evidence-*",
    "sandbox.json", "devices-ready.json",
)  # fmt: skip
"""Names of files and folders that are not saved: passing state, logs, and what a restore replaced."""

LOGS = ("log", "logs")


def absolute(path: Path) -> Path:
    """An absolute path without ``..``; a link stays what the operator calls it."""
    return Path(os.path.abspath(path))  # noqa: PTH100


@dataclass(frozen=True)
class Deployment:
    """A configuration, and the files that belong to it.

    :ivar file: the configuration.
    :ivar settings: what it says.
    """

    file: Path
    settings: config.Config

    @classmethod
    def of(cls, file: Path, *, base: Path | None = None) -> Deployment:
        """The deployment that a configuration file describes.

        :param base: its folder, when the file is not there yet.
        :raises ConfigError: when the configuration cannot be used.
        """
        source = absolute(file)
        folder = base or source.parent
        return cls(folder / source.name, config.load(source, base=folder))

    @property
    def folder(self) -> Path:
        """The folder of the configuration; relative paths in it are relative to that."""
        return self.file.parent

    @property
    def state(self) -> Path:
        """The folder of keys and audit head."""
        return config.state_folder(self.settings)

    @property
    def url(self) -> URL:
        """The database with an absolute path."""
        url = make_url(self.settings.database)
        if url.get_backend_name() == "sqlite" and url.database:
            return url.set(database=str((self.folder / url.database).absolute()))
        return url

    @property
    def database_file(self) -> Path:
        """The file of an embedded database.

        :raises InputError: for another kind of database.
        """
        return snapshot.file_of(self.url)

    def places(self) -> dict[str, Path]:
        """Where the database, the keys and the audit head belong, by role.

        :raises InputError: when the database is a server's.
        """
        return {role: self.database_file if role == DATABASE else self.state / role for role in STATE}

    def named(self) -> dict[str, Path]:
        """Everything in the configuration that may be the name of a file, by dotted key."""
        return {key: self.folder / value for key, value in _texts(self.settings, ())}

    def name(self, path: Path) -> str | None:
        """The path relative to the folder, or None for what is outside of it."""
        with contextlib.suppress(ValueError):
            return absolute(path).relative_to(self.folder).as_posix()
        return None


def _texts(value: object, key: tuple[str, ...]) -> Iterator[tuple[str, str | Path]]:
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name, field in type(value).model_fields.items() if not field.exclude}
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, (*key, str(number)))
    elif isinstance(value, str | Path):
        yield ".".join(key), value


class Kind(StrEnum):
    """What is done with something in a folder. The value is the reason that people read."""

    SAVED = ""
    UNREADABLE = "may not be read by the service's user"
    LINK = "is a link that leads out of the folder"


@dataclass(frozen=True)
class Found:
    """Something in the folder of a deployment that belongs to it.

    :ivar name: relative to the folder; that of a folder ends in a slash.
    """

    name: str
    path: Path
    kind: Kind = Kind.SAVED


def files_of(folder: Path, but: Sequence[Path]) -> list[Found]:
    """Every file of a deployment's folder and of the folders in it; see `NEVER` and `MAX_FILES`.

    :param but: files that are saved in another way.
    :raises InputError: when there is too much for a deployment.
    """
    omitted = {f"{absolute(path)}{suffix}" for path in but for suffix in ("", *snapshot.COMPANIONS)}
    found: list[Found] = []
    size = 0
    folders = [folder]
    while folders:
        current = folders.pop()
        prefix = f"{current.relative_to(folder).as_posix()}/".removeprefix("./")
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except PermissionError:
            found.append(Found(prefix or "./", current, Kind.UNREADABLE))
            continue
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.path in omitted or any(fnmatch(entry.name, pattern) for pattern in NEVER):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _passing(current, entry.name):
                    folders.append(Path(entry.path))
            elif (one := _found(entry, prefix + entry.name, folder)) is not None:
                found.append(one)
                size += entry.stat(follow_symlinks=False).st_size
            if len(found) + len(folders) > MAX_FILES or size > MAX_BYTES:
                raise InputError(
                    f"{folder} holds more than a deployment: over {MAX_FILES} files or {MAX_BYTES >> 20} MiB.",
                    hint="Give the configuration a folder of its own, without what does not belong to it.",
                )
    return found


def _passing(folder: Path, name: str) -> bool:
    """Whether a folder holds logs, or the data of a sandbox's server."""
    return name in LOGS or (name == "data" and folder.name in SERVERS)


def _found(entry: os.DirEntry[str], name: str, folder: Path) -> Found | None:
    path = Path(entry.path)
    try:
        if entry.is_symlink():
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(os.path.realpath(folder)):
                return Found(name, path, Kind.LINK)
            return Found(name, path) if real.is_file() else None
        if not entry.is_file(follow_symlinks=False) or is_archive(path):
            return None
    except FileNotFoundError:
        return None
    except PermissionError:
        return Found(name, path, Kind.UNREADABLE)
    return Found(name, path)
