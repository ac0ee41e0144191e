"""The controller's desk: answers the requests of draft-ietf-mile-xmpp-grid-01 §2.6, and ours on top of them.

Whoever registers or logs in need not be logged in; everything else needs it. What the next version brings (filters,
history, bulk, proxy queries) is answered with feature-not-implemented.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from component.base.audit import Audit
from component.base.errors import Conflict, StanzaError
from component.base.jid import Jid
from component.base.link import Link, NoAnswer
from grid import errors
from grid.accounts import Accounts
from grid.admission import Admission, admitted
from grid.binding import BadCertificate, fingerprint_of
from grid.binding_challenges import Challenges
from grid.dataplane.host import PluginHost, quiet_order
from grid.dataplane.programmer import Programmer
from grid.judge import Judge
from grid.model import AccessModel, Action, Credential, Flow, Payload, Provider, Subscribed, Topic
from grid.presence import Providers
from grid.protocol import answers, replies
from grid.protocol.elements import serialise
from grid.protocol.requests import (
    Challenge,
    DirectedQuery,
    DraftRequest,
    Find,
    InitPublish,
    IsAuthorized,
    ListCapabilities,
    Login,
    Logout,
    Offer,
    Register,
    SubscribeRequest,
    Unsubscribe,
)
from grid.protocol.rsm import take
from grid.sessions import Sessions
from grid.topics import Topics
from grid.topics_names import name_of

log = logging.getLogger(__name__)

QUERY_SECONDS = 10.0
"""So long a provider may take for a query that the controller hands on."""

Handler = Callable[["Desk", Jid, Any], Awaitable[str]]


class Desk:
    """Answers draft requests. Every method takes the sender's full JID and the request, and gives the content of the
    answers."""

    def __init__(
        self,
        *,
        admission: Admission,
        accounts: Accounts,
        topics: Topics,
        judge: Judge,
        sessions: Sessions,
        programmer: Programmer,
        plugin: PluginHost,
        providers: Providers,
        link: Link,
        audit: Audit,
        epoch: Callable[[], int],
        limit: int,
    ) -> None:
        self._admission = admission
        self._accounts = accounts
        self._challenges = Challenges()
        self._topics = topics
        self._judge = judge
        self._sessions = sessions
        self._programmer = programmer
        self._plugin = plugin
        self._providers = providers
        self._link = link
        self._audit = audit
        self._epoch = epoch
        self._limit = limit

    async def answer(self, jid: Jid, request: DraftRequest) -> str:
        """Answer a request.

        :raises Refusal: it is refused.
        """
        handler = _HANDLERS.get(type(request))
        if handler is None:
            await self._logged_in(jid)
            raise errors.unsupported_yet("This version does not answer it.")
        return await handler(self, jid, request)

    async def _logged_in(self, jid: Jid) -> None:
        await self._admission.active(jid)
        if not self._sessions.logged_in(jid):
            raise errors.not_authorized()

    # Accounts

    async def _register(self, jid: Jid, request: Register) -> str:
        credential = await self._admission.credential(jid)
        if request.username and request.username not in (jid.bare, jid.local):
            raise errors.forbidden("A node can register itself alone.")
        if request.proof is not None:
            credential = self._challenges.prove(jid.full, request.proof.chain, request.proof.signature)
        node = await self._accounts.register(jid.bare, credential)
        return answers.register(request, node.state)

    async def _challenge(self, jid: Jid, request: Challenge) -> str:
        return answers.challenge(request, self._challenges.give(jid.full))

    async def _login(self, jid: Jid, request: Login) -> str:
        await self._admission.active(jid)
        await self.log_in(jid)
        return answers.login(request)

    async def log_in(self, jid: Jid) -> None:
        """Begin a node's session with the grid; nothing when it has begun."""
        if self._sessions.quiet(jid):  # first: if it fails, the node is not in, and its next request does it again
            await self._plugin.tell(quiet_order(jid.full, self._epoch(), lifted=True))
            self._sessions.mark_quiet(jid, False)
        if not self._sessions.login(jid):
            return
        self._audit.note(jid.full, "session.login", jid.bare, {"mechanism": self._sessions.credential(jid).mechanism})
        self._providers.greet(jid)

    async def _logout(self, jid: Jid, request: Logout) -> str:
        admitted(await self._admission.active(jid))
        if self._sessions.logout(jid):
            self._audit.note(jid.full, "session.logout", jid.bare, {})
        self._sessions.mark_quiet(jid, True)
        await self._plugin.tell(quiet_order(jid.full, self._epoch()))
        return answers.logout(request)

    # Discovery

    async def _capabilities(self, jid: Jid, request: ListCapabilities) -> str:
        await self._logged_in(jid)
        part = take(list(self._judge.topics(jid.bare)), lambda topic: topic.name, request.page, limit=self._limit)
        entries = [
            answers.CapabilityEntry(
                topic.capability, topic.version, topic.name, self._offer(topic) if request.details else None
            )
            for topic in part.items
        ]
        return answers.capabilities(request, entries, part.set)

    def _offer(self, topic: Topic) -> Offer:
        providers = self._topics.providers(topic.name).values()
        declared = sorted(item.schema for item in providers if item.schema)
        schema = topic.schema or (declared[0] if declared else "")
        return Offer(
            type=topic.type, schema=schema, flow=topic.flow, cacheable=topic.cacheable, payload=topic.payload,
            queries=tuple(sorted({name for item in providers for name in item.queries})),
            notifications=tuple(sorted({name for item in providers for name in item.notifications})),
        )  # fmt: skip

    async def _find(self, jid: Jid, request: Find) -> str:
        await self._logged_in(jid)
        found = {
            provider.jid
            for provider in self._topics.find(request.name)
            if (topic := self._topics.get(provider.topic)) and self._judge.visible(jid.bare, topic)
        }
        if not found:
            raise errors.item_not_found()
        part = take(sorted(found), str, request.page, limit=self._limit)
        return answers.find(request, map(self._reachable, part.items), part.set)

    def _reachable(self, bare: str) -> str:
        """The address of a node that answers: the session that logged in last, else one that is connected (nobody is
        logged in when the controller has just started), else its bare JID."""
        logins = self._sessions.logins(bare)
        if logins:
            return max(logins, key=lambda login: login[1])[0]
        sessions = self._sessions.of(bare)
        return max(sessions, key=lambda session: session.since).jid.full if sessions else bare

    # Publishing and subscribing

    async def _init_publish(self, jid: Jid, request: InitPublish) -> str:
        await self._logged_in(jid)
        before = {topic.name for topic in self._topics.provided(jid.bare)}
        names = []
        for offer in request.offers or (Offer(),):
            topic = await self._offered(jid.bare, request, offer)
            provider = Provider(jid.bare, topic.name, offer.queries, offer.notifications, offer.schema)
            await self._topics.enroll(provider)
            await self._programmer.topic(topic.name, [jid.bare])
            names.append(topic.name)
        if not before.issuperset(names):  # who offers the same again and again disturbs nobody
            self._providers.changed(jid.bare, self._topics.provided(jid.bare), True)
        return answers.init_publish(request, names)

    async def _offered(self, bare: str, request: InitPublish, offer: Offer) -> Topic:
        """The topic that an offer is about; made when it is new and the sender may publish to it."""
        name = name_of(request.capability, request.version, offer.label)
        if self._topics.get(name) is None and self._judge.ask(bare, Action.PUBLISH, name).permitted:
            topic = Topic(
                name, request.capability, request.version, type=offer.type, payload=offer.payload or Payload.XML,
                flow=offer.flow or Flow.CENTRAL, cacheable=offer.cacheable is not False, creator=bare,
            )  # fmt: skip
            try:
                await self._topics.add(bare, topic)
            except Conflict:  # another provider was faster
                log.info("%s is made by another provider at the same time.", name)
        topic = self._judge.require(bare, Action.PUBLISH, name)
        if offer.type and topic.type and offer.type != topic.type:
            raise errors.conflict(f"{name} has another type; offer an exclusive schema with a label of its own.")
        return topic

    async def _subscribe(self, jid: Jid, request: SubscribeRequest) -> str:
        await self._logged_in(jid)
        if request.filter is not None:
            raise errors.unsupported_yet("This version has no filters.")
        states: dict[str, Subscribed] = {}
        refusals: list[errors.Refusal] = []
        for name in self._meant(jid.bare, request):
            try:
                states[name] = await self.subscribe(jid.bare, name)
            except errors.Refusal as refusal:
                refusals.append(refusal)
        if not states:
            raise refusals[0]
        providers = sorted({bare for name in states for bare in self._topics.providers(name)})
        jids = [self._reachable(bare) for bare in providers]
        return answers.subscribe(request, tuple(states), jids, pending=Subscribed.PENDING in states.values())

    def _meant(self, bare: str, request: SubscribeRequest) -> list[str]:
        """The topics that a request is about: of a capability with exclusive schemas all that the sender sees, unless
        the request has a label."""
        name = name_of(request.capability, request.version, request.label)
        if request.label or self._topics.get(name) is not None:
            return [name]
        found = [topic for topic in self._topics.versions(request.capability) if topic.version == request.version]
        return [topic.name for topic in found if self._judge.visible(bare, topic)] or [name]

    async def subscribe(self, bare: str, name: str) -> Subscribed:
        """Subscribe a node; without the right it waits for a decision, where the topic lets it ask.

        :raises Refusal: item-not-found, forbidden.
        """
        verdict = self._judge.ask(bare, Action.SUBSCRIBE, name)
        topic = self._judge.seen(bare, name)
        if not verdict.permitted and topic.access_model is not AccessModel.AUTHORIZE:
            raise errors.forbidden("You may not subscribe to this topic.")
        state = Subscribed.SUBSCRIBED if verdict.permitted else Subscribed.PENDING
        await self._topics.subscribe(bare, name, state)
        if state is Subscribed.SUBSCRIBED:
            await self._programmer.topic(name, [bare])
        return state

    async def _unsubscribe(self, jid: Jid, request: Unsubscribe) -> str:
        await self._logged_in(jid)
        if not any(item.topic == request.topic for item in self._topics.subscriptions(jid=jid.bare)):
            raise errors.item_not_found()
        await self.unsubscribe(jid.bare, request.topic)
        return answers.unsubscribe(request, request.topic)

    async def unsubscribe(self, bare: str, name: str) -> None:
        """End a subscription, here and at the server."""
        await self._topics.unsubscribe(bare, name)
        await self._programmer.topic(name, [bare])

    # Authorization and queries

    async def _is_authorized(self, jid: Jid, request: IsAuthorized) -> str:
        await self._logged_in(jid)
        asked = request.identity.bare if request.identity else self._named(request.chain)
        names = self._askable(jid.bare, asked, request.service)
        if not names:
            raise errors.item_not_found()
        if not asked:
            return answers.is_authorized(request, False, "The certificate stands for no node of this grid.")
        verdicts = [self._judge.tell(jid.bare, asked, request.operation, name) for name in names]
        denied = [verdict for verdict in verdicts if not verdict.permitted]
        verdict = (denied or verdicts)[0]  # all of them, or it is no permit
        return answers.is_authorized(request, verdict.permitted, verdict.reason)

    def _askable(self, bare: str, asked: str, service: str) -> list[str]:
        """The topics of a service about which a node may ask: those it publishes to; about itself, all it sees."""
        names = {provider.topic for provider in self._topics.find(service)}
        names |= {topic.name for topic in self._topics.versions(service)}
        names |= {service} if self._topics.get(service) is not None else set()
        found = [topic for name in sorted(names) if (topic := self._topics.get(name)) is not None]
        return [
            topic.name
            for topic in found
            if self._judge.visible(bare, topic)
            and (
                asked == bare
                or bare in self._topics.providers(topic.name)
                or self._judge.permits(bare, Action.PUBLISH, topic.name)
            )
        ]

    def _named(self, chain: tuple[bytes, ...]) -> str:
        """The node that a certificate stands for; nobody when it is not good, or not that node's own.

        :returns: the bare JID, or the empty string, which has no rights.
        """
        credential = Credential("", fingerprint_of(chain[0]), chain)
        try:
            for bare in sorted(self._accounts.certificates.verify(credential).addresses):
                self._accounts.check_binding(bare, credential)
                return bare
        except (BadCertificate, errors.Refusal):
            pass
        return ""

    async def _directed(self, jid: Jid, request: DirectedQuery) -> str:
        """A query that is sent to the controller goes to a provider of it (seed 004 §1.3, proxy flow)."""
        await self._logged_in(jid)
        able = [
            item
            for item in self._topics.find(request.name)
            if self._sessions.logins(item.jid) and self._judge.ask(jid.bare, Action.READ, item.topic).permitted
        ]
        if not able:
            raise errors.item_not_found()
        content = answers.wrap(request.envelope, serialise(request.element), "request")
        try:
            result = await self._link.iq(self._reachable(able[0].jid), content, timeout=QUERY_SECONDS)
        except NoAnswer:
            raise errors.Refusal("wait", "remote-server-timeout", "The provider did not answer.") from None
        except StanzaError as error:
            raise errors.Refusal(error.info.type, error.info.condition, error.info.text) from None
        if not self._judge.permits(jid.bare, Action.READ, able[0].topic):  # lost while the provider was thinking
            raise errors.item_not_found()
        return answers.directed(request, replies.directed(result))


_HANDLERS: dict[type[DraftRequest], Handler] = {
    Register: Desk._register,
    Challenge: Desk._challenge,
    Login: Desk._login,
    Logout: Desk._logout,
    ListCapabilities: Desk._capabilities,
    Find: Desk._find,
    InitPublish: Desk._init_publish,
    SubscribeRequest: Desk._subscribe,
    Unsubscribe: Desk._unsubscribe,
    IsAuthorized: Desk._is_authorized,
    DirectedQuery: Desk._directed,
}
