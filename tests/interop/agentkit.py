"""What tests of the agent need: a controller that lets it in, agents of the nodes, a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from typing import Any

from grid.agent import Agent
from grid.errors import Refusal
from grid.model import NodeState
from grid.protocol import answers, errors, requests
from grid.protocol.draft import read_draft
from stanzagate.sandbox.wire import Stream
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import CONTROLLER, Controller, account
from tests.interop.puppet import IQ, attached, element
from tests.interop.rawclient import beside

IODEF = "urn:ietf:params:xml:ns:iodef-2.0"
INCIDENT = (
    f"<IODEF-Document version='2.00' xml:lang='en' xmlns='{IODEF}'><Incident purpose='reporting' restriction='green'>"
    "<IncidentID name='csirt.example.com'>{}</IncidentID>"
    "<GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime><Contact type='organization' role='creator'>"
    "<Email><EmailTo>contact@csirt.example.com</EmailTo></Email></Contact></Incident></IODEF-Document>"
)


class Puppet(Controller):
    """A controller that admits everybody.

    :ivar decide: answers any request of the draft: gives the answer's content, or raises a `Refusal`.
    :ivar asked: the requests of the draft, by sender.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.decide: Callable[[requests.DraftRequest, str], str] = admit
        self.asked: list[tuple[str, requests.DraftRequest]] = []

    async def _take(self, stanza: ET.Element) -> None:
        sender = stanza.get("from", "")
        if stanza.tag != IQ or stanza.get("type") not in ("get", "set") or "@" not in sender:
            await super()._take(stanza)
            return
        try:
            request = read_draft(stanza)
            self.asked.append((sender, request))
            await self.send(errors.result(stanza, self.decide(request, sender)))
        except Refusal as refusal:
            await self.send(errors.refuse(stanza, refusal))

    async def tell_nodes(self, *names: str) -> None:
        """Have the plugin let these nodes reach each other."""
        for name in names:
            await self.iq("set", element("node", jid=account(name), state="active", epoch=self.next_epoch()))

    async def topic_of(self, name: str, *, publishers: tuple[str, ...], subscribers: tuple[str, ...]) -> None:
        """Make a topic with several of each."""
        await self.topic(name, publisher=publishers[0], subscriber=subscribers[0])
        for jid, role in [*((p, "publisher") for p in publishers[1:]), *((s, "member") for s in subscribers[1:])]:
            content = f"<affiliation jid='{account(jid)}' affiliation='{role}'/>"
            await self._pubsub(f"{PUBSUB}#owner", f"<affiliations node='{name}'>{content}</affiliations>")


PUBSUB = "http://jabber.org/protocol/pubsub"


def admit(request: requests.DraftRequest, sender: str) -> str:
    """Let everybody do everything."""
    match request:
        case requests.Register():
            return answers.register(request, NodeState.ACTIVE)
        case requests.Login():
            return answers.login(request)
        case requests.Logout():
            return answers.logout(request)
        case requests.IsAuthorized():
            return answers.is_authorized(request, True, "a test")
        case requests.InitPublish():
            return answers.init_publish(request, [f"{request.capability}-{request.version}"])
    raise Refusal("cancel", "feature-not-implemented")


@contextlib.asynccontextmanager
async def puppet(server: Sandbox, *nodes: str) -> AsyncIterator[Puppet]:
    """The controller, attached; `nodes` are active."""
    async with await attached(CONTROLLER, server.components[CONTROLLER]) as stream:
        grid = Puppet(stream)
        async with beside(grid.read()):
            await grid.iq("set", "<changes xmlns='urn:stanzagate:policy:1' reset='true' epoch='1'/>")
            await grid.tell_nodes(*nodes)
            grid.answer = rfc8600
            try:
                yield grid
            finally:
                await grid.iq("set", "<changes xmlns='urn:stanzagate:policy:1' reset='true' epoch='1'/>")
                await stream.close()


def rfc8600(asked: Any) -> str:
    """Answer what the plugin hands on: subscriptions are there already, everything else is not."""
    request = asked.inner.find(f"{{{PUBSUB}}}pubsub")
    for name in ("subscribe", "unsubscribe"):
        found = None if request is None else request.find(f"{{{PUBSUB}}}{name}")
        if found is not None:
            words = f"node='{found.get('node')}' jid='{found.get('jid')}' subscription='subscribed'"
            return str(asked.result(f"<pubsub xmlns='{PUBSUB}'><subscription {words}/></pubsub>"))
    return str(asked.error("cancel", "item-not-found"))


def options(server: Sandbox, name: str, **more: Any) -> dict[str, Any]:
    """How an agent of a node connects, by certificate unless a password is given."""
    row = server.account(name)
    host, port = server.address
    known = {"host": host, "port": port, "ca": server.info["ca"]} | more
    return known if "password" in known else {"cert": row["cert"], "key": row["key"]} | known


def agent(server: Sandbox, name: str, **more: Any) -> Agent:
    """An agent of a node of the sandbox."""
    return Agent(f"{name}@grid.test", **options(server, name, **more))


def hasten(*nodes: Agent) -> None:
    """Reconnect at once: the delays are for the servers' sake."""
    for node in nodes:
        node._uplink._uniform = lambda low, high: min(low, 0.05)


class Wire:
    """A TCP connection's way to the server, which can be cut in the middle of anything.

    :ivar sent: what went to the server.
    :ivar deaf: what comes from the server is lost.
    :ivar mute: what goes to the server is lost.
    :ivar lost: bytes that were lost in these ways.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.sent = bytearray()
        self.deaf = self.mute = False
        self.lost = 0
        self.closed = False
        self.connections = 0
        self.address: tuple[str, int] = ("", 0)

    @property
    def end(self) -> dict[str, Any]:
        """Where an agent connects to go this way."""
        return {"host": self.address[0], "port": self.address[1]}

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._target)
        self.connections += 1
        self.deaf = self.mute = False
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, True))
                group.create_task(self._pump(there, writer, False))
        finally:
            self._writers -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outgoing: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if outgoing:
                    self.sent += data
                if self.mute if outgoing else self.deaf:
                    self.lost += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()

    async def until_lost(self) -> None:
        """Wait until something has been lost on this connection, or on the ones before."""
        async with asyncio.timeout(30):
            while not self.lost:
                await asyncio.sleep(0.002)

    async def until_sent(self, count: int) -> None:
        """Wait until so many bytes more are on their way to the server."""
        before = len(self.sent)
        async with asyncio.timeout(30):
            while len(self.sent) < before + count:
                await asyncio.sleep(0)

    def cut(self) -> None:
        """Break all connections without a word."""
        self.lost = 0
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def wire(server: Sandbox) -> AsyncIterator[Wire]:
    """A way to the server of a sandbox."""
    made = Wire(*server.address)
    listener = await asyncio.start_server(made._connected, "127.0.0.1", 0)
    made.address = listener.sockets[0].getsockname()[:2]
    try:
        yield made
    finally:
        made.cut()
        listener.close()
