"""Writing the requests of XEP-0060, and reading the answers and the events, as a node does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from component.base.jid import Jid
from grid import ns
from grid.errors import bad_request
from grid.protocol.elements import attributes, called, only_child, serialise, split
from grid.protocol.forms import Field, Form, write_form
from grid.protocol.rsm import Page, write_page
from grid.protocol.xep0060.answers import SubscriptionEntry
from grid.protocol.xep0060.reading import OWNER, PUBSUB
from grid.protocol.xep0060.requests import (
    Affiliations,
    Configure,
    Create,
    DefaultConfig,
    DefaultOptions,
    Delete,
    Items,
    OptionsRequest,
    OwnerAffiliations,
    OwnerSubscriptions,
    Publish,
    PublishItem,
    PubsubRequest,
    Purge,
    Retract,
    Subscribe,
    Subscriptions,
    SubscriptionState,
    Unsubscribe,
)


def kind_of(request: PubsubRequest) -> str:
    """The type of the IQ, get or set."""
    asks = isinstance(request, Subscriptions | Affiliations | Items | DefaultOptions | DefaultConfig)
    asks = asks or (isinstance(request, Configure | OptionsRequest) and request.form is None)
    asks = asks or (isinstance(request, OwnerSubscriptions | OwnerAffiliations) and request.changes is None)
    return "get" if asks else "set"


def write_pubsub(request: PubsubRequest) -> str:
    """The serialised child of the IQ.

    :raises Refusal: bad_request; a payload is nested too deeply.
    """
    namespace, writer = _WRITERS[type(request)]
    page: Page | None = getattr(request, "page", None)
    return f"<pubsub xmlns='{namespace}'>{writer(request)}{write_page(page) if page is not None else ''}</pubsub>"


def _form(form: Form | None) -> str:
    if form is None:
        return ""
    return write_form(form.type, form.form_type, [Field(name, values) for name, values in form.values.items()])


def _create(request: Create) -> str:
    config = f"<configure>{_form(request.config)}</configure>" if request.config is not None else ""
    return f"<create{attributes(node=request.node)}/>{config}"


def _subscribe(request: Subscribe) -> str:
    options = f"<options>{_form(request.options)}</options>" if request.options is not None else ""
    return f"<subscribe{_of(request.node, request.jid)}/>{options}"


def _unsubscribe(request: Unsubscribe) -> str:
    return f"<unsubscribe{_of(request.node, request.jid, request.subid)}/>"


def _options(request: OptionsRequest) -> str:
    return f"<options{_of(request.node, request.jid, request.subid)}>{_form(request.form)}</options>"


def _of(node: str, jid: Jid, subid: str = "") -> str:
    return attributes(node=node, jid=jid.full, subid=subid or None)


def _items(request: Items) -> str:
    limit = f" max_items='{request.max_items}'" if request.max_items is not None else ""
    said = attributes(node=request.node, subid=request.subid or None)
    return f"<items{said}{limit}>{_ids(request.ids)}</items>"


def _ids(ids: Iterable[str]) -> str:
    return "".join(f"<item{attributes(id=one)}/>" for one in ids)


def _publish(request: Publish) -> str:
    options = f"<publish-options>{_form(request.options)}</publish-options>" if request.options is not None else ""
    return f"<publish{attributes(node=request.node)}>{''.join(map(_item, request.items))}</publish>{options}"


def _item(item: PublishItem) -> str:
    payload = serialise(item.payload) if item.payload is not None else ""
    return f"<item{attributes(id=item.id or None)}>{payload}</item>"


def _retract(request: Retract) -> str:
    notify = "true" if request.notify else None
    return f"<retract{attributes(node=request.node, notify=notify)}>{_ids(request.ids)}</retract>"


def _configure(request: Configure) -> str:
    return f"<configure{attributes(node=request.node)}>{_form(request.form)}</configure>"


def _delete(request: Delete) -> str:
    redirect = f"<redirect{attributes(uri=request.redirect)}/>" if request.redirect else ""
    return f"<delete{attributes(node=request.node)}>{redirect}</delete>"


def _changed(request: OwnerSubscriptions | OwnerAffiliations) -> str:
    name = "subscription" if isinstance(request, OwnerSubscriptions) else "affiliation"
    changes = "".join(f"<{name}{attributes(jid=jid.full, **{name: value})}/>" for jid, value in request.changes or ())
    return f"<{name}s{attributes(node=request.node)}>{changes}</{name}s>"


def _about(name: str) -> Callable[[Any], str]:
    return lambda request: f"<{name}{attributes(node=request.node or None)}/>"


_WRITERS: dict[type[Any], tuple[str, Callable[[Any], str]]] = {
    Create: (ns.PUBSUB, _create),
    Subscribe: (ns.PUBSUB, _subscribe),
    Unsubscribe: (ns.PUBSUB, _unsubscribe),
    OptionsRequest: (ns.PUBSUB, _options),
    DefaultOptions: (ns.PUBSUB, _about("default")),
    Subscriptions: (ns.PUBSUB, _about("subscriptions")),
    Affiliations: (ns.PUBSUB, _about("affiliations")),
    Items: (ns.PUBSUB, _items),
    Publish: (ns.PUBSUB, _publish),
    Retract: (ns.PUBSUB, _retract),
    Configure: (ns.PUBSUB_OWNER, _configure),
    DefaultConfig: (ns.PUBSUB_OWNER, lambda request: "<default/>"),
    Delete: (ns.PUBSUB_OWNER, _delete),
    Purge: (ns.PUBSUB_OWNER, _about("purge")),
    OwnerSubscriptions: (ns.PUBSUB_OWNER, _changed),
    OwnerAffiliations: (ns.PUBSUB_OWNER, _changed),
}


# Answers


def read_subscriptions(iq: Element) -> tuple[SubscriptionEntry, ...]:
    """The answer to `Subscribe`, `Subscriptions` and `OwnerSubscriptions`.

    :raises Refusal: bad_request; it is not one.
    """
    pubsub = _pubsub(iq)
    around = ""
    found = list(pubsub)
    if found and split(found[0].tag)[1] == "subscriptions":
        around = found[0].get("node", "")
        found = list(found[0])
    return tuple(
        SubscriptionEntry(
            one.get("jid", ""), _state(one.get("subscription", "")), one.get("node", around), one.get("subid", "")
        )
        for one in found
        if split(one.tag)[1] == "subscription"
    )


def _state(value: str) -> SubscriptionState:
    try:
        return SubscriptionState(value)
    except ValueError:
        raise bad_request("The answer names no state of a subscription.") from None


def read_items(iq: Element) -> tuple[PublishItem, ...]:
    """The answer to `Items`; that to `Publish` has ids only.

    :raises Refusal: bad_request; it is not one.
    """
    found = next((child for child in _pubsub(iq) if split(child.tag)[1] in ("items", "publish")), None)
    if found is None:
        return ()
    return tuple(map(_received, (child for child in found if split(child.tag)[1] == "item")))


def _received(item: Element) -> PublishItem:
    return PublishItem(item.get("id", ""), item[0] if len(item) else None)


def _pubsub(iq: Element) -> Element:
    pubsub = only_child(iq)
    if pubsub.tag not in (PUBSUB, OWNER):
        raise bad_request(f"The answer is {called(pubsub)}; expected <pubsub/>.")
    return pubsub


# Events


@dataclass(frozen=True, slots=True)
class Event:
    """What a notification tells of a node (§7.1.2.1, §7.2.2.1, §8.4.1).

    :ivar retracted: ids of items that are gone.
    :ivar deleted: the node is gone; `purged` likewise for all of its items.
    :ivar subscription: the receiver's own has changed to this, or None.
    """

    node: str
    items: tuple[PublishItem, ...] = ()
    retracted: tuple[str, ...] = ()
    deleted: bool = False
    purged: bool = False
    subscription: SubscriptionState | None = None
    other: str = field(default="")
    """Name of what it is when it is none of these, for example ``configuration``."""


EVENT = f"{{{ns.PUBSUB_EVENT}}}event"


def read_event(message: Element) -> Event | None:
    """What a message tells; None when it is no event.

    Whether its sender may say so is for the caller to look at.

    :raises Refusal: bad_request.
    """
    event = message.find(EVENT)
    if event is None:
        return None
    child = only_child(event)
    name = split(child.tag)[1]
    node = child.get("node", "")
    if name == "items":
        return Event(
            node,
            tuple(map(_received, (one for one in child if split(one.tag)[1] == "item"))),
            tuple(one.get("id", "") for one in child if split(one.tag)[1] == "retract"),
        )
    if name == "subscription":
        return Event(node, subscription=_state(child.get("subscription", "")))
    known = name in ("delete", "purge")
    return Event(node, deleted=name == "delete", purged=name == "purge", other="" if known else name)
