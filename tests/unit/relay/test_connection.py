"""The driver of one connection, over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import cast

import pytest

from component.relay.counters import RefusalKind, Role
from component.relay.net import connection as module
from component.relay.net.connection import Connection, connect, shown_address
from component.relay.wire.events import (
    CloseConnection,
    Noticed,
    Output,
    PairAuthorized,
    PairRefused,
    PassThrough,
    SendBytes,
    StanzaReceived,
    StartTls,
    StreamEnded,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Federation, PartnerPolicy
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.s2s_out import OutgoingStream
from tests.unit.relay.connkit import (
    LOCAL,
    PARTNER,
    React,
    Recorder,
    ScriptedIn,
    ScriptedOut,
    accepting,
    peer_tls,
    peers,
    unused_port,
    wiring,
)


class Meeting:
    """A connection that a peer has opened, and the peer's end of it."""

    def __init__(
        self, script: ScriptedIn, owner: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ):
        self.script, self.owner, self.reader, self.writer = script, owner, reader, writer

    @property
    def connection(self) -> Connection:
        return self.owner.connections[0]

    @property
    def transport(self) -> asyncio.Transport:
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    async def ended(self) -> None:
        await self.owner.ended.wait()


@asynccontextmanager
async def met(tmp_path: Path, react: React = lambda _: [], *, direct_tls: bool = False) -> AsyncIterator[Meeting]:
    owner, script = Recorder(), ScriptedIn(react)
    ours = wiring(tmp_path)
    async with accepting(lambda: Connection(script, owner, ours, direct_tls=direct_tls)) as port:
        tls = peer_tls(tmp_path) if direct_tls else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="isp.test" if tls else None
        )
        try:
            yield Meeting(script, owner, reader, writer)
        finally:
            writer.transport.abort()
            await owner.ended.wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


# Both machines, the real ones


async def test_two_relays_negotiate_tls_external_and_bidi_and_talk_both_ways(tmp_path: Path) -> None:
    numbers = count()
    us, them = Recorder(), Recorder()
    ours, theirs = wiring(tmp_path), wiring(tmp_path, PARTNER, "partner.test")
    policy = PartnerPolicy("isp.test")
    here = Federation(frozenset({"isp.test"}), {"partner.test": PartnerPolicy("partner.test")}, "s")
    there = Federation(frozenset({"partner.test"}), {"isp.test": policy}, "t")

    def new_id() -> str:
        return f"id{next(numbers)}"

    for direct in (False, True):
        us.outputs.clear()
        them.outputs.clear()
        us.ended, them.ended = asyncio.Event(), asyncio.Event()

        def accepted(direct: bool = direct) -> Connection:
            return Connection(IncomingStream(here, new_id, ours.clock(), tls=direct), us, ours, direct_tls=direct)

        async with accepting(accepted) as port:
            stream = OutgoingStream(there, "partner.test", policy, new_id, theirs.clock(), tls=direct)
            out = Connection(stream, them, theirs, direct_tls=direct)
            await connect(out, "127.0.0.1", port, 20)
            await until(lambda: all(_authorized(owner) for owner in (us, them)))
            into = us.connections[-1]
            assert (into.role, out.role) == (Role.INCOMING, Role.OUTGOING)
            assert (into.fingerprint, out.fingerprint) == (_fingerprint(PARTNER.der), _fingerprint(LOCAL.der))
            assert into.tls_version == out.tls_version == "TLSv1.3"
            assert into.cipher == out.cipher != ""
            assert out.address == f"127.0.0.1:{port}"
            for one, owner, pair in (
                (into, them, Pair("isp.test", "partner.test")),
                (out, us, Pair("partner.test", "isp.test")),
            ):
                stanza = f"<message from='{pair.local}' to='{pair.remote}'><body>hi</body></message>".encode()
                one.do(one.stream.send(pair, stanza, None, ours.clock()))
                await until(partial(_received, owner))
            out.do(out.stream.close("", "That is all.", theirs.clock()))
            await us.ended.wait()
            await them.ended.wait()
            for owner in (us, them):
                (end,) = [output for output in owner.outputs if isinstance(output, StreamEnded)]
                assert end.condition == ""


def _authorized(owner: Recorder) -> bool:
    return any(isinstance(output, PairAuthorized) for output in owner.outputs)


def _received(owner: Recorder) -> bool:
    return any(isinstance(output, StanzaReceived) for output in owner.outputs)


def _fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


# What comes and goes


async def test_what_arrives_goes_to_the_machine_and_its_answer_back(tmp_path: Path) -> None:
    async with met(tmp_path, lambda data: [SendBytes(b"<"), SendBytes(data), SendBytes(b">")]) as meeting:
        assert not meeting.connection.heard
        meeting.writer.write(b"one")
        assert await meeting.reader.readexactly(5) == b"<one>"
        assert meeting.connection.heard
        assert meeting.connection.address == shown_address(meeting.writer.get_extra_info("sockname"))


async def test_outputs_keep_their_order_when_the_owner_calls_back(tmp_path: Path) -> None:
    notice = Noticed("kind", "first")

    async with met(tmp_path, lambda _: [notice, SendBytes(b"success "), Noticed("kind", "second")]) as meeting:

        def react(connection: Connection, output: Output) -> None:
            if output is notice:
                connection.do([SendBytes(b"stanza"), Noticed("kind", "third")])

        meeting.owner.react = react
        meeting.writer.write(b"x")
        assert await meeting.reader.readexactly(14) == b"success stanza"
        assert [one.text for one in meeting.owner.outputs if isinstance(one, Noticed)] == ["first", "second", "third"]


async def test_what_the_owner_sends_in_one_round_leaves_in_one_piece(tmp_path: Path) -> None:
    async with met(tmp_path, direct_tls=True) as meeting:
        await until(lambda: "tls" in meeting.script.told)
        transport = meeting.connection._transport
        assert transport is not None
        written: list[bytes] = []
        transport.write = written.append  # type: ignore[method-assign, assignment]  # the peer cannot see pieces
        for number in range(100):
            meeting.connection.do([SendBytes(b"<iq id='%d'/>" % number)])
        assert written == []
        await asyncio.sleep(0)
        assert len(written) == 1


async def test_a_large_answer_under_tls_arrives_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    async with met(tmp_path, lambda _: [SendBytes(data)], direct_tls=True) as meeting:
        meeting.writer.write(b"x")
        assert await meeting.reader.readexactly(len(data)) == data


async def test_one_byte_at_a_time(tmp_path: Path) -> None:
    async with met(tmp_path, lambda _: [SendBytes(b".")]) as meeting:
        meeting.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"<stream>":
            meeting.writer.write(bytes([byte]))
            assert await meeting.reader.readexactly(1) == b"."
        assert meeting.script.received == b"<stream>"


async def test_nothing_is_read_while_the_owner_holds_it(tmp_path: Path) -> None:
    async with met(tmp_path, lambda data: [SendBytes(data)]) as meeting:
        meeting.writer.write(b"a")
        assert await meeting.reader.readexactly(1) == b"a"
        meeting.connection.hold()
        meeting.connection.hold()
        meeting.writer.write(b"b")
        for _ in range(20):
            await asyncio.sleep(0)
        assert meeting.script.received == b"a"
        meeting.connection.resume()
        assert await meeting.reader.readexactly(1) == b"b"


async def test_a_peer_that_does_not_read_congests_the_connection_until_it_reads(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        meeting.transport.pause_reading()
        sent = 0
        while not meeting.connection.congested:
            meeting.connection.do([SendBytes(bytes(100_000))])
            sent += 100_000
            await asyncio.sleep(0)
        assert meeting.connection.waiting_bytes > 0
        meeting.transport.resume_reading()
        await meeting.reader.readexactly(sent)
        await meeting.owner.wrote.wait()
        assert not meeting.connection.congested


async def test_the_owner_hears_of_the_end_of_every_congestion(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        meeting.connection.do([SendBytes(bytes(module.HIGH_WATER + 1))])
        assert meeting.connection.congested
        await meeting.reader.readexactly(module.HIGH_WATER + 1)
        await meeting.owner.wrote.wait()


async def test_what_the_owner_held_back_leaves_without_another_event(tmp_path: Path) -> None:
    left = [bytes(100_000)] * 12

    def go_on(connection: Connection) -> None:
        while left and not connection.congested:
            connection.do([SendBytes(left.pop())])

    async with met(tmp_path) as meeting:
        meeting.owner.writable = go_on  # type: ignore[method-assign]
        go_on(meeting.connection)
        await meeting.reader.readexactly(12 * 100_000)


async def test_what_is_caused_while_outputs_are_carried_out_counts_as_waiting(tmp_path: Path) -> None:
    def react(connection: Connection, output: Output) -> None:
        while not connection.congested:
            connection.do([SendBytes(bytes(100_000))])

    async with met(tmp_path) as meeting:
        meeting.owner.react = react
        meeting.connection.do([Noticed("kind", "something")])
        await meeting.reader.readexactly(3 * 100_000)  # of which the last is above the mark


async def test_a_peer_that_never_reads_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_LIMIT", 1_000_000)
    async with met(tmp_path) as meeting:
        meeting.transport.pause_reading()
        while not meeting.owner.ended.is_set():
            meeting.connection.do([SendBytes(bytes(1_000_000))])
            await asyncio.sleep(0)
        assert meeting.script.told[0] == "The peer does not read what it is sent."


# TLS


async def test_starttls_after_what_was_sent_in_the_clear(tmp_path: Path) -> None:
    def react(data: bytes) -> list[Output]:
        return [SendBytes(b"<proceed/>"), StartTls("isp.test")] if data == b"<starttls/>" else [SendBytes(data)]

    async with met(tmp_path, react) as meeting:
        meeting.script.on_tls = lambda: [Noticed("kind", "secured")]
        meeting.writer.write(b"<starttls/>")
        assert await meeting.reader.readexactly(10) == b"<proceed/>"
        assert meeting.connection.tls_version == ""
        await meeting.writer.start_tls(peer_tls(tmp_path), server_hostname="isp.test")
        meeting.writer.write(b"<secret/>")
        assert await meeting.reader.readexactly(9) == b"<secret/>"
        assert meeting.owner.outputs == [Noticed("kind", "secured")]
        assert meeting.script.identity is not None
        assert meeting.script.identity.refusal("partner.test") == ""
        assert meeting.script.identity.refusal("other.test") != ""


async def test_we_are_the_initiator_of_starttls(tmp_path: Path) -> None:
    def react(data: bytes) -> list[Output]:
        return [StartTls("isp.test", "partner.test")] if data == b"<proceed/>" else []

    owner, script = Recorder(), ScriptedOut(react)
    script.on_tls = lambda: [SendBytes(b"<again>")]
    async with peers() as (port, queue):
        await connect(Connection(script, owner, wiring(tmp_path)), "127.0.0.1", port, 20)
        reader, writer = await queue.get()
        assert await reader.readexactly(6) == b"<open>"
        writer.write(b"<proceed/>")
        tls = peer_tls(tmp_path, server=True)
        named: list[str | None] = []
        tls.sni_callback = lambda _socket, name, _context: named.append(name)
        await writer.start_tls(tls)
        assert await reader.readexactly(7) == b"<again>"
        assert named == ["partner.test"]
        assert script.told == ["open", "tls"]
        writer.close()
        await owner.ended.wait()


async def test_direct_tls_of_ours_comes_before_the_stream_and_says_what_it_is_for(tmp_path: Path) -> None:
    tls = peer_tls(tmp_path, server=True)
    tls.set_alpn_protocols(["xmpp-server"])
    owner, script = Recorder(), ScriptedOut()
    script.on_tls = lambda: [SendBytes(b"<first>")]
    async with peers(tls) as (port, queue):
        await connect(Connection(script, owner, wiring(tmp_path), direct_tls=True), "127.0.0.1", port, 20)
        reader, writer = await queue.get()
        assert await reader.readexactly(7) == b"<first>"
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "xmpp-server"
        assert script.told == ["tls"]
        writer.close()
        await owner.ended.wait()


async def test_a_handshake_that_fails_is_told_to_the_owner_and_to_the_peer(tmp_path: Path) -> None:
    async with met(tmp_path, lambda _: [StartTls("isp.test")]) as meeting:
        meeting.writer.write(b"<starttls/>")
        await until(lambda: meeting.connection._tls is not None)
        meeting.writer.write(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        await meeting.ended()
        alert = await meeting.reader.read()
        assert alert[:1] == b"\x15"
        (refused,) = meeting.owner.outputs
        assert isinstance(refused, PairRefused)
        assert refused.kind is RefusalKind.TLS
        assert refused.reason.startswith("TLS could not be agreed on: ")
        assert meeting.script.told[0] == refused.reason


async def test_a_peer_that_leaves_in_the_middle_of_a_handshake(tmp_path: Path) -> None:
    async with met(tmp_path, lambda _: [StartTls("isp.test")]) as meeting:
        meeting.writer.write(b"<starttls/>")
        await until(lambda: meeting.connection._tls is not None)
        meeting.writer.write(b"\x16\x03\x01")
        meeting.writer.close()
        await meeting.ended()
        (refused,) = meeting.owner.outputs
        assert isinstance(refused, PairRefused)
        assert refused.kind is RefusalKind.TLS


async def test_nothing_is_said_in_the_middle_of_a_handshake(tmp_path: Path) -> None:
    async with met(
        tmp_path, lambda _: [SendBytes(b"go"), StartTls("isp.test"), SendBytes(b"in the clear")]
    ) as meeting:
        meeting.writer.write(b"<starttls/>")
        await until(lambda: meeting.connection._tls is not None)
        meeting.connection.drop("policy-violation", "No.")
        assert await meeting.reader.read() == b"go"


async def test_broken_tls_ends_the_stream_after_what_was_whole(tmp_path: Path) -> None:
    async with met(tmp_path, direct_tls=True) as meeting:
        meeting.writer.write(b"whole")
        await until(lambda: meeting.script.received == b"whole")
        os.write(meeting.writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        await meeting.ended()
        assert any(text.startswith("TLS broke: ") for text in meeting.script.told)


async def test_the_end_of_tls_is_the_end(tmp_path: Path) -> None:
    async with met(tmp_path, direct_tls=True) as meeting:
        meeting.writer.write(b"</stream:stream>")
        meeting.writer.close()
        await meeting.ended()
        assert meeting.script.received == b"</stream:stream>"
        assert meeting.script.told[:2] == ["tls", "The peer ended TLS."]


# Time


async def test_the_machine_is_woken_at_its_deadline_and_when_it_moves_it(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        script = meeting.script
        script.on_tick = lambda: [SendBytes(b" ")]
        for _ in range(2):
            script.wanted = asyncio.get_running_loop().time() + 1000
            meeting.writer.write(b"x")
            await until(lambda: script.received != b"")
            assert "tick" not in script.told
            script.received = b""
            script.wanted = 0.0
            meeting.writer.write(b"y")
            assert await meeting.reader.readexactly(1) == b" "
            assert script.told.pop() == "tick"


async def test_a_deadline_that_was_put_off_wakes_nobody(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        script, connection = meeting.script, meeting.connection
        script.wanted = asyncio.get_running_loop().time() + 0.02
        connection.do([])
        await until(lambda: connection._timer is not None)
        first = connection._timer
        script.wanted += 1000
        connection.do([])
        await until(lambda: connection._timer is not first)
        assert script.told == []


# The end


async def test_a_peer_that_still_sends_reads_the_whole_error(tmp_path: Path) -> None:
    error = b"<error/>" * 20_000
    async with met(tmp_path, lambda _: [SendBytes(error), CloseConnection("enough")]) as meeting:
        meeting.writer.write(bytes(500_000))
        assert await meeting.reader.read() == error
        meeting.writer.write(bytes(10))
        assert not meeting.owner.ended.is_set()
        meeting.writer.close()
        await meeting.ended()


async def test_a_peer_that_does_not_close_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER", 0.01)
    async with met(tmp_path, lambda _: [SendBytes(b"bye"), CloseConnection("enough")]) as meeting:
        meeting.writer.write(b"x")
        assert await meeting.reader.read() == b"bye"
        await meeting.ended()


async def test_a_peer_that_sends_on_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINGER_BYTES", 100_000)
    async with met(tmp_path, lambda _: [CloseConnection("enough")]) as meeting:
        while not meeting.owner.ended.is_set():
            meeting.writer.write(bytes(50_000))
            await asyncio.sleep(0)
        assert len(meeting.script.received) <= module.CHUNK


async def test_after_the_end_nothing_is_sent_and_nothing_taken(tmp_path: Path) -> None:
    end: list[Output] = [CloseConnection("enough"), SendBytes(b"late"), StreamEnded("", "", by_us=True)]
    async with met(tmp_path, lambda _: end) as meeting:
        meeting.writer.write(b"x")
        assert await meeting.reader.read() == b""
        meeting.writer.write(b"more")
        meeting.connection.do([SendBytes(b"later still")])
        meeting.writer.close()
        await meeting.ended()
        assert meeting.script.received == b"x"
        assert meeting.owner.outputs == [StreamEnded("", "", by_us=True)]


async def test_a_half_closed_connection_is_a_lost_one(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        meeting.writer.write_eof()
        assert await meeting.reader.read() == b""
        await meeting.ended()
        assert meeting.script.told[0] == "The peer closed the connection."


async def test_a_reset_connection_is_a_lost_one(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        raw = meeting.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        meeting.writer.transport.abort()
        await meeting.ended()
        assert meeting.script.told[0] == "The connection broke: Connection reset by peer."


async def test_a_connection_that_is_reset_while_we_close_it_is_no_defect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with met(tmp_path, lambda _: [CloseConnection("enough")]) as meeting:

        def reset() -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        assert meeting.connection._transport is not None
        meeting.connection._transport.write_eof = reset  # type: ignore[method-assign]  # the moment cannot be hit
        meeting.writer.write(b"x")
        await meeting.ended()
        assert caplog.text == ""


async def test_dropping_frees_the_socket_at_once(tmp_path: Path) -> None:
    async with met(tmp_path) as meeting:
        meeting.connection.drop("resource-constraint", "Too many.")
        assert await meeting.reader.read() == b"<error/>"
        await meeting.ended()
        assert meeting.script.told[0] == "close resource-constraint"


@pytest.mark.parametrize("whose", ["machine", "owner", "time"])
async def test_a_defect_ends_one_connection_and_shows_no_stanza(
    tmp_path: Path, whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    def react(data: bytes) -> list[Output]:
        if whose == "machine":
            raise KeyError(data)
        if whose == "time":
            meeting.script.wanted = cast(float, "never")
            return []
        return [Noticed("kind", data.decode())]

    def fail(_: Connection, output: Output) -> None:
        raise KeyError(output)

    async with met(tmp_path, lambda data: [SendBytes(data)]) as other, met(tmp_path, react) as meeting:
        meeting.owner.react = fail
        with caplog.at_level(logging.ERROR):
            meeting.writer.write(b"a private message")
            await meeting.ended()
        assert "Error, a defect" in caplog.text
        assert "private" not in caplog.text
        assert "It was closed." in meeting.script.told
        other.writer.write(b"still")
        assert await other.reader.readexactly(5) == b"still"


async def test_who_is_no_partner_is_handed_over_with_all_that_it_has_sent(tmp_path: Path) -> None:
    taken: list[bytes] = []
    ended: list[bool] = []

    def adopt(transport: asyncio.Transport, received: bytes, on_end: Callable[[], None]) -> None:
        assert not transport.is_reading()
        taken.append(received)
        transport.set_protocol(asyncio.Protocol())
        transport.close()
        on_end()

    owner = Recorder()
    ours = wiring(tmp_path, adopt=adopt)
    script = ScriptedIn(lambda data: [PassThrough(data)])
    async with accepting(lambda: Connection(script, owner, ours, on_end=lambda: ended.append(True))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"<stream from='stranger'>")
        assert await reader.read() == b""
        writer.close()
    await owner.ended.wait()
    assert taken == [b"<stream from='stranger'>"]
    assert ended == [True]
    assert script.told == []


async def test_who_is_no_partner_is_closed_when_there_is_nowhere_to_go(tmp_path: Path) -> None:
    async with met(tmp_path, lambda data: [PassThrough(data)]) as meeting:
        meeting.writer.write(b"x")
        assert await meeting.reader.read() == b""


# Connecting


async def test_nobody_there_is_an_error_and_the_owner_hears_of_nothing(tmp_path: Path) -> None:
    owner = Recorder()
    with pytest.raises(OSError, match="Connect call failed"):
        await connect(Connection(ScriptedOut(), owner, wiring(tmp_path)), "127.0.0.1", unused_port(), 20)
    async with peers() as (port, _):
        with pytest.raises(TimeoutError):
            await connect(Connection(ScriptedOut(), owner, wiring(tmp_path)), "127.0.0.1", port, 0)
    assert owner.connections == []


def test_addresses_are_shown_as_people_write_them() -> None:
    assert shown_address(("192.0.2.1", 5269)) == "192.0.2.1:5269"
    assert shown_address(("2001:db8::1", 5269, 0, 0)) == "[2001:db8::1]:5269"
    assert shown_address(None) == ""
