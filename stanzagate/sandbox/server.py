"""Running Prosody or ejabberd from a folder of our own, without touching what the system runs."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from component.base.errors import StanzagateError
from component.base.files import write_atomic
from stanzagate.config import ServerKind
from stanzagate.plugin import compile_for_ejabberd, ejabberd_code
from stanzagate.render import deploy_folder, erlang, render
from stanzagate.sandbox.accounts import ACS_DOMAIN, CPE_DOMAIN, GRID_DOMAIN
from stanzagate.sandbox.plan import CONTROLLER, GATE, PUBSUB, SEEDER, Plan

STACK = ("+sss", "4096")
"""Kilowords of stack for each scheduler. With the default of 128, one stanza of 10,000 nested elements from any
account ends the Erlang machine by a segmentation fault."""

NODE = "ejabberd@localhost"
"""The name of ejabberd's Erlang node: its database can be opened under no other one."""


@dataclass(frozen=True)
class Command:
    """How a part is started. Secrets are in files, never here."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


def prepare(plan: Plan) -> Command:
    """Write the server's configuration, compile what has to be, and say how to start it.

    :raises StanzagateError: when the server is not installed; the hint names the package.
    """
    return _PREPARE[plan.kind](plan)


def _prosody(plan: Plan) -> Command:
    program = _program("prosody", "prosody")
    folder = plan.layout.server(plan.kind)
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    hosts = folder / "hosts"
    config = folder / "prosody.cfg.lua"
    as_root = os.geteuid() == 0
    write_atomic(hosts, f"{plan.s2s.host} {' '.join(plan.domains)}\n".encode())
    values = _values(plan) | {
        "data": data,
        "pid_file": folder / "prosody.pid",
        "log": plan.layout.log("server"),
        "certificates": plan.layout.certificates,
        "plugins": deploy_folder() / "prosody",
        "as_root": as_root,
        "component_host": plan.components[0].host,
        "component_port": plan.components[0].port,
        "hosts_file": hosts,
    }
    write_atomic(config, render("prosody/sandbox.cfg.lua.j2", values).encode())
    root = ("--root",) if as_root else ()
    return Command((program, *root, "-F", "--config", str(config)), dict(os.environ), folder)


def _ejabberd(plan: Plan) -> Command:
    code = ejabberd_code()
    if code is None:
        raise StanzagateError("ejabberd is not installed.", hint="Install it: apt-get install ejabberd")
    program = _program("erl", "ejabberd")
    folder = plan.layout.server(plan.kind)
    data, beams = folder / "data" / "mnesia", folder / "data" / "beams"
    for path in (data, beams):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    compile_for_ejabberd(beams)
    config = folder / "ejabberd.yml"
    inetrc = folder / "inetrc"
    address = "{" + plan.s2s.host.replace(".", ",") + "}"
    names = ",".join(erlang(domain) for domain in plan.domains)
    write_atomic(inetrc, f"{{lookup,[file,native]}}.\n{{host,{address},[{names}]}}.\n".encode())
    files = [f"{plan.layout.certificates}/*.{suffix}" for suffix in ("crt", "key")]
    write_atomic(config, render("ejabberd/sandbox.yml.j2", _values(plan) | {"certificates": files}).encode())
    _write_commands(plan, code)
    arguments = (
        program, "-noinput", "+sbwt", "none", *STACK, *_distribution(plan), "-kernel", "inetrc", erlang(inetrc),
        "-mnesia", "dir", erlang(data),
        "-ejabberd", "config", erlang(config), "log_path", erlang(plan.layout.log("ejabberd")),
        "-pa", str(code), str(beams), "-s", "ejabberd",
    )  # fmt: skip
    environment = dict(os.environ) | {"HOME": str(folder), "ERL_CRASH_DUMP_BYTES": "0"}
    return Command(arguments, environment, folder)


def _distribution(plan: Plan) -> tuple[str, ...]:
    """A named node that takes commands, on loopback alone and without a name server of its own (epmd)."""
    address = "{" + plan.distribution.host.replace(".", ",") + "}"
    return (
        "-sname", NODE, "-kernel", "inet_dist_use_interface", address,
        "-start_epmd", "false", "-erl_epmd_port", str(plan.distribution.port),
    )  # fmt: skip


def _write_commands(plan: Plan, code: Path) -> None:
    """Write ``ejabberdctl`` and the cookie that it and the server share."""
    folder = plan.layout.server(plan.kind)
    write_atomic(folder / ".erlang.cookie", secrets.token_urlsafe(32).encode())
    values = {"folder": folder, "code": code, "node": NODE, "port": plan.distribution.port}
    write_atomic(folder / "ejabberdctl", render("ejabberd/ejabberdctl.j2", values).encode(), mode=0o700)


_PREPARE: dict[ServerKind, Callable[[Plan], Command]] = {
    ServerKind.PROSODY: _prosody,
    ServerKind.EJABBERD: _ejabberd,
}


def _values(plan: Plan) -> dict[str, Any]:
    return {
        "domains": list(plan.domains),
        "hosts": [
            _host(CPE_DOMAIN, guarded=True),
            _host(ACS_DOMAIN),
            _host(GRID_DOMAIN, node_ca=plan.layout.node_ca),
        ],
        "gate": GATE,
        "plugin": plan.plugin,
        "components": [asdict(component) for component in plan.components],
        "partners": list(plan.partners),
        "administrators": [SEEDER],
        "pubsub": PUBSUB,
        "controller": CONTROLLER,
        "ca": plan.layout.ca,
        "c2s": plan.c2s,
        "s2s": plan.s2s,
    }


def _host(domain: str, *, guarded: bool = False, node_ca: Path | None = None) -> dict[str, Any]:
    return {"domain": domain, "guarded": guarded, "node_ca": node_ca, "certificate": None}


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/bin")
    if found is None:
        raise StanzagateError(f"{name} is not installed.", hint=f"Install it: apt-get install {package}")
    return found
