"""Backups of deployments as ``init`` writes them: the configuration in one folder, database and keys in another."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from component.base.audit import Audit, AuditKey, verify
from component.base.errors import Conflict, InputError, StanzagateError
from component.base.secrets import Vault
from component.base.store import Store
from stanzagate import deployment, migrations
from stanzagate.backup import Deployment, complete, create, inspect, restore
from stanzagate.cli import main
from stanzagate.config import ServerKind
from stanzagate.lock import DeploymentLock
from stanzagate.placing import JOURNAL, recover
from stanzagate.production import Choices, write

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@dataclass
class Installed:
    """A deployment in ``etc`` and ``state``."""

    etc: Path
    state: Path

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.etc / "stanzagate.yaml")

    @property
    def database(self) -> Path:
        return self.state / "stanzagate.db"

    def append(self, subject: str) -> None:
        store = Store(f"sqlite:///{self.database}")
        audit = Audit(store, AuditKey.open(self.state / "audit.key"), self.state / "audit.head")
        store.write_now(lambda c: audit.append(c, actor="x", action="rule.added", subject=subject, detail={}))
        store.close()

    def verified(self) -> int:
        """The rows of the audit record, which is whole."""
        store = Store(f"sqlite:///{self.database}")
        result = verify(store, AuditKey.open(self.state / "audit.key").public, self.state / "audit.head")
        store.close()
        assert result.problems == ()
        return result.rows

    def content(self) -> dict[Path, bytes]:
        paths = [*self.etc.rglob("*"), *self.state.rglob("*")]
        return {path: path.read_bytes() for path in paths if path.is_file() and path.suffix != ".lock"}


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    etc, state = tmp_path / "etc/stanzagate", tmp_path / "var/lib/stanzagate"
    choices = Choices(
        folder=etc, kind=ServerKind.PROSODY, cpe_domain="cpe.test", acs_domains=("acs.test",), gate="cr.cpe.test",
        grid_domain="grid.test", component_port=5347, program=Path("/usr/bin/stanzagate"),
    )  # fmt: skip
    write(choices)
    file = etc / "stanzagate.yaml"
    file.write_text(file.read_text().replace("/var/lib/stanzagate", str(state)))
    state.mkdir(parents=True, mode=0o700)
    made = Installed(etc, state)
    migrations.upgrade(f"sqlite:///{made.database}")
    AuditKey.open(state / "audit.key", create=True)
    Vault.open(state / "credentials.key", create=True)
    for number in range(3):
        made.append(f"{number}")
    return made


@pytest.fixture
def archive(installed: Installed, tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    create(installed.deployment, path)
    return path


def test_everything_that_init_wrote_is_in_it(installed: Installed, archive: Path) -> None:
    written = {path.relative_to(installed.etc).as_posix() for path in installed.etc.rglob("*") if path.is_file()}
    assert {"ca.key", "node-ca.key", "certs/cpe.test.key", "prosody/stanzagate.cfg.lua", "ops.token"} < written
    info = inspect(archive)
    assert written < set(info.members)
    assert {Path(name).name for name in set(info.members) - written} == {
        "stanzagate.db", "audit.key", "audit.pub", "audit.head", "credentials.key",
    }  # fmt: skip
    assert info.left_out == ()


def test_what_never_belongs_to_a_backup(installed: Installed, tmp_path: Path) -> None:
    etc = installed.etc
    before = set(create(installed.deployment, tmp_path / "a.tar").members)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("not ours")
    (etc / "link").symlink_to(tmp_path / "outside/secret")
    (etc / "folder-link").symlink_to(tmp_path / "outside")
    (etc / "inner-link").symlink_to("ca.pem")
    (etc / "earlier.tar").write_bytes((tmp_path / "a.tar").read_bytes())
    for name in (
        "x.lock",
        "x.pid",
        "x.log",
        "x.log.1",
        "log/y",
        "prosody/data/z",
        ".hidden",
        "ca.pem.before-restore-1",
    ):
        (etc / name).parent.mkdir(exist_ok=True)
        (etc / name).write_text("passing")
    (etc / "notes").mkdir()
    (etc / "notes/mine.txt").write_text("kept")
    os.mkfifo(etc / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(etc, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
        info = create(installed.deployment, tmp_path / "b.tar")
    assert set(info.members) - before == {"inner-link", "notes/mine.txt"}
    assert [line.split()[0] for line in info.left_out] == ["folder-link", "link"]


def test_a_folder_that_holds_more_than_a_deployment(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "MAX_FILES", 30)
    for number in range(30):
        (installed.etc / f"{number}").touch()
    with pytest.raises(InputError, match="folder of its own"):
        create(installed.deployment, tmp_path / "a.tar")
    monkeypatch.undo()
    monkeypatch.setattr(deployment, "MAX_BYTES", 100_000)
    with (installed.etc / "0").open("wb") as file:
        file.truncate(100_001)
    with pytest.raises(InputError, match="folder of its own"):
        create(installed.deployment, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_the_database_goes_where_the_configuration_says(installed: Installed, archive: Path) -> None:
    before = installed.content()
    installed.append("after the backup")
    (installed.etc / "ca.key").write_text("lost")
    dry = restore(archive, installed.etc, actor="x", overwrite=True, dry_run=True)
    assert {place.path for place in dry.places if place.outside} == {
        installed.state / name
        for name in ("stanzagate.db", "audit.key", "audit.pub", "audit.head", "credentials.key")
    }
    assert all(place.replaces for place in dry.places)
    assert installed.verified() == 4
    restored = restore(archive, installed.etc, actor="x", overwrite=True, clock=lambda: 7.0)
    assert restored.kept == ".before-restore-7"
    assert installed.verified() == 4  # three, and that it was restored
    assert (installed.etc / "ca.key").read_bytes() == before[installed.etc / "ca.key"]
    assert (installed.etc / "ca.key.before-restore-7").read_text() == "lost"
    assert (installed.state / "stanzagate.db.before-restore-7").exists()
    assert not (installed.etc / "elsewhere").exists()
    assert not list(installed.etc.rglob(".*")) + list(installed.state.rglob(".*"))
    again = restore(archive, installed.etc, actor="x", overwrite=True, clock=lambda: 7.0)
    assert again.kept == ".before-restore-7-2"


def test_on_a_new_machine(installed: Installed, archive: Path, tmp_path: Path) -> None:
    before = installed.content()
    (tmp_path / "etc").rename(tmp_path / "old-etc")
    (tmp_path / "var").rename(tmp_path / "old-var")
    restore(archive, installed.etc, actor="x", dry_run=True)
    assert not (tmp_path / "etc").exists()
    assert not (tmp_path / "var").exists()
    restore(archive, installed.etc, actor="x")
    assert installed.verified() == 4
    changed = {"stanzagate.db", "stanzagate.db-wal", "stanzagate.db-shm", "audit.head"}
    after = installed.content()
    assert {k: v for k, v in after.items() if k.name not in changed} == {
        k: v for k, v in before.items() if k.name not in changed
    }
    assert (installed.etc / "ca.pem").stat().st_mode & 0o777 == 0o644
    assert (installed.etc / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (installed.etc / "stanzagate.yaml").stat().st_mode & 0o777 == 0o644  # the service's user reads it
    modes = {path: path.stat().st_mode & 0o777 for path in (installed.etc, installed.etc / "certs", installed.state)}
    assert modes == {installed.etc: 0o755, installed.etc / "certs": 0o755, installed.state: 0o700}


def test_files_outside_that_the_configuration_names(installed: Installed, tmp_path: Path) -> None:
    file = installed.etc / "stanzagate.yaml"
    (installed.etc / "gate.secret").rename(tmp_path / "etc/gate.secret")
    (installed.etc / "ops.token").rename(tmp_path / "ops.token")
    text = file.read_text().replace("gate.secret", "../gate.secret").replace("ops.token", str(tmp_path / "ops.token"))
    file.write_text(text)
    create(installed.deployment, tmp_path / "a.tar")
    secret = (tmp_path / "etc/gate.secret").read_text()
    (tmp_path / "ops.token").unlink()
    with pytest.raises(Conflict, match="replace 5 files"):  # those of the state folder
        restore(tmp_path / "a.tar", tmp_path / "new/stanzagate", actor="x")
    done = restore(tmp_path / "a.tar", tmp_path / "new/stanzagate", actor="x", overwrite=True)
    assert (tmp_path / "new/gate.secret").read_text() == secret
    assert (tmp_path / "ops.token").exists()
    outside = {place.path for place in done.places if place.outside}
    assert {tmp_path / "new/gate.secret", tmp_path / "ops.token", installed.database} < outside


def test_a_database_behind_a_link(installed: Installed, archive: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk/real.db"
    real.parent.mkdir()
    installed.database.rename(real)
    installed.database.symlink_to(real)
    restore(archive, installed.etc, actor="x", overwrite=True)
    assert installed.database.is_symlink()
    assert real.exists()
    assert installed.verified() == 4


def test_a_service_that_runs_is_in_the_way(
    installed: Installed, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = installed.etc / "stanzagate.yaml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = file.read_text().replace("/run/stanzagate", str(installed.state)).replace(":8470", f":{port}")
    file.write_text(text)
    socket_file = installed.state / "admin.sock"
    serve = subprocess.Popen([sys.executable, "-m", "stanzagate", "serve", "-c", str(file)], cwd=ROOT, stderr=-3)
    try:
        command = ["backup", "create", str(archive), "--overwrite", "--socket", str(socket_file)]
        while not socket_file.exists() or main(command) == 3:
            assert serve.poll() is None
        before = (installed.state / "stanzagate.db").stat().st_ino
        command = ["backup", "restore", str(archive), "--dir", str(installed.etc), "--overwrite"]
        capsys.readouterr()
        for options in ([], ["--dry-run"]):
            assert main([*command, *options]) == 1
            said = capsys.readouterr()
            assert said.out == ""
            assert f"{installed.state} is in use by process {serve.pid}" in said.err
        assert (installed.state / "stanzagate.db").stat().st_ino == before
        assert not (installed.etc / "elsewhere").exists()
    finally:
        serve.terminate()
        serve.wait()
    assert main([*command, "--dry-run"]) == 0
    assert f"{installed.database}  (outside of DIR, would replace the one that is there)" in capsys.readouterr().out
    assert main(command) == 0
    assert f"{installed.database}  (outside of DIR, replaced" in capsys.readouterr().out
    assert installed.verified() > 3


def test_the_service_of_the_old_configuration_is_in_the_way_too(
    installed: Installed, archive: Path, tmp_path: Path
) -> None:
    other = tmp_path / "var/lib/other"
    other.mkdir()
    file = installed.etc / "stanzagate.yaml"
    file.write_text(file.read_text().replace(str(installed.state), str(other)))
    with DeploymentLock(other / "stanzagate.db"), pytest.raises(Conflict, match="other is in use"):
        restore(archive, installed.etc, actor="x", overwrite=True)
    restore(archive, installed.etc, actor="x", overwrite=True)


def test_somebody_who_may_not_write_there(installed: Installed, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StanzagateError, match="not a folder") as caught:
        restore(archive, tmp_path / "file/etc", actor="x", overwrite=True)
    assert caught.value.exit_code == 1


@no_root
def test_a_state_folder_of_somebody_else(installed: Installed, archive: Path) -> None:
    before = installed.content()
    installed.state.chmod(0o500)
    with pytest.raises(StanzagateError, match=f"may not write into {installed.state}, .*root") as caught:
        restore(archive, installed.etc, actor="x", overwrite=True)
    assert caught.value.exit_code == 1
    installed.state.chmod(0o700)
    assert installed.content() == before


def places_of(path: Path) -> list[Path]:
    return [path for path in path.rglob("*") if path.name.startswith(".") or "before-restore" in path.name]


STEPS = ("gate.secret", "stanzagate.db", "credentials.key", "audit.head", "stanzagate.yaml")


@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle(
    installed: Installed, archive: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    installed.append("after the backup")
    (installed.etc / "node-ca.key").unlink()  # one that does not replace anything
    (installed.state / "stanzagate.db-wal").write_bytes(b"")
    before = installed.content()
    replace: Callable[[Path, Path], Path] = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == where and ".stanzagate-restore-" in str(self):
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((StanzagateError, KeyboardInterrupt)):
        restore(archive, installed.etc, actor="x", overwrite=True)
    assert installed.content() == before
    assert not places_of(installed.etc) + places_of(installed.state)
    assert installed.verified() == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from stanzagate import placing
from stanzagate.backup import restore
replace, second_name = Path.replace, placing._second_name
def die(name, when):
    if name == sys.argv[3] and when == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
def killed(self, target):
    staged = ".stanzagate-restore-" in str(self)
    if staged: die(target.name, "before")
    result = replace(self, target)
    if staged: die(target.name, "after")
    return result
def linked(path, kept):
    second_name(path, kept)
    die(path.name, "linked")
Path.replace, placing._second_name = killed, linked
restore(Path(sys.argv[1]), Path(sys.argv[2]), actor="x", overwrite=True)
"""


@pytest.mark.parametrize("when", ["linked", "before", "after"])
@pytest.mark.parametrize("where", ["gate.secret", "stanzagate.db", "stanzagate.yaml"])
def test_killed_in_the_middle(installed: Installed, archive: Path, where: str, when: str) -> None:
    installed.append("after the backup")
    installed.append("and another")
    before = installed.content()
    command = [sys.executable, "-c", KILLED, str(archive), str(installed.etc), where, when]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert (installed.etc / JOURNAL).exists()
    recover(installed.etc)  # as `serve` does when it starts
    if (where, when) == ("stanzagate.yaml", "after"):  # everything was in place
        assert installed.verified() == 4
    else:
        after = {k: v for k, v in installed.content().items() if ".stanzagate-restore-" not in str(k)}
        assert after == before
        assert installed.verified() == 5
    restore(archive, installed.etc, actor="x", overwrite=True, clock=lambda: 7.0)
    assert installed.verified() == 4
    assert not list(installed.etc.rglob(".*")) + list(installed.state.rglob(".*"))


def test_a_restore_after_a_killed_one(installed: Installed, archive: Path) -> None:
    installed.append("after the backup")
    (installed.etc / "gate.secret").write_text("old")
    command = [sys.executable, "-c", KILLED, str(archive), str(installed.etc), "stanzagate.yaml", "before"]
    subprocess.run(command, cwd=ROOT, check=False)
    restore(archive, installed.etc, actor="x", overwrite=True, clock=lambda: 7.0)
    assert (installed.etc / "gate.secret.before-restore-7").read_text() == "old"


def test_a_journal_that_cannot_be_followed(installed: Installed) -> None:
    (installed.etc / JOURNAL).write_text("{")
    with pytest.raises(StanzagateError, match="interrupted"):
        recover(installed.etc)
    assert (installed.etc / JOURNAL).exists()


@needs_root
def test_what_the_service_may_not_read(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's user cannot read root's keys; root completes the archive."""
    opened = Path.open

    def refused(self: Path, *arguments: object, **options: object) -> object:
        if self.name == "ca.key":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    archive = tmp_path / "a.tar"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        info = create(installed.deployment, archive)
    assert "ca.key" not in info.members
    assert info.left_out == ("ca.key may not be read by the service's user",)
    os.chown(installed.etc, 12345, 12345)
    assert complete(archive) == info  # somebody else could have chosen what is read
    os.chown(installed.etc, 0, 0)
    done = complete(archive)
    assert (set(done.members) - set(info.members), done.left_out) == ({"ca.key"}, ())
    assert inspect(archive) == done
    assert archive.stat().st_mode & 0o777 == 0o600
    key = (installed.etc / "ca.key").read_bytes()
    (installed.etc / "ca.key").unlink()
    restore(archive, installed.etc, actor="x", overwrite=True)
    assert (installed.etc / "ca.key").read_bytes() == key
    assert complete(archive) == done


@needs_root
def test_whom_replaced_files_belong_to(installed: Installed, archive: Path) -> None:
    os.chown(installed.etc / "gate.secret", 12345, 12346)
    os.chown(installed.state, 12345, 12346)
    (installed.state / "audit.pub").unlink()
    restore(archive, installed.etc, actor="x", overwrite=True)
    for path in (installed.etc / "gate.secret", installed.state / "audit.pub"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
    assert (installed.etc / "ops.token").stat().st_uid == 0
