"""What the grid is made of: immutable records that travel between its parts. Nothing here decides or stores."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class NodeState(StrEnum):
    """Where a node stands (draft-ietf-mile-xmpp-grid-01 §2.4.2). A JID without a record is unknown."""

    PENDING = "pending"
    """Has asked, and waits for an administrator."""
    ACTIVE = "active"
    DISABLED = "disabled"


class Action(StrEnum):
    """What a right is about."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    READ = "read"
    """Directed queries that read, retrieval of items, history."""
    WRITE = "write"
    """Directed queries that change something."""
    BULK = "bulk"


class Effect(StrEnum):
    """What a rule does; forbid wins over permit."""

    PERMIT = "permit"
    FORBID = "forbid"


class Flow(StrEnum):
    """How a capability's data flows (draft-ietf-mile-xmpp-grid-01 §1.3)."""

    DIRECT = "direct"
    CENTRAL = "central"
    PROXY = "proxy"


class Payload(StrEnum):
    """What the items of a topic are."""

    XML = "xml"
    JSON = "json"
    """XEP-0335 ``<json/>``."""
    TEXT = "text"
    """Anything else: not looked at."""


class Clearance(IntEnum):
    """What a node may see of IODEF's ``restriction`` (RFC 7970 §3.3.1)."""

    WHITE = 0
    GREEN = 1
    AMBER = 2
    RED = 3


class AccessModel(StrEnum):
    """Who may subscribe to a topic (XEP-0060 §4.5; RFC 8600 §8.3 wants one of these two)."""

    WHITELIST = "whitelist"
    """Whoever has the right; for everybody else the topic does not exist."""
    AUTHORIZE = "authorize"
    """Every active node sees the topic and may ask; without the right it is pending until somebody decides."""


class Subscribed(StrEnum):
    """The state of a subscription (XEP-0060 §4.2)."""

    SUBSCRIBED = "subscribed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Node:
    """A registered platform.

    :ivar jid: bare JID, prepared.
    :ivar groups: in alphabetical order.
    :ivar epoch: the number of the change that made it what it is.
    :ivar since: Unix time in seconds of its first request or its admission.
    :ivar account: whether its account on the server was made by us.
    :ivar reason: what the administrator said, or empty.
    """

    jid: str
    state: NodeState
    groups: tuple[str, ...] = ()
    clearance: Clearance = Clearance.GREEN
    epoch: int = 0
    since: float = 0.0
    account: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """How somebody has authenticated.

    :ivar mechanism: the SASL mechanism, or empty when nobody told.
    :ivar fingerprint: SHA-256 of the certificate, lower-case hex, or empty.
    :ivar chain: DER, the own certificate first.
    """

    mechanism: str = ""
    fingerprint: str = ""
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: a node of the server's publish-subscribe service.

    :ivar name: of the node; `Name-Version` for capabilities, whatever its creator said for others (RFC 8600).
    :ivar capability: the local part of the draft's ``xsi:type`` without version; `name` for RFC 8600 topics.
    :ivar type: namespace of the payload (``pubsub#type``).
    :ivar schema: SHA-256 of the schema in lower-case hex, or empty when nothing is validated.
    :ivar cacheable: whether nodes that are offline get items later.
    :ivar persist: how many items the server's service keeps; 0 for none (`facts`: it is slow on Prosody).
    :ivar restricted: whether IODEF's restriction is enforced.
    :ivar honeytoken: nobody has a reason to touch it; whoever does raises an alert.
    :ivar creator: bare JID of the node that made it, or empty for administrators'.
    """

    name: str
    capability: str
    version: str = ""
    type: str = ""
    title: str = ""
    payload: Payload = Payload.XML
    schema: str = ""
    flow: Flow = Flow.CENTRAL
    cacheable: bool = True
    persist: int = 0
    access_model: AccessModel = AccessModel.WHITELIST
    enabled: bool = True
    restricted: bool = False
    honeytoken: bool = False
    creator: str = ""
    created: float = 0.0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Provider:
    """A node that has said that it publishes to a topic (``initPublishRequest``).

    :ivar queries: names of the query services it answers.
    :ivar notifications: names of the notifications it sends.
    :ivar schema: what it says its schema is: a digest, a name, a place; nothing is checked by it.
    """

    jid: str
    topic: str
    queries: tuple[str, ...] = ()
    notifications: tuple[str, ...] = ()
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A node's subscription of a topic; there is at most one."""

    jid: str
    topic: str
    state: Subscribed
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the administrator.

    :ivar subject: a bare JID, or ``group:NAME``.
    :ivar action: an `Action`, or the name of a role (a template of several actions).
    :ivar topic: a topic's name, which may not exist yet, or a pattern with ``*``; covers its subtopics.
    """

    id: int
    effect: Effect
    subject: str
    action: str
    topic: str
    comment: str = ""
    by: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a node may do something, and why.

    :ivar policies: the rules that decided: ``rule 17``; empty when none applied.
    """

    permitted: bool
    policies: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """A node may do something with a topic."""

    jid: str
    action: Action
    topic: str


@dataclass(frozen=True, slots=True)
class GridChange:
    """What a change did, or would do; what the admin API tells.

    :ivar summary: what is so now, first in one sentence; what would be so, when it is only tried.
    :ivar loses: rights that somebody loses by it; at most `SHOWN` of them, `losses` in all.
    :ivar gains: likewise.
    """

    summary: str
    dry_run: bool = False
    epoch: int = 0
    loses: tuple[Right, ...] = ()
    losses: int = 0
    gains: tuple[Right, ...] = ()
    won: int = 0
    data: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dry_run:
            object.__setattr__(self, "summary", _conditional(self.summary))


_INDICATIVE = re.compile(r" (is not|is|are|has) ")
_CONDITIONALS = {"is not": "would not be", "is": "would be", "are": "would be", "has": "would have"}


def _conditional(summary: str) -> str:
    """What would be so: "soc1 is disabled." becomes "soc1 would be disabled." What is so already stays so."""
    sentence, dot, rest = summary.partition(". ")
    if " would " in sentence or " already" in sentence:
        return summary
    return _INDICATIVE.sub(lambda found: f" {_CONDITIONALS[found[1]]} ", sentence, count=1) + dot + rest


SHOWN = 20
