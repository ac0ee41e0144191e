"""A component under the test's control, in the place of the controller: what the plugins of the grid tell and ask.

::

    async with controller(server) as grid:
        await grid.node("soc1", "active")
        await grid.order("lost", jid="soc1@grid.test", node="IODEF-1.0")
        grid.answer = lambda asked: asked.result("<query xmlns='…'/>")

It begins with plugins that know nothing: every account is unknown, and the epoch is 1. At the end, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from component.base.ns import POLICY
from grid.ns import CLIENT, DATA, DELEGATION, FORWARD, NODE_CONFIG, PUBSUB, PUBSUB_OWNER
from stanzagate.sandbox.wire import Stream, StreamFailed
from tests.interop.cast import GRID
from tests.interop.conftest import Sandbox
from tests.interop.puppet import IQ, SESSION, Status, attached, condition, element, until
from tests.interop.rawclient import RawClient, beside

CONTROLLER, BROKER = f"controller.{GRID}", f"pubsub.{GRID}"
TOPIC = "IODEF-1.0"
ITEM = "<incident xmlns='urn:test:incident'/>"
NOT_AUTHORIZED = ("auth", "not-authorized")


def account(name: str) -> str:
    """The bare JID of a node's account; JIDs are left as they are."""
    return name if "@" in name else f"{name}@{GRID}"


@dataclass(frozen=True)
class Delegated:
    """A request to the broker that was handed on.

    :ivar id: of the iq in which it came.
    :ivar inner: the request as its sender wrote it.
    """

    id: str
    inner: ET.Element

    def result(self, content: str = "") -> str:
        """The answer: a result."""
        return self.wrapped(f"<iq xmlns='{CLIENT}' type='result'>{content}</iq>")

    def error(self, kind: str, name: str) -> str:
        """The answer: an error."""
        defined = f"<{name} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        return self.wrapped(f"<iq xmlns='{CLIENT}' type='error'><error type='{kind}'>{defined}</error></iq>")

    def wrapped(self, iq: str, *, sender: str = CONTROLLER, to: str = BROKER) -> str:
        """An answer that holds any element."""
        names = f"from={quoteattr(sender)} to={quoteattr(to)} id={quoteattr(self.id)}"
        forwarded = f"<forwarded xmlns='{FORWARD}'>{iq}</forwarded>"
        return f"<iq type='result' {names}><delegation xmlns='{DELEGATION}'>{forwarded}</delegation></iq>"


class Controller:
    """The controller, attached.

    :ivar answer: called with every request that was handed on; what it returns is sent as it stands.
    :ivar delegated: those requests.
    :ivar received: other stanzas to the controller.
    :ivar events: ``<session/>`` elements as they came.
    :ivar snapshots: ``<sessions/>`` elements that came by themselves.
    :ivar epoch: of the last order that was sent with an epoch of its own.
    :ivar ended: whether the server has ended the stream.
    """

    def __init__(self, stream: Stream) -> None:
        self.answer: Callable[[Delegated], str] = lambda _asked: ""
        self.delegated: list[Delegated] = []
        self.received: list[ET.Element] = []
        self.events: list[ET.Element] = []
        self.snapshots: list[ET.Element] = []
        self.epoch = 1
        self.ended = False
        self._answered: dict[str, ET.Element] = {}
        self._ids = itertools.count(1)
        self._stream = stream

    async def read(self) -> None:
        """Take what comes until the stream ends."""
        with contextlib.suppress(StreamFailed):
            while True:
                await self._take(await self._stream.element())
        self.ended = True

    async def _take(self, stanza: ET.Element) -> None:
        content = stanza[0] if len(stanza) else None
        sender = stanza.get("from", "")
        inner = stanza.find(f"{{{DELEGATION}}}delegation/{{{FORWARD}}}forwarded/{{{CLIENT}}}iq")
        if stanza.tag == IQ and stanza.get("type") in ("result", "error"):
            self._answered[stanza.get("id", "")] = stanza
        elif inner is not None:
            assert (sender, stanza.get("to"), stanza.get("type")) == (BROKER, CONTROLLER, "set")
            asked = Delegated(stanza.get("id", ""), inner)
            self.delegated.append(asked)
            await self.send(self.answer(asked))
        elif sender == GRID and content is not None and content.tag == SESSION:
            self.events.append(content)
        elif sender == GRID and content is not None and content.tag == f"{{{POLICY}}}sessions":
            self.snapshots.append(content)
        elif sender != GRID or content is None or content.tag != f"{{{POLICY}}}status":
            self.received.append(stanza)

    async def send(self, *stanzas: str) -> None:
        """Send stanzas as they stand."""
        if text := "".join(stanzas):
            await self._stream.send(text)

    async def iq(self, kind: str, content: str, *, to: str = GRID) -> ET.Element:
        """Ask something; the answer."""
        id = f"c{next(self._ids)}"
        await self.send(f"<iq type='{kind}' from='{CONTROLLER}' to={quoteattr(to)} id='{id}'>{content}</iq>")
        await until(lambda: id in self._answered)
        return self._answered.pop(id)

    async def tell(self, content: str) -> None:
        """Have the plugin take an order.

        :raises AssertionError: it does not.
        """
        answer = await self.iq("set", content)
        assert answer.get("type") == "result", ET.tostring(answer)

    def next_epoch(self) -> int:
        """A number that nothing has had yet."""
        self.epoch += 1
        return self.epoch

    async def order(self, name: str, **attributes: object) -> None:
        """Send ``<NAME …/>`` with the next epoch, unless another one is given; it must be taken."""
        await self.tell(element(name, **({"epoch": self.next_epoch()} | attributes)))

    async def node(self, name: str, state: str, *fingerprints: str) -> None:
        """Set the state of a node, and the certificates that it is bound to."""
        bound = "".join(f"<certificate fingerprint='{item}'/>" for item in fingerprints)
        names = f"jid={quoteattr(account(name))} state='{state}' epoch='{self.next_epoch()}'"
        await self.tell(f"<node xmlns='{POLICY}' {names}>{bound}</node>")

    async def reset(self) -> None:
        """Have everything forgotten."""
        self.epoch = 1
        await self.tell(f"<changes xmlns='{POLICY}' reset='true' epoch='1'/>")

    async def status(self) -> Status:
        """What the plugin says of itself."""
        told = (await self.iq("get", element("status"))).find(f"{{{POLICY}}}status")
        assert told is not None
        words = {name: value for name, value in told.items() if name in ("version", "mode", "guard")}
        numbers = {name: int(value) for name, value in told.items() if name not in words}
        return Status(words, numbers, {item.get("reason", ""): int(item.get("count", "")) for item in told})

    async def sessions(self) -> ET.Element:
        """The snapshot, asked for."""
        found = (await self.iq("get", element("sessions"))).find(f"{{{POLICY}}}sessions")
        assert found is not None
        return found

    async def topic(self, name: str = TOPIC, *, publisher: str, subscriber: str) -> None:
        """Make a topic as the controller does, with a publisher and a subscriber, by their accounts."""
        fields = "".join(
            f"<field var='pubsub#{var}'><value>{value}</value></field>"
            for var, value in {
                "access_model": "whitelist", "publish_model": "publishers", "notification_type": "normal",
                "persist_items": "0", "send_last_published_item": "never",
            }.items()
        )  # fmt: skip
        form = (
            f"<x xmlns='{DATA}' type='submit'><field var='FORM_TYPE'><value>{NODE_CONFIG}</value></field>{fields}</x>"
        )
        await self._pubsub(PUBSUB, f"<create node='{name}'/><configure>{form}</configure>")
        rights = {account(subscriber): "member"} | {account(publisher): "publisher"}
        lines = "".join(f"<affiliation jid='{jid}' affiliation='{right}'/>" for jid, right in rights.items())
        await self._pubsub(PUBSUB_OWNER, f"<affiliations node='{name}'>{lines}</affiliations>")
        await self._pubsub(
            PUBSUB_OWNER,
            f"<subscriptions node='{name}'><subscription jid='{account(subscriber)}' subscription='subscribed'/>"
            "</subscriptions>",
        )

    async def no_topic(self, name: str = TOPIC) -> None:
        """Delete a topic."""
        await self._pubsub(PUBSUB_OWNER, f"<delete node='{name}'/>")

    async def _pubsub(self, namespace: str, content: str) -> None:
        answer = await self.iq("set", f"<pubsub xmlns='{namespace}'>{content}</pubsub>", to=BROKER)
        assert condition(answer) == ("", ""), ET.tostring(answer)

    async def detach(self) -> None:
        """End the stream."""
        await self._stream.close()


def publish(id: str, *, topic: str = TOPIC, content: str = ITEM, to: str = BROKER) -> str:
    """A plain publish, as it is written; the item has the id of the stanza."""
    items = f"<publish node='{topic}'><item id='{id}'>{content}</item></publish>"
    return f"<iq type='set' id='{id}' to='{to}'><pubsub xmlns='{PUBSUB}'>{items}</pubsub></iq>"


def received_items(stanzas: list[ET.Element]) -> list[str]:
    """The ids of the items in what a client has received, in order."""
    return [item.get("id", "") for stanza in stanzas for item in stanza.iter(f"{{{PUBSUB}#event}}item")]


def messages(client: RawClient) -> list[str]:
    """The ids of the messages that a client has received, in order; not of errors."""
    return [
        stanza.get("id", "")
        for stanza in client.stanzas
        if stanza.tag == f"{{{CLIENT}}}message" and stanza.get("type") != "error"
    ]


async def caught_up(client: RawClient, id: str) -> None:
    """Wait until all that came before has reached a client: it asks its own server, which answers in order."""
    await client.send_raw(f"<iq type='get' id='{id}' to='{GRID}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await client.answer(id)


@contextlib.asynccontextmanager
async def controller(server: Sandbox, *, keep: bool = False) -> AsyncIterator[Controller]:
    """The controller, attached; the plugin has seen it and sent its first snapshot.

    :param keep: what the plugins know stays as it is, before and after.
    """
    async with await attached(CONTROLLER, server.components[CONTROLLER]) as stream:
        grid = Controller(stream)
        async with beside(grid.read()):
            await until(lambda: grid.snapshots)
            if not keep:
                await grid.reset()
            try:
                yield grid
            finally:
                if not keep:
                    with contextlib.suppress(StreamFailed):
                        async with asyncio.timeout(5):
                            await grid.reset()
                await stream.close()
