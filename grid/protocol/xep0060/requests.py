"""The requests of XEP-0060, as records. A node's name is never empty, unless it says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from xml.etree.ElementTree import Element

from component.base.jid import Jid
from grid.protocol.forms import Form
from grid.protocol.rsm import EVERYTHING, Page


class Affiliation(StrEnum):
    """XEP-0060 §4.1."""

    OWNER = "owner"
    PUBLISHER = "publisher"
    PUBLISH_ONLY = "publish-only"
    MEMBER = "member"
    NONE = "none"
    OUTCAST = "outcast"


class SubscriptionState(StrEnum):
    """XEP-0060 §4.2."""

    NONE = "none"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"
    UNCONFIGURED = "unconfigured"


@dataclass(frozen=True, slots=True)
class Create:
    """§8.1. :ivar config: what the node should be, or None."""

    node: str
    config: Form | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """§6.1. :ivar options: of the subscription (§6.3.7), or None."""

    node: str
    jid: Jid
    options: Form | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """§6.2."""

    node: str
    jid: Jid
    subid: str = ""


@dataclass(frozen=True, slots=True)
class OptionsRequest:
    """§6.3: of a subscription. :ivar form: what they should be; None when they are asked for."""

    node: str
    jid: Jid
    subid: str = ""
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class DefaultOptions:
    """§6.4. :ivar node: or empty for all."""

    node: str = ""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """§5.6: one's own. :ivar node: or empty for all."""

    node: str = ""
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class Affiliations:
    """§5.7: one's own. :ivar node: or empty for all."""

    node: str = ""
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class Items:
    """§6.5. :ivar max_items: the newest ones only, or None; :ivar ids: these only, when there are any."""

    node: str
    ids: tuple[str, ...] = ()
    max_items: int | None = None
    subid: str = ""
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class PublishItem:
    """An item. :ivar id: or empty when the service is to choose it; :ivar payload: or None."""

    id: str = ""
    payload: Element | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Publish:
    """§7.1. :ivar options: preconditions (§7.1.5), or None."""

    node: str
    items: tuple[PublishItem, ...] = ()
    options: Form | None = None


@dataclass(frozen=True, slots=True)
class Retract:
    """§7.2."""

    node: str
    ids: tuple[str, ...]
    notify: bool = False


@dataclass(frozen=True, slots=True)
class Configure:
    """§8.2. :ivar form: what the node should be; None when it is asked for."""

    node: str
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class DefaultConfig:
    """§8.3."""


@dataclass(frozen=True, slots=True)
class Delete:
    """§8.4. :ivar redirect: URI of another node, or empty."""

    node: str
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class Purge:
    """§8.5."""

    node: str


@dataclass(frozen=True, slots=True)
class OwnerSubscriptions:
    """§8.8. :ivar changes: None when they are asked for."""

    node: str
    changes: tuple[tuple[Jid, SubscriptionState], ...] | None = None
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class OwnerAffiliations:
    """§8.9. :ivar changes: None when they are asked for."""

    node: str
    changes: tuple[tuple[Jid, Affiliation], ...] | None = None
    page: Page = EVERYTHING


PubsubRequest = (
    Create
    | Subscribe
    | Unsubscribe
    | OptionsRequest
    | DefaultOptions
    | Subscriptions
    | Affiliations
    | Items
    | Publish
    | Retract
    | Configure
    | DefaultConfig
    | Delete
    | Purge
    | OwnerSubscriptions
    | OwnerAffiliations
)
