"""The two ends of `bench.relay`: attached domains in one process, between which messages flow.

Nothing is parsed but the handshake: messages are found by their opening tags, so that the generator is never what is
measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import statistics
import time
from pathlib import Path
from typing import Any

MESSAGE, ERROR = b"<message", b"<error"
TEXT = "The body of a message is of some length, as people write them. "
_STREAM_ID = re.compile(rb"<stream:stream[^>]*\bid=['\"]([^'\"]+)['\"]")
_PATIENCE = 60.0


class End(asyncio.Protocol):
    """An attached domain.

    :ivar received: messages, errors among them.
    """

    def __init__(self, domain: str, secret: str) -> None:
        self.domain, self._secret = domain, secret
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = self.errors = 0
        self._tail = b""
        self._watcher: Any = None

    @classmethod
    async def attached(cls, domain: str, component: dict[str, Any]) -> End:
        """Attach as a domain; `component` has host, port and secret."""
        loop = asyncio.get_running_loop()
        _, end = await loop.create_connection(
            lambda: cls(domain, component["secret"]), component["host"], component["port"]
        )
        async with asyncio.timeout(_PATIENCE):
            await end.ready
        return end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(
            b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>"
            % self.domain.encode()
        )

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        if not self.ready.done():
            self._tail = b"" if self._handshake(data) else data
            return
        # A tag that is cut in two is counted when its rest has come.
        self._tail = data[-len(MESSAGE) + 1 :]
        self.received += data.count(MESSAGE)
        self.errors += data.count(ERROR) - self._tail.count(ERROR)
        if self._watcher is not None:
            self._watcher()

    def _handshake(self, data: bytes) -> bool:
        match = _STREAM_ID.search(data)
        if match:
            digest = hashlib.sha1(match[1] + self._secret.encode()).hexdigest()
            self._transport.write(f"<handshake>{digest}</handshake>".encode())
        elif b"<handshake" in data:
            self.ready.set_result(None)
        return bool(match) or self.ready.done()

    def send(self, other: str, count: int = 1, text: str = "") -> None:
        """Write messages."""
        message = f"<message from='a@{self.domain}/r' to='b@{other}/r' id='m'><body>{text}</body></message>"
        self._transport.write(message.encode() * count)

    def close(self) -> None:
        """Detach."""
        self._transport.abort()

    async def wait(self, count: int) -> None:
        """Wait until so many messages have come in all."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if self.received >= count and not done.done():
                done.set_result(None)

        self._watcher = look
        look()
        async with asyncio.timeout(_PATIENCE):
            await done
        self._watcher = None
        assert not self.errors, f"{self.errors} messages came back from {self.domain}"


async def first(one: End, other: End) -> float:
    """Seconds until the first message of a pair has arrived: no stream was open."""
    before, started = other.received, time.perf_counter()
    one.send(other.domain)
    await other.wait(before + 1)
    return time.perf_counter() - started


async def round_trip(one: End, other: End, count: int) -> float:
    """Seconds there and back, one at a time: the median."""
    found = []
    for _ in range(count):
        there, back, started = other.received, one.received, time.perf_counter()
        one.send(other.domain)
        await other.wait(there + 1)
        other.send(one.domain)
        await one.wait(back + 1)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


async def flow(one: End, other: End, count: int, window: int) -> float:
    """Messages a second in one direction, with so many on the way at once."""
    begin, started = other.received, time.perf_counter()
    sent = 0
    while sent < count:
        arrived = other.received - begin
        room = min(window - (sent - arrived), count - sent)
        if room >= window // 4 or room == count - sent:
            one.send(other.domain, room, TEXT)
            sent += room
        await other.wait(begin + min(count, sent - window + window // 4))
    await other.wait(begin + count)
    return count / (time.perf_counter() - started)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
