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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from component.base.errors import InputError, NotFound
from stanzagate import snapshot

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 4 << 20
CHUNK = 1 << 20

DATABASE, AUDIT_KEY, AUDIT_HEAD, CREDENTIALS_KEY = "database", "audit.key", "audit.head", "credentials.key"
FILE = "file"
NEEDED = (DATABASE, AUDIT_KEY, CREDENTIALS_KEY)


@dataclass(frozen=True)
class BackupInfo:
    """What an archive holds.

    :ivar created: seconds since 1970.
    :ivar version: the Stanzagate that wrote it.
    :ivar revision: the revision of the database's tables.
    :ivar audit_rows: the last row of the audit record in it.
    :ivar members: the names of its files.
    """

    archive: Path
    created: float
    version: str
    revision: str
    audit_rows: int
    members: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    :ivar name: where it belongs, relative to the deployment's folder.
    :ivar role: which part it is; `FILE` for everything that has no special treatment.
    """

    name: str
    role: str
    size: int
    sha256: str
    mode: int


@dataclass(frozen=True)
class Manifest:
    """What an archive says it holds."""

    created: float
    version: str
    revision: str
    audit_rows: int
    members: tuple[Member, ...]

    def role(self, role: str) -> Member | None:
        """The member with a role, or None."""
        return next((member for member in self.members if member.role == role), None)

    def info(self, archive: Path) -> BackupInfo:
        """The same for people."""
        names = tuple(member.name for member in self.members)
        return BackupInfo(archive, self.created, self.version, self.revision, self.audit_rows, names)


def described(name: str, role: str, path: Path) -> Member:
    """A file as it will stand in the manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    status = path.stat()
    mode = 0o644 if role == FILE and status.st_mode & 0o004 else 0o600
    return Member(name, role, status.st_size, digest, mode)


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

    :raises InputError: when it is no tar file, or ends too early.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise InputError(f"{archive} is not a whole archive: {error}.") from None
    except FileNotFoundError as error:
        if error.filename != str(archive):
            raise
        raise NotFound(f"There is no archive {archive}.") from None
    except (IsADirectoryError, PermissionError) as error:
        if error.filename != str(archive):
            raise
        raise InputError(f"The archive {archive} cannot be read: {error.strerror}.") from None


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
        members = tuple(Member(**member) for member in raw.pop("members"))
        manifest = Manifest(
            float(raw["created"]), str(raw["version"]), str(raw["revision"]), int(raw["audit_rows"]), members
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"The manifest of {archive} is damaged.", hint="Use another backup.") from None
    roles = [member.role for member in members]
    names = {member.name for member in members if _is_safe(member.name)}
    if len(names) != len(members) or any(roles.count(role) != 1 for role in NEEDED) or roles.count(AUDIT_HEAD) > 1:
        raise InputError(f"The manifest of {archive} is damaged.", hint="Use another backup.")
    return manifest


def _is_safe(name: object) -> bool:
    """Whether a name stays inside the folder that it is unpacked to."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."


def unpack(tar: tarfile.TarFile, manifest: Manifest, archive: Path, folder: Path) -> None:
    """Write the members as plain files.

    :raises InputError: when the archive is not what its manifest says; some files may have been written.
    """
    missing = {member.name: member for member in manifest.members}
    while (entry := tar.next()) is not None:
        member = missing.pop(entry.name, None)
        if member is None or not entry.isreg() or entry.size != member.size:
            raise InputError(f"{archive} is damaged: {entry.name!r} is not what the manifest says.")
        path = folder / member.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        file = tar.extractfile(entry)
        digest = hashlib.sha256()
        with path.open("wb") as out:
            while file is not None and (chunk := file.read(CHUNK)):
                digest.update(chunk)
                out.write(chunk)
            snapshot.sync(out)
        path.chmod(0o644 if member.role == FILE and member.mode == 0o644 else 0o600)
        if digest.hexdigest() != member.sha256:
            raise InputError(f"{archive} is damaged: the content of {entry.name!r} is not what was saved.")
    if missing:
        raise InputError(f"{archive} is damaged: {next(iter(missing))!r} is missing.", details=sorted(missing))


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A private folder on the same file system, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=".stanzagate-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
