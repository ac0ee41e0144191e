"""Accepting: limits, who makes room, strangers that are passed through, ports that cannot be had."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from component.base.errors import Conflict, InputError
from component.base.settings import Address
from component.relay.counters import RelayCounters
from component.relay.net import splice as splice_module
from component.relay.net.connection import CHUNK, Connection
from component.relay.net.listener import GRACE, Listener, _place
from component.relay.net.splice import Splicer
from component.relay.wire.events import PassThrough, SendBytes
from component.relay.wire.policy import Authentication
from tests.unit.relay.connkit import React, Recorder, ScriptedIn, peer_tls, peers, unused_port, wiring

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Owner(Recorder):
    """An owner of many connections."""

    def closed(self, connection: Connection) -> None:
        self.connections.remove(connection)


class House:
    """A listener with all that it needs."""

    def __init__(self, tmp_path: Path, react: React, **limits: int) -> None:
        self.owner = Owner()
        self.scripts: list[ScriptedIn] = []
        self.counters = RelayCounters()
        self.now = 1000.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.splicer: Splicer | None = None
        self.kept: list[Streams] = []
        self.react = react
        self.listener: Listener
        self._folder = tmp_path
        self._limits = {"most": 10, "most_per_address": 10} | limits

    def listen(self, *, server: int = 0, direct_tls: bool = False, idle: float = 1000.0) -> None:
        ours = wiring(self._folder, adopt=self._adopt)

        def make(direct_tls: bool, on_end: Callable[[], None]) -> Connection:
            script = ScriptedIn(self.react)
            self.scripts.append(script)
            return Connection(script, self.owner, ours, direct_tls=direct_tls, on_end=on_end)

        if server:
            self.splicer = Splicer(Address("127.0.0.1", server), idle, self.spawn)
        self.listener = Listener(
            [] if direct_tls else [Address("127.0.0.1", 0)],
            [Address("127.0.0.1", 0)] if direct_tls else [],
            make,
            most=self._limits["most"],
            most_per_address=self._limits["most_per_address"],
            counters=self.counters,
            clock=lambda: self.now,
            splicer=self.splicer,
        )
        self.listener.open()
        self.spawn("listener", self.listener.run())

    def _adopt(self, transport: asyncio.Transport, received: bytes, on_end: Callable[[], None]) -> None:
        self.listener.adopt(transport, received, on_end)

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def connect(self, source: str = "127.0.0.1") -> Streams:
        (address,) = self.listener.addresses
        before = self.counters.accepted
        streams = await asyncio.open_connection(address.host, address.port, local_addr=(source, 0))
        await until(lambda: self.counters.accepted > before)
        self.kept.append(streams)  # or asyncio would close them
        return streams

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        self.listener.close()
        for _, writer in self.kept:
            writer.transport.abort()
        for connection in list(self.owner.connections):
            connection.drop("", "")
        await until(lambda: not self.owner.connections and not self.tasks and not len(self.listener))


@asynccontextmanager
async def house(tmp_path: Path, react: React = lambda _: [], **limits: int) -> AsyncIterator[House]:
    one = House(tmp_path, react, **limits)
    try:
        yield one
    finally:
        await one.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


# Ports


async def test_streams_in_the_clear_and_with_tls_from_the_beginning(tmp_path: Path) -> None:
    async with house(tmp_path, lambda data: [SendBytes(data)]) as one:
        one.listen()
        reader, writer = await one.connect()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await until(lambda: len(one.listener) == 0)
    async with house(tmp_path, lambda data: [SendBytes(data)]) as one:
        one.listen(direct_tls=True)
        (address,) = one.listener.addresses
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=peer_tls(tmp_path), server_hostname="isp.test"
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_a_port_that_is_taken_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, free = other.getsockname()[1], unused_port()
        listener = _listener([Address("127.0.0.1", free)], [Address("127.0.0.1", taken)])
        with pytest.raises(
            Conflict, match=rf"127.0.0.1:{taken}: the port is taken.*sport = :{taken}.*relay.direct_tls"
        ):
            listener.open()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free))


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "Cannot assign requested address.*relay.listen"), ("nowhere.invalid", "Correct relay.listen")],
)
def test_an_address_that_is_not_ours_is_named(host: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"cannot listen on {host}:5999: .*{reason}|Correct relay.listen"):
        _listener([Address(host, 5999)], []).open()


def test_a_port_for_root_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbidden)
    with pytest.raises(InputError, match="Ports below 1024 need root"):
        _listener([Address("127.0.0.1", 269)], []).open()


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv4_and_ipv6_stand_beside_each_other_on_every_address() -> None:
    port = unused_port()
    listener = _listener([Address("0.0.0.0", port), Address("::", port)], [])
    try:
        listener.open()
        assert [str(address) for address in listener.addresses] == [f"0.0.0.0:{port}", f"[::]:{port}"]
    finally:
        listener.close()


def _listener(listen: list[Address], direct_tls: list[Address]) -> Listener:
    def make(direct_tls: bool, on_end: Callable[[], None]) -> Connection:
        raise AssertionError

    return Listener(listen, direct_tls, make, most=1, most_per_address=1, counters=RelayCounters(), clock=lambda: 0.0)


# Limits


async def test_the_oldest_silent_one_makes_room(tmp_path: Path) -> None:
    async with house(tmp_path, most=3) as one:
        one.listen()
        speaks = await one.connect()
        speaks[1].write(b"<stream>")
        await until(lambda: one.scripts[0].received != b"")
        oldest, other, newest = await one.connect(), await one.connect(), await one.connect()
        assert await oldest[0].read() == b"<error/>"
        assert one.scripts[1].told[0] == "close resource-constraint"
        await until(lambda: len(one.owner.connections) == 3)
        for _, writer in (speaks, other, newest):
            writer.write(b"x")
        await until(lambda: [len(script.received) for script in one.scripts] == [9, 0, 1, 1])
        assert one.counters.turned_away == {"connections": 1}


async def test_who_speaks_has_time_to_authenticate_before_he_makes_room(tmp_path: Path) -> None:
    async with house(tmp_path, lambda _: [SendBytes(b".")], most=2) as one:
        one.listen()
        for _ in range(2):
            reader, writer = await one.connect()
            writer.write(b"<")
            await reader.readexactly(1)
        refused = await one.connect()
        assert await _end_of(refused) == b""
        assert len(one.scripts) == 2
        one.now += GRACE
        reader, writer = await one.connect()
        writer.write(b"<")
        assert await reader.readexactly(1) == b"."
        assert [script.told[:1] for script in one.scripts] == [["close resource-constraint"], [], []]
        assert one.counters.turned_away == {"connections": 2}


async def test_an_authenticated_stream_never_makes_room(tmp_path: Path) -> None:
    async with house(tmp_path, most=2) as one:
        one.listen()
        for _ in range(2):
            await one.connect()
            one.scripts[-1].authentication = Authentication.EXTERNAL
        one.now += 1000
        assert await _end_of(await one.connect()) == b""
        assert [script.told for script in one.scripts] == [[], []]


async def test_an_address_has_a_limit_of_its_own_and_makes_room_for_itself_only(tmp_path: Path) -> None:
    async with house(tmp_path, most_per_address=2) as one:
        one.listen()
        await one.connect("127.0.0.2")
        first, _ = await one.connect("127.0.0.3"), await one.connect("127.0.0.3")
        await one.connect("127.0.0.3")
        assert await first[0].read() == b"<error/>"
        assert [bool(script.told) for script in one.scripts] == [False, True, False, False]
        assert one.counters.turned_away == {"per-address": 1}
        for script in one.scripts:
            script.authentication = Authentication.EXTERNAL
        assert await _end_of(await one.connect("127.0.0.3")) == b""
        await one.connect("127.0.0.2")


async def test_places_are_given_back(tmp_path: Path) -> None:
    async with house(tmp_path, most=1, most_per_address=1) as one:
        one.listen()
        for _ in range(3):
            _, writer = await one.connect()
            one.scripts[-1].authentication = Authentication.EXTERNAL
            writer.close()
            await until(lambda: len(one.listener) == 0)
        assert not one.counters.turned_away


async def test_a_thousand_connections_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    async with house(tmp_path, lambda data: [SendBytes(data)], most=100, most_per_address=100) as one:
        one.listen()
        for _ in range(300):
            await one.connect()
        reader, writer = await one.connect()
        writer.write(b"partner")
        assert await reader.readexactly(7) == b"partner"
        await until(lambda: len(one.owner.connections) == 100)


def test_one_address_of_ipv6_is_a_network_of_64_bits() -> None:
    assert _place(("2001:db8:1:2:3:4:5:6", 1, 0, 0)) == _place(("2001:db8:1:2::1", 2, 0, 0)) == "2001:db8:1:2::/64"
    assert _place(("fe80::1%eth0", 1, 0, 2)) == "fe80::/64"
    assert _place(("::ffff:192.0.2.1", 1, 0, 0)) == _place(("192.0.2.1", 2)) == "192.0.2.1"
    assert _place(None) == ""


# Strangers


def stranger(data: bytes) -> list[Any]:
    return [PassThrough(data)]


async def _spliced(one: House, port: int, queue: asyncio.Queue[Streams]) -> tuple[Streams, Streams]:
    one.listen(server=port)
    outside = await one.connect()
    outside[1].write(b"<stream>")
    inside = await queue.get()
    assert await inside[0].readexactly(8) == b"<stream>"
    return outside, inside


async def test_a_stranger_is_passed_through_both_ways_and_the_owner_is_done_with_it(tmp_path: Path) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        outside, inside = await _spliced(one, port, queue)
        assert one.owner.connections == []
        assert len(one.listener) == 1
        data = bytes(range(256)) * 8000
        for (_, writer), (reader, _) in ((outside, inside), (inside, outside)):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
        outside[1].close()
        assert await inside[0].read() == b""
        inside[1].close()
        await until(lambda: len(one.listener) == 0)
        assert one.counters.passed_through == 1


@pytest.mark.parametrize("from_inside", [False, True])
async def test_one_side_may_be_done_while_the_other_still_talks(tmp_path: Path, from_inside: bool) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        outside, inside = await _spliced(one, port, queue)
        first, second = (inside, outside) if from_inside else (outside, inside)
        first[1].write(b"last words")
        first[1].write_eof()
        assert await second[0].read() == b"last words"
        second[1].write(b"an answer")
        assert await first[0].readexactly(9) == b"an answer"
        second[1].write_eof()
        assert await first[0].read() == b""
        await until(lambda: len(one.listener) == 0)


async def test_a_side_that_does_not_read_stops_the_other(tmp_path: Path) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        (_, outside), (reader, inside) = await _spliced(one, port, queue)
        assert isinstance(inside.transport, asyncio.Transport)
        inside.transport.pause_reading()
        assert one.splicer is not None
        (splice,) = one.splicer._splices
        sent = 0
        while not (splice.stranger.transport and not splice.stranger.transport.is_reading()):
            outside.write(bytes(65536))
            sent += 65536
            await asyncio.sleep(0)
        assert splice.server.transport is not None
        assert splice.server.transport.get_write_buffer_size() < 2 * splice_module.WAITING_BYTES + CHUNK
        inside.transport.resume_reading()
        assert len(await reader.readexactly(sent)) == sent
        await until(lambda: bool(splice.stranger.transport and splice.stranger.transport.is_reading()))


async def test_a_broken_connection_is_broken_at_the_other_end(tmp_path: Path) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        (_, outside), (reader, _) = await _spliced(one, port, queue)
        outside.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        outside.transport.abort()
        assert await reader.read() == b""
        await until(lambda: len(one.listener) == 0)


async def test_silence_ends_what_is_passed_through(tmp_path: Path) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        one.listen(server=port, idle=0.05)
        outside = await one.connect()
        outside[1].write(b"<stream>")
        inside = await queue.get()
        assert await inside[0].read() == b"<stream>"
        assert await _end_of(outside) == b""
        await until(lambda: len(one.listener) == 0)


async def test_a_server_that_is_away_is_told_once_and_strangers_are_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = unused_port()
    async with house(tmp_path, stranger) as one:
        one.listen(server=port)
        with caplog.at_level(logging.ERROR):
            for _ in range(2):
                outside = await one.connect()
                outside[1].write(b"<stream>")
                assert await _end_of(outside) == b""
        assert caplog.text.count(f"127.0.0.1:{port} (relay.pass_through) cannot be reached") == 1
        await until(lambda: len(one.listener) == 0)


async def test_strangers_leave_places_to_partners_and_do_not_make_room(tmp_path: Path) -> None:
    def react(data: bytes) -> list[Any]:
        return [PassThrough(data)] if data == b"s" else [SendBytes(data)]

    async with peers() as (port, queue), house(tmp_path, react, most=4) as one:
        one.listen(server=port)
        passed: list[Streams] = []
        for _ in range(3):
            outside = await one.connect()
            outside[1].write(b"s")
            passed.append(outside)
            await queue.get()
        refused = await one.connect()
        refused[1].write(b"s")
        assert await _end_of(refused) == b""
        one.now += 1000
        reader, writer = await one.connect()
        writer.write(b"p")
        assert await reader.readexactly(1) == b"p"
        assert one.counters.passed_through == 3
        assert len(one.listener) == 4


async def test_ending_the_listener_ends_what_is_passed_through_and_takes_nobody_new(tmp_path: Path) -> None:
    async with peers() as (port, queue), house(tmp_path, stranger) as one:
        outside, inside = await _spliced(one, port, queue)
        (address,) = one.listener.addresses
        one.listener.close()
        assert await outside[0].read() == b""
        assert await inside[0].read() == b""
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(address.host, address.port)


async def _end_of(streams: Streams) -> bytes:
    try:
        return await streams[0].read()
    except ConnectionResetError:
        return b""
