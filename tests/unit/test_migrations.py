"""The migrated schema is the one that the code declares."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import component
import grid
from component.base.store import DatabaseError, Store, metadata
from stanzagate import migrations

URL = "sqlite:///gate.db"


@pytest.fixture(autouse=True, scope="module")
def every_table() -> None:
    for package in (component, grid):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def test_declared_and_migrated_schema_do_not_differ(tmp_path: Path) -> None:
    migrations.upgrade(URL, tmp_path)
    store = Store(URL, tmp_path)

    def differences(connection: object) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})  # type: ignore[arg-type]
        return list(compare_metadata(context, metadata))

    assert store.read_now(differences) == []
    assert store.read_now(migrations.revision) == migrations.newest()
    declared, migrated = (store.read_now(lambda c: sorted(_definitions(c))), sorted(_created(tmp_path)))
    assert declared == migrated
    store.close()


def _definitions(connection: object) -> list[str]:
    rows = connection.exec_driver_sql(  # type: ignore[attr-defined]
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    )
    return [" ".join(sql.replace('"', "").split()) for name, sql in rows if name != "alembic_version"]


def _created(folder: Path) -> list[str]:
    """What `metadata` itself would create, constraints and all."""
    store = Store("sqlite:///declared.db", folder)
    store.write_now(metadata.create_all)
    try:
        return store.read_now(_definitions)
    finally:
        store.close()


def test_upgrading_again_changes_nothing(tmp_path: Path) -> None:
    migrations.upgrade(URL, tmp_path)
    before = (tmp_path / "gate.db").read_bytes()
    handlers = list(logging.getLogger().handlers)
    migrations.upgrade(URL, tmp_path)
    assert (tmp_path / "gate.db").read_bytes() == before
    assert logging.getLogger().handlers == handlers


def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    migrations.upgrade(URL, tmp_path)
    store = Store(URL, tmp_path)
    store.write_now(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num='0999_future'"))
    store.close()
    with pytest.raises(DatabaseError, match="newer Stanzagate") as caught:
        migrations.upgrade(URL, tmp_path)
    assert "0999_future" in caught.value.message
    assert caught.value.hint


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(URL, tmp_path)
    store.write_now(lambda c: c.exec_driver_sql("CREATE TABLE rule (somebody_elses INTEGER)"))
    with pytest.raises(DatabaseError, match="already exists"):
        migrations.upgrade(URL, tmp_path)
    names = store.read_now(lambda c: c.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all())
    assert [name for name in names if not name.startswith("sqlite_")] == ["rule"]
    store.close()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be created"):
        migrations.upgrade("sqlite:///none/gate.db", tmp_path)
