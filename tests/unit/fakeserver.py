"""The server's side of XEP-0114 in a few lines, for what real servers cannot be made to do: half-open handshakes,
broken XML, answers from the wrong address. Everything else is tested on Prosody and ejabberd in tests/interop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from xml.etree import ElementTree as ET

from component.base import ns

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "
    f"xmlns='{ns.COMPONENT}' id='s1' from='gate.test'>"
)


class FakeServer:
    """Accepts one component at a time and shows what it sends."""

    def __init__(self, secret: str = "s3cret", *, handshake: bool = True) -> None:
        self.secret = secret
        self.handshake = handshake
        self.received: asyncio.Queue[ET.Element] = asyncio.Queue()
        self.connections = 0
        self.last_words = ""
        self.deaf = False
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port or self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        parser = ET.XMLPullParser(("start", "end"))
        depth = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                parser.feed(data)
                for event, element in parser.read_events():
                    depth += 1 if event == "start" else -1
                    if event == "start" and depth == 1:
                        writer.write(HEADER.encode())
                    elif event == "end" and depth == 1:
                        self._stanza(element, writer)
                    elif event == "end" and depth == 0:
                        writer.write(self.last_words.encode() + b"</stream:stream>")
                        self.last_words = ""
                        writer.close()
                        return
        writer.close()

    def _stanza(self, element: ET.Element, writer: asyncio.StreamWriter) -> None:
        if self.deaf:
            return
        if element.get("to", "?") == element.get("from"):
            writer.write(ET.tostring(element))  # routed back, as a server does
        elif not element.tag.endswith("}handshake"):
            self.received.put_nowait(element)
        elif not self.handshake:
            return
        elif element.text == hashlib.sha1(f"s1{self.secret}".encode()).hexdigest():
            writer.write(b"<handshake/>")
        else:
            writer.write(
                f"<stream:error><not-authorized xmlns='{ns.STREAMS}'/></stream:error></stream:stream>".encode()
            )
            writer.close()

    def send(self, xml: str) -> None:
        assert self._writer is not None
        self._writer.write(xml.encode())


class Tasks:
    """A `spawn` for tests: everything it started is cancelled at the end, and failures are raised."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def __call__(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.append(task)
        return task

    async def done(self) -> None:
        """Wait until everything that was started has ended by itself."""
        await asyncio.gather(*self._tasks)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@contextlib.asynccontextmanager
async def running(server: FakeServer) -> AsyncIterator[tuple[FakeServer, Tasks]]:
    """A started server and a `spawn`, both ended at the end."""
    tasks = Tasks()
    await server.start()
    try:
        yield server, tasks
    finally:
        await tasks.end()
        await server.stop()
