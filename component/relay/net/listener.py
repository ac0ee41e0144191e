"""Accepting connections: the ports, how many connections there may be, and who makes room when there are too many.

Whoever has not shown who he is makes room for newcomers: first the oldest that has not said a word, then the oldest
that had `GRACE` seconds and came to nothing. So a crowd of silent or slow connections keeps no partner out, and an
authenticated stream is never given up. An address (of IPv6: its /64) has a limit of its own and makes room for itself
only. Strangers that are passed through leave a quarter of the places to partners.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from component.base.errors import Conflict, InputError
from component.base.settings import Address
from component.relay.counters import RelayCounters
from component.relay.net.connection import Connection
from component.relay.net.splice import Splicer

log = logging.getLogger(__name__)

BACKLOG = 1024
GRACE = 5.0
"""Seconds that a peer has to authenticate before it may have to make room. Negotiation takes well under one."""

_PARTNERS_SHARE = 4
"""One place in so many is never taken by strangers that are passed through."""

Make = Callable[[bool, Callable[[], None]], Connection]
"""A connection with a fresh stream, from whether it begins with TLS, and whom to tell of its end."""


@dataclass(eq=False, slots=True)
class _Guest:
    """A connection that was accepted."""

    transport: asyncio.BaseTransport
    place: str
    since: float
    connection: Connection
    passed: bool = False


class Listener:
    """The ports where partners connect.

    :param listen: ports where streams begin in the clear and negotiate TLS.
    :param direct_tls: ports where connections begin with TLS (XEP-0368).
    :param most: connections at once.
    :param most_per_address: connections at once from one address.
    :param splicer: takes strangers; None when they are not passed through.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        listen: Sequence[Address],
        direct_tls: Sequence[Address],
        make: Make,
        *,
        most: int,
        most_per_address: int,
        counters: RelayCounters,
        clock: Callable[[], float],
        splicer: Splicer | None = None,
    ) -> None:
        self._wanted = [(address, False) for address in listen] + [(address, True) for address in direct_tls]
        self._make = make
        self._most = most
        self._most_per_address = most_per_address
        self._counters = counters
        self._clock = clock
        self._splicer = splicer
        self._sockets: list[tuple[socket.socket, bool]] = []
        self._servers: list[asyncio.Server] = []
        self._guests: dict[asyncio.BaseTransport, _Guest] = {}
        self._places: Counter[str] = Counter()

    # Ports

    def open(self) -> None:
        """Take the ports; connections wait until `run`.

        :raises Conflict: a port is taken.
        :raises InputError: an address is not of this machine, or its port may not be used.
        """
        try:
            for address, direct_tls in self._wanted:
                self._sockets.append((_listening(address, direct_tls), direct_tls))
        except BaseException:
            self.close()
            raise

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            for listening, direct_tls in self._sockets:
                door = partial(_Door, self, direct_tls)
                self._servers.append(await loop.create_server(door, sock=listening, backlog=BACKLOG))
            await loop.create_future()  # never
        finally:
            self.close()

    def close(self) -> None:
        """Accept nothing more, and end what is passed through. Streams of partners are left to their owner."""
        for server in self._servers:
            server.close()
        for listening, _ in self._sockets:
            listening.close()
        self._servers.clear()
        self._sockets.clear()
        if self._splicer is not None:
            self._splicer.close()

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the ports that the system has chosen."""
        return [Address(*listening.getsockname()[:2]) for listening, _ in self._sockets]

    def __len__(self) -> int:
        """Connections that were accepted and have not ended."""
        return len(self._guests)

    # Connections

    def came(self, transport: asyncio.Transport, direct_tls: bool) -> None:
        """A connection was made; take it, or turn it away."""
        self._counters.accepted += 1
        place = _place(transport.get_extra_info("peername"))
        full = self._full(place)
        if full:
            log.debug("a connection from %s was turned away: limit %s", place, full)
            transport.abort()
            return
        connection = self._make(direct_tls, partial(self._left, transport))
        self._guests[transport] = _Guest(transport, place, self._clock(), connection)
        self._places[place] += 1
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def adopt(self, transport: asyncio.Transport, received: bytes, on_end: Callable[[], None]) -> None:
        """A stranger has come: pass it through (`component.relay.net.connection.Adopt`)."""
        guest = self._guests.get(transport)
        passed = sum(one.passed for one in self._guests.values())
        if self._splicer is None or guest is None or passed >= self._most - self._most // _PARTNERS_SHARE:
            self._counters.turned_away["connections"] += 1
            transport.set_protocol(_Turned(on_end))
            transport.abort()
            return
        guest.passed = True
        self._counters.passed_through += 1
        self._splicer.adopt(transport, received, on_end)

    def _full(self, place: str) -> str:
        """The limit that keeps a newcomer out; empty when there is room, or somebody made room."""
        guests = self._guests.values()
        if self._places[place] >= self._most_per_address:
            limit, crowd = "per-address", [guest for guest in guests if guest.place == place]
        elif len(guests) >= self._most:
            limit, crowd = "connections", list(guests)
        else:
            return ""
        self._counters.turned_away[limit] += 1  # the newcomer, or who makes room
        return "" if self._make_room(crowd) else limit

    def _make_room(self, guests: list[_Guest]) -> bool:
        unknown = [guest for guest in guests if not guest.passed and not guest.connection.stream.authenticated]
        silent = [guest for guest in unknown if not guest.connection.heard]
        before = self._clock() - GRACE
        slow = [guest for guest in unknown if guest.since <= before]
        for guest in silent[:1] or slow[:1]:  # both in the order of their coming
            self._left(guest.transport)
            guest.connection.drop("resource-constraint", "Others want to talk.")
            return True
        return False

    def _left(self, transport: asyncio.BaseTransport) -> None:
        guest = self._guests.pop(transport, None)
        if guest is not None:
            self._places[guest.place] -= 1
            if not self._places[guest.place]:
                del self._places[guest.place]


class _Door(asyncio.Protocol):
    """What a new connection has for a protocol until it is known whether it is taken."""

    def __init__(self, listener: Listener, direct_tls: bool) -> None:
        self._listener = listener
        self._direct_tls = direct_tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.came(cast(asyncio.Transport, transport), self._direct_tls)


class _Turned(asyncio.Protocol):
    """What a stranger has for a protocol for whom there is no room."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


def _place(peername: object) -> str:
    """What counts as one address: hosts have as many of IPv6 as they like."""
    match peername:
        case (str(host), int(), *_):
            address = ipaddress.ip_address(host.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address):
                if address.ipv4_mapped is not None:
                    return str(address.ipv4_mapped)
                return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
            return host
        case _:
            return ""


def _listening(address: Address, direct_tls: bool) -> socket.socket:
    """A listening socket. One of ``[::]`` takes IPv6 only, so that ``0.0.0.0`` can stand beside it."""
    key = "relay.direct_tls" if direct_tls else "relay.listen"
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InputError(f"The relay cannot listen on {address}: {error.strerror}.", hint=f"Correct {key}.") from None
    family, _, _, _, where = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot_listen(address, error, key) from None
    return listening


def _cannot_listen(address: Address, error: OSError, key: str) -> InputError | Conflict:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"The relay cannot listen on {address}: the port is taken.",
            hint=f"See who has it with `ss -ltnp sport = :{address.port}`. A server on every address has this one, "
            f"too: stop it there, let it listen on fewer addresses, or change {key}.",
        )
    hint = f"Use an address of this machine in {key}."
    if error.errno == errno.EACCES:
        hint = f"Ports below 1024 need root; choose a higher one in {key}."
    return InputError(f"The relay cannot listen on {address}: {error.strerror}.", hint=hint)
