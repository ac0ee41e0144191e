"""What the tests of the in-server plugins look through: raw streams that keep every stanza as it came over the wire.

A library reads a stanza and forgets how it was written; the parser of a device is not that forgiving. So the device
here is a `Recorder`: it keeps bytes, takes nothing for a request but the normal form byte for byte, and answers that.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import httpx

from component.base.tags import WholeTags
from stanzagate.sandbox.wire import STREAM, Stream, attach
from tests.interop.cast import ADDRESS
from tests.interop.clients import CLIENT, CONNECTION_REQUEST, Answer, read_answer
from tests.interop.conftest import Sandbox
from tests.interop.rawclient import authenticated, beside, bind, context, request

PATIENCE = 60.0
LANGUAGE = b" xml:lang='en'"
"""Servers add it to what has no language; the plugin leaves the gate's own stanzas as they are."""


_VALUE = rb"""(?:'[^'<]*'|"[^"<]*")"""
_NORMAL = re.compile(
    rb"<iq(?: (?:type|id|from|to)=%(value)s){4}><connectionRequest xmlns=(?:'%(uri)s'|\"%(uri)s\")>"
    rb"(?:<username>[^<]*</username>|<username/>)(?:<password>[^<]*</password>|<password/>)</connectionRequest></iq>"
    % {b"value": _VALUE, b"uri": re.escape(CONNECTION_REQUEST.encode())}
)


class Splitter:
    """Cuts a stream into its stanzas without touching a byte of them."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler, self._parser.EndElementHandler = self._start, self._end
        self._tags = WholeTags()
        self._buffer = b""
        self._offset = self._begin = self._depth = 0
        self._found: list[bytes] = []
        self._feed(f"<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAM}'>".encode())

    def take(self, data: bytes) -> list[bytes]:
        """The stanzas that are complete now."""
        self._found = []
        self._feed(self._tags.take(data))
        return self._found

    def _feed(self, data: bytes) -> None:
        self._buffer += data
        self._parser.Parse(data)
        kept = self._begin if self._depth > 1 else self._offset + len(self._buffer)
        self._buffer, self._offset = self._buffer[kept - self._offset :], kept

    def _start(self, _name: str, _attributes: dict[str, str]) -> None:
        if self._depth == 1:
            self._begin = self._parser.CurrentByteIndex
        self._depth += 1

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._depth == 1:
            end = self._parser.CurrentByteIndex - self._offset
            if self._buffer.startswith(b"</", end):  # for <empty/> expat stands behind it already
                end = self._buffer.index(b">", end) + 1
            self._found.append(self._buffer[self._begin - self._offset : end])


class Wire:
    """One end of a stream that is open.

    :ivar jid: full JID of a client, domain of a component or of a remote server.
    :ivar kept: every stanza that came, as it came, oldest first.
    :ivar answers: results and errors of any kind of stanza, by id.
    :ivar ended: whether the other side has ended it.
    """

    def __init__(self, jid: str, stream: Stream) -> None:
        self.jid = jid
        self.kept: list[bytes] = []
        self.answers: defaultdict[str, list[Answer]] = defaultdict(list)
        self.ended = False
        self._stream = stream
        self._splitter = Splitter()
        self._arrived = asyncio.Event()

    async def send(self, *stanzas: str) -> None:
        """Write stanzas as they stand."""
        await self._stream.send("".join(stanzas))

    async def read(self, reader: asyncio.StreamReader | None = None) -> None:
        """Take what comes until the stream ends.

        :param reader: whence, when the answers come by a connection of their own.
        """
        reader = reader or self._stream._reader
        while not self.ended:
            data = await reader.read(1 << 16)
            self.ended = not data or data.endswith(b"</stream:stream>")
            for stanza in self._splitter.take(data):
                await self._take(stanza)
            self._arrived.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what came makes `condition` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()

    async def answered(self, *ids: str) -> list[Answer]:
        """Wait until each of these ids has an answer; the first answer of each."""
        missing = deque(ids)

        def complete() -> bool:
            while missing and missing[0] in self.answers:
                missing.popleft()
            return not missing

        try:
            await self.until(complete)
        except TimeoutError:
            raise AssertionError(f"{self.jid} waits for {len(missing)} answers, first for {missing[0]}") from None
        return [self.answers[id][0] for id in ids]

    async def ask(self, xml: str) -> Answer:
        """Send a stanza and wait for its answer."""
        await self.send(xml)
        return (await self.answered(ET.fromstring(xml).get("id", "")))[0]

    async def _take(self, stanza: bytes) -> None:
        self.kept.append(stanza)
        element = parsed(stanza)
        if element.get("type") in ("result", "error"):
            self.answers[element.get("id", "")].append(read_answer(element))


class Request(NamedTuple):
    """A request as the device read it."""

    sender: str
    to: str
    id: str
    username: str
    password: str


class Recorder(Wire):
    """A device that accepts every request.

    :ivar requests: what came in normal form.
    :ivar others: everything else that came since it was online, as it came.
    """

    def __init__(self, jid: str, stream: Stream) -> None:
        super().__init__(jid, stream)
        self.requests: list[Request] = []
        self.others: list[bytes] = []

    async def _take(self, stanza: bytes) -> None:
        self.kept.append(stanza)
        element = parsed(stanza)
        if element.get("from") == ADDRESS:
            stanza = stanza.replace(LANGUAGE, b"")
        if not _NORMAL.fullmatch(stanza) or element.get("type") != "get":
            self.others.append(stanza)
            return
        texts = [child.text or "" for child in element[0]]
        asked = Request(element.get("from", ""), element.get("to", ""), element.get("id", ""), texts[0], texts[1])
        self.requests.append(asked)
        await self.send(f"<iq type='result' id={quoteattr(asked.id)} to={quoteattr(asked.sender)}/>")

    def payloads(self) -> list[bytes]:
        """Of the others, those with a payload in them."""
        return [stanza for stanza in self.others if b"onnectionRequest" in stanza or b"xmppConnReq" in stanza]

    def counted(self) -> Counter[str]:
        """How often each id has come."""
        return Counter(seen.id for seen in self.requests)

    def order(self) -> dict[str, list[str]]:
        """The ids by requester, in the order in which they came."""
        order: defaultdict[str, list[str]] = defaultdict(list)
        for seen in self.requests:
            order[seen.sender].append(seen.id)
        return dict(order)


def parsed(stanza: bytes) -> ET.Element:
    """A stanza with the namespaces that its stream declares."""
    return ET.fromstring(b"<s xmlns='%s' xmlns:stream='%s'>%s</s>" % (CLIENT.encode(), STREAM.encode(), stanza))[0]


def addressed(xml: str, sender: str) -> str:
    """A stanza as a component or a remote server must write it: with its sender."""
    return re.sub(r"^<(\w+)", lambda tag: f"{tag[0]} from={quoteattr(sender)}", xml)


@contextlib.asynccontextmanager
async def recorder(sandbox: Sandbox, number: int, resource: str = "tr069") -> AsyncIterator[Recorder]:
    """Device `number`, connected over TLS and available."""
    async with raw(sandbox, f"cpe{number}", resource, kind=Recorder) as device:
        await device.send("<presence id='here'/>")
        await device.until(lambda: any(b"here" in stanza for stanza in device.others))
        device.others.clear()
        yield device


@contextlib.asynccontextmanager
async def raw(
    sandbox: Sandbox, name: str, resource: str = "", *, spelt: str = "", kind: type[Any] = Wire
) -> AsyncIterator[Any]:
    """A client of the account `name`, connected over TLS.

    :param spelt: how it writes its bare JID when it logs in.
    """
    row = sandbox.account(name)
    bare = spelt or row["jid"].partition("/")[0]
    stream = await authenticated(sandbox, bare, row["password"], context(sandbox))
    async with reading(kind(await bind(stream, resource), stream), stream) as wire:
        yield wire


@contextlib.asynccontextmanager
async def component(sandbox: Sandbox, domain: str = "spare1.test") -> AsyncIterator[Wire]:
    """One of the sandbox's spare domains, attached."""
    known = sandbox.components[domain]
    stream = await attach(known["host"], known["port"], domain, known["secret"])
    async with reading(Wire(domain, stream), stream) as wire:
        yield wire


@contextlib.asynccontextmanager
async def reading(wire: Wire, stream: Stream) -> AsyncIterator[Any]:
    """Have a stream take what comes for as long as the block lasts."""
    try:
        async with beside(wire.read()):
            yield wire
    finally:
        await stream.close()


class Policy:
    """The rules of a sandbox, changed through the admin API."""

    def __init__(self, sandbox: Sandbox) -> None:
        transport = httpx.HTTPTransport(uds=str(sandbox.folder / "admin.sock"))
        self._http = httpx.Client(transport=transport, base_url="http://stanzagate/v1", timeout=PATIENCE)

    def add(self, *rules: tuple[str, str, str]) -> list[int]:
        """Add rules, each effect, requester and target; their ids."""
        lines = "".join(f"{effect},{requester},{target},,\n" for effect, requester, target in rules)
        text = f"effect,requester,target,expires,comment\n{lines}"
        response = self._http.post("/rules.csv", content=text.encode(), headers={"Content-Type": "text/csv"})
        assert response.is_success, response.text
        return [int(id) for id in response.json()["created"]]

    def remove(self, ids: Iterable[int]) -> None:
        """Remove rules."""
        for id in ids:
            response = self._http.delete(f"/rules/{id}")
            assert response.is_success, response.text

    @contextlib.contextmanager
    def holding(self, *rules: tuple[str, str, str]) -> Iterator[list[int]]:
        """Rules for as long as the block lasts."""
        added = self.add(*rules)
        try:
            yield added
        finally:
            self.remove(added)

    def metrics(self) -> dict[str, float]:
        """What ``/metrics`` says, by name and labels."""
        lines = self._http.get("http://stanzagate/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


__all__ = ["Policy", "Recorder", "Request", "Wire", "addressed", "component", "parsed", "raw", "recorder", "request"]
