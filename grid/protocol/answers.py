"""Writing the answers to the requests of `grid.protocol.draft`.

Every function takes the request and gives the serialised child of the IQ of type result: in the request's envelope,
with ``type='response'``, and, where the draft shows an answer, in the namespaces of the request. What the draft
leaves open is in our namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from grid import ns
from grid.model import NodeState
from grid.protocol.elements import attributes, element, quote, serialise, text
from grid.protocol.families import ARRAY, BASE
from grid.protocol.requests import DraftRequest, Envelope, Offer, Query


@dataclass(frozen=True, slots=True)
class CapabilityEntry:
    """A line of the list of capabilities.

    :ivar topic: what the draft calls its name, ``SessionCapability-1.0``.
    :ivar offer: written only when it is given.
    """

    capability: str
    version: str
    topic: str
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Subtopic:
    """A subtopic and what it lets through.

    :ivar filter: the ``<filter/>``, an element or its text.
    """

    node: str
    filter: Element | str


def wrap(envelope: Envelope, content: str, kind: str = "response") -> str:
    """What stands around a request or an answer."""
    if envelope.query is not Query.NONE:
        name = envelope.query.value
        content = f"<{name} xmlns='{quote(envelope.query_namespace)}'>{content}</{name}>"
    return f"<grid xmlns='{quote(envelope.grid)}' type='{kind}'>{content}</grid>" if envelope.grid else content


# Accounts and discovery


def register(request: DraftRequest, state: NodeState) -> str:
    """``approved`` for a node that is active, else ``pending``."""
    value = "approved" if state is NodeState.ACTIVE else "pending"
    return wrap(request.envelope, f"<register xmlns=''>{element('value', value)}</register>")


def login(request: DraftRequest) -> str:
    """The draft's nil value."""
    return wrap(request.envelope, _nil("login"))


def logout(request: DraftRequest) -> str:
    """The same."""
    return wrap(request.envelope, _nil("logout"))


def _nil(name: str) -> str:
    return f"<{name} xmlns=''><value xmlns:xsi='{ns.XSI}' xsi:nil='true'/></{name}>"


def challenge(request: DraftRequest, nonce: str) -> str:
    """What the node must sign."""
    return wrap(request.envelope, f"<challenge xmlns='{ns.GRID}'>{text(nonce)}</challenge>")


def find(request: DraftRequest, providers: Iterable[str], page: str = "") -> str:
    """The full JIDs of those that provide it.

    :param page: a serialised ``<set/>``, or empty.
    """
    items = "".join(element("item", jid) for jid in providers)
    return wrap(
        request.envelope,
        f"<find xmlns=''><value xmlns:ns3='{ARRAY}' xmlns:xsi='{ns.XSI}' xsi:type='ns3:stringArray'>"
        f"{items}</value>{page}</find>",
    )


# Capabilities and topics


def capabilities(request: DraftRequest, entries: Iterable[CapabilityEntry], page: str = "") -> str:
    """The list of capabilities."""
    return _draft(request, "getCapabilityListResponse", "".join(map(_entry, entries)) + page)


def _entry(entry: CapabilityEntry) -> str:
    return (
        f"<ns2:capability xmlns:xsi='{ns.XSI}' xsi:type='ns2:{quote(entry.capability)}'>"
        f"<ns2:id>0</ns2:id>{element('ns2:name', entry.topic)}{element('ns2:version', entry.version)}"
        f"{offer('topic', entry.offer) if entry.offer is not None else ''}</ns2:capability>"
    )


def offer(name: str, what: Offer) -> str:
    """What is said of a topic, as an element of our namespace."""
    cacheable = None if what.cacheable is None else ("true" if what.cacheable else "false")
    said = attributes(
        type=what.type or None,
        schema=what.schema or None,
        label=what.label or None,
        flow=what.flow,
        cacheable=cacheable,
        payload=what.payload,
    )
    children = "".join(
        f"<{kind}{attributes(name=each)}/>"
        for kind, names in (("query", what.queries), ("notification", what.notifications))
        for each in names
    )
    return f"<{name} xmlns='{ns.GRID}'{said}>{children}</{name}>"


def init_publish(request: DraftRequest, topics: Iterable[str], subtopics: Iterable[Subtopic] = ()) -> str:
    """The topics that the sender publishes to, and their subtopics."""
    names = "".join(element("topicName", name) for name in topics)
    return _ours(request, "initPublishResponse", names + "".join(map(subtopic, subtopics)))


def subtopic(what: Subtopic, extra: str = "") -> str:
    """``<subtopic node><filter/></subtopic>``, in the namespace around it."""
    filters = what.filter if isinstance(what.filter, str) else serialise(what.filter)
    return f"<subtopic{extra} node='{quote(what.node)}'>{filters}</subtopic>"


def subscribe(
    request: DraftRequest, topics: str | Sequence[str], providers: Sequence[str], *, pending: bool = False
) -> str:
    """The topic, or those of a capability with exclusive schemas, and the full JIDs of the publishers.

    :param pending: somebody has yet to decide; nothing is delivered before.
    """
    jids = "".join(element("ns2:jid", jid) for jid in providers)
    waits = f"<pending xmlns='{ns.GRID}'/>" if pending else ""
    names = "".join(element("ns2:topicName", name) for name in ((topics,) if isinstance(topics, str) else topics))
    content = f"{names}<ns2:xmppDetails>{jids}</ns2:xmppDetails>{waits}"
    return _draft(request, "subscribeResponse", content)


def unsubscribe(request: DraftRequest, topic: str) -> str:
    """The subscription has ended."""
    return _ours(request, "unsubscribeResponse", element("topicName", topic))


def is_authorized(request: DraftRequest, permitted: bool, reason: str) -> str:
    """The decision."""
    said = attributes(decision="permit" if permitted else "deny", reason=reason)
    return wrap(request.envelope, f"<isAuthorizedResponse xmlns='{ns.GRID}'{said}/>")


def directed(request: DraftRequest, content: Element | str) -> str:
    """The answer to a question of the capability's own schema."""
    return wrap(request.envelope, content if isinstance(content, str) else serialise(content))


def _draft(request: DraftRequest, name: str, content: str) -> str:
    """An answer that the draft shows."""
    return wrap(request.envelope, prefixed(request, name, content))


def prefixed(request: DraftRequest, name: str, content: str, said: str = "") -> str:
    """An element of the draft, with ``ns2`` for the request's own namespace; no prefix can stand for the empty one.

    :param said: serialised attributes.
    """
    around = quote(request.envelope.namespace or BASE)
    return f"<ns2:{name} xmlns:ns2='{around}'{said}>{content}</ns2:{name}>"


def _ours(request: DraftRequest, name: str, content: str) -> str:
    return wrap(request.envelope, f"<{name} xmlns='{ns.GRID}'>{content}</{name}>")


# What the controller says unasked


def provider_presence(provider: str, topics: Iterable[str]) -> str:
    """The child of a presence that tells of a provider.

    :param provider: its bare JID.
    :param topics: names of the topics of it that the receiver sees.
    """
    names = "".join(element("topicName", name) for name in topics)
    return f"<provider xmlns='{ns.GRID}' jid='{quote(provider)}'>{names}</provider>"


def subtopic_event(what: Subtopic, *, created: bool) -> str:
    """The child of a message that tells a publisher of a subtopic that appears or goes."""
    event = " event='created'" if created else " event='deleted'"
    return subtopic(what, f" xmlns='{ns.GRID}'{event}")
