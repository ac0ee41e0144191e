"""What has to follow a change before it returns: at the in-server plugin, at the server, at those concerned.

A change is on disk when this is called. What cannot be done now (the server is away) is said, and made good by
itself: the plugin is told what it has missed, and the reconciliation puts right what differs at the server. What a
kill or the database has left half done in the registries themselves is settled at the next start, or later on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from component.base.clientsessions import ClientSession
from component.base.enforcement import NotConfirmed
from component.base.errors import StanzagateError
from component.base.stanzas import quote
from component.base.store import DatabaseError
from grid import ns
from grid.access import Access, AccessChange
from grid.accounts import Accounts, NodeChange
from grid.alerts import Alert, AlertKind
from grid.dataplane.host import PluginHost, disconnect_order
from grid.dataplane.programmer import Programmer
from grid.errors import Refusal
from grid.limits import Limiter
from grid.model import Action, Credential, Effect, NodeState, Subscribed, Topic
from grid.sessions import Sessions
from grid.topics import TopicChange, Topics

log = logging.getLogger(__name__)

Tell = Callable[[str, str], None]
"""Send a node (bare JID) a headline with this serialised content: it is for those who are there."""

STRANGER = "The certificate is not one that the name is bound to."


class Effects:
    """Carries changes out.

    :param tell: tells nodes of decisions about them.
    :param alert: told of what could not be carried out everywhere.
    :ivar unsettled: whether `settle` has something to do.
    """

    def __init__(
        self,
        accounts: Accounts,
        topics: Topics,
        access: Access,
        sessions: Sessions,
        programmer: Programmer,
        plugin: PluginHost,
        limiter: Limiter,
        tell: Tell,
        alert: Callable[[Alert], None],
    ) -> None:
        self._accounts = accounts
        self._topics = topics
        self._access = access
        self._sessions = sessions
        self._programmer = programmer
        self._plugin = plugin
        self._limiter = limiter
        self._tell = tell
        self._alert = alert
        self.unsettled = True

    async def settle(self) -> None:
        """Make the subscriptions and providers follow the nodes and rules, for all changes that did not get so far.

        :raises StanzagateError: the database cannot be written; `unsettled` stays.
        """
        self.unsettled = True
        for subscription in list(self._topics.subscriptions()):
            if self._is_out(subscription.jid):
                await self._topics.drop(subscription.jid)
            else:
                await self._review(subscription.jid, subscription.topic, subscription.state)
            if subscription not in self._topics.subscriptions(topic=subscription.topic, jid=subscription.jid):
                self._programmer.owed.add(subscription.topic)
            await asyncio.sleep(0)
        for topic in list(self._topics.all()):
            for jid in list(self._topics.providers(topic.name)):
                if self._is_out(jid):
                    await self._topics.drop(jid)
                else:
                    await self._withdraw(jid, topic.name)
        self.unsettled = False

    def _is_out(self, jid: str) -> bool:
        node = self._accounts.get(jid)
        return node is None or node.state is NodeState.DISABLED

    async def node_changed(self, change: NodeChange) -> None:
        """A node has been admitted, approved, disabled, deleted, put into a group, …

        :raises NotConfirmed: not everything has been done yet.
        """
        jid = change.jid
        self._programmer.expect(jid)  # the plugin comes first, and may take its time
        was = change.before is not None and change.before.state is NodeState.ACTIVE
        state = change.after.state if change.after is not None else None
        steps: list[Callable[[], Awaitable[object]]] = []
        if state is NodeState.PENDING:
            return  # nobody is cut off by asking, and to the plugin a node that waits is as good as unknown
        if state is NodeState.ACTIVE and was:  # groups, clearance, the first certificate
            steps = [
                self._plugin.obey, lambda: self._end_strangers(jid),
                lambda: self._rights_changed([jid], list(self._topics.all())),
            ]  # fmt: skip
        elif state is NodeState.ACTIVE:
            self._limiter.forget(jid)
            steps = [lambda: self._end_strangers(jid), self._plugin.obey, lambda: self._programme(jid, change)]
        else:
            self._sessions.drop(jid)
            steps = [
                self._plugin.obey, lambda: self._topics.drop(jid), lambda: self._end(jid, change),
                lambda: self._programme(jid, change),
            ]  # fmt: skip
        await self._all(steps, jid, change.summary)
        if state is NodeState.ACTIVE and not was:
            self._tell(jid, f"<node xmlns='{ns.GRID}' state='{state}'/>")

    async def _programme(self, jid: str, change: NodeChange) -> None:
        await self._programmer.node(jid, before=change.before, password=change.password)
        if change.password:
            await self._plugin.settle()  # it is kept nowhere else

    async def _end(self, jid: str, change: NodeChange) -> None:
        if change.before is not None:
            why = "The node is disabled." if change.after is not None else "The node was deleted."
            await self._plugin.tell(disconnect_order(jid, why))

    async def _end_strangers(self, jid: str) -> None:
        """End the sessions under a name, from when it was not active, whose certificates are not the node's."""
        for session in self._sessions.of(jid):
            if not self.is_own(session):
                await self._plugin.tell(disconnect_order(session.jid.full, STRANGER))

    def is_own(self, session: ClientSession) -> bool:
        """Whether a session is of the node whose name it has: with a certificate of that, or with none. The server
        accepts every certificate of the node CA that carries the name. If it is not, an alert has been raised."""
        try:
            credential = Credential(session.mechanism, session.fingerprint, session.chain)
            self._accounts.check_binding(session.jid.bare, credential)
        except Refusal:
            return False
        return True

    async def bound(self, jid: str) -> None:
        """A certificate was issued to a name: it will do from now on, and if it is the first one no other will.

        :raises NotConfirmed: the plugin has not confirmed it yet.
        """
        node = self._accounts.get(jid)
        if node is not None and node.state is NodeState.ACTIVE:
            await self._plugin.obey()
            await self._end_strangers(jid)

    async def access_changed(self, change: AccessChange) -> None:
        """A rule has been made or removed.

        :raises NotConfirmed: not everything has been done yet.
        """
        group = change.subject.removeprefix("group:") if change.subject.startswith("group:") else ""
        jids = list(self._accounts.members(group)) if group else [change.subject]
        concerned = [topic for topic in self._topics.all() if change.covers(topic.name)]
        await self._all([lambda: self._rights_changed(jids, concerned)], change.subject, change.summary)

    async def topic_changed(self, change: TopicChange) -> None:
        """A topic has been made, changed, enabled, disabled, deleted.

        :raises NotConfirmed: not everything has been done yet.
        """
        try:
            await self._all([lambda: self._programmer.topic(change.name)], change.name, change.summary)
        finally:
            if change.after is None:  # XEP-0060 §8.4.2; their subscriptions ended before, so the server tells nobody
                for jid in change.subscribers:
                    self._tell(jid, f"<event xmlns='{ns.PUBSUB_EVENT}'><delete node='{quote(change.name)}'/></event>")

    async def _rights_changed(self, jids: Iterable[str], topics: Iterable[Topic]) -> None:
        concerned, names = frozenset(jids), sorted(topic.name for topic in topics)
        for name in names:
            self._programmer.expect(name)
        steps: list[Callable[[], Awaitable[object]]] = []
        for name in names:
            for subscription in [item for item in self._topics.subscriptions(topic=name) if item.jid in concerned]:
                steps.append(partial(self._review, subscription.jid, name, subscription.state))
            steps += [
                partial(self._withdraw, jid, name) for jid in concerned.intersection(self._topics.providers(name))
            ]
            steps.append(partial(self._programmer.topic, name, concerned))  # whatever becomes of the others
        await self._all(steps, "rules", "")

    async def _withdraw(self, jid: str, topic: str) -> None:
        if not self._access.by_rules(jid, Action.PUBLISH, topic).permitted:
            await self._topics.withdraw(jid, topic)

    async def _review(self, jid: str, topic: str, state: Subscribed) -> None:
        verdict = self._access.by_rules(jid, Action.SUBSCRIBE, topic)  # a disabled topic keeps its subscribers
        if verdict.permitted and state is Subscribed.PENDING:
            await self._topics.subscribe(jid, topic, Subscribed.SUBSCRIBED)
            self._subscription(jid, topic, "subscribed")
        elif not verdict.permitted and (state is Subscribed.SUBSCRIBED or self._forbidden(jid, topic)):
            await self._topics.unsubscribe(jid, topic)
            self._subscription(jid, topic, "none")

    def _subscription(self, jid: str, topic: str, state: str) -> None:
        """Tell of a decision about a subscription (XEP-0060 §8.6)."""
        said = f"node='{quote(topic)}' jid='{quote(jid)}' subscription='{state}'"
        self._tell(jid, f"<event xmlns='{ns.PUBSUB_EVENT}'><subscription {said}/></event>")

    def _forbidden(self, jid: str, topic: str) -> bool:
        return any(rule.effect is Effect.FORBID for rule in self._access.deciding(jid, Action.SUBSCRIBE, topic))

    async def _all(self, steps: Iterable[Callable[[], Awaitable[object]]], subject: str, summary: str) -> None:
        """Do everything, whatever fails; then say what did."""
        failed: list[StanzagateError] = []
        for step in steps:
            try:
                await step()
            except StanzagateError as error:
                log.warning("A change was made, but not everything followed: %s", error)
                self.unsettled = self.unsettled or isinstance(error, DatabaseError)
                failed.append(error)
        if failed:
            self._alert(Alert(AlertKind.NOT_CONFIRMED, subject, failed[0].message))
            raise NotConfirmed(
                f"{summary} But {failed[0].message}".strip(), hint=failed[0].hint or "It is made good by itself.",
                details=[error.message for error in failed[1:]],
            )  # fmt: skip
