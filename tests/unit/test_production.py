"""`init`: what it writes, what it refuses, what it keeps."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from component.base.errors import Conflict, InputError, StanzagateError
from component.base.pluginstatus import Guard
from stanzagate import production
from stanzagate.cli.init import init
from stanzagate.config import ServerKind, load, load_relay
from stanzagate.plugin import MODULES, Mode, Plugin, sources
from stanzagate.production import Choices, write

ARGUMENTS = ("--cpe-domain", "cpe.isp.test", "--acs-domain", "acs.isp.test", "--acs-domain", "acs2.isp.test")


def choices(folder: Path, kind: ServerKind = ServerKind.PROSODY, grid: str | None = "grid.isp.test") -> Choices:
    return Choices(
        folder=folder, kind=kind, cpe_domain="cpe.isp.test", acs_domains=("acs.isp.test",), gate="cr.cpe.isp.test",
        grid_domain=grid, component_port=5347, program=Path("/opt/stanzagate/bin/stanzagate"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(ServerKind))
@pytest.mark.parametrize("grid", ["grid.isp.test", None])
def test_everything_is_written_and_the_configuration_is_valid(
    tmp_path: Path, kind: ServerKind, grid: str | None
) -> None:
    written = write(choices(tmp_path, kind, grid))
    assert all((tmp_path / name).is_file() for name in written.files)
    config = load(tmp_path / "stanzagate.yaml")
    assert (config.server.kind, config.gate.jid, config.gate.guarded_hosts) == (
        kind, "cr.cpe.isp.test", ("cpe.isp.test",),
    )  # fmt: skip
    text = (tmp_path / snippet(kind)).read_text()
    assert config.gate.secret.read() in text
    assert ("node-ca.pem" in written.files) == ("grid.secret" in written.files) == (grid is not None)
    assert (config.grid is None) == (grid is None) == ("controller." not in text)
    if config.grid is not None:
        assert (config.grid.jid, config.grid.host) == ("controller.grid.isp.test", grid)
        assert config.grid.component_port == {"prosody": 5347, "ejabberd": 5348}[kind]
        assert config.grid.secret.read() in text
        assert config.grid.node_ca_key == tmp_path / "node-ca.key"
        assert config.grid.crl == Path("/run/stanzagate/node-ca.crl")  # others may read it there


def snippet(kind: ServerKind) -> str:
    return {"prosody": "prosody/stanzagate.cfg.lua", "ejabberd": "ejabberd/stanzagate.yml"}[kind]


@pytest.mark.parametrize("kind", list(ServerKind))
def test_secrets_are_private_and_never_shown(tmp_path: Path, kind: ServerKind) -> None:
    written = write(choices(tmp_path, kind))
    private = {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if stat.S_IMODE(path.stat().st_mode) == 0o600
    }
    keys = {name for name in written.files if name.endswith(".key")}
    secrets = {"gate.secret", "grid.secret", "ops.token"}
    assert private == keys | secrets | {snippet(kind)}
    shown = written.next_steps + (tmp_path / "stanzagate.yaml").read_text()
    assert not any((tmp_path / name).read_text().strip() in shown for name in secrets)
    chown = next(line for line in written.next_steps.splitlines() if "chown" in line)
    assert set(chown.split()[2:]) == {f"{tmp_path}/{name}" for name in secrets | {"node-ca.key"}}


@pytest.mark.parametrize("kind", list(ServerKind))
def test_the_plugin_is_written_whole_and_told_what_to_do(tmp_path: Path, kind: ServerKind) -> None:
    plugin = Plugin(Mode.LOG_ONLY, Guard.EVERYTHING)
    written = write(replace(choices(tmp_path, kind, grid=None), plugin=plugin))
    assert {str(name) for name in sources(kind)} <= set(written.files)
    text = (tmp_path / snippet(kind)).read_text()
    assert text.count("mod_stanzagate:" if kind is ServerKind.EJABBERD else '"stanzagate"') == 1
    assert all(f'"{word}"' in text for word in ("log-only", "everything", "cr.cpe.isp.test"))
    assert load(tmp_path / "stanzagate.yaml").gate.guard is Guard.EVERYTHING


@pytest.mark.parametrize("kind", list(ServerKind))
@pytest.mark.parametrize("grid", ["grid.isp.test", None])
def test_the_next_steps_tell_of_the_grid_where_there_is_one(
    tmp_path: Path, kind: ServerKind, grid: str | None
) -> None:
    steps = write(choices(tmp_path, kind, grid)).next_steps
    wanted = [
        "node approve",
        "node add",
        "ca issue",
        "access permit",
        '"grid":"attached"',
        '"grid.isp.test":"enforce"',
    ]
    if kind is ServerKind.PROSODY:
        wanted += [f"modules/{name} {tmp_path}/prosody/{name}/*" for name in MODULES[1:]]
        assert f"modules/{MODULES[0]} {tmp_path}/prosody/{MODULES[0]}/*" in steps
    assert [text in steps for text in wanted] == [grid is not None] * len(wanted)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_next_steps_tell_how_to_go_on_from_log_only(tmp_path: Path, mode: Mode) -> None:
    for kind in ServerKind:
        steps = write(replace(choices(tmp_path / kind, kind), plugin=Plugin(mode))).next_steps
        assert (f"plugins\":{{\"cpe.isp.test\":\"{mode}\"" in steps, "enforce\"/'" in steps) == (
            True, mode is Mode.LOG_ONLY,
        )  # fmt: skip
        wanted = 'stanzagate_mode = "log-only"' if kind is ServerKind.PROSODY else 'mode: "log-only"'
        assert (wanted in (tmp_path / kind / snippet(kind)).read_text()) is (wanted in steps)


PARTNERS = ("partner.test", "other.test")


@pytest.mark.parametrize("kind", list(ServerKind))
@pytest.mark.parametrize("grid", ["grid.isp.test", None])
def test_partners_get_a_relay_with_a_user_of_its_own(tmp_path: Path, kind: ServerKind, grid: str | None) -> None:
    written = write(replace(choices(tmp_path, kind, grid), partners=PARTNERS))
    settings = load_relay(tmp_path / "relay.yaml")
    server = (tmp_path / snippet(kind)).read_text()
    config = load(tmp_path / "stanzagate.yaml")
    for name in PARTNERS:
        secret = tmp_path / f"partner-{name}.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert settings.partners[name].secret.read() == secret.read_text().strip()
        assert secret.read_text().strip() in server and secret.read_text().strip() not in written.next_steps
    ports = [settings.partners[name].component_port for name in PARTNERS]
    taken = [config.gate.component_port, *([config.grid.component_port] if config.grid else [])]
    assert len({*ports, *taken}) == (len(ports) + len(taken) if kind is ServerKind.EJABBERD else 1)
    assert {"cpe.isp.test", "cr.cpe.isp.test", "acs.isp.test"} <= set(settings.domains)
    assert ("pubsub.grid.isp.test" in settings.domains) is (grid is not None)
    assert all(one.certificate.is_file() and one.key.is_file() for one in settings.domains.values())
    assert (settings.policy.url, config.admin.tokens["relay"].role) == ("http://127.0.0.1:8470", "relay")
    assert settings.policy.token is not None
    assert settings.policy.token.read() == config.admin.tokens["relay"].secret().read()
    assert settings.status == Path("/run/stanzagate-relay/relay.sock")
    assert "stanzagate-relay" in (tmp_path / "systemd" / "sysusers.conf").read_text()
    chown = [line.split() for line in written.next_steps.splitlines() if "chown" in line]
    assert [line[1] for line in chown] == ["stanzagate:", "stanzagate-relay:", "stanzagate:stanzagate-relay"]
    assert {Path(word).name for word in chown[0]}.isdisjoint({"relay.token", "partner-partner.test.secret"})


def test_the_server_leaves_partners_to_the_relay(tmp_path: Path) -> None:
    write(replace(choices(tmp_path / "p"), partners=PARTNERS))
    component = (tmp_path / "p" / snippet(ServerKind.PROSODY)).read_text().split('Component "partner.test"')[1]
    assert 'modules_disabled = { "s2s" }' in component.split("Component")[0]
    write(replace(choices(tmp_path / "e", ServerKind.EJABBERD), partners=PARTNERS))
    text = (tmp_path / "e" / snippet(ServerKind.EJABBERD)).read_text()
    data = YAML(typ="safe", pure=True).load(text)
    assert data["acl"]["stanzagate_partners"] == {"server": list(PARTNERS)}
    assert data["access_rules"][data["s2s_access"]] == [{"deny": "stanzagate_partners"}, {"allow": "all"}]
    hosts = [list(one["hosts"]) for one in data["listen"] if one["module"] == "ejabberd_service"]
    assert hosts[-2:] == [["partner.test"], ["other.test"]]


def test_without_partners_there_is_no_relay(tmp_path: Path) -> None:
    written = write(choices(tmp_path))
    assert not [name for name in written.files if "relay" in name or "partner" in name]
    assert "relay" not in written.next_steps and "relay" not in load(tmp_path / "stanzagate.yaml").admin.tokens


def test_without_ejabberd_the_operator_compiles_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = write(choices(tmp_path / "a", ServerKind.EJABBERD))
    monkeypatch.setattr(production, "ejabberd_code", lambda: None)
    without = write(choices(tmp_path / "b", ServerKind.EJABBERD))
    assert not [name for name in without.files if name.endswith(".beam")]
    assert set(without.files) < set(with_it.files)
    assert f"sh {tmp_path}/b/ejabberd/compile" in without.next_steps
    assert "compile" not in with_it.next_steps and f"{tmp_path}/a/ejabberd/beams/*" in with_it.next_steps


def test_a_module_that_does_not_compile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(_out: Path) -> None:
        raise StanzagateError("The module for ejabberd could not be compiled.")

    monkeypatch.setattr(production, "compile_for_ejabberd", compiler)
    with pytest.raises(StanzagateError, match="could not be compiled"):
        write(choices(tmp_path / "new", ServerKind.EJABBERD))
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "stanzagate.yaml").write_text("mine")
    with pytest.raises(Conflict, match=r"stanzagate\.yaml"):
        write(choices(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["stanzagate.yaml"]
    assert (tmp_path / "stanzagate.yaml").read_text() == "mine"


def test_force_keeps_keys_and_secrets(tmp_path: Path) -> None:
    write(choices(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "stanzagate.yaml").write_text("mine")
    again = write(choices(tmp_path), force=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "ca.key" in again.kept and "stanzagate.yaml" not in again.kept


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    written = write(choices(folder), dry_run=True)
    assert "stanzagate.yaml" in written.files
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": "cpe.isp.test"}, "cannot be the gate too"),
        ({"cpe_domain": "a@b.test"}, "not a domain"),
        ({"acs_domains": ("ACS.test",)}, "as servers write it"),
        ({"user": "a b"}, "unit file"),
        ({"program": Path("/opt/a b/stanzagate")}, "unit file"),
        ({"state": Path("/srv/x")}, "/var/lib"),
        ({"partners": ("a@b.test",)}, "not a domain"),
        ({"partners": ("cr.cpe.isp.test",)}, "cannot be a partner"),
        ({"partners": ("pubsub.grid.isp.test",)}, "cannot be a partner"),
        ({"partners": ("partner.test", "partner.test")}, "cannot be a partner"),
    ],
)
def test_bad_choices_change_nothing(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = tmp_path / "new"
    with pytest.raises(InputError, match=message):
        write(replace(choices(folder), **change))  # type: ignore[arg-type]
    assert not folder.exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        write(choices(tmp_path / "file"))


@pytest.mark.parametrize("name", ["stanzagate.service", "stanzagate-relay.service"])
def test_the_unit_is_valid_and_hardened(tmp_path: Path, name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    write(replace(choices(tmp_path), program=Path("/bin/true"), partners=PARTNERS))
    unit = tmp_path / "systemd" / name
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, name in verified.stderr) == (0, False), verified.stderr
    exposure = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert exposure.returncode == 0, exposure.stdout[-2000:]
    # pyOpenSSL's callbacks need memory that is writable and executable; without it the relay does not start
    assert ("MemoryDenyWriteExecute=yes" in unit.read_text()) is (name == "stanzagate.service")


def test_the_command_prints_json_or_the_next_steps(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(init)
    runner = CliRunner()
    shown = runner.invoke(app, [str(tmp_path / "a"), "--server", "ejabberd", *ARGUMENTS, "--json"])
    told = json.loads(shown.stdout)
    assert told["dir"] == str(tmp_path / "a")
    assert "certs/acs2.isp.test.crt" in told["files"]
    shown = runner.invoke(app, [str(tmp_path / "b"), "--server", "prosody", *ARGUMENTS])
    assert "Next steps" in shown.stdout
    assert (tmp_path / "b" / "NEXT-STEPS.txt").read_text() in shown.stdout
