"""Peers that are slow, silent, greedy or many: they cost little, end, and are not noticed by others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from OpenSSL import SSL

from component.relay import ns
from stanzagate.sandbox.network import S2S_PORT

from .cast import BRIEF, ONE, STILL, TWO
from .owngrid import until
from .rawclient import online
from .relaykit import ACS
from .relaykit_peers import peer
from .relaykit_raw import PATIENCE, Peer
from .relaykit_siege import Siege, answered, has, stanza, with_id

pytestmark = pytest.mark.parametrize("sandbox", ["prosody"], indirect=True, scope="session")

STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"
CROWD, EACH = 1000, 40
"""Connections, and how many of them come from one address."""
MUCH_KIB = 64 * 1024


async def unhurt(siege: Siege, domain: str) -> None:
    """A partner that does nothing wrong gets in, and its stanzas are answered."""
    async with siege.partner(domain) as other:
        await answered(other)
    siege.unhurt()


async def given_back(siege: Siege, files: int) -> None:
    """The relay has no more files open than it had."""

    async def so() -> None:
        assert siege.files() <= files, (siege.files(), files)

    await until(so, siege.relay.process)


async def test_a_thousand_connections_that_say_nothing(siege: Siege) -> None:
    """Partners still get in, memory stays in bounds, and every socket is given back."""
    await unhurt(siege, TWO)
    files, memory = siege.files(), siege.memory()
    crowd: list[asyncio.StreamWriter] = []

    async def come(number: int) -> None:
        place = f"127.3.0.{number // EACH + 1}"
        crowd.append((await asyncio.open_connection(siege.address, S2S_PORT, local_addr=(place, 0)))[1])

    try:
        for first in range(0, CROWD + 60, 100):
            await asyncio.gather(*(come(number) for number in range(first, first + 100)))
        assert siege.relay.status()["unauthenticated"] > CROWD - 100
        await unhurt(siege, TWO)
        assert siege.files() - files > CROWD - 100
        assert siege.memory() - memory < MUCH_KIB
    finally:
        for writer in crowd:
            writer.transport.abort()
    await given_back(siege, files)
    await unhurt(siege, TWO)


async def nothing(stream: Peer) -> None:
    """Connect, no more."""


async def half_a_header(stream: Peer) -> None:
    """Begin to say who it is."""
    await stream.write(stream.header()[:-20])


async def a_header(stream: Peer) -> None:
    """Say who it is."""
    await stream.begin()


async def half_a_starttls(stream: Peer) -> None:
    """Begin to ask for TLS."""
    await stream.begin()
    await stream.write(STARTTLS[:-2])


async def proceed(stream: Peer) -> None:
    """Ask for TLS and never begin."""
    await stream.begin()
    await stream.write(STARTTLS)
    assert (await stream.element()).tag == f"{{{ns.TLS}}}proceed"


async def half_a_hello(stream: Peer) -> None:
    """Begin the handshake."""
    await proceed(stream)
    await stream.write(hello()[:50])


async def a_hello(stream: Peer) -> None:
    """Begin the handshake, and leave it to the other side."""
    await proceed(stream)
    await stream.write(hello())


PHASES = (nothing, half_a_header, a_header, half_a_starttls, proceed, half_a_hello, a_hello)


def hello() -> bytes:
    """A ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=ACS).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
async def test_a_connection_is_ended_in_every_phase(hasty: Siege, phase: Callable[[Peer], Awaitable[None]]) -> None:
    """When the peer has closed its side, and when it goes no further."""
    await unhurt(hasty, STILL)
    files = hasty.files()
    async with peer(hasty.address, BRIEF, ACS) as half, peer(hasty.address, BRIEF, ACS) as silent:
        for stream in (half, silent):
            await phase(stream)
        half.half_close()
        await gone(half)
        await gone(silent)
    await given_back(hasty, files)
    await unhurt(hasty, STILL)


async def gone(stream: Peer) -> None:
    """Wait until the other end has closed the connection."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while await stream._reader.read(65536):
                pass


async def test_behind_tls_a_connection_is_ended_in_every_phase(hasty: Siege) -> None:
    await unhurt(hasty, STILL)
    files = hasty.files()
    async with hasty.behind_tls(BRIEF) as half, hasty.behind_tls(BRIEF) as silent, hasty.partner(BRIEF) as through:
        half.half_close()
        through.half_close()
        for stream in (half, silent, through):
            await gone(stream)
    await given_back(hasty, files)
    await unhurt(hasty, STILL)


async def test_a_byte_now_and_then_wins_no_time(hasty: Siege) -> None:
    async with peer(hasty.address, BRIEF, ACS) as slow, hasty.behind_tls(BRIEF) as behind:
        await asyncio.gather(drip(slow, slow.header()), drip(behind, "<auth " + " " * 200))
    await unhurt(hasty, STILL)


async def drip(stream: Peer, text: str) -> None:
    """Write a few bytes, slowly, until the other end has had enough; the pace is the attack."""
    ending = asyncio.ensure_future(gone(stream))  # noqa: TID251
    for byte in text.encode() * 100:
        done, _ = await asyncio.wait([ending], timeout=0.1)
        if done:
            break
        await stream.write(bytes((byte,)))
    await ending


@pytest.mark.parametrize(
    "garbage",
    [b"x" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 70_000, b"\x80\x2e\x01" + b"\0" * 60],
)  # fmt: skip
async def test_garbage_in_place_of_tls(hasty: Siege, garbage: bytes) -> None:
    async with peer(hasty.address, BRIEF, ACS) as stream:
        await proceed(stream)
        await stream.write(garbage)
        await gone(stream)
    await unhurt(hasty, STILL)


async def test_a_handshake_byte_by_byte(siege: Siege) -> None:
    """Every byte of TLS in a segment of its own: that is slow, and allowed."""
    async with peer(siege.address, ONE, ACS) as stream:
        await proceed(stream)
        tls = ByteByByte(stream, siege.tls.connecting(ONE))
        await tls.shake_hands()
        await tls.write(stream.header())
        assert b"EXTERNAL" in await tls.read_until(b"</stream:features>")
    siege.unhurt()


class ByteByByte:
    """TLS of a peer that sends each byte for itself."""

    def __init__(self, stream: Peer, context: ssl.SSLContext) -> None:
        self._reader, self._writer = stream._reader, stream._writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=ACS)

    async def shake_hands(self) -> None:
        """The handshake."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            else:
                break
        await self._flush()

    async def write(self, text: str) -> None:
        """Send something."""
        self._tls.write(text.encode())
        await self._flush()

    async def read_until(self, end: bytes) -> bytes:
        """Read up to some bytes."""
        found = b""
        while end not in found:
            try:
                found += self._tls.read(65536)
            except ssl.SSLWantReadError:
                await self._exchange()
        return found

    async def _exchange(self) -> None:
        await self._flush()
        async with asyncio.timeout(PATIENCE):
            data = await self._reader.read(65536)
        assert data, "it ended"
        self._incoming.write(data)

    async def _flush(self) -> None:
        for byte in self._outgoing.read():
            self._writer.write(bytes((byte,)))
            await asyncio.sleep(0)


async def test_renegotiation(siege: Siege) -> None:
    """TLS 1.2 has it, and it is work for the one who accepts; it is not done, and the stream may go on or end."""
    async with peer(siege.address, ONE, ACS) as stream:
        await proceed(stream)
        stream._writer.transport.pause_reading()  # type: ignore[attr-defined]  # the other reader has its turn
        raw = stream._writer.get_extra_info("socket").dup()
        await asyncio.to_thread(renegotiated, raw, stream.header())
    await unhurt(siege, TWO)


def renegotiated(raw: socket.socket, header: str) -> None:
    """Shake hands, and ask to do it again and again."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    raw.setblocking(True)
    connection = SSL.Connection(context, raw)
    connection.set_connect_state()
    connection.do_handshake()
    connection.sendall(header.encode())
    raw.setblocking(False)
    for _ in range(5):
        with contextlib.suppress(SSL.Error):  # there is no answer yet, or it says no
            connection.renegotiate()
            connection.do_handshake()
    assert connection.total_renegotiations() <= 1  # of those that were asked for
    connection.close()


@contextlib.asynccontextmanager
async def round_trips(siege: Siege, domain: str) -> AsyncIterator[Callable[[], int]]:
    """A well-behaved partner asks and is answered all the time; how often that was."""
    count = 0

    async def ask() -> None:
        nonlocal count
        async with siege.partner(domain) as other:
            while True:
                await answered(other)
                count += 1

    asking = asyncio.ensure_future(ask())  # noqa: TID251
    try:
        yield lambda: count
        assert not asking.done(), asking
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_partner_that_never_reads(hasty: Siege) -> None:
    """What waits for it is bounded, senders are told of the rest, and others are not delayed."""
    memory = hasty.memory()
    async with (
        online(hasty.sandbox, "acs1", "writer") as ours,
        hasty.partner(BRIEF) as deaf,
        round_trips(hasty, STILL) as done,
    ):
        never_reads(deaf)
        body = "x" * 100_000
        for number in range(90):
            await ours.send_raw(f"<message to='deaf@{BRIEF}/x' id='deaf-{number}'><body>{body}</body></message>")
        error = await has(ours, "deaf-89")
        assert error.get("type") == "error"
        assert error.find(f".//{{{ns.STANZA_ERRORS}}}resource-constraint") is not None
        before = done()
        await several(done, before)
        assert hasty.memory() - memory < MUCH_KIB
    hasty.unhurt()


def never_reads(stream: Peer) -> None:
    """Read no more from now on."""
    stream._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream._writer.transport.pause_reading()  # type: ignore[attr-defined]


async def several(done: Callable[[], int], before: int) -> None:
    """Wait for further round trips."""
    async with asyncio.timeout(PATIENCE):
        while done() < before + 5:
            await asyncio.sleep(0.005)


async def test_a_partner_that_asks_and_never_reads_the_answers(hasty: Siege) -> None:
    """Acknowledgements, and errors of the relay itself; each costs more than it took to ask for."""
    memory = hasty.memory()
    forbidden = stanza("iq", BRIEF, ACS, "<x xmlns='urn:x'/>" + "<xml:x/>", type_="get", id="i" * 2000)
    async with hasty.partner(BRIEF) as deaf, round_trips(hasty, STILL) as done:
        never_reads(deaf)
        await deaf.write(f"<enable xmlns='{ns.SM}'/>")
        asked = (f"<r xmlns='{ns.SM}'/>" * 100 + forbidden * 20).encode()
        with contextlib.suppress(TimeoutError):  # the relay may have read as much as it wants to
            async with asyncio.timeout(3):
                for _ in range(400):
                    await deaf.write(asked)
        await several(done, done())
        assert hasty.memory() - memory < MUCH_KIB
    hasty.unhurt()


async def test_a_flood_of_one_partner_leaves_room_for_others(hasty: Siege) -> None:
    """Round trips of another partner go on while it lasts."""
    memory = hasty.memory()
    flood = stanza("message", BRIEF, "nobody@acs.test", "<body>x</body>", type_="error") * 100
    async with hasty.partner(BRIEF) as loud, round_trips(hasty, STILL) as done:
        before = done()
        for _ in range(100):
            await loud.write(flood)
        during = done() - before
        await answered(loud)
        assert during + done() > 5
        assert hasty.memory() - memory < MUCH_KIB
    hasty.unhurt()


async def test_a_partner_that_comes_back_while_its_old_stream_lives(siege: Siege) -> None:
    """What it sends by the new stream is taken; when the old one goes, the new one takes its place, and stays."""
    async with online(siege.sandbox, "acs1", "back") as ours, siege.partner() as old, siege.partner() as new:
        for number, stream in enumerate((new, old)):
            await stream.write(stanza("message", ONE, ours.jid, id=f"taken-{number}"))
            await has(ours, f"taken-{number}")
        await answered(old)
        old.half_close()
        await gone(old)
        for number in range(3):
            await ours.send_raw(f"<message to='somebody@{ONE}/x' id='back-{number}'/>")
            await with_id(new, f"back-{number}")
        await answered(new)


async def test_a_partner_that_comes_and_goes_all_the_time(siege: Siege) -> None:
    """Without an end of the stream; nothing of it stays."""
    await unhurt(siege, ONE)
    files = siege.files()
    for _ in range(20):
        async with siege.partner() as stream:
            await stream.write(stanza("iq", ONE, ACS, "<x xmlns='urn:x'/>", type_="get", id="lost"))
    await given_back(siege, files)

    async def forgotten() -> None:
        row = siege.relay.partner(ONE)
        assert not row["streams"] and not row["pairs"], row

    await until(forgotten, siege.relay.process)
    siege.unhurt()
