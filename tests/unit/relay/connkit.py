"""Connections on loopback: a machine that follows a script, an owner that remembers, peers that are bare sockets."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from component.relay.counters import Role
from component.relay.net.certs import Anchors, Trust
from component.relay.net.connection import Adopt, Connection, Wiring
from component.relay.net.tls import TlsContexts
from component.relay.wire.events import CloseConnection, Output, SendBytes
from component.relay.wire.policy import Authentication, PeerIdentity
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.s2s_out import OutgoingStream, Purpose
from tests.unit.relay.certkit import Made, dns, make, srv

# TLS of the standard library looks at the clock, so these are valid now.
START, END = datetime.now(UTC) - timedelta(days=2), datetime.now(UTC) + timedelta(days=2)
ROOT = make("Authority", ca=True, start=START, end=END)
LOCAL = make("local", srv("isp.test") + dns("isp.test"), by=ROOT, start=START, end=END)
PARTNER = make("partner", srv("partner.test") + dns("partner.test"), by=ROOT, start=START, end=END)

React = Callable[[bytes], list[Output]]


class _Script:
    """What both scripted machines do: answer input by a function, and remember what they were told."""

    def __init__(self, react: React = lambda _: [], *, local: str = "isp.test", remote: str = "partner.test") -> None:
        self.react = react
        self.local, self.remote = local, remote
        self.received = b""
        self.told: list[str] = []
        self.identity: PeerIdentity | None = None
        self.wanted = math.inf
        self.on_tick: Callable[[], list[Output]] = lambda: []
        self.on_tls: Callable[[], list[Output]] = lambda: []
        self.authentication: Authentication | None = None

    @property
    def deadline(self) -> float:
        return self.wanted

    def open(self, now: float) -> list[Output]:
        self.told.append("open")
        return [SendBytes(b"<open>")]

    def receive(self, data: bytes, now: float) -> list[Output]:
        self.received += data
        return self.react(data)

    def tls_established(self, identity: PeerIdentity, now: float) -> list[Output]:
        self.told.append("tls")
        self.identity = identity
        return self.on_tls()

    def lost(self, reason: str, now: float) -> list[Output]:
        self.told.append(reason)
        return []

    def tick(self, now: float) -> list[Output]:
        self.told.append("tick")
        self.wanted = math.inf
        return self.on_tick()

    def close(self, condition: str, text: str, now: float) -> list[Output]:
        self.told.append(f"close {condition}")
        return [SendBytes(b"<error/>"), CloseConnection(text)]


class ScriptedIn(_Script, IncomingStream):
    """In place of the receiver's machine."""


class ScriptedOut(_Script, OutgoingStream):
    """In place of the initiator's machine."""


class Recorder:
    """An owner that remembers."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.outputs: list[Output] = []
        self.ended = asyncio.Event()
        self.wrote = asyncio.Event()
        self.react: Callable[[Connection, Output], None] = lambda *_: None

    def connected(self, connection: Connection, role: Role, purpose: Purpose) -> None:
        assert role is connection.role
        self.connections.append(connection)

    def happened(self, connection: Connection, output: Output) -> None:
        self.outputs.append(output)
        self.react(connection, output)

    def writable(self, connection: Connection) -> None:
        self.wrote.set()

    def closed(self, connection: Connection) -> None:
        assert not self.ended.is_set()
        self.ended.set()


def wiring(folder: Path, made: Made = LOCAL, domain: str = "isp.test", adopt: Adopt | None = None) -> Wiring:
    trust = Trust(Anchors.of([ROOT.certificate], "ca.pem"), {}, lambda: datetime.now(UTC))
    contexts = TlsContexts({domain: made.write(folder, domain)})
    return Wiring(contexts, trust.identify, asyncio.get_running_loop().time, adopt)


def peer_tls(folder: Path, *, server: bool = False) -> ssl.SSLContext:
    """TLS of a peer, by the standard library, with the partner's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    pair = PARTNER.write(folder, "peer")
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@asynccontextmanager
async def accepting(make_connection: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[int]:
    """A port on loopback whose connections go to new protocols."""
    server = await asyncio.get_running_loop().create_server(make_connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


Peers = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@asynccontextmanager
async def peers(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, Peers]]:
    """A port on loopback to which connections of ours go, and the peers' ends of them."""
    queue: Peers = asyncio.Queue()

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await queue.put((reader, writer))

    server = await asyncio.start_server(came, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], queue
    finally:
        server.close()


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
