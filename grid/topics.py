"""The topics of the grid: capabilities and their versions, who provides them, who has subscribed.

A capability has one topic for each version, ``Name-Version``, and further ones, ``Name-Version-LABEL``, where schemas
exclude each other (draft-ietf-mile-xmpp-grid-01 §2.5). A topic of RFC 8600 has the name that its creator gave it, and
is its own capability. Reading is from memory; every change is a transaction with its audit row.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from component.base.errors import Conflict, InputError, NotFound
from component.base.store import Store
from grid import topics_rows as rows
from grid.access_changes import Changes, Trail, tell
from grid.epochs import Epochs
from grid.iodef import V2
from grid.model import GridChange, Provider, Right, Subscribed, Subscription, Topic
from grid.payloads import Schema, Schemas, inspected
from grid.topics_checks import check_schema, checked_provider, checked_topic, item_id, node_jid
from grid.topics_index import TopicIndex
from grid.topics_names import shown

__all__ = ["BUILT_IN", "MemberChange", "MemberEvent", "TopicChange", "Topics"]

BUILT_IN = Topic("IODEF-1.0", "IODEF", "1.0", type=V2, title="Incidents (RFC 7970)")
"""The topic that every grid has; its name is that of a capability, ``version`` not that of the data model."""

NOTHING: tuple[Sequence[Right], int] = ((), 0)

STARTING = "system:start"
"""The actor of what happens because the service starts."""


class MemberEvent(StrEnum):
    """What has become of a provider or a subscription."""

    ENROLLED = "enrolled"
    WITHDRAWN = "withdrawn"
    SUBSCRIBED = "subscribed"
    PENDING = "pending"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic is new (no `before`), has changed, or is gone (no `after`).

    :ivar subscribers: bare JIDs of those who had subscribed to a topic that is gone.
    """

    before: Topic | None
    after: Topic | None
    epoch: int
    summary: str
    subscribers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The topic's name."""
        topic = self.after or self.before
        return topic.name if topic is not None else ""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A node provides a topic or not, has subscribed or not. With a topic that is gone its members go unmentioned."""

    topic: str
    jid: str
    what: MemberEvent
    epoch: int


class Topics:
    """The topics. Call `load` before anything else.

    :param schemas: gets the schemas of the topics.
    :param clock: Unix time in seconds.
    :ivar listeners: awaited after each change of a topic, one after the other, before the change returns.
    :ivar member_listeners: likewise for providers and subscriptions.
    :ivar standing: who has which rights on a topic by the rules, some of them and how many in all; for those who ask
        what a change would do.
    """

    def __init__(
        self,
        store: Store,
        audit: Trail,
        epochs: Epochs,
        *,
        schemas: Schemas | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.listeners: list[Callable[[TopicChange], Awaitable[None]]] = []
        self.member_listeners: list[Callable[[MemberChange], Awaitable[None]]] = []
        self.standing: Callable[[str], tuple[Sequence[Right], int]] = _nobody
        self.schemas = schemas if schemas is not None else Schemas()
        self._index = TopicIndex()
        self._changes = Changes(store, epochs, self._read)
        self._store = store
        self._audit = audit
        self._epochs = epochs
        self._clock = clock

    async def load(self) -> None:
        """Read everything; make the built-in topic when it is not there.

        :raises DatabaseError: when that fails.
        """
        async with self._changes.lock:
            await self._read()
        if BUILT_IN.name not in self._index.topics:
            await self.add(STARTING, BUILT_IN)

    async def _read(self) -> None:
        stored = await self._store.read(rows.read_all)
        index = TopicIndex()
        for topic in stored.topics:
            index.put(topic)
        for provider in stored.providers:
            index.enroll(provider)
        for subscription in stored.subscriptions:
            index.subscribe(subscription)
        index.honeytokens = self._index.honeytokens  # whoever looks at it looks at it for good
        index.honeytokens.clear()
        for name, item in stored.honeytokens:
            index.put_honeytoken(name, item)
        for source in stored.schemas:
            self.schemas.add(source)
        self._index = index

    # Questions

    def get(self, name: str) -> Topic | None:
        """The topic of a name."""
        return self._index.topics.get(name)

    def all(self) -> tuple[Topic, ...]:
        """All topics, in no order."""
        return tuple(self._index.topics.values())

    def versions(self, capability: str) -> list[Topic]:
        """The topics of a capability, by version."""
        return self._index.versions(capability)

    def providers(self, topic: str) -> Mapping[str, Provider]:
        """The providers of a topic now, by JID; what was handed out does not change any more."""
        return self._index.providers(topic)

    def provided(self, jid: str) -> list[Topic]:
        """The topics that a node provides, in alphabetical order."""
        return [self._index.topics[name] for name in self._index.provided(jid)]

    def find(self, name: str) -> list[Provider]:
        """The providers behind the name of a capability, a topic or a query service, by topic and JID."""
        return self._index.find(name)

    def subscriptions(self, *, topic: str | None = None, jid: str | None = None) -> list[Subscription]:
        """The subscriptions of a topic, of a node, of both, or all, by topic and JID."""
        return self._index.subscriptions(topic, jid)

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are, those that are pending included."""
        return self._index.subscription_count

    def subtopics(self, name: str) -> list[str]:
        """The subtopics of a topic, in alphabetical order."""
        return sorted(each for each in self._index.topics if each.startswith(f"{name}/"))

    @property
    def honeytokens(self) -> Mapping[str, frozenset[str]]:
        """Ids of items that nobody has a reason to touch, by topic; it is always the same mapping, and up to date."""
        return self._index.honeytokens

    def known(self, name: str) -> Topic:
        """The topic of a name.

        :raises NotFound: there is none.
        """
        topic = self._index.topics.get(name)
        if topic is None:
            raise NotFound(f"There is no topic {shown(name)}.", hint="`stanzagate topic list` shows all topics.")
        return topic

    # Topics

    async def add(
        self, actor: str, topic: Topic, *, schema: bytes | None = None, dry_run: bool = False
    ) -> GridChange:
        """Make a topic.

        :param actor: for the audit record; a node's JID when a node makes it.
        :param topic: without a name it becomes ``capability-version``; without a capability it is its own.
        :param schema: XML Schema or JSON Schema of its items.
        :returns: with the name as ``data["topic"]``; rules that cover it may permit something at once.
        :raises InputError: a field, or the schema, is not possible.
        :raises Conflict: there is such a topic.
        :raises NotConfirmed: it is made, but a listener could not confirm it.
        """
        wanted, found = self._with_schema(checked_topic(topic), schema)
        async with self._changes.lock:
            await self._changes.ready()
            if wanted.name in self._index.topics:
                raise Conflict(f"There is a topic {wanted.name} already.", hint="`stanzagate topic show` tells more.")
            gains = self.standing(wanted.name)
            summary = f"Topic {wanted.name} is made."
            if dry_run:
                return self._told(summary, None, gains=gains, topic=wanted.name)
            wanted = replace(wanted, created=wanted.created or self._clock(), enabled=True)
            before, after, epoch = await self._store_topic(actor, "topic.added", None, wanted, found)
        await tell(self.listeners, TopicChange(before, after, epoch, summary))
        return self._told(summary, epoch, gains=gains, topic=wanted.name)

    async def configure(
        self, actor: str, topic: Topic, *, schema: bytes | None = None, dry_run: bool = False
    ) -> GridChange:
        """Change a topic; what it is called, its capability, version, creator, time and state stay.

        :param topic: as it should be; ``schema`` in it stays when none is given.
        :raises NotFound: there is none of that name.
        :raises InputError: a field, or the schema, is not possible.
        :raises NotConfirmed: it is changed, but a listener could not confirm it.
        """
        async with self._changes.lock:
            await self._changes.ready()
            old = self.known(topic.name)
            fixed = {
                "capability": old.capability, "version": old.version, "creator": old.creator,
                "created": old.created, "enabled": old.enabled, "epoch": old.epoch,
            }  # fmt: skip
            wanted, found = self._with_schema(checked_topic(replace(topic, **fixed)), schema)  # type: ignore[arg-type]
            if wanted == old:
                return self._told(f"Topic {old.name} is like that already.", None, dry_run=dry_run, topic=old.name)
            changed = ", ".join(_differences(old, wanted))
            summary = f"Topic {old.name} is changed: {changed}."
            if dry_run:
                return self._told(summary, None, topic=old.name)
            before, after, epoch = await self._store_topic(actor, "topic.configured", old, wanted, found)
        await tell(self.listeners, TopicChange(before, after, epoch, summary))
        return self._told(summary, epoch, topic=old.name)

    async def enable(self, actor: str, name: str, *, dry_run: bool = False) -> GridChange:
        """Let a topic be used again, by those who have rights on it; subscriptions are as they were.

        :raises NotFound: there is none of that name.
        """
        return await self._switch(actor, name, True, dry_run)

    async def disable(self, actor: str, name: str, *, dry_run: bool = False) -> GridChange:
        """Let nobody see or use a topic until it is enabled again.

        :raises NotFound: there is none of that name.
        """
        return await self._switch(actor, name, False, dry_run)

    async def _switch(self, actor: str, name: str, enabled: bool, dry_run: bool) -> GridChange:
        word = "enabled" if enabled else "disabled"
        async with self._changes.lock:
            await self._changes.ready()
            old = self.known(name)
            if old.enabled is enabled:
                return self._told(f"Topic {name} is {word} already.", None, dry_run=dry_run, topic=name)
            rights = self.standing(name)
            summary = f"Topic {name} is {word}.{self._members(name)}"
            gains, loses = (rights, NOTHING) if enabled else (NOTHING, rights)
            if dry_run:
                return self._told(summary, None, topic=name, loses=loses, gains=gains)
            wanted = replace(old, enabled=enabled)
            before, after, epoch = await self._store_topic(actor, f"topic.{word}", old, wanted, None)
        await tell(self.listeners, TopicChange(before, after, epoch, summary))
        return self._told(summary, epoch, topic=name, loses=loses, gains=gains)

    async def delete(self, actor: str, name: str, *, dry_run: bool = False) -> GridChange:
        """Remove a topic with its providers, subscriptions and honeytokens. Rules about it stay.

        :raises NotFound: there is none of that name.
        :raises Conflict: it is built in.
        :raises NotConfirmed: it is removed, but a listener could not confirm it.
        """
        async with self._changes.lock:
            await self._changes.ready()
            old = self.known(name)
            if name == BUILT_IN.name:
                raise Conflict(f"{name} is built in.", hint=f"`stanzagate topic disable {name}` hides it.")
            rights = self.standing(name)
            summary = f"Topic {name} is deleted.{self._members(name)}"
            if dry_run:
                return self._told(summary, None, loses=rights, topic=name)
            subscribers = tuple(each.jid for each in self._index.subscriptions(name, None))

            def write(connection: Connection, epoch: int) -> list[str]:
                rows.delete_topic(connection, name)
                detail = rows.detail_of(old) | {"subscribers": len(subscribers), "epoch": epoch}
                self._audit.append(connection, actor=actor, action="topic.deleted", subject=name, detail=detail)
                return rows.sweep_schemas(connection)

            def apply(unused: list[str], _epoch: int) -> None:
                self._index.remove(name)
                self._forget(unused)

            _, epoch = await self._changes.commit(write, apply)
        await tell(self.listeners, TopicChange(old, None, epoch, summary, subscribers))
        return self._told(summary, epoch, loses=rights, topic=name)

    async def _store_topic(
        self, actor: str, action: str, old: Topic | None, wanted: Topic, schema: Schema | None
    ) -> tuple[Topic | None, Topic, int]:
        def write(connection: Connection, epoch: int) -> list[str]:
            topic = replace(wanted, epoch=epoch)
            if schema is not None:
                rows.keep_schema(connection, schema.digest, schema.source)
            if old is None:
                rows.insert_topic(connection, topic)
            else:
                rows.update_topic(connection, topic)
            detail = rows.detail_of(topic)
            self._audit.append(connection, actor=actor, action=action, subject=topic.name, detail=detail)
            return rows.sweep_schemas(connection)

        def apply(unused: list[str], epoch: int) -> None:
            if schema is not None:
                self.schemas.add(schema.source)
            self._index.put(replace(wanted, epoch=epoch))
            self._forget(unused)

        _, epoch = await self._changes.commit(write, apply)
        return old, replace(wanted, epoch=epoch), epoch

    def _forget(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self.schemas.discard(digest)

    def _with_schema(self, topic: Topic, source: bytes | None) -> tuple[Topic, Schema | None]:
        if source is None:
            known = self.schemas.get(topic.schema) if topic.schema else None
            if topic.schema and known is None:
                raise InputError("The schema of that digest is not known.", hint="Give the schema itself.")
            if known is not None:
                check_schema(topic, known)
            return topic, known
        schema = inspected(source)
        check_schema(topic, schema)
        return replace(topic, schema=schema.digest), schema

    def _members(self, name: str) -> str:
        subscribers, providers = len(self._index.subscriptions(name, None)), len(self._index.providers(name))
        if not subscribers and not providers:
            return ""
        return f" It has {_counted(subscribers, 'subscriber')} and {_counted(providers, 'provider')}."

    def _told(
        self,
        summary: str,
        epoch: int | None,
        *,
        topic: str,
        loses: tuple[Sequence[Right], int] = NOTHING,
        gains: tuple[Sequence[Right], int] = NOTHING,
        dry_run: bool | None = None,
    ) -> GridChange:
        dry = epoch is None if dry_run is None else dry_run
        current = self._epochs.current if epoch is None else epoch
        return GridChange(
            summary, dry, current, tuple(loses[0]), loses[1], tuple(gains[0]), gains[1],
            {"topic": topic},
        )  # fmt: skip

    # Honeytokens

    async def plant(self, actor: str, topic: str, item: str) -> bool:
        """Make an item of a topic one that nobody has a reason to touch. Returns whether it was none before.

        :raises NotFound: there is no such topic.
        :raises InputError: that cannot be an item's id.
        """
        return await self._honeytoken(actor, topic, item_id(item), there=True)

    async def unearth(self, actor: str, topic: str, item: str) -> bool:
        """The opposite of `plant`; returns whether it was one."""
        return await self._honeytoken(actor, topic, item, there=False)

    async def _honeytoken(self, actor: str, topic: str, item: str, *, there: bool) -> bool:
        async with self._changes.lock:
            await self._changes.ready()
            self.known(topic)
            if (item in self.honeytokens.get(topic, ())) is there:
                return False
            index = self._index
            store = rows.put_honeytoken if there else rows.drop_honeytoken
            keep = index.put_honeytoken if there else index.drop_honeytoken

            def write(connection: Connection, epoch: int) -> None:
                store(connection, topic, item)
                action = "topic.honeytoken_added" if there else "topic.honeytoken_removed"
                detail = {"item": item, "epoch": epoch}
                self._audit.append(connection, actor=actor, action=action, subject=topic, detail=detail)

            await self._changes.commit(write, lambda _result, _epoch: keep(topic, item))
            return True

    # Providers and subscriptions

    async def enroll(self, provider: Provider) -> None:
        """A node says that it provides a topic; whether it may is for the caller to know.

        :raises NotFound: there is no such topic.
        :raises InputError: the JID, or a name, cannot be one.
        """
        wanted = checked_provider(provider)
        async with self._changes.lock:
            await self._changes.ready()
            self.known(wanted.topic)
            if self._index.providers(wanted.topic).get(wanted.jid) == wanted:
                return
            detail = {"queries": list(wanted.queries), "notifications": list(wanted.notifications)}
            change = await self._store_member(
                wanted.topic, wanted.jid, MemberEvent.ENROLLED, detail,
                lambda connection: rows.put_provider(connection, wanted), lambda: self._index.enroll(wanted),
            )  # fmt: skip
        await tell(self.member_listeners, change)

    async def withdraw(self, jid: str, topic: str) -> bool:
        """A node does not provide a topic any more. Returns whether it did."""
        async with self._changes.lock:
            await self._changes.ready()
            if jid not in self._index.providers(topic):
                return False
            change = await self._store_member(
                topic, jid, MemberEvent.WITHDRAWN, {},
                lambda connection: rows.drop_provider(connection, jid, topic),
                lambda: self._index.withdraw(jid, topic),
            )  # fmt: skip
        await tell(self.member_listeners, change)
        return True

    async def subscribe(self, jid: str, topic: str, state: Subscribed) -> Subscription:
        """A node has subscribed, or its subscription has been decided about; whether it may is the caller's.

        :raises NotFound: there is no such topic.
        :raises InputError: the JID is not that of a node.
        """
        who = node_jid(jid)
        async with self._changes.lock:
            await self._changes.ready()
            self.known(topic)
            present = self._index.subscriptions(topic, who)
            if present and present[0].state is state:
                return present[0]
            wanted = Subscription(who, topic, state, present[0].since if present else self._clock())
            what = MemberEvent.SUBSCRIBED if state is Subscribed.SUBSCRIBED else MemberEvent.PENDING
            change = await self._store_member(
                topic, who, what, {},
                lambda connection: rows.put_subscription(connection, wanted), lambda: self._index.subscribe(wanted),
            )  # fmt: skip
        await tell(self.member_listeners, change)
        return wanted

    async def unsubscribe(self, jid: str, topic: str) -> bool:
        """A node's subscription ends. Returns whether it had one."""
        async with self._changes.lock:
            await self._changes.ready()
            if not self._index.subscriptions(topic, jid):
                return False
            change = await self._store_member(
                topic, jid, MemberEvent.UNSUBSCRIBED, {},
                lambda connection: rows.drop_subscription(connection, jid, topic),
                lambda: self._index.unsubscribe(jid, topic),
            )  # fmt: skip
        await tell(self.member_listeners, change)
        return True

    async def drop(self, jid: str) -> None:
        """Forget whatever a node provides and has subscribed to: it was deleted or disabled."""
        async with self._changes.lock:
            await self._changes.ready()
            provided = self._index.provided(jid)
            subscribed = [each.topic for each in self._index.subscriptions(None, jid)]
            if not provided and not subscribed:
                return

            def write(connection: Connection, epoch: int) -> None:
                rows.drop_node(connection, jid)
                detail = {"provided": provided, "subscribed": subscribed, "epoch": epoch}
                self._audit.append(connection, actor=STOPPED, action="topic.dropped", subject=jid, detail=detail)

            def apply(_: None, _epoch: int) -> None:
                for topic in provided:
                    self._index.withdraw(jid, topic)
                for topic in subscribed:
                    self._index.unsubscribe(jid, topic)

            _, epoch = await self._changes.commit(write, apply)
        for topic in provided:
            await tell(self.member_listeners, MemberChange(topic, jid, MemberEvent.WITHDRAWN, epoch))
        for topic in subscribed:
            await tell(self.member_listeners, MemberChange(topic, jid, MemberEvent.UNSUBSCRIBED, epoch))

    async def _store_member(
        self,
        topic: str,
        jid: str,
        what: MemberEvent,
        detail: Mapping[str, Any],
        store: Callable[[Connection], None],
        remember: Callable[[], None],
    ) -> MemberChange:
        def write(connection: Connection, epoch: int) -> None:
            store(connection)
            self._audit.append(
                connection, actor=jid, action=f"topic.{what}", subject=topic, detail={**detail, "epoch": epoch}
            )

        _, epoch = await self._changes.commit(write, lambda _result, _epoch: remember())
        return MemberChange(topic, jid, what, epoch)


STOPPED = "system:node"
"""The actor of what happens because a node is not active any more."""


def _differences(old: Topic, new: Topic) -> list[str]:
    before, after = rows.detail_of(old), rows.detail_of(new)
    return [name.replace("_", " ") for name in before if before[name] != after[name]]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _nobody(_name: str) -> tuple[Sequence[Right], int]:
    return NOTHING
