"""The tables of the database and how they came to be: one Alembic history, run by the program itself.

A revision is a file in ``versions/``; `upgrade` brings a database to the newest one. There is no way back: restore
a backup. The revisions run the same from a checkout and from the wheel, and take over nobody's logging.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from component.base.store import DatabaseError, Store


def upgrade(url: str, base: Path | None = None) -> None:
    """Create the tables of a database, or bring them up to date. All of it happens, or nothing.

    :param url: the `database:` of the configuration; a relative SQLite path is relative to `base`.
    :raises DatabaseError: when the database was written by a newer program, or cannot be written.
    """
    store = Store(url, base)
    try:
        store.write_now(lambda connection: _upgrade(connection, store))
    finally:
        store.close()


def revision(connection: Connection) -> str:
    """The revision of a database, or the empty string when it has none."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def newest() -> str:
    """The newest revision that this program knows."""
    return _scripts().get_current_head() or ""


def _upgrade(connection: Connection, store: Store) -> None:
    scripts = _scripts()
    present = revision(connection)
    known = {script.revision for script in scripts.walk_revisions()}
    if present and present not in known:
        raise DatabaseError(
            f"The database {store.url.render_as_string()} was written by a newer Stanzagate (revision {present}).",
            hint="Install the version that wrote it, or restore a backup that was made with this version.",
        )

    def steps(current: Any, _context: MigrationContext) -> Any:
        return scripts._upgrade_revs("head", current)  # what alembic.command.upgrade calls, too

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
