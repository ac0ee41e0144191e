"""Owner requests to the server's publish-subscribe service (XEP-0060 §8), made by the controller's own domain.

Both servers take the same requests; what they do differently is met here once:

* Several changes in one request end at the first that fails, and those before it stay. A subscription that is not
  there cannot be taken away (Prosody: unexpected-request, ejabberd: bad-request), so after such an error each one is
  taken away by itself.
* Prosody writes the whole node for every single change of a request: 0.5 ms in a small topic, 16 ms in one with 9,000
  entries, and does nothing else meanwhile. So the size of a batch follows the time that the last one took.
* Prosody lists all nodes in disco#items and knows no ``<affiliations/>`` of an entity; ejabberd lists at most 100
  nodes there, but all of them among the owner's affiliations. Both are asked.
* Prosody forgets to clean its index of subscribers when a node is deleted: see `PubSub.delete`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from component.base.errors import Conflict, NotFound, StanzaError, StanzagateError
from component.base.jid import JidError, prepare_often
from component.base.link import Link
from component.base.stanzas import quote
from grid import ns
from grid.dataplane.asking import ANSWER_SECONDS, Asker
from grid.model import Topic

FIRST_BATCH = 16
LARGEST_BATCH = 512
"""Changes in one request: at the longest JIDs of everyday use about 50 kB, a tenth of what Prosody takes."""
LARGEST_BYTES = 200_000
SLOW, FAST = 0.25, 0.05
"""Seconds: a batch that takes longer is halved, one that takes less doubled. A server that is busy for four seconds
is taken for dead by the link (`component.base.link`)."""

_OWNER = f"{{{ns.PUBSUB_OWNER}}}"
_ENTITY = f"{{{ns.PUBSUB}}}"
_DATA = f"{{{ns.DATA}}}"
_NOT_SUBSCRIBED = frozenset({"unexpected-request", "bad-request"})
_UNKNOWN = frozenset({"service-unavailable", "feature-not-implemented"})
_NO_SERVICE = frozenset({"service-unavailable", "remote-server-not-found", "remote-server-timeout"})
_NOT_ALLOWED = frozenset({"forbidden", "not-allowed", "not-authorized", "registration-required"})
_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


class Misconfigured(StanzagateError):
    """The server does not let the controller do what it must do; the hint says what to configure."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription as the server lists it.

    :ivar jid: in the server's spelling; bare or full.
    :ivar bare: whose it is: bare JID, prepared.
    :ivar subid: ejabberd's name of the subscription, or empty.
    """

    jid: str
    bare: str
    subid: str = ""

    @classmethod
    def of(cls, jid: str, subid: str = "") -> Subscriber:
        """The subscription of a JID in any spelling."""
        return cls(jid, bare_of(jid), subid)


def bare_of(jid: str) -> str:
    """The bare JID, prepared; what is no JID stays as it is, so that it is foreign to everybody."""
    try:
        return prepare_often(jid).bare
    except JidError:
        return jid


def configuration(topic: Topic) -> dict[str, str]:
    """The configuration that a topic's node has to have (XEP-0060 §16.4.4), by name without ``pubsub#``.

    Servers ignore the fields that they do not know. ``notify_retract`` stays as the server has it: switched off,
    Prosody tells nobody of a retraction, whatever the request wants; switched on, ejabberd tells of every item that
    makes room for a newer one, so there our configuration has it off by default.
    """
    return {
        "title": topic.title or topic.name,
        "type": topic.type,
        "access_model": "whitelist",
        "publish_model": "publishers",
        "persist_items": "1" if topic.persist else "0",
        "max_items": str(max(1, topic.persist)),  # Prosody takes no 0
        "notification_type": "normal" if topic.cacheable else "headline",  # headlines are never stored (RFC 6121)
        "send_last_published_item": "never",
        "deliver_notifications": "1",
        "deliver_payloads": "1",
        "presence_based_delivery": "0",
        "notify_config": "0",
        "notify_delete": "0",
        "notify_sub": "0",
        "purge_offline": "0",
        "itemreply": "publisher",  # ejabberd: items say who published them, as Prosody's do by `expose_publisher`
    }


def differing(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What of a wanted configuration the server has otherwise; fields that it does not have at all do not count."""
    return {name: value for name, value in wanted.items() if name in found and not _same(value, found[name])}


def _same(value: str, other: str) -> bool:
    return value == other or (value in _TRUE and other in _TRUE) or (value in _FALSE and other in _FALSE)


class PubSub:
    """The service, as its owner sees it.

    Every method raises `Unreachable` when the link is down, `NoAnswer` when the service did not answer in time,
    `Misconfigured` when it refuses what the controller must be allowed to do, and `StanzaError` for any other error.

    :param link: asks; its JID must be an administrator of the service.
    :param service: the service's domain.
    :param timeout: seconds that a request may take.
    :param clock: seconds, for the size of batches.
    :ivar requests: how many were sent.
    :ivar changes: how many of them changed something.
    """

    def __init__(
        self,
        link: Link,
        service: str,
        *,
        timeout: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link = link
        self.service = service
        self.requests = 0
        self.changes = 0
        self._asker = Asker(link, timeout)
        self._clock = clock

    # Nodes

    async def create(self, node: str, config: Mapping[str, str]) -> None:
        """Create a node.

        :param config: fields of the configuration, without ``pubsub#``.
        :raises Conflict: there is one of that name.
        """
        await self._set(ns.PUBSUB, f"<create node='{quote(node)}'/><configure>{_form(config)}</configure>", node)

    async def configure(self, node: str, config: Mapping[str, str]) -> None:
        """Change fields of a configuration.

        :raises NotFound: there is no such node.
        """
        await self._set(ns.PUBSUB_OWNER, f"<configure node='{quote(node)}'>{_form(config)}</configure>", node)

    async def configuration(self, node: str) -> dict[str, str]:
        """The configuration of a node; fields with one value only.

        :raises NotFound: there is no such node.
        """
        answer = await self._get(ns.PUBSUB_OWNER, f"<configure node='{quote(node)}'/>", node)
        fields = answer.iter(f"{_DATA}field")
        return {
            field.get("var", "").removeprefix("pubsub#"): field.findtext(f"{_DATA}value") or ""
            for field in fields
            if field.get("var", "").startswith("pubsub#")
        }

    async def delete(self, node: str) -> None:
        """Delete a node.

        Take its subscriptions away before: Prosody keeps them in an index, and shows them again as subscriptions of
        a later node of the same name, which they are not (until it restarts).

        :raises NotFound: there is no such node.
        """
        await self._set(ns.PUBSUB_OWNER, f"<delete node='{quote(node)}'/>", node)

    async def nodes(self) -> set[str]:
        """The names of all nodes."""
        try:
            items = await self._ask(f"<query xmlns='{ns.DISCO_ITEMS}'/>", "get")
        except StanzaError as error:
            raise self._mapped(error, "") from None
        names = {item.get("node", "") for item in items.iter(f"{{{ns.DISCO_ITEMS}}}item")}
        try:
            owned = await self._ask(f"<pubsub xmlns='{ns.PUBSUB}'><affiliations/></pubsub>", "get")
            names |= {item.get("node", "") for item in owned.iter(f"{_ENTITY}affiliation")}
        except StanzaError as error:
            if error.info.condition not in _UNKNOWN:  # Prosody: it has told all of them already
                raise self._mapped(error, "") from None
        return names - {""}

    # Affiliations

    async def affiliations(self, node: str) -> dict[str, str]:
        """Affiliation by bare JID; those that are none are left out.

        :raises NotFound: there is no such node.
        """
        answer = await self._get(ns.PUBSUB_OWNER, f"<affiliations node='{quote(node)}'/>", node)
        found = (
            (item.get("jid", ""), item.get("affiliation", "none")) for item in answer.iter(f"{_OWNER}affiliation")
        )
        return {bare_of(jid): affiliation for jid, affiliation in found if jid and affiliation != "none"}

    async def set_affiliations(self, node: str, changes: Mapping[str, str]) -> None:
        """Set affiliations.

        :param changes: ``publisher``, ``member`` or ``none`` by bare JID.
        :raises NotFound: there is no such node.
        """
        entries = [
            f"<affiliation jid='{quote(jid)}' affiliation='{affiliation}'/>" for jid, affiliation in changes.items()
        ]
        for batch in self._batches(entries):
            await self._set(
                ns.PUBSUB_OWNER,
                f"<affiliations node='{quote(node)}'>{''.join(batch)}</affiliations>",
                node,
            )

    # Subscriptions

    async def subscriptions(self, node: str) -> tuple[Subscriber, ...]:
        """All subscriptions of a node, those of full JIDs, too.

        :raises NotFound: there is no such node.
        """
        answer = await self._get(ns.PUBSUB_OWNER, f"<subscriptions node='{quote(node)}'/>", node)
        return tuple(
            Subscriber.of(item.get("jid", ""), item.get("subid", ""))
            for item in answer.iter(f"{_OWNER}subscription")
            if item.get("jid") and item.get("subscription", "none") != "none"
        )

    async def subscribe(self, node: str, jids: Iterable[str]) -> None:
        """Subscribe others; they must be members or publishers.

        :raises NotFound: there is no such node.
        """
        entries = [f"<subscription jid='{quote(jid)}' subscription='subscribed'/>" for jid in jids]
        for batch in self._batches(entries):
            await self._set_subscriptions(node, batch)

    async def unsubscribe(self, node: str, subscribers: Iterable[Subscriber]) -> set[str]:
        """Take subscriptions away.

        :param subscribers: as `subscriptions` told them.
        :returns: the JIDs of those that were not there, by the word of the server.
        :raises NotFound: there is no such node.
        """
        absent: set[str] = set()
        listed = {_ending(item): item.jid for item in subscribers}
        for batch in self._batches(list(listed)):
            try:
                await self._set_subscriptions(node, batch)
            except StanzaError as error:
                if error.info.condition not in _NOT_SUBSCRIBED:
                    raise
                absent |= {listed[entry] for entry in batch if not await self._unsubscribed(node, entry)}
        return absent

    async def _unsubscribed(self, node: str, entry: str) -> bool:
        try:
            await self._set_subscriptions(node, [entry])
        except StanzaError as error:
            if error.info.condition not in _NOT_SUBSCRIBED:
                raise
            return False
        return True

    async def _set_subscriptions(self, node: str, entries: Sequence[str]) -> None:
        content = f"<subscriptions node='{quote(node)}'>{''.join(entries)}</subscriptions>"
        await self._set(ns.PUBSUB_OWNER, content, node)

    # Items

    async def publish(self, node: str, item: str, payload: str) -> None:
        """Publish as owner. See that the topic exists: ejabberd makes a node that is not there (reconciliation would
        delete it again).

        :param item: the item's id.
        :param payload: one serialised element.
        :raises NotFound: there is no such node (Prosody).
        """
        content = f"<publish node='{quote(node)}'><item id='{quote(item)}'>{payload}</item></publish>"
        await self._set(ns.PUBSUB, content, node)

    async def retract(self, node: str, item: str, *, notify: bool = False) -> None:
        """Delete an item.

        :raises NotFound: there is no such node or no such item.
        """
        told = " notify='true'" if notify else ""
        content = f"<retract node='{quote(node)}'{told}><item id='{quote(item)}'/></retract>"
        await self._set(ns.PUBSUB, content, node)

    async def items(self, node: str, ids: Iterable[str] = (), *, most: int | None = None) -> tuple[Element, ...]:
        """The items that the server has kept; none where it keeps none.

        :param ids: of the items to get; empty for all.
        :param most: so many at most, the newest.
        :raises NotFound: there is no such node.
        """
        wanted = "".join(f"<item id='{quote(name)}'/>" for name in ids)
        limit = f" max_items='{most}'" if most is not None else ""
        request = f"<pubsub xmlns='{ns.PUBSUB}'><items node='{quote(node)}'{limit}>{wanted}</items></pubsub>"
        try:
            answer = await self._ask(request, "get")
        except StanzaError as error:
            if error.info.condition == "feature-not-implemented":  # Prosody, when nothing is persisted
                return ()
            raise self._mapped(error, node) from None
        return tuple(answer.iter(f"{_ENTITY}item"))

    # Asking

    def _batches(self, entries: Sequence[str]) -> Iterator[Sequence[str]]:
        """Pieces of a request, each as large as the server can do in a moment: it must be sent before the next is
        taken."""
        size, start = FIRST_BATCH, 0
        while start < len(entries):
            batch = list(_fitting(entries[start : start + size]))
            begun = self._clock()
            yield batch
            took = self._clock() - begun
            start += len(batch)
            if took > SLOW:
                size = max(1, size // 2)
            elif took < FAST:
                size = min(LARGEST_BATCH, size * 2)

    async def _set(self, namespace: str, content: str, node: str) -> None:
        self.changes += 1
        try:
            await self._ask(f"<pubsub xmlns='{namespace}'>{content}</pubsub>", "set")
        except StanzaError as error:
            raise self._mapped(error, node) from None

    async def _get(self, namespace: str, content: str, node: str) -> Element:
        try:
            return await self._ask(f"<pubsub xmlns='{namespace}'>{content}</pubsub>", "get")
        except StanzaError as error:
            raise self._mapped(error, node) from None

    async def _ask(self, payload: str, kind: str) -> Element:
        self.requests += 1
        return await self._asker.iq(self.service, payload, kind)

    def _mapped(self, error: StanzaError, node: str) -> StanzagateError:
        condition = error.info.condition
        place = f"{node!r} at {self.service}" if node else self.service
        if condition == "conflict":
            return Conflict(f"There is a node {place} already.")
        if condition == "item-not-found":
            return NotFound(f"There is no node {place}.")
        if condition in _NOT_ALLOWED:
            what = repr(node) if node else "its nodes"
            return Misconfigured(
                f"{self.service} does not let {self.link.jid} manage {what} ({error}).",
                hint=f"Prosody: admins = {{ '{self.link.jid}' }} in its Component. ejabberd: access_createnode must "
                f"allow the server {self.link.jid}, and nodes that others own must be deleted there by hand.",
            )
        if condition in _NO_SERVICE:
            return Misconfigured(
                f"There is no publish-subscribe service at {self.service} ({error}).",
                hint='Prosody: Component "…" "pubsub". ejabberd: mod_pubsub with that host, on the grid host.',
            )
        if condition in ("not-acceptable", "resource-constraint") or "max_items" in error.info.text:
            return Misconfigured(
                f"{self.service} does not take the configuration of {node!r} ({error}).",
                hint="Does the topic keep more items than the server's limit? Prosody: pubsub_max_items (256 unless "
                "set). ejabberd: max_items_node.",
            )
        return error


def _ending(subscriber: Subscriber) -> str:
    subid = f" subid='{quote(subscriber.subid)}'" if subscriber.subid else ""
    return f"<subscription jid='{quote(subscriber.jid)}' subscription='none'{subid}/>"


def _fitting(entries: Sequence[str]) -> Iterator[str]:
    """The first ones that are not too long together, at least one."""
    left = LARGEST_BYTES
    for number, entry in enumerate(entries):
        left -= len(entry.encode())
        if number and left < 0:
            return
        yield entry


def _form(config: Mapping[str, str]) -> str:
    fields = "".join(
        f"<field var='pubsub#{quote(name)}'><value>{escape(value)}</value></field>" for name, value in config.items()
    )
    return (
        f"<x xmlns='{ns.DATA}' type='submit'>"
        f"<field var='FORM_TYPE' type='hidden'><value>{ns.NODE_CONFIG}</value></field>{fields}</x>"
    )
