"""Reading the requests of XEP-0060, strictly: what its schema does not allow is refused, with its own conditions."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar
from xml.etree.ElementTree import Element

from component.base.jid import Jid, JidError, prepare_often
from grid import ns
from grid.errors import bad_request
from grid.protocol.elements import LONGEST_NAME, called, no_words, number, only_child, shown, split, truth
from grid.protocol.forms import Form, FormType, find_form
from grid.protocol.rsm import EVERYTHING, SET, Page, read_page
from grid.protocol.xep0060.conditions import Condition, instant_nodes, refusal
from grid.protocol.xep0060.requests import (
    Affiliation,
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

PUBSUB = f"{{{ns.PUBSUB}}}pubsub"
OWNER = f"{{{ns.PUBSUB_OWNER}}}pubsub"
MOST_ITEMS = 1000

E = TypeVar("E", bound=StrEnum)


class _Parts:
    """What is in a ``<pubsub/>``, one of each kind.

    :ivar kind: of the IQ, get or set.
    """

    def __init__(self, pubsub: Element, kind: str) -> None:
        namespace = split(pubsub.tag)[0]
        self.kind = kind
        self.page: Page = EVERYTHING
        self.found: dict[str, Element] = {}
        no_words(pubsub)
        for child in pubsub:
            around, name = split(child.tag)
            if child.tag == SET:
                self.page = read_page(pubsub)
            elif around != namespace:
                raise bad_request(f"<pubsub/> knows no {called(child)} of another namespace.")
            elif name in self.found:
                raise bad_request(f"<pubsub/> holds {called(child)} more than once.")
            else:
                self.found[name] = child

    def the(self, name: str, *others: str) -> Element:
        """The element of the operation; beside it only `others` may stand."""
        for other in self.found:
            if other != name and other not in others:
                raise bad_request(f"<{shown(other)}/> does not go with <{name}/>.")
        return self.found[name]


def is_pubsub(iq: Element) -> bool:
    """Whether an IQ is for `read_pubsub`."""
    return any(child.tag in (PUBSUB, OWNER) for child in iq)


def read_pubsub(iq: Element) -> PubsubRequest:
    """Read a request.

    :raises Refusal: bad_request, most with a condition of XEP-0060.
    """
    pubsub = only_child(iq)
    kind = iq.get("type", "")
    if kind not in ("get", "set") or pubsub.tag not in (PUBSUB, OWNER):
        raise bad_request("A request of XEP-0060 is an IQ of type get or set with one <pubsub/>.")
    parts = _Parts(pubsub, kind)
    readers = _USER if pubsub.tag == PUBSUB else _OWNERS
    for name, (kinds, reader) in readers.items():
        if name in parts.found:
            if kind not in kinds:
                raise bad_request(f"<{name}/> belongs in an IQ of type {' or '.join(kinds)}.")
            return reader(parts)
    raise bad_request("<pubsub/> holds no operation of XEP-0060.")


# Of everybody


def _create(parts: _Parts) -> PubsubRequest:
    element = parts.the("create", "configure")
    if not element.get("node"):
        raise instant_nodes()
    return Create(_node(element), _submitted(parts.found.get("configure")))


def _subscribe(parts: _Parts) -> PubsubRequest:
    element = parts.the("subscribe", "options")
    return Subscribe(_node(element), _jid(element), _submitted(parts.found.get("options")))


def _unsubscribe(parts: _Parts) -> PubsubRequest:
    element = parts.the("unsubscribe")
    return Unsubscribe(_node(element), _jid(element), element.get("subid", ""))


def _options(parts: _Parts) -> PubsubRequest:
    element = parts.the("options")
    form = _submitted(element)
    if parts.kind == "set" and form is None:
        raise refusal(Condition.INVALID_OPTIONS, "<options/> lacks its form.")
    subid = element.get("subid", "")
    return OptionsRequest(_node(element), _jid(element), subid, form if parts.kind == "set" else None)


def _default_options(parts: _Parts) -> PubsubRequest:
    return DefaultOptions(_node(parts.the("default"), needed=False))


def _subscriptions(parts: _Parts) -> PubsubRequest:
    return Subscriptions(_node(parts.the("subscriptions"), needed=False), parts.page)


def _affiliations(parts: _Parts) -> PubsubRequest:
    return Affiliations(_node(parts.the("affiliations"), needed=False), parts.page)


def _items(parts: _Parts) -> PubsubRequest:
    element = parts.the("items")
    most = element.get("max_items")
    return Items(
        _node(element),
        _ids(element),
        None if most is None else number(most, "The attribute max_items", least=1),
        element.get("subid", ""),
        parts.page,
    )


def _publish(parts: _Parts) -> PubsubRequest:
    element = parts.the("publish", "publish-options")
    items = tuple(map(_item, _each(element, "item")))
    ids = [item.id for item in items if item.id]
    if len(set(ids)) < len(ids):
        raise bad_request("<publish/> names an item more than once.")
    return Publish(_node(element), items, _submitted(parts.found.get("publish-options")))


def _item(element: Element) -> PublishItem:
    if len(element) > 1:
        raise refusal(Condition.INVALID_PAYLOAD, "An item holds one payload.")
    no_words(element)
    return PublishItem(_id(element), element[0] if len(element) else None)


def _retract(parts: _Parts) -> PubsubRequest:
    element = parts.the("retract")
    ids = _ids(element)
    if not ids:
        raise refusal(Condition.ITEM_REQUIRED, "<retract/> names no item.")
    return Retract(_node(element), ids, truth(element.get("notify"), "The attribute notify", default=False))


# Of owners


def _configure(parts: _Parts) -> PubsubRequest:
    element = parts.the("configure")
    form = _submitted(element)
    if parts.kind == "set" and form is None:
        raise bad_request("<configure/> lacks its form.")
    return Configure(_node(element), form if parts.kind == "set" else None)


def _default_config(parts: _Parts) -> PubsubRequest:
    parts.the("default")
    return DefaultConfig()


def _delete(parts: _Parts) -> PubsubRequest:
    element = parts.the("delete")
    found = _each(element, "redirect")
    if len(found) > 1:
        raise bad_request("<delete/> holds more than one <redirect/>.")
    return Delete(_node(element), found[0].get("uri", "")[:LONGEST_NAME] if found else "")


def _purge(parts: _Parts) -> PubsubRequest:
    return Purge(_node(parts.the("purge")))


def _owner_subscriptions(parts: _Parts) -> PubsubRequest:
    element = parts.the("subscriptions")
    changes = _changes(element, "subscription", SubscriptionState) if parts.kind == "set" else None
    return OwnerSubscriptions(_node(element), changes, parts.page)


def _owner_affiliations(parts: _Parts) -> PubsubRequest:
    element = parts.the("affiliations")
    changes = _changes(element, "affiliation", Affiliation) if parts.kind == "set" else None
    return OwnerAffiliations(_node(element), changes, parts.page)


def _changes(element: Element, name: str, kind: type[E]) -> tuple[tuple[Jid, E], ...]:
    changes = []
    for child in _each(element, name):
        try:
            changes.append((_jid(child), kind(child.get(name, ""))))
        except ValueError:
            raise bad_request(f"The attribute {name} is one of {', '.join(kind)}.") from None
    if not changes:
        raise bad_request(f"{called(element)} changes nothing.")
    if len({jid for jid, _ in changes}) < len(changes):
        raise bad_request(f"{called(element)} names an address more than once.")
    return tuple(changes)


# Parts


def _node(element: Element, *, needed: bool = True) -> str:
    node = element.get("node", "")
    if needed and not node:
        raise refusal(Condition.NODEID_REQUIRED, f"{called(element)} names no node.")
    if len(node) > LONGEST_NAME:
        raise bad_request("The attribute node is too long.")
    return node


def _jid(element: Element) -> Jid:
    text = element.get("jid", "")
    if not text:
        raise refusal(Condition.JID_REQUIRED, f"{called(element)} lacks the attribute jid.")
    try:
        return prepare_often(text)
    except JidError:
        raise refusal(Condition.INVALID_JID, "The attribute jid is not a JID.") from None


def _each(element: Element, name: str) -> list[Element]:
    """The children, all of which must be of that name."""
    tag = f"{{{split(element.tag)[0]}}}{name}"
    no_words(element)
    if len(element) > MOST_ITEMS:
        raise bad_request(f"{called(element)} holds more than {MOST_ITEMS} elements.")
    for child in element:
        if child.tag != tag:
            raise bad_request(f"{called(element)} knows no {called(child)}.")
    return list(element)


def _ids(element: Element) -> tuple[str, ...]:
    ids = tuple(_id(item) for item in _each(element, "item"))
    if not all(ids):
        raise refusal(Condition.ITEM_REQUIRED, "An item lacks its id.")
    return ids


def _id(item: Element) -> str:
    name = item.get("id", "")
    if len(name) > LONGEST_NAME:
        raise bad_request("The id of an item is too long.")
    return name


def _submitted(parent: Element | None) -> Form | None:
    form = find_form(parent) if parent is not None else None
    if form is not None and form.type not in (FormType.SUBMIT, FormType.CANCEL):
        raise bad_request(f"The form is of type {form.type.value}; expected submit.")
    return form


_Reader = Callable[[_Parts], PubsubRequest]
_GET = ("get",)
_SET = ("set",)
_BOTH = ("get", "set")

_USER: dict[str, tuple[tuple[str, ...], _Reader]] = {
    "create": (_SET, _create),
    "subscribe": (_SET, _subscribe),
    "publish": (_SET, _publish),
    "unsubscribe": (_SET, _unsubscribe),
    "items": (_GET, _items),
    "subscriptions": (_GET, _subscriptions),
    "affiliations": (_GET, _affiliations),
    "retract": (_SET, _retract),
    "options": (_BOTH, _options),
    "default": (_GET, _default_options),
}
"""By the element that says what is asked; ``options`` is behind ``subscribe``, which it may accompany."""

_OWNERS: dict[str, tuple[tuple[str, ...], _Reader]] = {
    "configure": (_BOTH, _configure),
    "default": (_GET, _default_config),
    "delete": (_SET, _delete),
    "purge": (_SET, _purge),
    "subscriptions": (_BOTH, _owner_subscriptions),
    "affiliations": (_BOTH, _owner_affiliations),
}
