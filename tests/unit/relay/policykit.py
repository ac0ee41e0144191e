"""The admin API for the relay's tests: the real one behind a line that can be cut, one that lies, one that waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from component.relay.decisions import Decisions
from component.relay.policyapi import PolicyApi
from tests.unit.fakeserver import Tasks


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def until(holds: Callable[[], object]) -> None:
    """Wait for what has no event to wait for."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


class Proxy:
    """A unix socket in front of the real one: it can hang, and it can be killed and come back."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    def kill(self) -> None:
        assert self._server is not None
        self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    def hang(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer))
                group.create_task(self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
        writer.close()


Script = Callable[[str], "bytes | Awaitable[bytes]"]


class Liar:
    """An HTTP server that answers whatever a test wants, to the byte.

    :param script: the whole response to a request, by its path (with the query).
    """

    def __init__(self, path: Path, script: Script) -> None:
        self._path = path
        self._script = script
        self.asked: list[str] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            self.asked.append(path)
            answer = self._script(path)
            writer.write(answer if isinstance(answer, bytes) else await answer)
            await writer.drain()
            if not path.startswith("/v1/relay/changes"):  # a stream stays open
                writer.close()

    def stop(self) -> None:
        self._server.close()


def http(body: str | bytes, status: str = "200 OK") -> bytes:
    """A response with a length."""
    text = body if isinstance(body, bytes) else body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


class FakeApi:
    """The admin API as an object: answers come exactly when a test wants, which no real one can be made to do.

    :ivar lines: what the stream says; an exception ends it.
    :ivar answer: gives the answer to a question.
    """

    def __init__(self, answer: Callable[[str, str], Awaitable[Any]] | None = None) -> None:
        self.lines: asyncio.Queue[Any] = asyncio.Queue()
        self.answer = answer or self._allowed
        self.asked: list[tuple[str, str, str]] = []
        self.confirmed: list[tuple[str, int]] = []
        self.refuse_to_confirm: list[Exception] = []
        self.on_confirm: Callable[[], None] = lambda: None
        self.gone: list[str] = []
        self.streams = 0

    async def _allowed(self, _requester: str, _device: str) -> Any:
        return decided()

    async def decision(self, requester: str, device: str, partner: str) -> Any:
        self.asked.append((requester, device, partner))
        return await self.answer(requester, device)

    async def changes(self, _patience: float) -> AsyncIterator[Any]:
        self.streams += 1
        while True:
            line = await self.lines.get()
            if isinstance(line, Exception):
                raise line
            yield line

    async def confirm(self, stream: str, epoch: int) -> None:
        self.on_confirm()
        if self.refuse_to_confirm:
            raise self.refuse_to_confirm.pop()
        self.confirmed.append((stream, epoch))

    async def goodbye(self, stream: str) -> None:
        self.gone.append(stream)


def begun(epoch: int = 1, stream: str = "s1", **fields: Any) -> dict[str, Any]:
    """The first line of a stream."""
    return {
        "epoch": epoch, "guarded_hosts": ["cpe.test"], "guard": "connection-requests", "gate": "gate.test",
        "stale_limit": 3600.0, "stream": stream, **fields,
    }  # fmt: skip


def decided(epoch: int = 1, **fields: Any) -> dict[str, Any]:
    """An answer to a question."""
    return {
        "effect": "allow", "scope": "bare", "ttl": 300.0, "stale": 3600.0, "epoch": epoch, "rule": "1",
        "reason": "rule 1 allows it", **fields,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def asking(api: Any, *, follow: bool = True, **settings: Any) -> AsyncIterator[Decisions]:
    """The decisions of a relay that follows the changes of `api`."""
    tasks = Tasks()
    settings = {"retry": (0.001, 0.01), **settings}
    decisions = Decisions(api, spawn=tasks, **settings)
    if follow:
        tasks("follow", decisions.run())
    try:
        yield decisions
    finally:
        await tasks.end()


@contextlib.asynccontextmanager
async def connected(socket: Path, **settings: Any) -> AsyncIterator[Decisions]:
    """The decisions of a relay called ``edge``, over a real connection."""
    api = PolicyApi("edge", socket=socket)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        yield await stack.enter_async_context(asking(api, **settings))
