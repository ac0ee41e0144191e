"""Connections of a test's own servers: partners that listen, peers that connect, and what they show of themselves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from stanzagate.pki import Authority
from stanzagate.sandbox.network import S2S_PORT
from tests.interop.relaykit_partner import Certificate, shown
from tests.interop.relaykit_raw import BIDI, DIALBACK, EXTERNAL, PATIENCE, STARTTLS, Peer


class Fake:
    """A partner that listens.

    :ivar streams: the connections that came, oldest first.
    """

    def __init__(self, domain: str, context: ssl.SSLContext) -> None:
        self.domain, self.context = domain, context
        self.streams: list[Peer] = []
        self._queue: asyncio.Queue[Peer] = asyncio.Queue()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called with each connection."""
        peer = Peer(reader, writer, self.domain, "")
        self.streams.append(peer)
        self._queue.put_nowait(peer)

    async def accepted(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    async def established(self, *features: str, bidi: bool = True, dialback: bool = False) -> Peer:
        """The next connection, negotiated until stanzas may come: EXTERNAL, or dialback without asking back."""
        peer = await self.accepted()
        await peer.offer(STARTTLS)
        await peer.take_starttls(self.context)
        way = DIALBACK if dialback else EXTERNAL
        await peer.offer(way, *([BIDI] if bidi else []), *features, id="stream-2")
        if dialback:
            await peer.take_result()
        else:
            await peer.take_external()
            await peer.offer(id="stream-3")
        return peer


class Certificates:
    """TLS of the test's own servers.

    :ivar ca: of the sandbox's servers; its key lies beside it.
    """

    def __init__(self, ca: Path, folder: Path) -> None:
        self.ca, self._folder = ca, folder
        self._known = Authority.load(ca, ca.with_suffix(".key"))

    def connecting(self, domain: str, kind: Certificate | None = Certificate.GOOD) -> ssl.SSLContext:
        """For one that connects; None shows no certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if kind is not None:
            context.load_cert_chain(*self._files(domain, kind))
        return context

    def accepting(self, domain: str, kind: Certificate = Certificate.GOOD) -> ssl.SSLContext:
        """For one that accepts; it takes any certificate of the sandbox's servers, or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._files(domain, kind))
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _files(self, domain: str, kind: Certificate) -> tuple[Path, Path]:
        files = self._folder / f"{domain}.{kind}.crt", self._folder / f"{domain}.{kind}.key"
        if not files[0].exists():
            shown(self._known, domain, kind).write(*files)
        return files


@contextlib.asynccontextmanager
async def fake(address: str, domain: str, context: ssl.SSLContext) -> AsyncIterator[Fake]:
    """A partner at an address, port 5269, for as long as the block lasts."""
    made = Fake(domain, context)
    server = await asyncio.start_server(made.take, address, S2S_PORT)
    try:
        yield made
    finally:
        server.close()
        for peer in made.streams:
            peer.abort()


@contextlib.asynccontextmanager
async def authenticated(
    address: str, domain: str, other: str, context: ssl.SSLContext, *, bidi: bool = False
) -> AsyncIterator[Peer]:
    """A stream on which stanzas may come, by SASL EXTERNAL."""
    async with secured(address, domain, other, context) as made:
        if bidi:
            await made.ask_bidi()
        assert not await made.external()
        yield made


@contextlib.asynccontextmanager
async def peer(address: str, domain: str, other: str) -> AsyncIterator[Peer]:
    """A connection for as long as the block lasts; nothing was said on it."""
    made = await Peer.to(address, domain, other)
    try:
        yield made
    finally:
        made.abort()


@contextlib.asynccontextmanager
async def secured(address: str, domain: str, other: str, context: ssl.SSLContext) -> AsyncIterator[Peer]:
    """A connection under TLS, at the second set of features."""
    async with peer(address, domain, other) as made:
        await made.begin()
        await made.secure(context)
        yield made
