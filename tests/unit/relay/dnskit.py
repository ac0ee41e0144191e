"""A small DNS server of the test's own, on one random loopback port for UDP and TCP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from component.base.settings import Address

Meddle = Callable[[dns.message.Message, bool], dns.message.Message | None]


@dataclass
class Zone:
    """What the server answers.

    :ivar records: by name and type; a CNAME answers every type. A name that is in none does not exist.
    :ivar silent: names that are not answered at all.
    :ivar broken: names that are answered with SERVFAIL.
    :ivar long: names whose answer over UDP is cut off.
    :ivar meddle: has the last word; is told whether it is over UDP.
    :ivar asked: questions, as ``TYPE name``, with ``tcp`` behind those that came over TCP.
    """

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    long: set[str] = field(default_factory=set)
    meddle: Meddle | None = None
    asked: list[str] = field(default_factory=list)
    address: Address = field(default_factory=lambda: Address("", 0))

    def add(self, name: str, kind: str, *data: str) -> None:
        self.records.setdefault((name, kind), []).extend(data)

    def answer(self, wire: bytes, udp: bool) -> bytes | None:
        question = dns.message.from_wire(wire)
        name, kind = question.question[0].name.to_text(omit_final_dot=True), question.question[0].rdtype
        self.asked.append(f"{kind.name} {name}" + ("" if udp else " tcp"))
        if name in self.silent:
            return None
        reply = dns.message.make_response(question, recursion_available=True)
        if name in self.broken:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.long and udp:
            reply.flags |= dns.flags.TC
        else:
            self._fill(reply, name, kind.name)
        told = self.meddle(reply, udp) if self.meddle else reply
        return told.to_wire() if told is not None else None

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> None:
        while (name, "CNAME") in self.records:
            alias = self.records[name, "CNAME"]
            reply.answer.append(dns.rrset.from_text_list(f"{name}.", 60, "IN", "CNAME", alias))
            name = alias[0].rstrip(".")
        if (name, kind) in self.records:
            reply.answer.append(dns.rrset.from_text_list(f"{name}.", 60, "IN", kind, self.records[name, kind]))
        elif not any(known == name for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._zone.answer(data, udp=True)
        if answer is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def serving(zone: Zone, host: str = "127.0.0.1") -> AsyncIterator[Zone]:
    """Answers on a port of its own until the end of the block."""

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = zone.answer(await reader.readexactly(length), udp=False)
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    stream, datagram = _both(host)
    server = await asyncio.start_server(over_tcp, sock=stream)
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(zone), sock=datagram)
    zone.address = Address(host, stream.getsockname()[1])
    try:
        yield zone
    finally:
        transport.close()
        server.close()
        await server.wait_closed()


def _both(host: str) -> tuple[socket.socket, socket.socket]:
    """Sockets for TCP and UDP that have the same port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.bind((host, 0))
        datagram = socket.socket(family, socket.SOCK_DGRAM)
        try:
            datagram.bind((host, stream.getsockname()[1]))
        except OSError:  # somebody has it for UDP
            stream.close()
            datagram.close()
            continue
        return stream, datagram


def loopback_v6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
