"""Plain servers for tests that need accounts and TLS but nothing of ours: one folder, loopback, free ports.

The tests of the gate use the sandbox; these are for what stands beside it (the reference device, the clients).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_TIMEOUT = 30.0


@dataclass(frozen=True)
class PlainServer:
    """A running server.

    :ivar passwords: bare JID to password.
    """

    kind: str
    host: str
    port: int
    ca: Path
    passwords: Mapping[str, str]


def free_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def plain_server(
    kind: str, folder: Path, jids: tuple[str, ...], *, port: int = 0, offer_tls: bool = True
) -> AsyncIterator[PlainServer]:
    """Run a server of `kind` (``prosody`` or ``ejabberd``) with an account for each bare JID; stops it at the end.

    :param port: the port for clients; 0 takes a free one. A second server on the same folder and port is the
        first one, restarted.
    :param offer_tls: False gives a server without STARTTLS (Prosody only).
    """
    server, process = _start(kind, folder, jids, port or free_port(), offer_tls)
    try:
        await _answers(server, process, folder)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(
    kind: str, folder: Path, jids: tuple[str, ...], port: int, offer_tls: bool
) -> tuple[PlainServer, subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    domains = tuple(dict.fromkeys(jid.partition("@")[2] for jid in jids))
    ca = _certificates(folder, domains)
    server = PlainServer(kind, "127.0.0.1", port, ca, {jid: _password(folder, jid) for jid in jids})
    command = (_prosody if kind == "prosody" else _ejabberd)(server, folder, domains, offer_tls)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    return server, process


async def _answers(server: PlainServer, process: subprocess.Popen[bytes], folder: Path) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{server.kind} ended: {(folder / 'output').read_text()[-2000:]}")
            if server.kind == "prosody" or (folder / "seeded").exists():
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(server.host, server.port)
                    writer.close()
                    return
            await asyncio.sleep(0.05)


def _password(folder: Path, jid: str) -> str:
    path = folder / f"password-{jid}"
    if not path.exists():
        path.write_text(secrets.token_urlsafe(12))
    return path.read_text()


def _prosody(server: PlainServer, folder: Path, domains: tuple[str, ...], offer_tls: bool) -> list[str]:
    for jid, password in server.passwords.items():
        user, _, domain = jid.partition("@")
        accounts = folder / "data" / domain.replace(".", "%2e").replace("-", "%2d") / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (accounts / f"{user.replace('-', '%2d')}.dat").write_text(f'return {{ ["password"] = "{password}" }};\n')
    config = folder / "prosody.cfg.lua"
    hosts = "\n".join(f'VirtualHost "{domain}"' for domain in domains)
    tls = f'ssl = {{ certificate = "{folder}/server.crt", key = "{folder}/server.key" }}' if offer_tls else ""
    config.write_text(
        f"""
        data_path = "{folder}/data"; pidfile = "{folder}/prosody.pid"; run_as_root = true
        log = {{ info = "{folder}/server.log" }}
        interfaces = {{ "127.0.0.1" }}; c2s_ports = {{ {server.port} }}; s2s_ports = {{}}; http_ports = {{}}
        https_ports = {{}}; c2s_direct_tls_ports = {{}}; s2s_direct_tls_ports = {{}}
        modules_enabled = {{ "saslauth", {'"tls",' if offer_tls else ""} "disco", "ping" }}
        modules_disabled = {{ "s2s" }}
        c2s_require_encryption = {str(offer_tls).lower()}; allow_unencrypted_plain_auth = {str(not offer_tls).lower()}
        authentication = "internal_plain"; storage = "internal"
        {tls}
        {hosts}
        """
    )
    program = shutil.which("prosody") or "/usr/bin/prosody"
    return [program, *(["--root"] if os.geteuid() == 0 else []), "--config", str(config), "-F"]


def _ejabberd(server: PlainServer, folder: Path, domains: tuple[str, ...], offer_tls: bool) -> list[str]:
    assert offer_tls, "only Prosody is run without TLS"
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
    config = folder / "ejabberd.yml"
    config.write_text(
        "hosts:\n"
        + "".join(f"  - {domain}\n" for domain in domains)
        + f"""
loglevel: warning
certfiles: ["{folder}/server.pem"]
ca_file: "{folder}/ca.pem"
listen:
  - {{port: {server.port}, ip: "127.0.0.1", module: ejabberd_c2s, starttls_required: true, shaper: none}}
auth_method: internal
modules:
  mod_disco: {{}}
  mod_ping: {{}}
""",
    )
    seed = folder / "seed.erl"
    accounts = [(*jid.split("@"), password) for jid, password in server.passwords.items()]
    lines = "".join(
        f'ejabberd_auth:try_register(<<"{user}">>, <<"{domain}">>, <<"{password}">>).\n'
        for user, domain, password in accounts
    )
    seed.write_text(f'{lines}file:write_file("{folder}/seeded", <<"yes">>).\n')
    (folder / "seeded").unlink(missing_ok=True)
    (folder / "mnesia").mkdir(exist_ok=True)
    ebin = next(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
    return [
        "erl", "-noinput", "-mnesia", "dir", f'"{folder}/mnesia"', "-ejabberd", "config", f'"{config}"',
        "log_path", f'"{folder}/server.log"', "-pa", str(ebin), "-s", "ejabberd",
        "-eval", f'file:eval("{seed}").',
    ]  # fmt: skip


def _certificates(folder: Path, domains: tuple[str, ...]) -> Path:
    ca_path = folder / "ca.pem"
    if ca_path.exists():
        return ca_path
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )  # fmt: skip

    ca = builder(issuer, ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    ca = ca.add_extension(usage, critical=True)
    leaf = builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domains[0])]), key.public_key())
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains]), critical=False
    )
    (folder / "server.crt").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    ca_path.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return ca_path
