"""What backup and restore must know about the kind of database. Only this file does."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import IO, Any

from sqlalchemy.engine import URL

from component.base.errors import InputError
from component.base.store import DatabaseError

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside a database."""


def file_of(url: URL) -> Path:
    """The file of an embedded database.

    :raises InputError: when the database is a server's.
    """
    if url.get_backend_name() != "sqlite" or not url.database:
        raise InputError(
            f"A database of kind {url.get_backend_name()} is not part of an archive.",
            hint="Save it with the tools of that database (pg_dump), and the files of the deployment beside it.",
        )
    return Path(url.database)


def take(url: URL, copy: Path) -> None:
    """Copy a database that may be in use, as it is at one moment; writers are not held up.

    :raises DatabaseError: when it cannot be read, or the copy cannot be written.
    """
    source_file = file_of(url)
    if not source_file.exists():
        raise DatabaseError(f"There is no database {source_file}.", hint="Check the path in the configuration.")
    copy.touch(mode=0o600)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source_file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)  # all pages in one step: one read transaction
            target.execute("PRAGMA journal_mode=DELETE")  # the copy is one file
    except sqlite3.Error as error:
        raise DatabaseError(f"The database {source_file} cannot be copied: {error}.") from None


def sync(file: IO[Any]) -> None:
    """Have everything written so far on disk."""
    file.flush()
    os.fsync(file.fileno())
