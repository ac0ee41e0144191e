"""Service discovery (XEP-0030): reading requests and writing answers, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from grid import ns
from grid.errors import bad_request
from grid.protocol.elements import LONGEST_NAME, attributes, called, no_words, only_child, split
from grid.protocol.forms import FormType, MetaData, X, read_form, read_meta_data
from grid.protocol.rsm import EVERYTHING, Page, PageInfo, read_page, read_set, write_page

INFO = f"{{{ns.DISCO_INFO}}}query"
ITEMS = f"{{{ns.DISCO_ITEMS}}}query"


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """What are you? :ivar node: a topic, or empty for the service."""

    node: str = ""


@dataclass(frozen=True, slots=True)
class ItemsRequest:
    """What have you? :ivar node: a topic, or empty for the service."""

    node: str = ""
    page: Page = EVERYTHING


@dataclass(frozen=True, slots=True)
class Identity:
    """What something is."""

    category: str
    type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a list."""

    jid: str
    node: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """An answer to `InfoRequest`.

    :ivar meta_data: what the form says that tells of a topic, or None.
    """

    identities: tuple[Identity, ...]
    features: frozenset[str]
    meta_data: MetaData | None = None


def is_disco(iq: Element) -> bool:
    """Whether an IQ is for `read_disco`."""
    return any(child.tag in (INFO, ITEMS) for child in iq)


def read_disco(iq: Element) -> InfoRequest | ItemsRequest:
    """Read a request.

    :raises Refusal: bad_request.
    """
    query = only_child(iq)
    if iq.get("type") != "get" or query.tag not in (INFO, ITEMS):
        raise bad_request("Service discovery is asked with an IQ of type get.")
    no_words(query)
    node = query.get("node", "")
    if len(node) > LONGEST_NAME:
        raise bad_request("The attribute node is too long.")
    return InfoRequest(node) if query.tag == INFO else ItemsRequest(node, read_page(query))


def info(node: str, identities: Iterable[Identity], features: Iterable[str], forms: str = "") -> str:
    """The answer to `InfoRequest`.

    :param node: as asked.
    :param forms: serialised forms (XEP-0128).
    """
    each = "".join(
        f"<identity{attributes(category=one.category, type=one.type, name=one.name or None)}/>" for one in identities
    )
    each += "".join(f"<feature{attributes(var=feature)}/>" for feature in features)
    return f"<query xmlns='{ns.DISCO_INFO}'{attributes(node=node or None)}>{each}{forms}</query>"


def items(node: str, entries: Iterable[Item], page: str = "") -> str:
    """The answer to `ItemsRequest`.

    :param page: a serialised ``<set/>``, or empty.
    """
    each = "".join(
        f"<item{attributes(jid=one.jid, node=one.node or None, name=one.name or None)}/>" for one in entries
    )
    return f"<query xmlns='{ns.DISCO_ITEMS}'{attributes(node=node or None)}>{each}{page}</query>"


def ask(request: InfoRequest | ItemsRequest) -> str:
    """The child of the IQ of type get."""
    node = attributes(node=request.node or None)
    if isinstance(request, InfoRequest):
        return f"<query xmlns='{ns.DISCO_INFO}'{node}/>"
    return f"<query xmlns='{ns.DISCO_ITEMS}'{node}>{write_page(request.page)}</query>"


def read_info(iq: Element) -> Info:
    """Read the answer to `InfoRequest`.

    :raises Refusal: bad_request.
    """
    query = _query(iq, INFO)
    forms = (read_form(child) for child in query if child.tag == X)
    data = next((form for form in forms if form.type is FormType.RESULT and form.form_type == ns.META_DATA), None)
    return Info(
        tuple(
            Identity(one.get("category", ""), one.get("type", ""), one.get("name", ""))
            for one in query
            if split(one.tag) == (ns.DISCO_INFO, "identity")
        ),
        frozenset(one.get("var", "") for one in query if split(one.tag) == (ns.DISCO_INFO, "feature")),
        read_meta_data(data) if data is not None else None,
    )


def read_items(iq: Element) -> tuple[tuple[Item, ...], PageInfo | None]:
    """Read the answer to `ItemsRequest`: the entries, and which part of the list they are.

    :raises Refusal: bad_request.
    """
    query = _query(iq, ITEMS)
    entries = tuple(
        Item(one.get("jid", ""), one.get("node", ""), one.get("name", ""))
        for one in query
        if split(one.tag) == (ns.DISCO_ITEMS, "item")
    )
    return entries, read_set(query)


def _query(iq: Element, tag: str) -> Element:
    query = only_child(iq)
    if query.tag != tag:
        raise bad_request(f"The answer is {called(query)}, which is not what was asked for.")
    return query
