"""A recording CWMP endpoint: takes the sessions of devices and remembers their Informs. For loopback only.

==============================================  ====================================================================
``POST /``                                      CWMP: an Inform gets an InformResponse, an empty body 204
``GET /informs[?device=ID][&after=N]``          the Informs as a JSON list, oldest first: ``number``, ``device``,
                                                ``events``, ``jid`` (ConnReqJabberID) and ``received`` (Unix time)
``GET /informs?device=ID&count=N[&timeout=S]``  the same, as soon as there are N of them; 504 after S seconds (30)
``POST /hold``, ``POST /release``               keep sessions open (devices are in session) until released
==============================================  ====================================================================
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import Element

from stanzagate.sandbox.device import cwmp

KEPT = 20_000
"""Informs that are remembered, the latest."""

MAX_BODY = 1 << 20
BACKLOG = 4096
_MAX_WAIT = 300.0


@dataclass(frozen=True)
class Inform:
    """One Inform that arrived.

    :ivar number: counted from 1 over all devices.
    :ivar device: ``OUI-SERIAL``.
    :ivar events: its event codes, for example ``6 CONNECTION REQUEST``.
    :ivar jid: the ConnReqJabberID in it, or empty.
    :ivar received: seconds since the epoch.
    """

    number: int
    device: str
    events: tuple[str, ...]
    jid: str
    received: float


class _BadRequest(Exception):
    """The status to answer with."""


class Recorder:
    """See the module. Run it with `listen`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._informs: deque[Inform] = deque(maxlen=KEPT)
        self._total = 0
        self._arrived = asyncio.Condition()
        self._released = asyncio.Event()
        self._released.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    @asynccontextmanager
    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Recorder]:
        """Serve on this address; `url` is then what devices call. Ends every connection when left."""
        server = await asyncio.start_server(self._serve, host, port, backlog=BACKLOG)
        self.url = f"http://{host}:{server.sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            server.close()
            self.release()
            for writer in tuple(self._writers):
                writer.close()
            await server.wait_closed()

    def informs(self, device: str | None = None, *, after: int = 0) -> list[Inform]:
        """The Informs (of one device) with numbers above `after`, oldest first."""
        return [item for item in self._informs if item.number > after and device in {None, item.device}]

    async def wait(self, device: str | None = None, count: int = 1, *, after: int = 0) -> list[Inform]:
        """`informs`, as soon as there are `count` of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.informs(device, after=after)) >= count)
        return self.informs(device, after=after)

    def hold(self) -> None:
        """Keep sessions open from now on."""
        self._released.clear()

    def release(self) -> None:
        """Let held and later sessions end."""
        self._released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                method, target, body = await _read(reader)
                status, content = await self._answer(method, target, body)
                kind = "application/json" if content[:1] in {"[", "{"} else "text/xml; charset=utf-8"
                await _write(writer, status, content.encode(), kind)
        except _BadRequest as error:
            await _write(writer, HTTPStatus.BAD_REQUEST, str(error).encode(), "text/plain")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the device has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[HTTPStatus, str]:
        url = urlsplit(target)
        match method, url.path:
            case "GET", "/informs":
                return await self._list({name: values[-1] for name, values in parse_qs(url.query).items()})
            case "POST", "/hold":
                self.hold()
                return HTTPStatus.NO_CONTENT, ""
            case "POST", "/release":
                self.release()
                return HTTPStatus.NO_CONTENT, ""
            case "POST", "/" if not body:
                await self._released.wait()
                return HTTPStatus.NO_CONTENT, ""
            case "POST", "/":
                try:
                    await self._record(cwmp.parse(body))
                except cwmp.CwmpError as error:
                    raise _BadRequest(str(error)) from None
                return HTTPStatus.OK, cwmp.inform_response()
        return HTTPStatus.NOT_FOUND, ""

    async def _list(self, query: dict[str, str]) -> tuple[HTTPStatus, str]:
        try:
            count, after = int(query.get("count", "0")), int(query.get("after", "0"))
            timeout = min(float(query.get("timeout", "30")), _MAX_WAIT)
        except ValueError:
            raise _BadRequest("count, after and timeout are numbers") from None
        device = query.get("device")
        try:
            async with asyncio.timeout(timeout):
                found = await self.wait(device, count, after=after)
        except TimeoutError:
            return HTTPStatus.GATEWAY_TIMEOUT, "[]"
        return HTTPStatus.OK, json.dumps([asdict(inform) for inform in found])

    async def _record(self, message: Element) -> None:
        if message.tag != f"{{{cwmp.CWMP}}}Inform":
            return  # whatever else a device says is none of our business
        oui, serial = message.findtext("DeviceId/OUI", ""), message.findtext("DeviceId/SerialNumber", "")
        values = {
            struct.findtext("Name", ""): struct.findtext("Value", "")
            for struct in message.iterfind("ParameterList/ParameterValueStruct")
        }
        self._total += 1
        async with self._arrived:
            self._informs.append(
                Inform(
                    number=self._total,
                    device=f"{oui}-{serial}" if oui else serial,
                    events=tuple(code.text or "" for code in message.iterfind("Event/EventStruct/EventCode")),
                    jid=values.get(cwmp.CONN_REQ_JABBER_ID, ""),
                    received=self._clock(),
                )
            )
            self._arrived.notify_all()


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.lower().split(":", 1) for line in head[1:] if line)
        length = int(headers.get("content-length", "0"))
    except (ValueError, asyncio.LimitOverrunError):
        raise _BadRequest("not a request") from None
    if not 0 <= length <= MAX_BODY or "transfer-encoding" in headers:
        raise _BadRequest(f"the body needs a Content-Length of at most {MAX_BODY}")
    return method, target, await reader.readexactly(length)


async def _write(writer: asyncio.StreamWriter, status: HTTPStatus, content: bytes, kind: str) -> None:
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    if status is not HTTPStatus.NO_CONTENT:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
    with suppress(ConnectionError):
        writer.write(f"{head}\r\n".encode() + content)
        await writer.drain()
