"""The agent: one node's connection to the grid, shared by all the applications of the node."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from xml.etree.ElementTree import Element

from component.base.errors import InputError
from component.base.jid import prepare
from component.base.stanzas import quote
from grid import ns
from grid.agent import identity, stanzas
from grid.agent.errors import AgentError, NoSuchTopic, NotAuthorized, Refused
from grid.agent.membership import SPREAD, Membership
from grid.agent.payloads import Payload, Schemas, written
from grid.agent.questions import Decisions, Handler, IncidentHandler, Questions
from grid.agent.strip import paths
from grid.agent.subscriptions import QUEUE, Overflow, Stream, Subscriptions
from grid.agent.uplink import Uplink
from grid.errors import Refusal
from grid.iodef import incident
from grid.model import Action, NodeState
from grid.protocol import asking, disco, replies, requests
from grid.protocol.answers import CapabilityEntry
from grid.protocol.rsm import Page

log = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds that a request may take, reconnecting included."""

PORT = 5222
T = TypeVar("T")

DERIVED = "derived"
"""The controller is ``controller.DOMAIN``."""


class Agent:
    """A node of the grid::

        async with Agent("soc1@grid.test", ca="ca.pem", cert="soc1.pem", key="soc1.key") as agent:
            await agent.publish("IODEF-1.0", incident)
            async for item in agent.subscribe("IODEF-1.0"):
                print(item.id, item.iodef.incident[0].incident_id.value)

    :param jid: of the node; with a resource, when several agents of one node are connected at once.
    :param host: address of the server; looked up for the domain of the JID when it is left out.
    :param ca: PEM file of the authorities that sign the server's certificate; those of the system when left out.
    :param cert: PEM file of the node's certificate, for SASL EXTERNAL, with its `key`.
    :param password: for SCRAM, when there is no certificate or the server does not take it.
    :param pin: SHA-256 fingerprint, or several, of the server's certificate: no other one is accepted.
    :param crl: PEM file with the authority's revocation list.
    :param controller: JID of the grid's controller; None for a broker without one (RFC 8600 only). Left out, it is
        ``controller.`` and the domain of the JID.
    :param broker: JID of the publish-subscribe service; ``pubsub.`` and the domain when left out.
    :param strip: paths that are taken out of what is published (`grid.agent.strip`): for all topics, or by topic.
    :param schemas: XML Schema or JSON Schema by topic; what is not valid is not sent. IODEF is always validated.
    :param patience: seconds to wait for approval: None for as long as it takes, 0 for not at all.
    :param on_state: told of the node's state: pending, active.
    :param on_provider: told of providers that come and go: bare JID, topics, whether it is there.
    :raises InputError: one of these cannot be used.
    """

    def __init__(
        self,
        jid: str,
        *,
        host: str = "",
        port: int = PORT,
        ca: Path | str | None = None,
        cert: Path | str | None = None,
        key: Path | str | None = None,
        password: str = "",
        pin: str | Sequence[str] = (),
        crl: Path | str | None = None,
        controller: str | None = DERIVED,
        broker: str = "",
        strip: Iterable[str] | Mapping[str, Iterable[str]] = (),
        schemas: Mapping[str, bytes] | None = None,
        timeout: float = TIMEOUT,
        patience: float | None = None,
        on_state: Callable[[NodeState], None] | None = None,
        on_provider: Callable[[str, tuple[str, ...], bool], None] | None = None,
    ) -> None:
        login = identity.login(
            jid, host=host, port=port, ca=ca, cert=cert, key=key, password=password, pin=pin, crl=crl
        )
        address = prepare(login.jid)
        self.bare = address.bare
        self.controller = f"controller.{address.domain}" if controller == DERIVED else controller
        self.broker = broker or f"pubsub.{address.domain}"
        self.providers: dict[str, tuple[str, ...]] = {}
        self._timeout = timeout
        by_topic = strip if isinstance(strip, Mapping) else {"": strip}
        self._strip = {topic: paths(texts) for topic, texts in by_topic.items()}
        self._schemas = Schemas(schemas)
        self._types: dict[str, str] = {}
        self._uplink = Uplink(login, on_session=self._session, on_stanza=self._received, on_failed=self._failed)
        self._membership = self._member(patience, on_state)
        self._on_provider = on_provider
        self._subscriptions = Subscriptions(lambda topic: self._spawn("subscription", self._subscribe_again(topic)))
        self._opening: dict[str, asyncio.Lock] = {}
        self._names: dict[tuple[str, str], tuple[str, ...]] = {}
        self._authorize: Callable[[str, Action, str], bool] | None = None
        self._questions = Questions(Decisions(self._decide), self._uplink.send, self._spawn, self.controller)
        self._present = False
        self._entered = False
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._entering: asyncio.Task[None] | None = None

    def _member(self, patience: float | None, on_state: Callable[[NodeState], None] | None) -> Membership | None:
        if self.controller is None:
            return None
        return Membership(
            self._uplink, self.controller, be_present=self._be_present, timeout=self._timeout, patience=patience,
            on_state=on_state,
        )  # fmt: skip

    # Being there

    async def __aenter__(self) -> Self:
        """Connect; register, wait for approval and log in when there is a controller.

        :raises AgentError: it does not work; see `grid.agent.errors`.
        """
        self._group = await asyncio.TaskGroup().__aenter__()
        try:
            await self._uplink.begin()
            self._spawn("connection", self._uplink.stay())
            if self._membership is not None:
                await self._membership.enter()
                self._entered = True
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(handled=kind is None)

    async def close(self, *, handled: bool = True) -> None:
        """Leave: end the stream in order. Subscriptions stay: what is published meanwhile waits at the server.

        :param handled: whether the items that consumers hold at the moment count as handled; else they come again.
        """
        group, self._group = self._group, None
        if group is None:
            return
        self._subscriptions.leave(handled)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._uplink.close()
        await group.__aexit__(None, None, None)

    @property
    def jid(self) -> str:
        """The full JID, as bound."""
        return self._uplink.jid

    @property
    def connected(self) -> bool:
        """Whether the connection is up at the moment."""
        return self._uplink.online

    @property
    def counters(self) -> dict[str, int]:
        """What has happened: connections, resumptions, repeated items that were dropped, forgotten items."""
        return {
            "connections": self._uplink.connections,
            "resumptions": self._uplink.resumptions,
            "repeated": self._subscriptions.repeated,
            "forgotten": self._subscriptions.forgotten,
        }

    async def logout(self) -> None:
        """Log out (§2.6) until the agent is left: publishing and queries end, subscriptions stay."""
        if self._membership is not None:
            if self._entering is not None:
                self._entering.cancel()
            await self._membership.logout()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._group is None:
            work.close()
            return None
        task = self._group.create_task(self._guarded(name, work), name=f"{self.bare} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # of one that was cancelled before it began
        return task

    async def _guarded(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """A failure ends the agent for whoever uses it; it must not cancel the application around it."""
        try:
            await work
        except AgentError as error:
            self._uplink.fail(error)
        except Exception as error:
            log.exception("%s: %s failed.", self.bare, name)
            self._uplink.fail(AgentError(f"The agent failed: {type(error).__name__} in {name}."))

    async def _session(self) -> None:
        """A new session is there: make it what the one before was."""
        if self._present:
            self._uplink.send("<presence/>")
        self._enter_again()

    def _enter_again(self, spread: float = 0) -> None:
        if self._membership is not None and self._entered:
            if self._entering is not None:
                self._entering.cancel()
            self._entering = self._spawn("login", self._membership.again(spread))

    def _failed(self, error: AgentError) -> None:
        self._subscriptions.fail(error)

    # Publishing

    async def provide(
        self,
        capability: str,
        version: str,
        *,
        offers: Sequence[requests.Offer] = (),
        filterable: requests.Filterable | None = None,
    ) -> tuple[str, ...]:
        """Register as a provider; the topics to publish to.

        :param offers: what is said of the topics when the capability is new: type, schema, flow, queries.
        :raises Refused: the node may not publish this, or there is no such capability and it may not make one.
        """
        request = requests.InitPublish(capability, version, tuple(offers), filterable)
        topic = f"{capability}-{version}"
        answer = await self._control(request, f"providing {topic}", "set", right=f"publish {topic}")
        return _read(replies.enrolled, answer).topics

    async def publish(
        self, topic: str, payload: Payload, id: str | None = None, *, timeout: float | None = None
    ) -> str:
        """Publish one item; its id. Done means that the broker has it.

        :param payload: see `grid.agent.payloads`.
        :param id: of the item; a random one when left out. Publishing again with the same id repeats, or replaces.
        :raises InvalidPayload: it is not valid; nothing was sent.
        :raises Refused: the node may not publish there.
        :raises Unconfirmed: the broker did not say; publish again with the same id.
        """
        kind = await self._type(topic)
        what = self._strip.get("", ()) + self._strip.get(topic, ())
        content = written(topic, kind, payload, strip=what, schemas=self._schemas)
        id = id or uuid.uuid4().hex
        await self._uplink.ask(
            self.broker,
            f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{quote(topic)}'>"
            f"<item id='{quote(id)}'>{content}</item></publish></pubsub>",
            what=f"publishing to {topic}",
            right=f"publish {topic}",
            timeout=timeout or self._timeout,
            kind="set",
        )
        return id

    async def _type(self, topic: str) -> str:
        """``pubsub#type`` of a topic, or empty when nobody says."""
        if topic not in self._types:
            try:
                answer = await self._uplink.ask(
                    self.broker,
                    disco.ask(disco.InfoRequest(topic)),
                    what=f"asking what {topic} carries",
                    timeout=self._timeout,
                )
                data = _read(disco.read_info, answer).meta_data
            except Refused:
                data = None  # whether it may be published to is the broker's to say
            self._types[topic] = (data.type or "") if data is not None else ""
        return self._types[topic]

    # Subscribing

    def subscribe(
        self,
        topic: str = "",
        *,
        capability: str = "",
        version: str = "",
        queue: int = QUEUE,
        overflow: Overflow = Overflow.FAIL,
    ) -> Stream:
        """The items of a topic, or of a capability, as an asynchronous iterator.

        Several consumers of one topic share a subscription, and each gets every item.

        :param queue: how many items may wait for this consumer.
        """
        if bool(topic) == bool(capability) or bool(capability) != bool(version):
            raise InputError("Subscribe to a topic, or to a capability of a version.")
        if capability and self.controller is None:
            raise InputError("A broker without a controller has topics, not capabilities.")
        known = (capability, version) if capability else (topic, "")

        async def opening(stream: Stream) -> tuple[str, ...]:
            return await self._open(stream, known)

        return Stream(
            topic or f"{capability}-{version}", queue=queue, overflow=overflow, opening=opening, leaving=self._leave
        )

    async def _open(self, stream: Stream, known: tuple[str, str]) -> tuple[str, ...]:
        async with self._opening.setdefault(stream.topic, asyncio.Lock()):
            topics = self._names.get(known, known[:1])
            if not all(map(self._subscriptions.has, topics)):
                topics = self._names[known] = await self._subscribe(*known)
            for topic in topics:
                self._subscriptions.add(topic, stream)
        self._be_present()
        return topics

    def _be_present(self) -> None:
        """From now on what has waited at the server comes, and what is sent to the bare JID."""
        if not self._present:
            self._present = True
            self._uplink.send("<presence/>")

    async def _subscribe(self, name: str, version: str) -> tuple[str, ...]:
        if version:
            request = requests.SubscribeRequest(name, version)
            topic = f"{name}-{version}"
            answer = await self._control(request, f"subscribing to {topic}", "set", right=f"subscribe {topic}")
            return _read(replies.subscribed, answer).topics
        await self._uplink.ask(
            self.broker,
            f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{quote(name)}' jid='{quote(self.bare)}'/></pubsub>",
            what=f"subscribing to {name}",
            right=f"subscribe {name}",
            timeout=self._timeout,
            kind="set",
        )
        return (name,)

    async def _subscribe_again(self, topic: str) -> None:
        try:
            await self._subscribe(topic, "")
        except Refused as error:
            self._subscriptions.ended(topic, error)

    async def _leave(self, stream: Stream, for_good: bool) -> None:
        for topic in stream.topics:
            if self._subscriptions.remove(topic, stream) and for_good:
                self._subscriptions.forget(topic)
                await self._unsubscribe(topic)

    async def _unsubscribe(self, topic: str) -> None:
        async with self._opening.setdefault(topic, asyncio.Lock()):
            if self._subscriptions.has(topic):
                return
            await self._uplink.ask(
                self.broker,
                f"<pubsub xmlns='{ns.PUBSUB}'><unsubscribe node='{quote(topic)}' jid='{quote(self.bare)}'/></pubsub>",
                what=f"unsubscribing from {topic}",
                timeout=self._timeout,
                kind="set",
            )

    # Finding and asking

    async def topics(self) -> tuple[str, ...]:
        """The names of the topics that the node may know of."""
        names: list[str] = []
        page = Page()
        while True:
            request = disco.ask(disco.ItemsRequest(page=page))
            answer = await self._uplink.ask(self.broker, request, what="listing topics", timeout=self._timeout)
            entries, info = _read(disco.read_items, answer)
            names += [entry.node for entry in entries if entry.node]
            if info is None or not entries or not info.last or (info.count is not None and len(names) >= info.count):
                return tuple(names)
            page = Page(after=info.last)

    async def capabilities(self) -> tuple[CapabilityEntry, ...]:
        """The capabilities of the grid that the node may know of."""
        answer = await self._control(requests.ListCapabilities(), "listing capabilities")
        return _read(replies.capabilities, answer)[0]

    async def find(self, name: str) -> tuple[str, ...]:
        """The full JIDs of the providers of a capability, topic or query service."""
        return _read(replies.found, await self._control(requests.Find(name), f"finding {name}"))

    async def query(
        self, to: str, element: Element, *, changes: bool = False, timeout: float | None = None
    ) -> Element:
        """Ask another node (directed query); its answer.

        :param to: full JID of the node, from `find`; or the name of a query service, then the first that provides it.
        :param changes: the query changes something: it is an IQ of type set, and is not repeated.
        """
        if "@" not in to:
            found = await self.find(to)
            if not found:
                raise AgentError(f"Nobody provides {to}.")
            to = found[0]
        name = element.tag.rpartition("}")[2]
        answer = await self._uplink.ask(
            to,
            asking.write(requests.DirectedQuery(name, element)),
            what=f"asking {to}",
            right=f"{Action.WRITE if changes else Action.READ} {name}",
            timeout=timeout or self._timeout,
            kind="set" if changes else "get",
            repeat=not changes,
        )
        return _read(replies.directed, answer)

    def answer(self, name: str, handler: Handler, *, service: str = "") -> None:
        """Answer directed queries of this name; the controller is asked first whether who asks may.

        :param handler: takes a `Question`, gives the element of the answer; may raise `grid.errors.Refusal`.
        :param service: what the right must be for; the name of the query when left out.
        """
        self._questions.answer(name, handler, service)

    def authorize(self, decide: Callable[[str, Action, str], bool]) -> None:
        """Decide here who may ask, when there is no controller: bare JID, action, service. Without it, nobody may."""
        self._authorize = decide

    async def tell(self, exchange: incident.Exchange, to: str = "") -> None:
        """Send an XEP-0268 report, inquiry, request or response; to the controller when nobody else is named."""
        receiver = to or self.controller
        if not receiver:
            raise InputError("There is no controller to tell; name a receiver.")
        await self._uplink.ask(
            receiver,
            incident.dump(exchange).decode(),
            what=f"sending a {exchange.element} to {receiver}",
            timeout=self._timeout,
            kind=exchange.iq_type,
        )

    def incidents(self, handler: IncidentHandler) -> None:
        """Take XEP-0268 payloads from the controller and from nodes that may write to the IODEF topic.

        :param handler: gets one, and the full JID of its sender.
        """
        self._questions.incidents(handler)

    async def _decide(self, jid: str, action: Action, service: str) -> bool:
        if self.controller is None:
            return self._authorize is not None and self._authorize(jid, action, service)
        request = requests.IsAuthorized(action, service, prepare(jid))
        try:
            answer = await self._control(request, f"asking whether {jid} may {action} {service}", timeout=10.0)
        except NoSuchTopic:
            return False
        return _read(replies.decided, answer).permitted

    async def _control(
        self,
        request: requests.DraftRequest,
        what: str,
        kind: str = "get",
        *,
        timeout: float | None = None,
        right: str = "",
    ) -> Element:
        if self.controller is None:
            raise InputError(f"{what[:1].upper()}{what[1:]} needs a controller.")
        send = partial(
            self._uplink.ask, self.controller, asking.write(request), what=what, timeout=timeout or self._timeout,
            kind=kind, right=right,
        )  # fmt: skip
        try:
            return await send()
        except NotAuthorized:
            if self._membership is None or not await self._membership.renew():
                raise
        return await send()

    # What comes

    def _received(self, stanza: Element, handled: Callable[[], None]) -> None:
        sender = stanza.get("from", "")
        told = stanza.tag == stanzas.MESSAGE and stanza.get("type") != "error"
        if told and stanzas.same(sender, self.broker):
            self._subscriptions.take(stanza, handled)  # whoever else sends such an event is not believed,
            return
        if told and self.controller is not None and stanzas.same(sender, self.controller):
            self._subscriptions.take(stanza, handled)  # but the controller, which says what Prosody does not
            handled = _nothing
        if stanza.tag == stanzas.IQ and stanza.get("type") in ("get", "set"):
            self._questions.take(stanza, handled)
            return
        handled()
        if self.controller is None or stanzas.domain(sender) != self.controller:
            return
        if self._membership is not None and self._membership.news(stanza):
            self._enter_again(SPREAD)
        if stanza.tag == stanzas.PRESENCE:
            self._provider(stanza)

    def _provider(self, presence: Element) -> None:
        try:
            told = replies.provider_presence(presence)
        except Refusal:
            return
        if told is None:
            return
        there = presence.get("type") != "unavailable"
        if there:
            self.providers[told.jid.bare] = told.topics
        else:
            self.providers.pop(told.jid.bare, None)
        if self._on_provider is not None:
            self._on_provider(told.jid.bare, told.topics, there)


def _nothing() -> None:
    """It is handled already."""


def _read(reader: Callable[[Element], T], answer: Element) -> T:
    """What an answer says; one that cannot be understood is as bad as none."""
    try:
        return reader(answer)
    except Refusal as error:
        raise AgentError(f"The answer of {answer.get('from')} cannot be understood: {error}") from None
