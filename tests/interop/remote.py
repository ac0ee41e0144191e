"""A remote server of a few lines, federated over TLS in both directions, so that every byte of it is the test's.

Its domain is the loopback address on which it listens: no name needs to be resolved. Servers know each other by
certificates of the sandbox's CA (SASL EXTERNAL).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from stanzagate.pki import Authority
from stanzagate.sandbox.network import S2S_PORT, free_address
from stanzagate.sandbox.wire import SASL, SERVER, STREAM, TLS, Stream
from tests.interop.clients import CONNECTION_REQUEST
from tests.interop.conftest import Sandbox
from tests.interop.plugin import Wire, component, raw, reading

REMOTE = free_address()
"""The remote server's domain."""


@contextlib.asynccontextmanager
async def remote(sandbox: Sandbox, folder: Path) -> AsyncIterator[Wire]:
    """The remote server, with a stream to the sandbox's; what the sandbox's server answers comes by a second one."""
    info = sandbox.info
    ca = Path(info["ca"])
    files = folder / "remote.crt", folder / "remote.key"
    Authority.load(ca, ca.with_suffix(".key")).server([REMOTE]).write(*files)
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    connecting = ssl.create_default_context(cafile=str(ca))
    for context in (accepting, connecting):
        context.load_cert_chain(*files)
    domain = info["domains"]["cpe"]
    stream = await Outgoing.connect(info["s2s"]["host"], info["s2s"]["port"])
    await _open(stream, domain)
    await stream.start_tls(domain, connecting)
    await _open(stream, domain)
    name = base64.b64encode(REMOTE.encode()).decode()
    await stream.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{name}</auth>")
    assert (await stream.element()).tag == f"{{{SASL}}}success"
    await _open(stream, domain)
    wire = Wire(REMOTE, stream)
    accepted: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _accepted(reader, writer, accepting)
            await wire.read(reader)

    server = await asyncio.start_server(accept, REMOTE, S2S_PORT)
    async with reading(wire, stream):
        try:
            yield wire
        finally:
            server.close()
            for writer in accepted:
                writer.transport.abort()


@contextlib.asynccontextmanager
async def sender(sandbox: Sandbox, name: str, folder: Path) -> AsyncIterator[Wire]:
    """Whoever can send a device something: an account by its name, or ``component``, ``domain``, ``remote``."""
    opened = {"component": component(sandbox), "domain": component(sandbox), "remote": remote(sandbox, folder)}
    async with opened.get(name) or raw(sandbox, name) as wire:
        yield wire


class Outgoing(Stream):
    """A stream that says from where it comes, and what ``cr:`` means in all of its stanzas."""

    async def send(self, data: str) -> None:
        declared = f"<stream:stream xmlns:cr='{CONNECTION_REQUEST}' from='{REMOTE}' "
        await super().send(data.replace("<stream:stream ", declared, 1))


async def _open(stream: Stream, to: str) -> None:
    await stream.open(to, SERVER)
    await stream.element()


async def _accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    """Take the other server's word for everything: the tests are about what it delivers."""

    async def offer(features: str) -> None:
        await reader.readuntil(b"<stream:stream")
        await reader.readuntil(b">")
        header = f"<stream:stream xmlns='{SERVER}' xmlns:stream='{STREAM}' id='r' from='{REMOTE}' version='1.0'>"
        writer.write(f"{header}<stream:features>{features}</stream:features>".encode())

    await offer(f"<starttls xmlns='{TLS}'><required/></starttls>")
    await reader.readuntil(b"<starttls")
    await reader.readuntil(b">")
    writer.write(f"<proceed xmlns='{TLS}'/>".encode())
    await writer.start_tls(context)
    await offer(f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>")
    await reader.readuntil(b"</auth>")
    writer.write(f"<success xmlns='{SASL}'/>".encode())
    await offer("")
