"""The archive of a backup: a tar file whose first member, ``manifest.json``, lists the others with size and SHA-256.

Names, kinds, owners and modes inside a tar file are whatever its author wanted: only plain files that the manifest
names, inside the folder they are unpacked to, are ever written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from component.base.errors import InputError, NotFound
from stanzagate import snapshot

FORMAT = 2
MANIFEST = "manifest.json"
MANIFEST_BYTES = 4 << 20
CONFIGURATION_BYTES = 16 << 20
CHUNK = 1 << 20

DATABASE, AUDIT_KEY, AUDIT_HEAD, CREDENTIALS_KEY = "database", "audit.key", "audit.head", "credentials.key"
AUDIT_PUBLIC = "audit.pub"
CONFIGURATION = "configuration"
FILE = "file"
NEEDED = (CONFIGURATION, DATABASE, AUDIT_KEY, CREDENTIALS_KEY)
READABLE = (CONFIGURATION, AUDIT_PUBLIC, FILE)
STATE = (DATABASE, AUDIT_KEY, AUDIT_PUBLIC, AUDIT_HEAD, CREDENTIALS_KEY)
"""Roles of the files whose place the configuration's `database` decides."""


@dataclass(frozen=True)
class BackupInfo:
    """What an archive holds.

    :ivar created: seconds since 1970.
    :ivar version: the Stanzagate that wrote it.
    :ivar revision: the revision of the database's tables.
    :ivar audit_rows: the last row of the audit record in it.
    :ivar members: the names of its files.
    :ivar left_out: files of the deployment that are not in it, each with the reason.
    """

    archive: Path
    created: float
    version: str
    revision: str
    audit_rows: int
    members: tuple[str, ...] = field(default=())
    left_out: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    :ivar name: where it belongs, relative to the folder of the configuration; for what is kept outside of it, only a
        name.
    :ivar role: which part it is; `FILE` for everything that has no special treatment.
    :ivar key: for a file that is kept outside, the key of the configuration that names it.
    """

    name: str
    role: str
    size: int
    sha256: str
    mode: int
    key: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an archive says it holds.

    :ivar folder: where the configuration was.
    :ivar folders: the modes of that folder (``.``) and of those in it.
    :ivar left_out: see `BackupInfo`.
    """

    created: float
    version: str
    revision: str
    audit_rows: int
    folder: str
    folders: dict[str, int]
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = field(default=())

    def role(self, role: str) -> Member:
        """The member with a role that every archive has."""
        return next(member for member in self.members if member.role == role)

    def info(self, archive: Path) -> BackupInfo:
        """The same for people."""
        names = tuple(member.name for member in self.members)
        return BackupInfo(archive, self.created, self.version, self.revision, self.audit_rows, names, self.left_out)


def described(name: str, role: str, path: Path, key: str = "") -> Member:
    """A file as it will stand in the manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    status = path.stat()
    return Member(name, role, status.st_size, digest, _mode(role, status.st_mode), key)


def _mode(role: str, mode: int) -> int:
    """What a file's mode becomes: others may read what they could before, but never the database or its keys."""
    return 0o600 | (mode & 0o044 if role in READABLE else 0)


def write_archive(path: Path, manifest: Manifest, sources: Sequence[Path]) -> None:
    """Write a new archive, readable by its owner only.

    :param sources: the content of the manifest's members, in their order.
    :raises OSError: when it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode()
    path.touch(mode=0o600)
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(_entry(MANIFEST, len(text), 0o600, manifest.created), io.BytesIO(text))
            for member, source in zip(manifest.members, sources, strict=True):
                with source.open("rb") as content:
                    tar.addfile(_entry(member.name, member.size, member.mode, manifest.created), content)
        snapshot.sync(file)


def _entry(name: str, size: int, mode: int, now: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, mode, int(now)
    return entry


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """An archive to read from.

    :raises NotFound: when there is none.
    :raises InputError: when it cannot be read, is no tar file, or ends too early.
    """
    try:
        file = archive.open("rb")
    except FileNotFoundError:
        raise NotFound(f"There is no archive {archive}.") from None
    except OSError as error:
        raise InputError(f"The archive {archive} cannot be read: {error.strerror}.") from None
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar
        except tarfile.TarError as error:
            raise InputError(f"{archive} is not a whole archive: {error}.") from None


def is_archive(path: Path) -> bool:
    """Whether a file begins as our archives do.

    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(MANIFEST) + 1) == MANIFEST.encode() + b"\0"


def read_manifest(tar: tarfile.TarFile, archive: Path) -> Manifest:
    """The first member.

    :raises InputError: when it is not a manifest of ours.
    """
    entry = tar.next()
    if entry is None or entry.name != MANIFEST or not entry.isreg() or entry.size > MANIFEST_BYTES:
        raise InputError(f"{archive} is not a backup of Stanzagate: it does not begin with {MANIFEST}.")
    file = tar.extractfile(entry)
    try:
        raw = json.loads(file.read() if file else b"")
        if raw.pop("format") != FORMAT:
            raise InputError(f"{archive} was written by another version of Stanzagate ({raw['version']!r}).")
        members = tuple(_member(**member) for member in raw.pop("members"))
        manifest = Manifest(
            float(raw["created"]), str(raw["version"]), str(raw["revision"]), int(raw["audit_rows"]),
            str(raw["folder"]), {str(name): int(mode) for name, mode in raw["folders"].items()}, members,
            tuple(str(name) for name in raw["left_out"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"The manifest of {archive} is damaged.", hint="Use another backup.") from None
    roles = [member.role for member in members]
    names = {member.name for member in members if _is_safe(member.name)}
    wrong = {role for role in {*roles, *NEEDED} - {FILE} if roles.count(role) != 1 or role not in {*NEEDED, *STATE}}
    if len(names) != len(members) or wrong:
        raise InputError(f"The manifest of {archive} is damaged.", hint="Use another backup.")
    return manifest


def _member(*, name: object, role: object, size: object, sha256: object, mode: object, key: object) -> Member:
    return Member(str(name), str(role), int(str(size)), str(sha256), int(str(mode)), str(key))


def read_configuration(archive: Path) -> tuple[Manifest, bytes]:
    """The manifest, and the configuration file as it was saved.

    :raises InputError: when the archive is damaged.
    """
    with opened(archive) as tar:
        manifest = read_manifest(tar, archive)
        member = manifest.role(CONFIGURATION)
        if member.size <= CONFIGURATION_BYTES:
            while (entry := tar.next()) is not None:
                if entry.name == member.name and entry.isreg() and entry.size == member.size:
                    file = tar.extractfile(entry)
                    content = file.read() if file else b""
                    if hashlib.sha256(content).hexdigest() == member.sha256:
                        return manifest, content
                    break
    raise InputError(f"{archive} is damaged: {member.name!r} is not what was saved.", hint="Use another backup.")


def _is_safe(name: object) -> bool:
    """Whether a name stays inside the folder that it is unpacked to."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."


def unpack(tar: tarfile.TarFile, manifest: Manifest, archive: Path, places: Mapping[str, Path]) -> None:
    """Write the members as plain files.

    :param places: the path of each, by the name of the member.
    :raises InputError: when the archive is not what its manifest says; some files may have been written.
    """
    missing = {member.name: member for member in manifest.members}
    while (entry := tar.next()) is not None:
        member = missing.pop(entry.name, None)
        if member is None or not entry.isreg() or entry.size != member.size:
            raise InputError(f"{archive} is damaged: {entry.name!r} is not what the manifest says.")
        path = places[member.name]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        file = tar.extractfile(entry)
        digest = hashlib.sha256()
        with path.open("wb") as out:
            while file is not None and (chunk := file.read(CHUNK)):
                digest.update(chunk)
                out.write(chunk)
            snapshot.sync(out)
        path.chmod(_mode(member.role, member.mode))
        if digest.hexdigest() != member.sha256:
            raise InputError(f"{archive} is damaged: the content of {entry.name!r} is not what was saved.")
    if missing:
        raise InputError(f"{archive} is damaged: {next(iter(missing))!r} is missing.", details=sorted(missing))


@contextlib.contextmanager
def scratch_folder(folder: Path, prefix: str = ".stanzagate-") -> Iterator[Path]:
    """A private folder on the same file system, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
