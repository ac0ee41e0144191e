"""The data plane on a real server: the registries with a database of their own, a link in the controller's place, and
what programs the server.

::

    async with dataplane(server, tmp_path) as plane:
        await plane.join("soc1", "soc2")
        await plane.topic("T")
        await plane.may("soc1", "publish", "T")
        await plane.programmer.topic("T")

The plugins, where the server has them, are told who is active. At the end the server is as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from component.base.audit import Audit, AuditKey
from component.base.errors import StanzagateError
from component.base.link import Link
from component.base.ns import POLICY
from component.base.settings import Secret
from component.base.store import Store, metadata
from grid.access import Access
from grid.accounts import Accounts
from grid.dataplane.programmer import Programmer
from grid.dataplane.pubsub import PubSub
from grid.dataplane.users import Users
from grid.desired import Desired
from grid.epochs import Epochs
from grid.errors import forbidden
from grid.model import Subscribed, Topic
from grid.protocol import delegation
from grid.settings import GridSettings
from grid.topics import Topics
from tests.interop.conftest import Sandbox
from tests.interop.rawclient import RawClient

GRID, CONTROLLER, BROKER = "grid.test", "controller.grid.test", "pubsub.grid.test"
EVENT = "http://jabber.org/protocol/pubsub#event"
PUBSUB = "http://jabber.org/protocol/pubsub"
PATIENCE = 20.0
ACTOR = "unix:test"


def jid(name: str) -> str:
    """The bare JID of a node."""
    return name if "@" in name else f"{name}@{GRID}"


@dataclass
class Plane:
    """All that belongs together.

    :ivar told: what the plugin was told: bare JID, topic, whether it was regained.
    """

    sandbox: Sandbox
    link: Link
    accounts: Accounts
    topics: Topics
    access: Access
    programmer: Programmer
    told: list[tuple[str, str, bool]] = field(default_factory=list)
    epoch: int = 1

    @property
    def pubsub(self) -> PubSub:
        return self.programmer.pubsub

    @property
    def users(self) -> Users:
        return self.programmer.users

    async def lost(self, who: str, topic: str, regained: bool) -> None:
        """In the place of the plugin."""
        self.told.append((who, topic, regained))

    # The registries

    async def join(self, *names: str) -> None:
        """Admit nodes, and have the plugin let them."""
        for name in names:
            await self.accounts.add(ACTOR, jid(name))
            await self.state(name, "active")

    async def state(self, name: str, state: str) -> None:
        """Tell the plugin, if there is one."""
        self.epoch += 1
        await self._order(f"<node xmlns='{POLICY}' jid='{jid(name)}' state='{state}' epoch='{self.epoch}'/>")

    async def topic(self, name: str, **options: Any) -> Topic:
        """Make a topic."""
        await self.topics.add(ACTOR, Topic(name, name, type="urn:test:item", **options))
        made = self.topics.get(name)
        assert made is not None
        return made

    async def may(self, name: str, action: str, topic: str) -> None:
        """Permit something."""
        await self.access.permit(ACTOR, jid(name), action, topic)

    async def may_not(self, name: str, action: str, topic: str) -> None:
        """Take the permission back."""
        for rule in self.access.rules():
            if (rule.subject, rule.action, rule.topic) == (jid(name), action, topic):
                await self.access.remove(ACTOR, rule.id)

    async def subscribe(self, name: str, topic: str) -> None:
        """Subscribe a node that may."""
        await self.may(name, "subscribe", topic)
        await self.topics.subscribe(jid(name), topic, Subscribed.SUBSCRIBED)

    async def settled(self, topic: str) -> int:
        """Program a topic; how many requests that changed something."""
        before = self.pubsub.changes
        await self.programmer.topic(topic)
        return self.pubsub.changes - before

    # The server

    async def seen(self, topic: str) -> tuple[dict[str, str], set[str]]:
        """What the server has: affiliations but the controller's, and the JIDs of subscriptions."""
        affiliations = await self.pubsub.affiliations(topic)
        affiliations.pop(CONTROLLER, None)
        return affiliations, {item.jid for item in await self.pubsub.subscriptions(topic)}

    async def _order(self, content: str) -> None:
        with contextlib.suppress(StanzagateError):  # a server without the plugin
            await self.link.iq(GRID, content, timeout=5, kind="set")

    async def leave_as_found(self) -> None:
        """Delete what tests have made."""
        if self.link.attached.is_set():
            for name in await self.pubsub.nodes():
                gone = await self.pubsub.subscriptions(name)
                await self.pubsub.unsubscribe(name, gone)
                await self.pubsub.delete(name)
            await self._order(f"<changes xmlns='{POLICY}' reset='true' epoch='1'/>")


@contextlib.asynccontextmanager
async def dataplane(sandbox: Sandbox, folder: Path, **options: Any) -> AsyncIterator[Plane]:
    """Attach as the controller, with a database of its own.

    :param options: of `Programmer`.
    """
    at = sandbox.components[CONTROLLER]
    store = Store("sqlite:///grid.db", folder)
    store.write_now(metadata.create_all)
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head")
    tasks: list[asyncio.Task[None]] = []

    def spawn(name: str, work: Coroutine[Any, Any, None]) -> object:
        tasks.append(asyncio.ensure_future(work))  # noqa: TID251
        return tasks[-1]

    take = _answering(lambda: link)
    link = Link(CONTROLLER, at["secret"], at["host"], at["port"], on_stanza=take, spawn=spawn, name="grid")
    try:
        plane = await _assembled(sandbox, store, audit, link, options)
        spawn("link", link.run())
        async with asyncio.timeout(PATIENCE):
            await link.attached.wait()
        try:
            yield plane
        finally:
            await plane.leave_as_found()
            link.stream.end()
            async with asyncio.timeout(PATIENCE):
                while link.attached.is_set():
                    await asyncio.sleep(0.002)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        store.close()


async def _assembled(sandbox: Sandbox, store: Store, audit: Audit, link: Link, options: dict[str, Any]) -> Plane:
    settings = GridSettings(jid=CONTROLLER, secret=Secret(env="UNUSED"), host=GRID, pubsub=BROKER)
    epochs = Epochs(store)
    await epochs.load()
    accounts = Accounts(store, audit, epochs, settings=settings, alert=lambda _alert: None)
    topics = Topics(store, audit, epochs)
    access = Access(
        store, audit, epochs, node=accounts.get, members=accounts.members, topics=topics.all, topic=topics.get
    )
    await accounts.load()
    await topics.load()
    await access.load()
    desired = Desired(accounts, topics, access)
    told: list[tuple[str, str, bool]] = []

    async def lost(who: str, topic: str, regained: bool) -> None:
        told.append((who, topic, regained))

    programmer = Programmer(PubSub(link, BROKER), Users(link, GRID), desired, lost=lost, **options)
    return Plane(sandbox, link, accounts, topics, access, programmer, told)


def _answering(link: Callable[[], Link]) -> Callable[[Element], bool]:
    """In the place of the controller: what the plugin on the broker hands on is forbidden, all else is ignored."""

    def take(stanza: Element) -> bool:
        if delegation.is_delegated(stanza):
            link().send(delegation.wrap_refusal(stanza, forbidden()))
        return True

    return take


# What nodes see


def published(client: RawClient, topic: str) -> list[str]:
    """The ids of the items that a client was told of, in order."""
    return [
        item.get("id", "")
        for stanza in client.stanzas
        for items in stanza.iter(f"{{{EVENT}}}items")
        if items.get("node") == topic
        for item in items
    ]


async def received(client: RawClient, topic: str, count: int) -> list[str]:
    """Wait until a client was told of so many items."""
    async with asyncio.timeout(PATIENCE):
        while len(published(client, topic)) < count:
            await asyncio.sleep(0.01)
    return published(client, topic)


async def publish(client: RawClient, topic: str, item: str) -> str:
    """Publish an item; the condition of the error, or nothing."""
    request = client.new_id()
    answer = await client.send_raw_iq(
        f"<iq type='set' id='{request}' to='{BROKER}'><pubsub xmlns='{PUBSUB}'><publish node='{topic}'>"
        f"<item id='{item}'><i xmlns='urn:test:item'/></item></publish></pubsub></iq>"
    )
    return answer.condition


async def hanging_up(client: RawClient) -> None:
    """Close the connection when the server has closed the stream, as clients do."""
    async with asyncio.timeout(PATIENCE):
        while not client.ended:
            await asyncio.sleep(0.01)
    client.cut()
