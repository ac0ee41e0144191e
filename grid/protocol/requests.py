"""The requests of draft-ietf-mile-xmpp-grid-01 §2.6, and ours on top of it, as records.

Each knows the envelope that it came in, so that its answer goes out in the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from xml.etree.ElementTree import Element

from component.base.jid import Jid
from grid import ns
from grid.model import Action, Flow, Payload
from grid.protocol.families import BASE, Family
from grid.protocol.rsm import EVERYTHING, Page


class Query(Enum):
    """What stands between ``<grid/>`` and the request."""

    NONE = ""
    ACCOUNT = "AccountQuery"
    DISCOVERY = "DiscoveryQuery"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is around a request.

    :ivar grid: namespace of ``<grid/>``, or empty when the request stands in the stanza itself.
    :ivar query: namespace and name of what is inside of it.
    :ivar namespace: of the request's own element.
    :ivar family: what the other prefixes of the request stand for.
    """

    grid: str
    query: Query = Query.NONE
    query_namespace: str = ns.CONTROLLER
    namespace: str = ns.CONTROLLER
    family: Family = Family.PUBLISH


ACCOUNT = Envelope(ns.GI, Query.ACCOUNT)
DISCOVERY = Envelope(ns.GI, Query.DISCOVERY)
CAPABILITY = Envelope(ns.XGRID, namespace=BASE)
OWN = Envelope("", namespace=ns.GRID)
"""A request of ours, without ``<grid/>``."""


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """Any of them."""

    envelope: Envelope = field(default=CAPABILITY, kw_only=True)


@dataclass(frozen=True, slots=True)
class Proof:
    """A node shows that a certificate is its own, where no server tells which one it has used.

    :ivar chain: DER, the own certificate first.
    :ivar signature: made with its key over what `grid.binding` says.
    """

    chain: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Register(DraftRequest):
    """Asks for an account.

    :ivar username: the name that the request gives beside its sender's, or empty; usually there is none.
    """

    proof: Proof | None = None
    username: str = ""
    envelope: Envelope = field(default=ACCOUNT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Challenge(DraftRequest):
    """Asks for what is to be signed in a `Proof`."""

    envelope: Envelope = field(default=OWN, kw_only=True)


@dataclass(frozen=True, slots=True)
class Login(DraftRequest):
    """Begins a session."""

    envelope: Envelope = field(default=ACCOUNT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Logout(DraftRequest):
    """Ends it."""

    envelope: Envelope = field(default=ACCOUNT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Find(DraftRequest):
    """Who provides this?

    :ivar name: of a capability, a topic or a query service.
    """

    name: str
    page: Page = EVERYTHING
    envelope: Envelope = field(default=DISCOVERY, kw_only=True)


@dataclass(frozen=True, slots=True)
class ListCapabilities(DraftRequest):
    """What is there?

    :ivar details: whether types, queries and notifications are wanted, too.
    """

    page: Page = EVERYTHING
    details: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What a provider says of one topic of its capability.

    :ivar type: namespace of the payload, or empty.
    :ivar schema: SHA-256 of the schema in lower-case hex, or where it can be had; or empty.
    :ivar label: tells apart the topics of a capability that has several schemas; empty for the first.
    :ivar flow: None when it is not said; `cacheable` and `payload` likewise.
    :ivar queries: names of the query services.
    :ivar notifications: names of the notifications.
    """

    type: str = ""
    schema: str = ""
    label: str = ""
    flow: Flow | None = None
    cacheable: bool | None = None
    payload: Payload | None = None
    queries: tuple[str, ...] = ()
    notifications: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterAttribute:
    """An attribute that subscribers may filter by.

    :ivar path: where it is in a message, or empty.
    :ivar values: those that it can have; empty when any.
    """

    name: str
    path: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filterable:
    """What a provider lets subscribers filter by.

    :ivar max_subtopics: how many subtopics it accepts, or None.
    """

    attributes: tuple[FilterAttribute, ...]
    max_subtopics: int | None = None


@dataclass(frozen=True, slots=True)
class InitPublish(DraftRequest):
    """Registers the sender as a provider.

    :ivar capability: the local part of ``xsi:type``.
    :ivar offers: what it says of the topics; empty when nothing.
    """

    capability: str
    version: str
    offers: tuple[Offer, ...] = ()
    filterable: Filterable | None = None


@dataclass(frozen=True, slots=True)
class SubscribeRequest(DraftRequest):
    """Registers the sender as a subscriber.

    :ivar label: of the topic that is meant, when the capability has several.
    :ivar filter: as it was written, or None.
    """

    capability: str
    version: str
    label: str = ""
    filter: Element | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe(DraftRequest):
    """Ends a subscription of a topic or a subtopic."""

    topic: str


@dataclass(frozen=True, slots=True)
class FilterOptions(DraftRequest):
    """What can be filtered by?"""

    topic: str


@dataclass(frozen=True, slots=True)
class IsAuthorized(DraftRequest):
    """May somebody do something? One of `identity` and `chain` is given.

    :ivar chain: certificates in DER, the own one first.
    :ivar service: name of a topic, a capability or a query service.
    """

    operation: Action
    service: str
    identity: Jid | None = None
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class History(DraftRequest):
    """Asks for stored items.

    :ivar since: Unix time in seconds, or None; `until` likewise.
    """

    topic: str
    since: float | None = None
    until: float | None = None
    filter: Element | None = None
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class Bulk(DraftRequest):
    """Asks for a ticket with which stored items can be fetched by another protocol; as `History`."""

    topic: str
    since: float | None = None
    until: float | None = None
    filter: Element | None = None
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class ProxyQuery(DraftRequest):
    """Asks all providers of a query service.

    :ivar timeout: seconds, or None.
    :ivar payload: the question; None when it is but `text`.
    """

    service: str
    payload: Element | None = None
    text: str = ""
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class DirectedQuery(DraftRequest):
    """Any other question, of whatever schema the capability has.

    :ivar name: local name of the element.
    :ivar element: the question, as it came.
    """

    name: str
    element: Element
