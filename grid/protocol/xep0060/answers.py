"""Writing the answers to the requests of XEP-0060: the child of an IQ of type result. Many results are empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grid import ns
from grid.protocol.elements import attributes
from grid.protocol.xep0060.requests import Affiliation, SubscriptionState


@dataclass(frozen=True, slots=True)
class SubscriptionEntry:
    """A subscription in a list. :ivar node: left out where the list itself names it."""

    jid: str
    state: SubscriptionState
    node: str = ""
    subid: str = ""


@dataclass(frozen=True, slots=True)
class AffiliationEntry:
    """An affiliation in a list: of the requester with `node`, or of `jid` with the list's node."""

    affiliation: Affiliation
    node: str = ""
    jid: str = ""


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """An item that is retrieved. :ivar payload: serialised; :ivar publisher: a JID, or empty."""

    id: str
    payload: str
    publisher: str = ""


def _user(content: str) -> str:
    return f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub>"


def _owner(content: str) -> str:
    return f"<pubsub xmlns='{ns.PUBSUB_OWNER}'>{content}</pubsub>"


def subscription(node: str, jid: str, state: SubscriptionState) -> str:
    """§6.1.2."""
    return _user(_subscription(SubscriptionEntry(jid, state, node)))


def subscriptions(entries: Iterable[SubscriptionEntry], node: str = "", page: str = "") -> str:
    """§5.6: one's own."""
    content = "".join(map(_subscription, entries))
    return _user(f"<subscriptions{attributes(node=node or None)}>{content}</subscriptions>{page}")


def affiliations(entries: Iterable[AffiliationEntry], node: str = "", page: str = "") -> str:
    """§5.7: one's own."""
    content = "".join(map(_affiliation, entries))
    return _user(f"<affiliations{attributes(node=node or None)}>{content}</affiliations>{page}")


def items(node: str, entries: Iterable[ItemEntry], page: str = "") -> str:
    """§6.5."""
    content = "".join(
        f"<item{attributes(id=one.id, publisher=one.publisher or None)}>{one.payload}</item>" for one in entries
    )
    return _user(f"<items{attributes(node=node)}>{content}</items>{page}")


def published(node: str, ids: Iterable[str]) -> str:
    """§7.1.2."""
    content = "".join(f"<item{attributes(id=one)}/>" for one in ids)
    return _user(f"<publish{attributes(node=node)}>{content}</publish>")


def configuration(node: str, form: str) -> str:
    """§8.2.1. :param form: serialised."""
    return _owner(f"<configure{attributes(node=node)}>{form}</configure>")


def default_configuration(form: str) -> str:
    """§8.3."""
    return _owner(f"<default>{form}</default>")


def owner_subscriptions(node: str, entries: Iterable[SubscriptionEntry], page: str = "") -> str:
    """§8.8.1."""
    content = "".join(map(_subscription, entries))
    return _owner(f"<subscriptions{attributes(node=node)}>{content}</subscriptions>{page}")


def owner_affiliations(node: str, entries: Iterable[AffiliationEntry], page: str = "") -> str:
    """§8.9.1."""
    content = "".join(map(_affiliation, entries))
    return _owner(f"<affiliations{attributes(node=node)}>{content}</affiliations>{page}")


def _subscription(one: SubscriptionEntry) -> str:
    said = attributes(node=one.node or None, jid=one.jid, subscription=one.state, subid=one.subid or None)
    return f"<subscription{said}/>"


def _affiliation(one: AffiliationEntry) -> str:
    return f"<affiliation{attributes(node=one.node or None, jid=one.jid or None, affiliation=one.affiliation)}/>"
