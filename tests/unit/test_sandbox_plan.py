"""What the sandbox decides before it starts anything: addresses, accounts, who owns a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from component.base.errors import Conflict, InputError, StanzagateError
from component.base.pluginstatus import Guard
from stanzagate import plugin as plugins
from stanzagate.config import ServerKind, load
from stanzagate.plugin import Mode, Plugin, beams, compile_for_ejabberd
from stanzagate.sandbox.accounts import load_or_make
from stanzagate.sandbox.control import Identity, claimed
from stanzagate.sandbox.network import free_address, free_ports
from stanzagate.sandbox.plan import ATTACHED, Layout, make_plan
from stanzagate.sandbox.server import prepare
from stanzagate.sandbox.up import write_config


def test_ports_are_different_free_and_not_those_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < max(low, 32768) for port in ports)


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        picks = iter([port, port, 20_011, 20_012, 20_013, *range(20_014, 20_100)])
        (found,) = free_ports(1, pick=lambda _: next(picks))
        assert found != port


def test_the_address_for_servers_is_loopback_and_not_the_usual_one() -> None:
    address = free_address()
    assert address.startswith("127.") and address != "127.0.0.1"


def test_accounts_stay_the_same_in_a_folder_and_show_no_password(tmp_path: Path) -> None:
    first = load_or_make(tmp_path / "accounts.json", ATTACHED)
    assert load_or_make(tmp_path / "accounts.json", ATTACHED) == first
    assert (tmp_path / "accounts.json").stat().st_mode & 0o777 == 0o600
    passwords = [account.password for account in first.on_server] + list(first.component_secrets.values())
    assert len(set(passwords)) == len(passwords) == 14 + len(ATTACHED)
    assert not any(password in repr(first) + repr(first.acs) + repr(first.devices) for password in passwords)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"acs": 1}', '{"acs": [{"x": 1}]}'])
def test_damaged_accounts_are_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "accounts.json").write_text(content)
    with pytest.raises(InputError, match=r"accounts\.json is damaged"):
        load_or_make(tmp_path / "accounts.json", ATTACHED)


def test_ejabberd_has_a_port_for_each_attached_domain(tmp_path: Path) -> None:
    for kind, ports in ((ServerKind.EJABBERD, len(ATTACHED)), (ServerKind.PROSODY, 1)):
        plan = make_plan(tmp_path / kind, kind)
        assert len({component.port for component in plan.components}) == ports
        assert not any(component.secret in repr(plan) for component in plan.components)


def test_partners_are_attached_and_closed_to_other_servers(tmp_path: Path) -> None:
    """A folder that has run without them learns their secrets; what it had stays."""
    partners = ("partner.test", "rooms.partner.test")
    for kind in ServerKind:
        before = make_plan(tmp_path / kind, kind)
        plan = make_plan(tmp_path / kind, kind, partners=partners)
        assert {domain: plan.component(domain).secret for domain in ATTACHED} == before.accounts.component_secrets
        assert make_plan(tmp_path / kind, kind, partners=partners).accounts == plan.accounts
        prepare(plan)
    prosody = (tmp_path / "prosody" / "prosody" / "prosody.cfg.lua").read_text()
    for domain in (*ATTACHED, *partners):
        section = prosody.partition(f'Component "{domain}"')[2].partition("Component")[0]
        assert ("modules_disabled" in section) is (domain in partners)
    ejabberd = (tmp_path / "ejabberd" / "ejabberd" / "ejabberd.yml").read_text()
    assert 'stanzagate_partners: {server: ["partner.test", "rooms.partner.test"]}' in ejabberd
    assert "s2s_access: stanzagate_federation" in ejabberd


@pytest.mark.parametrize("guard", list(Guard))
def test_gate_and_plugin_guard_the_same(tmp_path: Path, guard: Guard) -> None:
    write_config(make_plan(tmp_path, ServerKind.PROSODY, Plugin(Mode.LOG_ONLY, guard)))
    assert load(tmp_path / "stanzagate.yaml").gate.guard is guard


def test_the_module_for_ejabberd_is_compiled_when_it_is_missing_or_old_only(tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        return {name: (tmp_path / name).stat().st_mtime_ns for name in beams()}

    compile_for_ejabberd(tmp_path)
    first = times()
    compile_for_ejabberd(tmp_path)
    assert times() == first
    os.utime(tmp_path / beams()[0], (0, 0))
    compile_for_ejabberd(tmp_path)
    assert all(times()[name] > first[name] for name in beams())


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ejabberd").mkdir()
    (tmp_path / "ejabberd" / "mod_stanzagate.erl").touch()
    (tmp_path / "ejabberd" / "compile").write_text("echo no such header >&2; exit 1")
    monkeypatch.setattr(plugins, "deploy_folder", lambda: tmp_path)
    with pytest.raises(StanzagateError, match="could not be compiled") as caught:
        compile_for_ejabberd(tmp_path)
    assert caught.value.details == ("no such header",)


def test_a_folder_belongs_to_one_supervisor_at_a_time(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with claimed(layout):
        with pytest.raises(Conflict, match="runs in"), claimed(layout):
            pass
        assert layout.pid_file.exists()
    assert not layout.pid_file.exists()
    with claimed(layout):
        pass


def test_a_process_is_told_from_a_later_one_and_from_a_dead_one() -> None:
    assert Identity.of(os.getpid()) == Identity.of(os.getpid())
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    descriptor = os.pidfd_open(pid)
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
    assert Identity.of(pid) is None  # a zombie
    os.waitpid(pid, 0)
    os.close(descriptor)
    assert Identity.of(pid) is None
