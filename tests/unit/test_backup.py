"""A deployment is saved while it runs and comes back whole, or not at all."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from component.base.audit import Audit, AuditKey, verify
from component.base.errors import Conflict, InputError, NotFound, StanzagateError
from component.base.secrets import Vault
from component.base.store import DatabaseError, Store
from stanzagate import migrations, snapshot
from stanzagate.backup import Deployment, create, inspect, restore
from stanzagate.lock import DeploymentLock

CONFIGURATION = """
server: {kind: prosody}
database: sqlite:///data/gate.db
gate: {jid: cr.cpe.test, secret: {file: secrets/gate.secret}, guarded_hosts: [cpe.test]}
admin: {tokens: {ops: {file: ops.token, role: admin}}}
relay: {trust: ca.pem, domains: {isp.test: {certificate: isp.crt}}}
"""


@dataclass
class Service:
    folder: Path
    store: Store
    audit: Audit
    vault: Vault

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.folder / "stanzagate.yaml")

    def append(self, subject: str) -> None:
        self.store.write_now(
            lambda c: self.audit.append(c, actor="unix:root", action="rule.added", subject=subject, detail={})
        )


def opened(folder: Path) -> Service:
    data = folder / "data"
    store = Store("sqlite:///data/gate.db", folder)
    audit = Audit(store, AuditKey.open(data / "audit.key", create=True), data / "audit.head")
    return Service(folder, store, audit, Vault.open(data / "credentials.key", create=True))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    folder = tmp_path / "deployment"
    (folder / "data").mkdir(parents=True)
    (folder / "secrets").mkdir()
    (folder / "stanzagate.yaml").write_text(CONFIGURATION)
    for name in ("secrets/gate.secret", "ops.token", "ca.pem"):
        (folder / name).write_text(f"content of {name}")
    migrations.upgrade("sqlite:///data/gate.db", folder)
    made = opened(folder)
    for number in range(5):
        made.append(f"{number}")
    yield made
    made.store.close()


def content(*folders: Path) -> dict[Path, bytes]:
    """Everything that matters in some folders."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file() and path.suffix != ".lock"}


def verified(folder: Path) -> int:
    restored = opened(folder)
    result = verify(restored.store, restored.audit.public_key, restored.audit.head_file)
    restored.store.close()
    assert result.problems == ()
    return result.rows


def test_everything_comes_back(service: Service, tmp_path: Path) -> None:
    sealed = service.vault.seal("secret", "d1")
    info = create(service.deployment, tmp_path / "a.tar", clock=lambda: 1000.0)
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    assert set(info.members) == {
        "data/gate.db", "data/audit.key", "data/audit.pub", "data/audit.head", "data/credentials.key",
        "stanzagate.yaml", "secrets/gate.secret", "ops.token", "ca.pem",
    }  # fmt: skip
    assert (info.audit_rows, info.revision) == (5, migrations.newest())
    assert inspect(tmp_path / "a.tar") == info
    target = tmp_path / "restored"
    restore(tmp_path / "a.tar", target, actor="unix:root")
    assert (target / "secrets/gate.secret").read_text() == "content of secrets/gate.secret"
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in target.rglob("*") if path.suffix in (".key", ".db", ".head")
    )
    restored = opened(target)
    assert restored.vault.unseal(sealed, "d1") == "secret"
    row = restored.store.read_now(
        lambda c: c.exec_driver_sql("SELECT action, actor, seq FROM audit ORDER BY seq DESC").first()
    )
    assert tuple(row) == ("backup.restored", "unix:root", 6)  # type: ignore[arg-type]
    restored.append("goes on")
    restored.store.close()
    assert verified(target) == 7
    assert not [path for path in target.rglob("*") if path.name.startswith(".")]


async def test_while_the_service_writes(service: Service, tmp_path: Path) -> None:
    stop = asyncio.Event()
    under_way = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            service.audit.wake(
                actor="a", requester="a", device=f"d{number}", outcome="accepted", rule="1", elapsed_ms=1
            )
            await service.audit.flush()
            under_way.set()
            number += 1

    task = asyncio.get_running_loop().create_task(write())
    await under_way.wait()
    for number in range(3):
        info = await asyncio.to_thread(create, service.deployment, tmp_path / f"{number}.tar")
        restore(info.archive, tmp_path / f"r{number}", actor="unix:root")
        assert verified(tmp_path / f"r{number}") == info.audit_rows + 1
    stop.set()
    await task


def test_key_rotation_during_the_copy(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = snapshot.take
    calls = []

    def rotated(*arguments: object) -> None:
        take(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 1:
            service.vault.begin_rotation()

    monkeypatch.setattr(snapshot, "take", rotated)
    create(service.deployment, tmp_path / "a.tar")
    assert len(calls) == 2
    restore(tmp_path / "a.tar", tmp_path / "r", actor="x")
    assert (tmp_path / "r/data/credentials.key").read_bytes() == service.vault.path.read_bytes()


def test_a_record_without_rows(tmp_path: Path) -> None:
    folder = tmp_path / "deployment"
    (folder / "data").mkdir(parents=True)
    migrations.upgrade("sqlite:///data/gate.db", folder)
    fresh = opened(folder)
    (folder / "stanzagate.yaml").write_text(CONFIGURATION)
    assert create(fresh.deployment, tmp_path / "a.tar").audit_rows == 0
    fresh.store.close()
    restore(tmp_path / "a.tar", tmp_path / "r", actor="x")
    assert verified(tmp_path / "r") == 1


def test_nothing_is_overwritten_by_accident(service: Service, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    create(service.deployment, archive)
    with pytest.raises(Conflict, match="exists already"):
        create(service.deployment, archive)
    target = tmp_path / "r"
    restore(archive, target, actor="x")
    other = opened(target)
    other.append("after")
    other.store.close()
    before = content(target)
    with pytest.raises(Conflict, match=r"would replace .*--overwrite") as caught:
        restore(archive, target, actor="x")
    assert str(target / "data/gate.db") in caught.value.details
    assert "in use" not in str(caught.value)
    restore(archive, target, actor="x", overwrite=True, dry_run=True)
    assert content(target) == before
    restore(archive, target, actor="x", overwrite=True, clock=lambda: 1000.0)
    assert verified(target) == 6
    kept = sqlite3.connect(target / "data/gate.db.before-restore-1000")
    assert kept.execute("SELECT count(*) FROM audit").fetchone() == (7,)
    kept.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_the_service(service: Service, tmp_path: Path) -> None:
    create(service.deployment, tmp_path / "a.tar")
    target = tmp_path / "r"
    target.mkdir()
    os.chown(target, 12345, 12345)
    restore(tmp_path / "a.tar", target, actor="x")
    restore(tmp_path / "a.tar", target, actor="x", overwrite=True)
    assert {path.stat().st_uid for path in target.rglob("*")} == {12345}


def test_dry_run_leaves_no_folder(service: Service, tmp_path: Path) -> None:
    create(service.deployment, tmp_path / "a.tar")
    restore(tmp_path / "a.tar", tmp_path / "r", actor="x", dry_run=True)
    assert not (tmp_path / "r").exists()


def test_a_running_service_is_in_the_way(service: Service, tmp_path: Path) -> None:
    create(service.deployment, tmp_path / "a.tar")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from stanzagate.lock import DeploymentLock\n"
         "with DeploymentLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()",
         str(service.folder / "data/gate.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Conflict, match=f"process {holder.pid}"):
        restore(tmp_path / "a.tar", service.folder, actor="x", overwrite=True)
    holder.communicate()
    with DeploymentLock(service.folder / "data/gate.db"):
        pass
    assert verified(service.folder) == 5


def rewritten(
    archive: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> Path:
    """A copy of an archive with changed members."""
    out = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(out, "w") as new:
        for entry in old:
            file = old.extractfile(entry)
            result = change(entry, file.read() if file else b"")
            if result is not None:
                result[0].size = len(result[1])
                new.addfile(result[0], io.BytesIO(result[1]))
    return out


def edited_manifest(
    edit: Callable[[dict[str, object]], object],
) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if entry.name == "manifest.json":
            manifest = json.loads(data)
            edit(manifest)
            return entry, json.dumps(manifest).encode()
        return entry, data

    return change


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "data/../../outside", ".", "", "a\\b", "a//b"])
def test_names_that_lead_outside(service: Service, tmp_path: Path, name: str) -> None:
    create(service.deployment, tmp_path / "a.tar")

    def rename(manifest: dict[str, object]) -> None:
        manifest["members"][-1]["name"] = name  # type: ignore[index]

    archive = rewritten(tmp_path / "a.tar", edited_manifest(rename))
    with pytest.raises(InputError, match="manifest"):
        restore(archive, tmp_path / "in/r", actor="x")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "in/r").exists()


def test_links_and_strangers_in_the_archive(service: Service, tmp_path: Path) -> None:
    create(service.deployment, tmp_path / "a.tar")

    def link(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if entry.name == "ops.token":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            return entry, b""
        return entry, data

    def stranger(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        entry.name = entry.name.replace("ops.token", "../../stranger")
        return entry, data

    def flipped(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return entry, data.replace(b"content of ops", b"Content of ops")

    def lacking(entry: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
        return None if entry.name == "ops.token" else (entry, data)

    for change in (link, stranger, flipped, lacking):
        with pytest.raises(InputError, match="damaged"):
            restore(rewritten(tmp_path / "a.tar", change), tmp_path / "r", actor="x")
        assert not (tmp_path / "r").exists()


def test_no_archive_cut_archive_other_file(service: Service, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no archive"):
        restore(tmp_path / "none.tar", tmp_path / "r", actor="x")
    create(service.deployment, tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    for length in (0, 100, 600, 5000, len(data) // 2):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        with pytest.raises(InputError):
            restore(tmp_path / "cut.tar", tmp_path / "r", actor="x")
    (tmp_path / "text.tar").write_text("hello" * 1000)
    with pytest.raises(InputError):
        inspect(tmp_path / "text.tar")
    assert not (tmp_path / "r").exists()


def test_a_tampered_record_is_not_restored(service: Service, tmp_path: Path) -> None:
    service.store.write_now(lambda c: c.exec_driver_sql("UPDATE audit SET actor='x' WHERE seq=3"))
    create(service.deployment, tmp_path / "a.tar")
    with pytest.raises(StanzagateError, match="does not verify") as caught:
        restore(tmp_path / "a.tar", tmp_path / "r", actor="x")
    assert caught.value.details[0].startswith("row 3 was changed")
    assert not (tmp_path / "r").exists()


def test_an_archive_of_a_newer_program(service: Service, tmp_path: Path) -> None:
    service.store.write_now(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num='0999'"))
    create(service.deployment, tmp_path / "a.tar")
    with pytest.raises(DatabaseError, match="newer"):
        restore(tmp_path / "a.tar", tmp_path / "r", actor="x")
    assert not (tmp_path / "r").exists()


def test_what_cannot_be_saved(service: Service, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        create(service.deployment, tmp_path / "no folder/a.tar")
    service.vault.path.unlink()
    with pytest.raises(NotFound, match=r"credentials\.key"):
        create(service.deployment, tmp_path / "a.tar")
    deployment = service.deployment
    server = deployment.settings.model_copy(update={"database": "postgresql://u@h/n"})
    with pytest.raises(InputError, match="pg_dump"):
        create(Deployment(deployment.file, server), tmp_path / "a.tar")
    assert list(tmp_path.iterdir()) == [service.folder]
