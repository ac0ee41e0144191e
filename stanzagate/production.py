"""A production deployment, written by ``stanzagate init`` from the templates that the sandbox runs on."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from component.base.errors import Conflict, InputError
from component.base.files import PRIVATE, write_atomic
from component.base.jid import JidError, prepare
from stanzagate.config import ServerKind
from stanzagate.pki import PUBLIC, Authority
from stanzagate.plugin import COMPILER, DEFAULTS, Plugin, beams, compile_for_ejabberd, ejabberd_code, sources
from stanzagate.render import deploy_folder, render

HOST = "127.0.0.1"
GATE_SECRET = "gate.secret"  # noqa: S105  the name of a file
GRID_SECRET = "grid.secret"  # noqa: S105
TOKEN = "ops.token"  # noqa: S105
RELAY_TOKEN = "relay.token"  # noqa: S105
RELAY_LISTEN = "0.0.0.0:5279"
"""Where partners find the relay; 5269 is the server's own."""

BEAMS = Path("/usr/local/lib/stanzagate/beams")
"""Where ejabberd looks for the module. In a folder `ejabberd/ebin` it would be taken for ejabberd itself."""

_PROGRAM = 0o755
_FOLDER_MODE = 0o755  # the server reads its certificates' CA here; what is secret has mode 0600
_HOMES = (Path("/home"), Path("/root"))


@dataclass(frozen=True)
class Choices:
    """What an operator decides.

    :ivar acs_domains: where the requesters have their accounts.
    :ivar gate: the domain of the gate; by default ``cr.`` and the domain of the devices.
    :ivar partners: domains of other servers with which a relay federates.
    :ivar program: the installed ``stanzagate``.
    :ivar state: folder of database and keys, a child of /var/lib.
    :ivar runtime: folder of the admin socket, a child of /run.
    """

    folder: Path
    kind: ServerKind
    cpe_domain: str
    acs_domains: tuple[str, ...]
    gate: str
    grid_domain: str | None
    component_port: int
    program: Path
    plugin: Plugin = DEFAULTS
    user: str = "stanzagate"
    state: Path = Path("/var/lib/stanzagate")
    runtime: Path = Path("/run/stanzagate")
    partners: tuple[str, ...] = ()

    @property
    def relay_user(self) -> str:
        """Another user than that of the service: the relay talks to strangers, and needs none of its keys."""
        return f"{self.user}-relay"

    @property
    def relay_runtime(self) -> Path:
        """Folder of the relay's status socket."""
        return self.runtime.with_name(f"{self.runtime.name}-relay")


@dataclass(frozen=True)
class Written:
    """What `write` did, or would do.

    :ivar files: every file of the deployment, relative to its folder, in the order of writing.
    :ivar kept: those of them that were there and hold keys or secrets, so they were left alone.
    :ivar next_steps: what the operator does now.
    """

    files: tuple[str, ...]
    kept: tuple[str, ...]
    next_steps: str


@dataclass(frozen=True, repr=False)
class _File:
    name: str
    content: Callable[[], bytes]
    mode: int = PUBLIC
    keep: bool = False


def write(choices: Choices, *, force: bool = False, dry_run: bool = False) -> Written:
    """Write the deployment.

    :param force: replace files that are there; keys and secrets are kept all the same.
    :raises Conflict: files are there already; nothing was changed.
    :raises InputError: a domain or a path cannot be used; nothing was changed.
    """
    checked = _checked(choices)
    folder = checked.folder
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", hint="Choose another DIR.")
    files = _files(checked)
    present = [file.name for file in files if (folder / file.name).exists()]
    if present and not force:
        raise Conflict(
            f"{folder} has a deployment already: {', '.join(present)}.",
            hint="Choose another DIR, or --force, which keeps keys and secrets and replaces the rest.",
        )
    kept = tuple(file.name for file in files if file.keep and file.name in present)
    next_steps = _render_next_steps(checked)
    if not dry_run:
        try:
            _write_files(checked, [file for file in files if file.name not in kept])
        except OSError as error:
            raise InputError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    return Written(tuple(file.name for file in files), kept, next_steps)


def _write_files(choices: Choices, files: list[_File]) -> None:
    choices.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    _issue(choices)
    for file in files:
        path = choices.folder / file.name
        if file.keep and path.exists():  # just issued
            continue
        path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        write_atomic(path, file.content(), mode=file.mode)


def _issue(choices: Choices) -> None:
    """The authorities and the server's certificates that are not there yet."""
    folder = choices.folder
    (folder / "certs").mkdir(mode=_FOLDER_MODE, exist_ok=True)
    servers = Authority.load_or_create(folder / "ca.pem", folder / "ca.key", f"Stanzagate servers of {choices.gate}")
    for domain, names in _certificates(choices).items():
        certificate, key = folder / "certs" / f"{domain}.crt", folder / "certs" / f"{domain}.key"
        if not (certificate.exists() and key.exists()):
            servers.server(names).write(certificate, key)
    if choices.grid_domain:
        name = f"Stanzagate nodes of {choices.grid_domain}"
        Authority.load_or_create(folder / "node-ca.pem", folder / "node-ca.key", name, nodes_of=choices.grid_domain)


def _certificates(choices: Choices) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {choices.cpe_domain: (choices.cpe_domain, choices.gate)}
    for domain in choices.acs_domains:
        names.setdefault(domain, (domain,))
    if choices.grid_domain:
        names[choices.grid_domain] = (
            choices.grid_domain,
            f"pubsub.{choices.grid_domain}",
            f"controller.{choices.grid_domain}",
        )
    return names


def _files(choices: Choices) -> list[_File]:
    values = _values(choices)
    pem = [("ca.key", PRIVATE), ("ca.pem", PUBLIC)]
    if choices.grid_domain:
        pem += [("node-ca.key", PRIVATE), ("node-ca.pem", PUBLIC)]
    for domain in _certificates(choices):
        pem += [(f"certs/{domain}.key", PRIVATE), (f"certs/{domain}.crt", PUBLIC)]
    files = [_File(name, bytes, mode, keep=True) for name, mode in pem]
    files += [_File(name, _secret, PRIVATE, keep=True) for name in _secrets(choices)]
    files += [
        _File("stanzagate.yaml", lambda: render("stanzagate.yaml.j2", values).encode()),
        _File("systemd/stanzagate.service", lambda: render("systemd/stanzagate.service.j2", values).encode()),
        _File("systemd/sysusers.conf", lambda: render("systemd/sysusers.conf.j2", values).encode()),
    ]
    if choices.partners:
        files += [
            _File("relay.yaml", lambda: render("relay.yaml.j2", values).encode()),
            _File(
                "systemd/stanzagate-relay.service",
                lambda: render("systemd/stanzagate-relay.service.j2", values).encode(),
            ),
        ]
    template = {ServerKind.PROSODY: "prosody/stanzagate.cfg.lua", ServerKind.EJABBERD: "ejabberd/stanzagate.yml"}
    snippet = template[choices.kind]
    files.append(_File(snippet, lambda: render(f"{snippet}.j2", _with_secret(choices)).encode(), PRIVATE))
    files += _plugin_files(choices)
    files.append(_File("NEXT-STEPS.txt", lambda: _render_next_steps(choices).encode()))
    for file in files:  # a value that a template cannot take is found before anything is written
        if file.name.startswith("systemd/"):
            file.content()
    return files


def _plugin_files(choices: Choices) -> list[_File]:
    """The in-server plugin; for ejabberd compiled, too, when that is installed here."""
    names = list(sources(choices.kind))
    if choices.kind is ServerKind.PROSODY and choices.grid_domain:
        names.append(Path("prosody/mod_stanzagate_external.lua"))
    files = [
        _File(str(name), (deploy_folder() / name).read_bytes, _PROGRAM if name.name == COMPILER else PUBLIC)
        for name in names
    ]
    # At once: a module that this ejabberd does not take is found before anything is written.
    compiled = _compiled(choices)
    files += [_File(f"ejabberd/beams/{name}", partial(compiled.__getitem__, name)) for name in compiled]
    return files


def _compiled(choices: Choices) -> dict[str, bytes]:
    if choices.kind is not ServerKind.EJABBERD or ejabberd_code() is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        compile_for_ejabberd(Path(folder))
        return {name: (Path(folder) / name).read_bytes() for name in beams()}


def _secrets(choices: Choices) -> tuple[str, ...]:
    """The files with secrets: of the service, of both, of the relay."""
    service = (GATE_SECRET, GRID_SECRET, TOKEN) if choices.grid_domain else (GATE_SECRET, TOKEN)
    relay = (RELAY_TOKEN, *(partner["secret"] for partner in _partners(choices)))
    return (*service, *relay) if choices.partners else service


def _partners(choices: Choices) -> list[dict[str, Any]]:
    """The attachments of the relay; ejabberd needs a listener for each, behind those of gate and controller."""
    first = choices.component_port + (2 if choices.grid_domain else 1)
    return [
        {
            "domain": domain,
            "port": first + number if choices.kind is ServerKind.EJABBERD else choices.component_port,
            "secret": f"partner-{domain}.secret",
        }
        for number, domain in enumerate(choices.partners)
    ]


def _secret() -> bytes:
    return secrets.token_urlsafe(32).encode() + b"\n"


def _values(choices: Choices) -> dict[str, Any]:
    hosts = [{"domain": choices.cpe_domain, "guarded": True, "node_ca": None, "certificate": None}]
    hosts += [
        {"domain": domain, "guarded": False, "node_ca": None, "certificate": None}
        for domain in choices.acs_domains
        if domain != choices.cpe_domain
    ]
    if choices.grid_domain:
        node_ca = choices.folder / "node-ca.pem"
        hosts.append({"domain": choices.grid_domain, "guarded": False, "node_ca": node_ca, "certificate": None})
    return (
        asdict(choices)
        | {
            "kind": str(choices.kind),
            "component_host": HOST,
            "database": f"sqlite:///{choices.state / 'stanzagate.db'}",
            "gate_port": choices.component_port,
            "gate_secret": GATE_SECRET,
            "guarded": [choices.cpe_domain],
            "limits": None,
            "socket": choices.runtime / "admin.sock",
            "listen": "127.0.0.1:8470",
            "tokens": [
                {"name": "ops", "file": TOKEN, "role": "admin"},
                *([{"name": "relay", "file": RELAY_TOKEN, "role": "relay"}] if choices.partners else []),
            ],
            "hosts": hosts,
            "partners": list(choices.partners),
            "administrators": [],
            "pubsub": f"pubsub.{choices.grid_domain}" if choices.grid_domain else None,
            "controller": _controller(choices),
            "grid": _grid(choices),
            "state_name": choices.state.name,
            "runtime_name": choices.runtime.name,
        }
        | _relay(choices)
    )


def _relay(choices: Choices) -> dict[str, Any]:
    """What the relay's own files are made of."""
    certificates = _certificates(choices)
    return {
        "relay_user": choices.relay_user,
        "relay_runtime_name": choices.relay_runtime.name,
        "relay_listen": RELAY_LISTEN,
        "relay_socket": choices.relay_runtime / "relay.sock",
        "relay_token": RELAY_TOKEN,
        "relay_partners": _partners(choices),
        "relay_domains": [(name, file) for file, names in certificates.items() for name in names],
    }


def _controller(choices: Choices) -> str | None:
    return f"controller.{choices.grid_domain}" if choices.grid_domain else None


def _grid(choices: Choices) -> dict[str, Any] | None:
    """The section of the grid; ejabberd needs a listener for each attached domain, Prosody tells them apart."""
    if not choices.grid_domain:
        return None
    return {
        "jid": _controller(choices),
        "port": choices.component_port + (choices.kind is ServerKind.EJABBERD),
        "secret": GRID_SECRET,
        "host": choices.grid_domain,
        "pubsub": f"pubsub.{choices.grid_domain}",
        "node_ca": "node-ca.pem",
        "node_ca_key": "node-ca.key",
        "crl": choices.runtime / "node-ca.crl",  # the folder of the deployment cannot be written to by the service
        "limits": None,
        "history": False,
        "federated": [],
    }


def _with_secret(choices: Choices) -> dict[str, Any]:
    def component(jid: str | None, port: int, secret: str) -> dict[str, Any]:
        text = (choices.folder / secret).read_text(encoding="ascii").strip()
        return {"jid": jid, "host": HOST, "port": port, "secret": text}

    components = [component(choices.gate, choices.component_port, GATE_SECRET)]
    if grid := _grid(choices):
        components.append(component(grid["jid"], grid["port"], GRID_SECRET))
    components += [component(one["domain"], one["port"], one["secret"]) for one in _partners(choices)]
    return _values(choices) | {"components": components}


def _render_next_steps(choices: Choices) -> str:
    interpreter = Path(sys.executable).resolve()
    relay_secrets = {RELAY_TOKEN, *(partner["secret"] for partner in _partners(choices))}
    values = _values(choices) | {
        "secrets": [
            *(name for name in _secrets(choices) if name not in relay_secrets),
            *(["node-ca.key"] if choices.grid_domain else []),
        ],
        "domains": list(_certificates(choices)),
        "beams": BEAMS,
        "compiled": choices.kind is ServerKind.EJABBERD and ejabberd_code() is not None,
        "acs": choices.acs_domains[0],
        "in_home": any(path.is_relative_to(home) for path in (choices.program, interpreter) for home in _HOMES),
    }
    return render("next-steps.txt.j2", values)


def _checked(choices: Choices) -> Choices:
    domains = [choices.cpe_domain, *choices.acs_domains, choices.gate]
    domains += [choices.grid_domain] if choices.grid_domain else []
    for domain in (*domains, *choices.partners):
        try:
            prepared = prepare(domain)
        except JidError:
            raise InputError(f"{domain!r} is not a domain.", hint="Write one like cpe.example.net.") from None
        if prepared.full != domain or prepared.local:
            raise InputError(f"{domain!r} is not a domain as servers write it.", hint=f"Write {prepared.domain!r}.")
    if domains.count(choices.gate) > 1:
        raise InputError(f"{choices.gate} is a host of the server, so it cannot be the gate too.", hint="See --gate.")
    ours = {name for names in _certificates(choices).values() for name in names}
    for number, domain in enumerate(choices.partners):
        if domain in ours or domain in choices.partners[:number]:
            raise InputError(f"{domain} cannot be a partner: it is a domain of yours, or named twice.")
    for path, parent in ((choices.state, Path("/var/lib")), (choices.runtime, Path("/run"))):
        if path.parent != parent:
            raise InputError(f"{path} must be a folder in {parent}.", hint="The service's unit makes it there.")
    return choices
