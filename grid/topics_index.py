"""Topics, providers and subscriptions in memory, found by every name that they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from grid.model import Provider, Subscription, Topic
from grid.topics_names import base_of, sort_key

K = TypeVar("K")
V = TypeVar("V")

NOBODY: Mapping[str, Provider] = MappingProxyType({})


class TopicIndex:
    """Everything about topics. Used on the event loop only.

    :ivar topics: by name.
    :ivar honeytokens: ids of items that nobody has a reason to touch, by topic.
    """

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.honeytokens: dict[str, frozenset[str]] = {}
        self._capabilities: dict[str, set[str]] = {}
        self._providers: dict[str, Mapping[str, Provider]] = {}  # each is replaced, never changed: it is handed out
        self._provided: dict[str, set[str]] = {}
        self._answering: dict[str, set[tuple[str, str]]] = {}
        self._subscribers: dict[str, dict[str, Subscription]] = {}
        self._subscribed: dict[str, dict[str, Subscription]] = {}

    # Topics

    def put(self, topic: Topic) -> None:
        """A topic is new or has changed."""
        self.topics[topic.name] = topic
        self._capabilities.setdefault(topic.capability, set()).add(topic.name)

    def remove(self, name: str) -> None:
        """A topic is gone, with all that belongs to it."""
        topic = self.topics.pop(name)
        _discard(self._capabilities, topic.capability, name)
        for jid in list(self._providers.get(name, ())):
            self.withdraw(jid, name)
        for jid in list(self._subscribers.get(name, ())):
            self.unsubscribe(jid, name)
        self.honeytokens.pop(name, None)

    def versions(self, capability: str) -> list[Topic]:
        """The topics of a capability, by version, then by name."""
        found = [self.topics[name] for name in self._capabilities.get(capability, ())]
        return sorted(found, key=lambda topic: (sort_key(topic.version), topic.name))

    def put_honeytoken(self, topic: str, item: str) -> None:
        """An item is a honeytoken."""
        self.honeytokens[topic] = self.honeytokens.get(topic, frozenset()) | {item}

    def drop_honeytoken(self, topic: str, item: str) -> None:
        """An item is none any more."""
        left = self.honeytokens.get(topic, frozenset()) - {item}
        if left:
            self.honeytokens[topic] = left
        else:
            self.honeytokens.pop(topic, None)

    # Providers

    def providers(self, topic: str) -> Mapping[str, Provider]:
        """The providers of a topic now, by JID."""
        return self._providers.get(topic, NOBODY)

    def provided(self, jid: str) -> list[str]:
        """The topics that a node provides, in alphabetical order."""
        return sorted(self._provided.get(jid, ()))

    def enroll(self, provider: Provider) -> None:
        """A node provides a topic, or does so in another way."""
        self.withdraw(provider.jid, provider.topic)
        others = self._providers.get(provider.topic, NOBODY)
        self._providers[provider.topic] = MappingProxyType({**others, provider.jid: provider})
        self._provided.setdefault(provider.jid, set()).add(provider.topic)
        for query in provider.queries:
            self._answering.setdefault(query, set()).add((provider.topic, provider.jid))

    def withdraw(self, jid: str, topic: str) -> None:
        """A node does not provide a topic any more."""
        provider = self._providers.get(topic, NOBODY).get(jid)
        if provider is None:
            return
        left = {other: each for other, each in self._providers[topic].items() if other != jid}
        if left:
            self._providers[topic] = MappingProxyType(left)
        else:
            del self._providers[topic]
        _discard(self._provided, jid, topic)
        for query in provider.queries:
            _discard(self._answering, query, (topic, jid))

    def find(self, name: str) -> list[Provider]:
        """The providers behind the name of a capability, a topic, a subtopic or a query service, each once."""
        topics = {*self._capabilities.get(name, ()), base_of(name)}
        places = {(topic, jid) for topic in topics for jid in self._providers.get(topic, ())}
        return [self._providers[topic][jid] for topic, jid in sorted(places | self._answering.get(name, set()))]

    # Subscriptions

    def subscriptions(self, topic: str | None, jid: str | None) -> list[Subscription]:
        """The subscriptions of a topic, of a node, of both, or all, by topic and node."""
        if topic is not None and jid is not None:
            single = self._subscribers.get(topic, {}).get(jid)
            return [] if single is None else [single]
        found: Iterable[Subscription]
        if topic is not None:
            found = self._subscribers.get(topic, {}).values()
        elif jid is not None:
            found = self._subscribed.get(jid, {}).values()
        else:
            found = (each for listed in self._subscribers.values() for each in listed.values())
        return sorted(found, key=lambda each: (each.topic, each.jid))

    @property
    def subscription_count(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._subscribers.values()))

    def subscribe(self, subscription: Subscription) -> None:
        """A node has subscribed, or its subscription has changed."""
        self._subscribers.setdefault(subscription.topic, {})[subscription.jid] = subscription
        self._subscribed.setdefault(subscription.jid, {})[subscription.topic] = subscription

    def unsubscribe(self, jid: str, topic: str) -> None:
        """A node's subscription is gone."""
        for table, first, second in ((self._subscribers, topic, jid), (self._subscribed, jid, topic)):
            found = table.get(first, {})
            found.pop(second, None)
            if not found:
                table.pop(first, None)


def _discard(table: dict[K, set[V]], key: K, value: V) -> None:
    found = table.get(key, set())
    found.discard(value)
    if not found:
        table.pop(key, None)
