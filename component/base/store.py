"""The database: one writer, one `MetaData`, the same SQLAlchemy Core code for every database.

Every table stands beside the code that owns it and registers itself in `metadata`. All writes of a process run
one after the other on one thread, each in a transaction of its own; a write that has returned is on disk. Reads
run on threads of their own and see committed data only. Nothing outside this file knows which database it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from component.base.errors import Conflict, InputError, StanzagateError

T = TypeVar("T")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the product; Alembic compares its migrations with it."""

READ_THREADS = 2
LOCK_PATIENCE_MS = 10_000

log = logging.getLogger(__name__)


class DatabaseError(StanzagateError):
    """The database refused to work: not writable, full, locked by another program, damaged."""


class Store:
    """The one way to the database.

    :param url: ``sqlite:///relative/or/absolute.db`` or another SQLAlchemy URL. A relative SQLite path is relative
        to `base`.
    :raises InputError: when the URL cannot be used.
    :raises DatabaseError: when the database cannot be opened.
    """

    def __init__(self, url: str, base: Path | None = None) -> None:
        self.url = _resolved(url, base or Path.cwd())
        self._writer_engine = _engine(self.url, "BEGIN IMMEDIATE", create=True)
        self._reader_engine = _engine(self.url, "BEGIN", create=False)
        self._writing = threading.RLock()  # `write_now` may be called beside the writer thread
        self._transaction: Connection | None = None
        self.failing = False
        """Whether the last write failed, other than by a constraint; for those who ask how the database is."""
        self._path = self.url.database if self.url.get_backend_name() == "sqlite" else None
        self._file: tuple[int, int] | None = None
        self._committed: dict[Callable[[], None], None] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="store-reader")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction on the writer thread and commit it.

        When this returns, the change survives ``kill -9``; when it raises, nothing was changed.

        :param work: called with a connection; keep it short, everybody else's writes wait for it.
        :raises Conflict: when a constraint of the database was violated.
        :raises DatabaseError: when the database cannot be written.
        """
        return await _shielded(self._writer, self.write_now, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one read transaction on a reader thread.

        :raises DatabaseError: when the database cannot be read.
        """
        return await _shielded(self._readers, self.read_now, work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers that run no event loop (migrations, offline commands)."""
        with self._writing:
            if self._transaction is not None:
                raise RuntimeError("a write inside a write: use the connection that you were given")
            self._committed.clear()
            try:
                with self._writer_engine.begin() as connection:
                    self._transaction = connection
                    result = work(connection)
                    self._check_file()
            except SQLAlchemyError as error:
                mapped = _mapped(error, "written", self.url)
                self.failing = self.failing or isinstance(mapped, DatabaseError)
                raise mapped from error
            except DatabaseError:
                self.failing = True
                raise
            finally:
                self._transaction = None
            self.failing = False
            for callback in self._committed:
                _called(callback)
            return result

    def _check_file(self) -> None:
        # SQLite goes on writing to a file that has no name any more, and what it acknowledges ends with the process.
        if self._path is None:
            return
        try:
            found = Path(self._path).stat()
            file = (found.st_dev, found.st_ino)
        except OSError:
            file = None
        if self._file is None:
            self._file = file
        elif file != self._file:
            raise DatabaseError(
                f"The database {self.url.render_as_string()} cannot be written: its file was removed or replaced.",
                hint="Put it back, or stop the service, restore a backup and start it again.",
            )

    def after_commit(self, connection: Connection, callback: Callable[[], None]) -> None:
        """Have `callback` called on the writer's thread once the transaction is on disk, before `write` returns.

        Registered twice, it is called once; it is not called when the transaction fails. What it raises is logged:
        the change has happened and nobody must be told otherwise.

        :raises RuntimeError: when `connection` is not that of the write under way.
        """
        if connection is not self._transaction:
            raise RuntimeError("after_commit needs the connection that Store.write() gave")
        self._committed[callback] = None

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers that run no event loop."""
        try:
            with self._reader_engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise _mapped(error, "read", self.url) from error

    def close(self) -> None:
        """Finish what is under way and close every connection."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._writer_engine.dispose()
        self._reader_engine.dispose()


def _called(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.exception("what had to follow a commit failed; the change itself is on disk")


async def _shielded(
    executor: ThreadPoolExecutor,
    call: Callable[[Callable[[Connection], T]], T],
    work: Callable[[Connection], T],
) -> T:
    try:
        future = asyncio.get_running_loop().run_in_executor(executor, call, work)
    except RuntimeError:
        raise DatabaseError("The database is closed: the service is stopping.") from None
    # The transaction of a caller that is cancelled goes on: stopping a thread in the middle of it is not possible.
    return await asyncio.shield(future)


def _resolved(url: str, base: Path) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"{url!r} is not a database URL.", hint="Write sqlite:///stanzagate.db.") from error
    if parsed.get_backend_name() != "sqlite":
        return parsed
    if not parsed.database or parsed.database == ":memory:":
        raise InputError("A database in memory loses every change.", hint="Write sqlite:///stanzagate.db.")
    return parsed.set(database=str((base / parsed.database).absolute()))


def _engine(url: URL, begin: str, *, create: bool) -> Engine:
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        raise InputError(f"The database {url.render_as_string()} cannot be used: {error}.") from error
    if engine.dialect.name == "sqlite":
        path = Path(url.database or "")
        event.listen(engine, "do_connect", lambda *_arguments: _prepare_file(engine, path, create))
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _prepare_file(engine: Engine, path: Path, create: bool) -> None:
    if path.exists():
        return
    if not create:  # SQLite would make an empty file of a mistyped name
        raise engine.dialect.loaded_dbapi.OperationalError("there is no such file")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # the files beside it inherit its permissions
    except OSError as error:
        raise engine.dialect.loaded_dbapi.OperationalError(f"it cannot be created: {error.strerror}") from None


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # SQLAlchemy says BEGIN itself; the driver must not guess
    cursor = dbapi_connection.cursor()
    for pragma in (f"busy_timeout={LOCK_PATIENCE_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


_HINTS = {
    "locked": "Another program holds it open for writing: end that program.",
    "full": "Make room on the disk; the service goes on by itself.",
    "readonly": "Check that the file, its folder and the files beside it belong to the service's user.",
    "no such table": "Its tables are missing or of another version: start `serve` once, it brings them up to date.",
    "no such file": "Check the path in the configuration (database:).",
    "malformed": "It is damaged: restore a backup.",
    "not a database": "The file holds something else: check the path in the configuration (database:).",
}


def _mapped(error: SQLAlchemyError, verb: str, url: URL) -> StanzagateError:
    reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if isinstance(error, IntegrityError):
        return Conflict(f"The database refused the change: {reason}.")
    hints = (hint for word, hint in _HINTS.items() if word in reason)
    return DatabaseError(
        f"The database {url.render_as_string()} cannot be {verb}: {reason}.",
        hint=next(hints, "Check that the disk has room and that its folder belongs to the service's user."),
    )
