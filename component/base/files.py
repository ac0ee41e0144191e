"""Files that must be whole or not there at all: keys, the audit head, archives."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE = 0o600


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Replace a file: after a crash there is the old content or the new one, never a part of it.

    The new content is on disk when this returns.

    :param mode: permissions of the file; nobody can read it with wider ones in the meantime.
    :raises OSError: when the folder cannot be written; the old file is untouched.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renamed and created names of a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_to_others(path: Path) -> bool:
    """Whether anybody but the owner may read or write the file."""
    return bool(path.stat().st_mode & 0o077)


def own_like_folder(path: Path) -> None:
    """Let a file or folder that root made belong to whom its folder belongs: the service runs as another user.

    :raises OSError: when that is not possible.
    """
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
