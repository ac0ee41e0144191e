"""Reading what the controller answers and what it says unasked, as a node does.

An answer is taken in any envelope and any namespace of the draft or of ours. One that cannot be understood is
`grid.errors.Refusal` bad_request, whose text says what is wrong with it; errors are read by `grid.protocol.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from component.base.jid import Jid
from grid import ns
from grid.errors import bad_request
from grid.model import NodeState
from grid.protocol.answers import CapabilityEntry, Subtopic
from grid.protocol.draft import GRIDS, TYPE, read_offer
from grid.protocol.elements import called, jid_of, only_child, split, text_of
from grid.protocol.families import KNOWN
from grid.protocol.requests import Query
from grid.protocol.rsm import PageInfo, read_set

_QUERIES = frozenset(query.value for query in Query if query.value)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a provider is told: where it publishes."""

    topics: tuple[str, ...]
    subtopics: tuple[Subtopic, ...] = ()


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What a subscriber is told.

    :ivar topic: name of the topic or subtopic, the first one if there are several.
    :ivar providers: full JIDs.
    :ivar pending: somebody has yet to decide.
    :ivar topics: all of them: a capability with exclusive schemas has several.
    """

    topic: str
    providers: tuple[str, ...] = ()
    pending: bool = False
    topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """What the controller says to "is authorized?"."""

    permitted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SubtopicEvent:
    """A subtopic has appeared or gone."""

    subtopic: Subtopic
    created: bool


@dataclass(frozen=True, slots=True)
class ProviderPresence:
    """A provider, told of in a presence.

    :ivar jid: its bare JID.
    :ivar topics: those of its topics that the receiver sees.
    """

    jid: Jid
    topics: tuple[str, ...]


def registered(iq: Element) -> NodeState:
    """Active when the registration is approved, else pending."""
    value = text_of(_child(_content(iq, "register"), "value"))
    if value not in ("approved", "pending"):
        raise bad_request("The answer to a registration is neither approved nor pending.")
    return NodeState.ACTIVE if value == "approved" else NodeState.PENDING


def logged_in(iq: Element) -> None:
    """The answer to `Login`; it says nothing else."""
    _content(iq, "login")


def logged_out(iq: Element) -> None:
    """The answer to `Logout`."""
    _content(iq, "logout")


def challenge(iq: Element) -> str:
    """What to sign."""
    return text_of(_content(iq, "challenge"))


def found(iq: Element) -> tuple[str, ...]:
    """The full JIDs of providers."""
    return tuple(text_of(item) for item in _each(_child(_content(iq, "find"), "value"), "item"))


def capabilities(iq: Element) -> tuple[tuple[CapabilityEntry, ...], PageInfo | None]:
    """The capabilities, and which part of the list they are."""
    content = _content(iq, "getCapabilityListResponse")
    return tuple(map(_entry, _each(content, "capability"))), read_set(content)


def _entry(element: Element) -> CapabilityEntry:
    details = element.find(f"{{{ns.GRID}}}topic")
    return CapabilityEntry(
        capability=element.get(TYPE, "").strip().rpartition(":")[2],
        version=text_of(_child(element, "version")),
        topic=text_of(_child(element, "name")),
        offer=read_offer(details) if details is not None else None,
    )


def enrolled(iq: Element) -> Enrolled:
    """Where to publish."""
    content = _content(iq, "initPublishResponse")
    topics = tuple(text_of(child) for child in _each(content, "topicName"))
    if not topics:
        raise bad_request("The answer to a provider names no topic.")
    return Enrolled(topics, tuple(map(_subtopic, _each(content, "subtopic"))))


def _subtopic(element: Element) -> Subtopic:
    node = element.get("node", "")
    filters = next(_each(element, "filter"), None)
    if not node:
        raise bad_request("A subtopic has no name.")
    return Subtopic(node, filters if filters is not None else "")


def subscribed(iq: Element) -> Subscribed:
    """What the subscription is of."""
    content = _content(iq, "subscribeResponse")
    details = next(_each(content, "xmppDetails"), None)
    jids = tuple(text_of(child) for child in _each(details, "jid")) if details is not None else ()
    pending = next(_each(content, "pending"), None) is not None
    names = tuple(text_of(child) for child in _each(content, "topicName"))
    if not names:
        raise bad_request("The answer to a subscription names no topic.")
    return Subscribed(names[0], jids, pending, names)


def unsubscribed(iq: Element) -> None:
    """The answer to `Unsubscribe`."""
    _content(iq, "unsubscribeResponse")


def decided(iq: Element) -> Decided:
    """The answer to `IsAuthorized`; whatever is not a permit is none."""
    content = _content(iq, "isAuthorizedResponse")
    return Decided(content.get("decision") == "permit", content.get("reason", ""))


def directed(iq: Element) -> Element:
    """The answer to `DirectedQuery`, in the schema of the capability."""
    element = only_child(iq)
    return only_child(element) if element.tag in GRIDS else element


# Unasked


def notification(payload: Element) -> Element:
    """What is inside of the payload of an item, when it is in the draft's envelope; else the payload itself."""
    return only_child(payload) if payload.tag in GRIDS else payload


def subtopic_event(message: Element) -> SubtopicEvent | None:
    """What a message tells of a subtopic; None when it is about something else."""
    element = message.find(f"{{{ns.GRID}}}subtopic")
    if element is None:
        return None
    event = element.get("event")
    if event not in ("created", "deleted"):
        raise bad_request("A subtopic is created or deleted.")
    return SubtopicEvent(_subtopic(element), event == "created")


def provider_presence(presence: Element) -> ProviderPresence | None:
    """Of which provider a presence tells; None when it is another one."""
    element = presence.find(f"{{{ns.GRID}}}provider")
    if element is None:
        return None
    jid = jid_of(element.get("jid", ""), "The attribute jid")
    return ProviderPresence(jid, tuple(text_of(child) for child in _each(element, "topicName")))


# Parts


def _content(iq: Element, name: str) -> Element:
    """The element of that name in whatever envelope."""
    element = only_child(iq)
    if element.tag in GRIDS:
        element = only_child(element)
        if split(element.tag)[1] in _QUERIES:
            element = only_child(element)
    namespace, local = split(element.tag)
    if local != name or namespace not in KNOWN:
        raise bad_request(f"The answer is {called(element)}; expected <{name}/>.")
    return element


def _each(element: Element, name: str) -> Iterator[Element]:
    for child in element:
        namespace, local = split(child.tag)
        if local == name and namespace in KNOWN:
            yield child


def _child(element: Element, name: str) -> Element:
    children = list(_each(element, name))
    if len(children) != 1:
        raise bad_request(f"{called(element)} needs exactly one <{name}/>; it holds {len(children)}.")
    return children[0]
