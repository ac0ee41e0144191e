"""The partner's side of a relay: a real Prosody or ejabberd in a folder of its own, with TLS and accounts.

Each of its domains listens on a loopback address of its own, port 5269, so that connections can be counted by domain.
Where it finds our domains is the test's to say (`Partner.reach`): no name server is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from stanzagate.pki import Authority, Issued
from stanzagate.plugin import ejabberd_code
from stanzagate.render import erlang, lua
from stanzagate.sandbox.network import LOOPBACK, S2S_PORT, free_address, free_ports
from stanzagate.sandbox.server import Command
from tests.interop.conftest import Sandbox
from tests.interop.owngrid import Process, until
from tests.interop.relaykit_names import NameServer
from tests.interop.relaykit_servers import EJABBERD, FINDER, PROSODY, PROSODY_HOST


class Certificate(StrEnum):
    """What a domain shows to other servers."""

    GOOD = "good"
    SELF_SIGNED = "self-signed"
    STRANGE = "strange"
    """Of an authority that nobody knows."""
    EXPIRED = "expired"
    MISNAMED = "misnamed"
    """Good, for another domain."""
    SERVER_ONLY = "server-only"
    """Good, but for servers alone, as public authorities issue them: not for those who connect."""


@dataclass(frozen=True)
class Host:
    """A domain of the partner.

    :ivar users: local parts of its accounts. A local part may be there once in the whole server.
    :ivar dialback: ejabberd only: without it nothing but SASL EXTERNAL is taken and used. Prosody follows what it is
        offered.
    :ivar closed: nobody can connect to it; it connects to others.
    :ivar attached: it is a component's (Prosody only); `Partner.sandbox` knows its port and secret.
    """

    domain: str
    users: tuple[str, ...] = ()
    bidi: bool = True
    certificate: Certificate = Certificate.GOOD
    dialback: bool = True
    closed: bool = False
    attached: bool = False
    address: str = field(default_factory=free_address)


class Partner:
    """A server. Use `partner`.

    :ivar sandbox: how clients of the tests find its accounts.
    """

    def __init__(
        self, folder: Path, ca: Path, hosts: Sequence[Host], *, kind: str = "prosody", secure: bool = True,
        acknowledges: bool = False, log: str = "debug",
    ) -> None:  # fmt: skip
        """:param ca: of the servers; its key lies beside it.
        :param secure: other servers must have a verified certificate, even for dialback (Prosody).
        :param acknowledges: what comes from other servers (XEP-0198, Prosody).
        """
        self.kind, self.hosts, self.folder, self.ca = kind, tuple(hosts), folder, ca
        self.secure, self.acknowledges, self.level = secure, acknowledges, log
        port, component_port = free_ports(2)
        self.c2s = (LOOPBACK, port)
        for name in ("data", "certs", "log", "modules"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.log_file = folder / "log" / "server.log"
        self._found = folder / "addresses.lua"
        self.names = NameServer() if kind == "ejabberd" else None
        self.reach({})
        issue(ca, folder / "certs", hosts)
        users = [f"{user}@{host.domain}" for host in hosts for user in host.users]
        accounts = [{"jid": jid, "password": secrets.token_urlsafe(12)} for jid in users]
        info = {
            "server": kind, "ca": str(ca), "c2s": {"host": LOOPBACK, "port": port}, "acs": accounts,
            "rogue": {"jid": ""}, "cpes": [], "nodes": [],
        }  # fmt: skip
        attached = {
            host.domain: {"host": LOOPBACK, "port": component_port, "secret": secrets.token_urlsafe(12)}
            for host in hosts
            if host.attached
        }
        self.sandbox = Sandbox(folder, info, attached)
        command = (_ejabberd if kind == "ejabberd" else _prosody)(self)
        self.process = Process(command, folder / "log" / "output")

    def host(self, domain: str) -> Host:
        """One of its domains."""
        return next(host for host in self.hosts if host.domain == domain)

    def connect(self, domain: str) -> str:
        """Where a domain listens, as the relay's configuration names it."""
        return f"{self.host(domain).address}:{S2S_PORT}"

    def reach(self, places: Mapping[str, tuple[str, int]]) -> None:
        """Say where it finds domains of others, from now on.

        A key ``FROM>TO`` is for what FROM sends alone (Prosody only); without FROM it is for all.
        """
        rows = "".join(f"[{lua(name)}] = {{ {lua(host)}, {port} }},\n" for name, (host, port) in places.items())
        written = self._found.with_suffix(".new")
        written.write_text(f"return {{\n{rows}}}\n")
        written.rename(self._found)
        if self.names is not None:
            self.names.reach(places)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        places = [self.c2s, *((host.address, S2S_PORT) for host in self.hosts if not host.closed)]

        async def answers() -> None:
            for place in places:
                _, writer = await asyncio.open_connection(*place)
                writer.transport.abort()
            if self.kind == "ejabberd":
                assert (self.folder / "seeded").exists()

        await until(answers, self.process)

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it; it may be started again."""
        self.process.end(number)

    def close(self) -> None:
        """End it for good."""
        self.end()
        if self.names is not None:
            self.names.close()

    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text(errors="replace")


@contextlib.asynccontextmanager
async def partner(folder: Path, ca: Path, hosts: Sequence[Host], **options: Any) -> AsyncIterator[Partner]:
    """A server for as long as the block lasts."""
    made = Partner(folder, ca, hosts, **options)
    try:
        await made.start()
        yield made
    finally:
        made.close()


def issue(ca: Path, folder: Path, hosts: Sequence[Host]) -> None:
    """Write for each domain what it shows to other servers, and a good certificate for its clients."""
    known = Authority.load(ca, ca.with_suffix(".key"))
    for host in hosts:
        shown(known, host.domain, host.certificate).write(
            folder / f"{host.domain}.s2s.crt", folder / f"{host.domain}.s2s.key"
        )
        known.server([host.domain]).write(folder / f"{host.domain}.crt", folder / f"{host.domain}.key")


def shown(known: Authority, domain: str, kind: Certificate) -> Issued:
    """A certificate of that kind."""
    match kind:
        case Certificate.GOOD:
            return known.server([domain])
        case Certificate.STRANGE:
            return Authority.create("A stranger").server([domain])
        case Certificate.SELF_SIGNED:
            return Authority.create(domain).issued()
        case Certificate.EXPIRED:
            return known.server([domain], now=datetime.now(UTC) - timedelta(days=2000))
        case Certificate.MISNAMED:
            return known.server([f"not-{domain}"])
        case Certificate.SERVER_ONLY:
            made = known.server([domain])
            names = x509.load_pem_x509_certificate(made.certificate).extensions
            san = names.get_extension_for_class(x509.SubjectAlternativeName).value
            return known._issue(domain, list(san), [ExtendedKeyUsageOID.SERVER_AUTH], timedelta(days=9), None)


def _prosody(server: Partner) -> Command:
    folder, certs = server.folder, server.folder / "certs"
    for account in server.sandbox.info["acs"]:
        user, _, domain = account["jid"].partition("@")
        stored = folder / "data" / _escaped(domain) / "accounts"
        stored.mkdir(parents=True, exist_ok=True)
        (stored / f"{_escaped(user)}.dat").write_text(f'return {{ ["password"] = {lua(account["password"])} }};\n')
    (folder / "modules" / "mod_finder.lua").write_text(FINDER)
    hosts = 'VirtualHost "nobody.test"\n'  # Prosody does not start without one
    hosts += "".join(_prosody_host(server, host, certs) for host in server.hosts)
    listening = [host.address for host in server.hosts if not host.closed]
    config = folder / "prosody.cfg.lua"
    config.write_text(
        PROSODY.format(
            data=lua(folder / "data"), pid=lua(folder / "prosody.pid"), log=lua(server.log_file),
            level=server.level, modules=lua([folder / "modules"]), as_root=lua(os.geteuid() == 0),
            c2s_port=server.c2s[1], component_ports=_component_ports(server), addresses=lua(listening),
            s2s_ports=f"{{ {S2S_PORT} }}" if listening else "{ }", secure=lua(server.secure), ca=lua(server.ca),
            found=lua(server._found), hosts=hosts,
        )
    )  # fmt: skip
    program = shutil.which("prosody") or "/usr/bin/prosody"
    root = ("--root",) if os.geteuid() == 0 else ()
    return Command((program, *root, "-F", "--config", str(config)), dict(os.environ), folder)


def _prosody_host(server: Partner, host: Host, certs: Path) -> str:
    # What is enabled for all is not enabled for components.
    modules = ["finder", *(["tls", "saslauth", "dialback", "s2s_bidi"] if host.attached else [])]
    modules += ["smacks"] if server.acknowledges else []
    text = PROSODY_HOST.format(
        kind="Component" if host.attached else "VirtualHost", domain=lua(host.domain),
        modules=lua(modules), disabled=lua([] if host.bidi else ["s2s_bidi"]),
        certificate=lua(certs / f"{host.domain}.crt"), key=lua(certs / f"{host.domain}.key"),
        s2s_certificate=lua(certs / f"{host.domain}.s2s.crt"), s2s_key=lua(certs / f"{host.domain}.s2s.key"),
    )  # fmt: skip
    if host.attached:
        text += f"\tcomponent_secret = {lua(server.sandbox.components[host.domain]['secret'])}\n"
    return text


def _component_ports(server: Partner) -> str:
    ports = {row["port"] for row in server.sandbox.components.values()}
    return "{ " + ", ".join(map(str, ports)) + " }"


def _escaped(name: str) -> str:
    return "".join(char if char.isalnum() else f"%{ord(char):02x}" for char in name)


def _ejabberd(server: Partner) -> Command:
    folder, certs = server.folder, server.folder / "certs"
    assert not server.sandbox.components
    listening = "".join(
        f"  - {{module: ejabberd_s2s_in, ip: {host.address}, port: {S2S_PORT}, shaper: none}}\n"
        for host in server.hosts
        if not host.closed
    )
    dialback = "".join(
        f"  {host.domain}: {{modules: {{mod_s2s_dialback: {{}}}}}}\n" for host in server.hosts if host.dialback
    )
    files = "".join(f"  - {certs}/{host.domain}.{suffix}\n" for host in server.hosts for suffix in ("crt", "key"))
    config = folder / "ejabberd.yml"
    config.write_text(
        EJABBERD.format(
            hosts="".join(f"  - {host.domain}\n" for host in server.hosts), files=files, ca=server.ca,
            c2s_port=server.c2s[1], s2s=listening,
            dialback=f"append_host_config:\n{dialback}" if dialback else "",
        )
    )  # fmt: skip
    lines = "".join(
        "ejabberd_auth:try_register(<<{}>>, <<{}>>, <<{}>>).\n".format(
            *(erlang(part) for part in (*account["jid"].split("@"), account["password"]))
        )
        for account in server.sandbox.info["acs"]
    )
    assert server.names is not None
    # For SRV records it asks as this file says, but for addresses the machine's resolver, which no file can steer.
    (folder / "inetrc").write_text(
        f'{{resolv_conf,""}}.\n{{lookup,[file,dns]}}.\n{{nameserver,{{127,0,0,1}},{server.names.port}}}.\n'
    )
    seed = folder / "seed.erl"
    seed.write_text(f'{lines}file:write_file({erlang(folder / "seeded")}, <<"yes">>).\n')
    (folder / "seeded").unlink(missing_ok=True)
    arguments = (
        "erl", "-noinput", "+sbwt", "none", "-kernel", "inetrc", erlang(folder / "inetrc"),
        "-mnesia", "dir", erlang(folder / "data"),
        "-ejabberd", "config", erlang(config), "log_path", erlang(server.log_file),
        "-pa", str(ejabberd_code()), "-s", "ejabberd", "-eval", f"file:eval({erlang(seed)}).",
    )  # fmt: skip
    environment = dict(os.environ) | {"HOME": str(folder), "ERL_CRASH_DUMP_BYTES": "0"}
    return Command(arguments, environment, folder)
