"""The other end of each connection, as the relay sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from component.relay.counters import Role
from component.relay.status import PairStatus, StreamStatus
from component.relay.wire.events import Output, PairRefused
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication
from component.relay.wire.s2s_out import Purpose
from component.relay.wire.stream import S2SStream


class Connection(Protocol):
    """One TCP connection with its stream (`component.relay.net.connection`)."""

    @property
    def stream(self) -> S2SStream: ...

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the other end."""

    @property
    def congested(self) -> bool:
        """Whether so much waits to be written that nothing more should be sent."""

    @property
    def waiting_bytes(self) -> int: ...

    @property
    def tls_version(self) -> str: ...

    @property
    def cipher(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def do(self, outputs: list[Output]) -> None:
        """Carry out what the stream has returned, and tell of the rest."""

    def hold(self) -> None:
        """Read nothing until `resume`."""

    def resume(self) -> None:
        """Read again."""


@dataclass(eq=False, slots=True)
class Peer:
    """A connection, and what the relay remembers of it.

    :ivar id: for people; not the id in a stream's header.
    :ivar since: when it was made, Unix time in seconds.
    :ivar settled: done when it is known whether the stream came to something: True with the first authorized pair, or
        when keys can be asked about; False when it has ended.
    :ivar gone: set when the connection is no more.
    :ivar refusal: the last refusal of a pair on it.
    :ivar ways: how pairs were authorized on it.
    :ivar asked: pairs for which dialback was asked on the stream; each is asked for once.
    :ivar held: partners for whose sake nothing is read from it.
    :ivar last: monotonic time of the last stanza in either direction.
    """

    connection: Connection
    role: Role
    id: str
    since: float
    last: float
    purpose: Purpose = Purpose.STANZAS
    settled: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: PairRefused | None = None
    ended: str = ""
    ways: list[Authentication] = field(default_factory=list)
    asked: set[Pair] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    sent: int = 0
    received: int = 0

    @property
    def stream(self) -> S2SStream:
        """The machine of the connection."""
        return self.connection.stream

    def takes(self, pair: Pair) -> bool:
        """Whether a stanza of a pair can be sent now.

        That a pair is authorized no more is known to the machine at once, and told behind what came before.
        """
        stream = self.stream
        return pair in stream.sends and not self.connection.congested and not stream.acks.congested

    def settle(self, success: bool) -> None:
        """Say whether the stream came to something; only the first word counts."""
        if not self.settled.done():
            self.settled.set_result(success)

    def send(self, pair: Pair, raw: bytes, token: object, now: float) -> None:
        """Send a stanza of a pair that it takes.

        :raises LookupError: the pair is not authorized.
        """
        self.sent += 1
        self.last = now
        self.connection.do(self.stream.send(pair, raw, token, now))

    def hold(self, partner: str) -> None:
        """Read nothing until this partner, and whoever else wants the same, says `resume`."""
        self.held.add(partner)
        self.connection.hold()

    def resume(self, partner: str) -> None:
        """Read again, as far as this partner is concerned."""
        if partner in self.held:
            self.held.remove(partner)
            if not self.held:
                self.connection.resume()

    def close(self, condition: str, text: str, now: float) -> None:
        """End the stream, in good order when `condition` is empty."""
        self.connection.do(self.stream.close(condition, text, now))

    def pairs(self) -> list[PairStatus]:
        """Its pairs, sorted."""
        stream = self.stream
        return [
            PairStatus(pair.local, pair.remote, pair in stream.sends, pair in stream.receives)
            for pair in sorted(stream.sends | stream.receives)
        ]

    def detail(self) -> dict[str, str | bool]:
        """What goes on record of it."""
        connection = self.connection
        return {
            "role": str(self.role), "address": connection.address, "tls": connection.tls_version,
            "cipher": connection.cipher, "fingerprint": connection.fingerprint, "bidi": self.stream.bidi,
        }  # fmt: skip

    def status(self, now: float) -> StreamStatus:
        """What is shown of it.

        :param now: monotonic.
        """
        connection, stream = self.connection, self.stream
        return StreamStatus(
            id=self.id, role=self.role, address=connection.address, pairs=tuple(self.pairs()),
            authentication=tuple(self.ways), bidi=stream.bidi, tls_version=connection.tls_version,
            cipher=connection.cipher, fingerprint=connection.fingerprint, since=self.since,
            idle_seconds=now - self.last, sent=self.sent, received=self.received,
            waiting_bytes=connection.waiting_bytes,
        )  # fmt: skip
