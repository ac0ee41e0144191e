"""What the server should have: read from the registries, never stored, so that it cannot grow old.

The data plane is programmed by convergence. This is one half of it, the other half is `grid.dataplane.programmer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from grid.model import Action, Node, NodeState, Subscribed, Subscription, Topic, Verdict


class _Accounts(Protocol):
    def get(self, jid: str) -> Node | None: ...

    def all(self, state: NodeState | None = None) -> Iterable[Node]: ...


class _Topics(Protocol):
    def get(self, name: str) -> Topic | None: ...

    def all(self) -> Iterable[Topic]: ...

    def subscriptions(self, *, topic: str | None = None, jid: str | None = None) -> Iterable[Subscription]: ...


class _Access(Protocol):
    def decide(self, jid: str, action: Action, topic: str) -> Verdict: ...

    def by_rules(self, jid: str, action: Action, topic: str) -> Verdict: ...

    def holders(self, action: Action, topic: str) -> Iterable[str]: ...


class Desired:
    """The state that the server's publish-subscribe service and its accounts should be in.

    :param accounts: the nodes.
    :param topics: the topics, and who has subscribed to them.
    :param access: who may.
    """

    def __init__(self, accounts: _Accounts, topics: _Topics, access: _Access) -> None:
        self._accounts = accounts
        self._topics = topics
        self._access = access

    def names(self) -> set[str]:
        """The names of all topics, those that are disabled, too."""
        return {topic.name for topic in self._topics.all()}

    def topic(self, name: str) -> Topic | None:
        """The topic of that name; None when the server should have no such node."""
        return self._topics.get(name)

    def publishers(self, name: str, jids: Iterable[str] | None = None) -> set[str]:
        """Who may publish: every active node with the right, announced as provider or not, because a plain XEP-0060
        client announces nothing. Nobody while the topic is disabled.

        :param jids: only these are looked at; None for all.
        """
        topic = self._topics.get(name)
        if topic is None or not topic.enabled:
            return set()
        if jids is None:
            return {jid for jid in self._access.holders(Action.PUBLISH, name) if self._active(jid)}
        return {jid for jid in jids if self._active(jid) and self._publishes(jid, name)}

    def subscribers(self, name: str, jids: Iterable[str] | None = None) -> set[str]:
        """Who gets what is published: whoever has subscribed, is active and has the right by the rules. They stay
        while the topic is disabled, when nobody can publish.

        :param jids: only these are looked at; None for all.
        """
        if self._topics.get(name) is None:
            return set()
        if jids is None:
            found = self._topics.subscriptions(topic=name)
        else:
            found = [item for jid in jids for item in self._topics.subscriptions(topic=name, jid=jid)]
        return {
            item.jid
            for item in found
            if item.state is Subscribed.SUBSCRIBED
            and self._active(item.jid)
            and self._access.by_rules(item.jid, Action.SUBSCRIBE, name).permitted
        }

    def touched(self, jid: str) -> set[str]:
        """The topics that a node may publish to or has subscribed to."""
        mine = {topic.name for topic in self._topics.all() if self._publishes(jid, topic.name)}
        return mine | {item.topic for item in self._topics.subscriptions(jid=jid)}

    def account(self, jid: str) -> bool:
        """Whether a node must have an account on the server: when it is active. Without one nothing can be stored for
        it while it is away (XEP-0160), and it could not log in by SCRAM."""
        return self._active(jid)

    def state(self, jid: str) -> NodeState | None:
        """Where a node stands; None for one that is not registered."""
        node = self._accounts.get(jid)
        return node.state if node is not None else None

    def accounts(self) -> Iterable[str]:
        """The nodes that must have an account."""
        return (node.jid for node in self._accounts.all(NodeState.ACTIVE))

    def _publishes(self, jid: str, name: str) -> bool:
        return self._access.decide(jid, Action.PUBLISH, name).permitted

    def _active(self, jid: str) -> bool:
        return self.state(jid) is NodeState.ACTIVE
