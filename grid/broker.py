"""The broker of RFC 8600: service discovery (XEP-0030), publish-subscribe (XEP-0060), as every library speaks them.

The plugin on the pubsub host hands everything but plain publishing to this; without it the same is understood at the
controller's own address. A registered, active node that asks is logged in by it (contract, section 5). Topics are
owned by the controller: their creators may configure and delete them, all else is the administrator's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any
from xml.etree.ElementTree import Element

from component.base.audit import Audit
from component.base.jid import Jid, JidError, prepare_often
from grid import errors, ns
from grid.admission import Admission
from grid.broker_config import configuration, configured, meets, meta_data
from grid.dataplane.pubsub import PubSub
from grid.desk import Desk
from grid.judge import Judge
from grid.model import Action, Provider, Subscribed, Topic
from grid.payloads import Schemas
from grid.protocol import disco, xep0060
from grid.protocol.elements import serialise
from grid.protocol.forms import FormType
from grid.protocol.rsm import Page, take, write_set
from grid.protocol.xep0060 import Affiliation, Condition, SubscriptionState, answers, refusal
from grid.protocol.xep0060.answers import AffiliationEntry, ItemEntry, SubscriptionEntry
from grid.settings import GridSettings
from grid.topics import Topics

FEATURES = (
    ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.RSM, ns.PUBSUB,
    *(f"{ns.PUBSUB}#{name}" for name in (
        "access-authorize", "access-whitelist", "config-node", "create-and-configure", "create-nodes", "delete-nodes",
        "item-ids", "meta-data", "persistent-items", "publish", "publish-options", "publisher-affiliation",
        "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-items", "retrieve-subscriptions",
        "rsm", "subscribe", "subscription-notifications",
    )),
)  # fmt: skip

LARGEST_PAGE = 400_000
"""Bytes of the items of an answer; a page ends before there are more."""

ITEM_BYTES = 100
"""About as many an item has beside its payload and its id."""

_PING = f"{{{ns.PING}}}ping"

Handler = Callable[["Broker", Jid, Any], Awaitable[str]]


class Broker:
    """Answers requests of XEP-0030 and XEP-0060."""

    def __init__(
        self,
        settings: GridSettings,
        admission: Admission,
        topics: Topics,
        judge: Judge,
        desk: Desk,
        pubsub: PubSub,
        schemas: Schemas,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._topics = topics
        self._judge = judge
        self._desk = desk
        self._pubsub = pubsub
        self._schemas = schemas
        self._audit = audit

    @staticmethod
    def knows(iq: Element) -> bool:
        """Whether an iq is one of these."""
        return disco.is_disco(iq) or xep0060.is_pubsub(iq)

    @staticmethod
    def kind(iq: Element) -> str:
        """What kind of request an iq is, for the metrics: a bounded set of words."""
        if disco.is_disco(iq):
            return "Disco"
        if not xep0060.is_pubsub(iq):
            return "Other"
        verbs = [child.tag.rpartition("}")[2] for child in iq[0]]
        return next((verb.capitalize() for verb in verbs if verb in _VERBS), "Pubsub")

    async def answer(self, jid: Jid, iq: Element) -> str:
        """Answer a request.

        :param jid: its sender.
        :returns: the content of the answer.
        :raises Refusal: it is refused.
        """
        await self._admission.active(jid)
        if len(iq) == 1 and iq[0].tag == _PING:
            return ""
        request: Any
        if disco.is_disco(iq):
            request = disco.read_disco(iq)
        elif xep0060.is_pubsub(iq):
            request = xep0060.read_pubsub(iq)
        else:
            raise errors.unavailable()
        await self._desk.log_in(jid)
        handler = _HANDLERS.get(type(request))
        if handler is None:
            raise errors.unsupported(_FEATURE_OF.get(type(request), ""))
        return await handler(self, jid, request)

    # Discovery

    async def _info(self, jid: Jid, request: disco.InfoRequest) -> str:
        if not request.node:
            service = disco.Identity("pubsub", "service", "XMPP-Grid broker")
            return disco.info("", (service,), FEATURES)
        topic = self._judge.seen(jid.bare, request.node)
        leaf = disco.Identity("pubsub", "leaf", topic.title)
        return disco.info(request.node, (leaf,), (ns.DISCO_INFO, ns.PUBSUB), meta_data(topic))

    async def _list(self, jid: Jid, request: disco.ItemsRequest) -> str:
        if request.node:
            return await self._list_items(jid, request)
        part = take(list(self._judge.topics(jid.bare)), _name, request.page, limit=self._settings.limits.result)
        entries = [disco.Item(self._settings.pubsub, topic.name, topic.title or topic.name) for topic in part.items]
        return disco.items("", entries, part.set)

    async def _list_items(self, jid: Jid, request: disco.ItemsRequest) -> str:
        """The ids of the items that the server keeps, for those who may read them (XEP-0060 §5.5)."""
        topic = self._judge.seen(jid.bare, request.node)
        if not (topic.persist and self._judge.permits(jid.bare, Action.READ, topic.name)):
            return disco.items(topic.name, ())
        entries = [_entry(item) for item in await self._pubsub.items(topic.name)]
        part, page = _page(entries, request.page, self._settings.limits.result)
        listed = [disco.Item(self._settings.pubsub, name=entry.id) for entry in part]
        return disco.items(topic.name, listed, page)

    # Topics

    async def _create(self, jid: Jid, request: xep0060.Create) -> str:
        bare, name = jid.bare, request.node
        if not self._judge.ask(bare, Action.PUBLISH, name).permitted:
            raise errors.forbidden("You may not make this topic: it needs the right to publish to it.")
        if self._topics.get(name) is not None:
            raise errors.conflict("There is such a topic already.")
        await self._topics.add(bare, configured(Topic(name, capability=name, creator=bare), request.config))
        await self._topics.enroll(Provider(bare, name))
        return ""

    def _own(self, jid: Jid, name: str) -> Topic:
        """The topic, when the node may configure it.

        :raises Refusal: item-not-found, forbidden.
        """
        topic = self._judge.seen(jid.bare, name)
        if topic.creator != jid.bare or not self._judge.ask(jid.bare, Action.PUBLISH, name).permitted:
            raise errors.forbidden("Only its creator and administrators configure a topic.")
        return topic

    async def _configure(self, jid: Jid, request: xep0060.Configure) -> str:
        topic = self._own(jid, request.node)
        if request.form is None:
            return answers.configuration(topic.name, configuration(topic, FormType.FORM))
        changed = configured(topic, request.form)
        if changed != topic:
            await self._topics.configure(jid.bare, changed)
        return ""

    async def _defaults(self, jid: Jid, request: xep0060.DefaultConfig) -> str:
        return answers.default_configuration(configuration(Topic("", ""), FormType.FORM))

    async def _delete(self, jid: Jid, request: xep0060.Delete) -> str:
        await self._topics.delete(jid.bare, self._own(jid, request.node).name)
        return ""

    # Subscriptions

    async def _subscribe(self, jid: Jid, request: xep0060.Subscribe) -> str:
        if request.jid.bare != jid.bare:
            raise refusal(Condition.INVALID_JID, "A node subscribes itself alone.")
        state = await self._desk.subscribe(jid.bare, request.node)
        return answers.subscription(request.node, jid.bare, _STATES[state])

    async def _unsubscribe(self, jid: Jid, request: xep0060.Unsubscribe) -> str:
        if request.jid.bare != jid.bare:
            raise refusal(Condition.INVALID_JID, "A node unsubscribes itself alone.")
        if not any(item.topic == request.node for item in self._topics.subscriptions(jid=jid.bare)):
            self._judge.seen(jid.bare, request.node)
            raise refusal(Condition.NOT_SUBSCRIBED)
        await self._desk.unsubscribe(jid.bare, request.node)
        return ""

    async def _subscriptions(self, jid: Jid, request: xep0060.Subscriptions) -> str:
        if request.node:
            self._judge.seen(jid.bare, request.node)
        found = [
            SubscriptionEntry(jid.bare, _STATES[item.state], item.topic)
            for item in sorted(self._topics.subscriptions(jid=jid.bare), key=lambda item: item.topic)
            if request.node in ("", item.topic)
        ]
        part = take(found, lambda entry: entry.node, request.page, limit=self._settings.limits.result)
        return answers.subscriptions(part.items, request.node, part.set)

    async def _affiliations(self, jid: Jid, request: xep0060.Affiliations) -> str:
        if request.node:
            self._judge.seen(jid.bare, request.node)
        found = [
            AffiliationEntry(self._affiliation(jid.bare, topic), topic.name)
            for topic in self._judge.topics(jid.bare)
            if request.node in ("", topic.name)
        ]
        part = take(found, lambda entry: entry.node, request.page, limit=self._settings.limits.result)
        return answers.affiliations(part.items, request.node, part.set)

    def _affiliation(self, bare: str, topic: Topic) -> Affiliation:
        if self._judge.permits(bare, Action.PUBLISH, topic.name):
            return Affiliation.PUBLISHER
        return Affiliation.MEMBER if self._judge.permits(bare, Action.SUBSCRIBE, topic.name) else Affiliation.NONE

    async def _members(self, jid: Jid, request: xep0060.OwnerSubscriptions) -> str:
        topic = self._own(jid, request.node)
        if request.changes is not None:
            raise errors.forbidden("Who may subscribe is the administrator's to say.")
        found = [
            SubscriptionEntry(item.jid, _STATES[item.state])
            for item in sorted(self._topics.subscriptions(topic=topic.name), key=lambda item: item.jid)
        ]
        part = take(found, lambda entry: entry.jid, request.page, limit=self._settings.limits.result)
        return answers.owner_subscriptions(topic.name, part.items, part.set)

    async def _affiliates(self, jid: Jid, request: xep0060.OwnerAffiliations) -> str:
        topic = self._own(jid, request.node)
        if request.changes is not None:
            raise errors.forbidden("Who may publish is the administrator's to say.")
        providers = sorted(self._topics.providers(topic.name))
        found = [AffiliationEntry(Affiliation.PUBLISHER, jid=bare) for bare in providers]
        part = take(found, lambda entry: entry.jid, request.page, limit=self._settings.limits.result)
        return answers.owner_affiliations(topic.name, part.items, part.set)

    # Items

    async def _items(self, jid: Jid, request: xep0060.Items) -> str:
        topic = self._judge.require(jid.bare, Action.READ, request.node, items=request.ids)
        if not topic.persist:
            found: tuple[Element, ...] = ()
        else:
            found = await self._pubsub.items(topic.name, request.ids, most=request.max_items)
            self._still(jid, Action.READ, topic.name)
        entries = [_entry(item) for item in found]
        part = _page(entries, request.page, self._settings.limits.result)
        self._audit.note(jid.full, "item.read", topic.name, {"items": len(part[0]), "asked": list(request.ids)[:20]})
        return answers.items(topic.name, part[0], part[1])

    def _still(self, jid: Jid, action: Action, name: str) -> None:
        """Look again at a right that was there before something was waited for: when the command that takes it has
        returned, it is gone.

        :raises Refusal: it is gone.
        """
        if not self._judge.permits(jid.bare, action, name):
            self._judge.require(jid.bare, action, name)

    async def _publish(self, jid: Jid, request: xep0060.Publish) -> str:
        """Publishing through the controller: with options, or where there is no plugin."""
        topic = self._judge.require(jid.bare, Action.PUBLISH, request.node)
        if request.options is not None and not meets(topic, request.options):
            raise refusal(Condition.PRECONDITION_NOT_MET)
        if len(request.items) > 1:
            raise refusal(Condition.MAX_ITEMS_EXCEEDED, "One item at a time.")
        if not request.items:
            raise refusal(Condition.ITEM_REQUIRED)
        item = request.items[0]
        name = item.id or token_hex(16)
        self._schemas.check(topic, _payload(item))
        await self._pubsub.publish(topic.name, name, serialise(_payload(item)))
        return answers.published(topic.name, (name,))

    async def publish(self, bare: str, name: str, item: str, payload: str) -> None:
        """Publish a document for a node that may.

        :param payload: XML.
        :raises Refusal: item-not-found; or bad-request: it is not valid for the topic's schema.
        """
        topic = self._judge.seen(bare, name)
        self._schemas.check(topic, payload.encode())
        await self._pubsub.publish(topic.name, item, payload)

    async def _retract(self, jid: Jid, request: xep0060.Retract) -> str:
        """A publisher takes back what it has published itself; the right to write, or having made the topic, is good
        for all items (XEP-0060 §7.2)."""
        topic = self._judge.require(jid.bare, Action.PUBLISH, request.node, items=request.ids)
        if topic.creator != jid.bare and not self._judge.permits(jid.bare, Action.WRITE, topic.name):
            found = await self._pubsub.items(topic.name, request.ids) if topic.persist else ()
            theirs = [item for item in found if _publisher(item) != jid.bare]
            if theirs or len(found) < len(set(request.ids)):
                raise errors.forbidden("You may retract what you have published yourself.")
        for name in request.ids:
            self._still(jid, Action.PUBLISH, topic.name)
            await self._pubsub.retract(topic.name, name, notify=request.notify)
            self._audit.note(jid.full, "item.retracted", topic.name, {"item": name})
        return ""


def _payload(item: xep0060.PublishItem) -> Element:
    if item.payload is None:
        raise refusal(Condition.PAYLOAD_REQUIRED)
    return item.payload


def _publisher(item: Element) -> str:
    """The bare JID of who published an item, as the server says."""
    try:
        return prepare_often(item.get("publisher", "")).bare
    except JidError:
        return ""


def _entry(item: Element) -> ItemEntry:
    """An item as it is handed out; without its payload when that is nested too deeply: a publisher, who reaches the
    server's pubsub directly, must not be able to keep the other items from those who read."""
    try:
        payload = serialise(item[0]) if len(item) else ""
    except errors.Refusal:
        payload = ""
    return ItemEntry(item.get("id", ""), payload)


def _name(topic: Topic) -> str:
    return topic.name


def _page(entries: list[ItemEntry], page: Page, limit: int) -> tuple[list[ItemEntry], str]:
    """A page of items; they stand in the order of their publication, not in that of their ids."""
    places = {entry.id: place for place, entry in enumerate(entries)}
    most = limit if page.max is None else min(limit, page.max)
    for name in (page.after, page.before):
        if name and name not in places:
            raise errors.item_not_found()
    if page.before is not None:
        end = places[page.before] if page.before else len(entries)
        start = max(0, end - most)
    else:
        start = places[page.after] + 1 if page.after else min(page.index or 0, len(entries))
        end = min(start + most, len(entries))
    part = _fitting(entries[start:end], from_end=page.before is not None)
    if page.before is not None:
        start = end - len(part)
    if not page.asked and len(part) == len(entries):
        return part, ""
    return part, write_set(part, _id, start, len(entries))


def _fitting(entries: list[ItemEntry], *, from_end: bool) -> list[ItemEntry]:
    """As many as an answer can hold, but at least one; who asks gets the others with XEP-0059."""
    size = 0
    found: list[ItemEntry] = []
    for entry in reversed(entries) if from_end else entries:
        size += len(entry.payload.encode()) + 2 * len(entry.id.encode()) + ITEM_BYTES
        if size > LARGEST_PAGE and found:
            break
        found.append(entry)
    return found[::-1] if from_end else found


def _id(entry: ItemEntry) -> str:
    return entry.id


_STATES = {
    Subscribed.SUBSCRIBED: SubscriptionState.SUBSCRIBED,
    Subscribed.PENDING: SubscriptionState.PENDING,
}

_HANDLERS: dict[type[Any], Handler] = {
    disco.InfoRequest: Broker._info,
    disco.ItemsRequest: Broker._list,
    xep0060.Create: Broker._create,
    xep0060.Configure: Broker._configure,
    xep0060.DefaultConfig: Broker._defaults,
    xep0060.Delete: Broker._delete,
    xep0060.Subscribe: Broker._subscribe,
    xep0060.Unsubscribe: Broker._unsubscribe,
    xep0060.Subscriptions: Broker._subscriptions,
    xep0060.Affiliations: Broker._affiliations,
    xep0060.OwnerSubscriptions: Broker._members,
    xep0060.OwnerAffiliations: Broker._affiliates,
    xep0060.Items: Broker._items,
    xep0060.Publish: Broker._publish,
    xep0060.Retract: Broker._retract,
}

_VERBS = frozenset({
    "create", "configure", "default", "delete", "subscribe", "unsubscribe", "options", "subscriptions",
    "affiliations", "items", "publish", "retract", "purge",
})  # fmt: skip

_FEATURE_OF: dict[type[Any], str] = {
    xep0060.OptionsRequest: "subscription-options",
    xep0060.DefaultOptions: "retrieve-default-sub",
    xep0060.Purge: "purge-nodes",
}
