"""The load: a component that keeps a fixed number of connection requests outstanding and counts the answers.

It parses nothing but the handshake: answers are found by their opening tags, so that the generator is never what
is measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass

REQUEST = (
    "<iq type='get' id='{id}' from='{sender}' to='{to}'>"
    "<connectionRequest xmlns='urn:broadband-forum-org:cwmp:xmppConnReq-1-0'>"
    "<username>{username}</username><password>{password}</password></connectionRequest></iq>"
)
_STREAM_ID = re.compile(rb"<stream:stream[^>]*\bid=['\"]([^'\"]+)['\"]")
_ANSWER = re.compile(rb"<iq\b[^>]*?>")
_ID = re.compile(rb"\bid=['\"](\d+)['\"]")


@dataclass(frozen=True)
class Measured:
    """One measurement.

    :ivar rate: answers a second.
    :ivar latencies: seconds, sorted; of every answer.
    :ivar kinds: how many answers were of type result, and how many errors.
    """

    rate: float
    latencies: list[float]
    results: int
    errors: int

    def percentile(self, share: float) -> float:
        """Seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Load(asyncio.Protocol):
    """One attachment of the generator."""

    def __init__(self, domain: str, secret: str) -> None:
        self.domain, self.secret = domain, secret
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.targets: list[tuple[str, str, str]] = []
        self.sent = self.answered = self.total = self.results = 0
        self.started: dict[bytes, float] = {}
        self.latencies: list[float] = []
        self.finished: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(
            b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>"
            % self.domain.encode()
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.ready.done():
            self._handshake()
            return
        now = time.perf_counter()
        end = 0
        for match in _ANSWER.finditer(self.buffer):
            end = match.end()
            identifier = _ID.search(match[0])
            if identifier is None:
                continue
            started = self.started.pop(identifier[1], None)
            if started is None:
                continue
            self.latencies.append(now - started)
            self.results += b"result" in match[0]
            self.answered += 1
        self.buffer = self.buffer[end:] if end else self.buffer[-65536:]
        if self.finished is not None:
            self._fill(now)

    def _handshake(self) -> None:
        match = _STREAM_ID.search(self.buffer)
        if match:
            digest = hashlib.sha1(match[1] + self.secret.encode()).hexdigest()
            self.transport.write(f"<handshake>{digest}</handshake>".encode())
            self.buffer = b""
        elif b"<handshake" in self.buffer:
            self.buffer = b""
            self.ready.set_result(None)

    def _fill(self, now: float) -> None:
        out = []
        while self.sent < self.total and self.sent - self.answered < self.window:
            to, username, password = self.targets[self.sent % len(self.targets)]
            sender = f"{self.sender}/{self.sent % 8}"
            self.started[b"%d" % self.sent] = now
            out.append(REQUEST.format(id=self.sent, sender=sender, to=to, username=username, password=password))
            self.sent += 1
        if out:
            self.transport.write("".join(out).encode())
        if self.answered >= self.total and self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    async def measure(
        self, sender: str, targets: list[tuple[str, str, str]], total: int, window: int, limit: float
    ) -> Measured:
        """Ask `total` times, `window` at once, round-robin over `targets`; at most `limit` seconds."""
        self.sender, self.targets, self.total, self.window = sender, targets, total, window
        self.sent = self.answered = self.results = 0
        self.latencies = []
        self.started.clear()
        self.finished = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._fill(started)
        async with asyncio.timeout(limit):
            await self.finished
        self.finished = None
        elapsed = time.perf_counter() - started
        return Measured(self.answered / elapsed, sorted(self.latencies), self.results, self.answered - self.results)


async def connected(domain: str, secret: str, host: str, port: int) -> Load:
    """An attached generator."""
    _, load = await asyncio.get_running_loop().create_connection(lambda: Load(domain, secret), host, port)
    await load.ready
    return load
