"""Reading the requests of draft-ietf-mile-xmpp-grid-01 §2.6 and of contract section 5.

    <iq> <grid xmlns='gi'|'xgrid' type='request'> [<AccountQuery>|<DiscoveryQuery>] REQUEST
    <iq> REQUEST in our namespace

What is generous: prefixes, whether the IQ is a get or a set, white space, unknown attributes, elements that other
namespaces add (§2.5.1: updates are additive), the two families of URIs, and the order of children. What is not: more
than one request, one that names nothing, elements of ours that are not known (a filter that is misspelt would let
everything through). It never looks deeper than the levels that it knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar
from xml.etree.ElementTree import Element

from grid import ns
from grid.errors import bad_request
from grid.model import Action, Flow, Payload
from grid.protocol.elements import (
    LONGEST_NAME,
    bytes_of,
    called,
    chain_of,
    jid_of,
    no_words,
    number,
    only_child,
    shown,
    split,
    text_of,
    time_of,
    truth,
)
from grid.protocol.families import KNOWN, family_of
from grid.protocol.requests import (
    Bulk,
    Challenge,
    DirectedQuery,
    DraftRequest,
    Envelope,
    Filterable,
    FilterAttribute,
    FilterOptions,
    Find,
    History,
    InitPublish,
    IsAuthorized,
    ListCapabilities,
    Login,
    Logout,
    Offer,
    Proof,
    ProxyQuery,
    Query,
    Register,
    SubscribeRequest,
    Unsubscribe,
)
from grid.protocol.rsm import read_page

GRIDS = (f"{{{ns.GI}}}grid", f"{{{ns.XGRID}}}grid")
TYPE = f"{{{ns.XSI}}}type"
LONGEST_SIGNATURE = 4096
MOST_OFFERS = 50
MOST_ATTRIBUTES = 200
MOST_NAMES = 200
LONGEST_TIMEOUT = 3600.0

_QUERIES = {query.value: query for query in Query if query.value}
_OF_SETS = f"{{{ns.RSM}}}"
_START = (
    r"A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    r"\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NAME = re.compile(rf"[{_START}][{_START}0-9.\-\u00b7\u0300-\u036f\u203f\u2040]{{0,254}}")
"""An NCName (Namespaces in XML 1.0 §3), which the local part of ``xsi:type`` is."""

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,31}", re.ASCII)

E = TypeVar("E", Action, Flow, Payload)


def is_draft(iq: Element) -> bool:
    """Whether an IQ is for `read_draft`, well-formed or not."""
    return any(child.tag in GRIDS or child.tag.startswith(f"{{{ns.GRID}}}") for child in iq)


def read_draft(iq: Element) -> DraftRequest:
    """Read the request in an IQ of type get or set.

    :raises Refusal: bad_request, with a text that says what is wrong.
    """
    if iq.get("type") not in ("get", "set"):
        raise bad_request("A request is an IQ of type get or set.")
    element = only_child(iq)
    grid = ""
    query, query_namespace = Query.NONE, ns.CONTROLLER
    if element.tag in GRIDS:
        if element.get("type", "request") != "request":
            raise bad_request("A <grid/> that is sent as a request has type='request'.")
        grid = split(element.tag)[0]
        element = only_child(element)
        namespace, name = split(element.tag)
        if name in _QUERIES and namespace in KNOWN:
            query, query_namespace = _QUERIES[name], namespace
            element = only_child(element)
    return _request(element, grid, query, query_namespace)


def _request(element: Element, grid: str, query: Query, query_namespace: str) -> DraftRequest:
    namespace, name = split(element.tag)
    envelope = Envelope(grid, query, query_namespace, namespace, family_of(namespace))
    reader = _READERS[query].get(name)
    if not grid and namespace != ns.GRID:
        raise bad_request(f"{called(element)} belongs in <grid xmlns='{ns.XGRID}' type='request'>.")
    if reader is None:
        if query is not Query.NONE or namespace == ns.GRID:
            place = f"<{query.value}/>" if query.value else ns.GRID
            raise bad_request(f"There is no request {called(element)} in {place}.")
        return DirectedQuery(name, element, envelope=envelope)
    if namespace not in KNOWN:
        raise bad_request(f"{called(element)} is in the namespace {shown(namespace)}, which is not the grid's.")
    return reader(element, envelope)


# Accounts and discovery


def _register(element: Element, envelope: Envelope) -> DraftRequest:
    known = _children(element, "proof", "param", "username")
    names = [text_of(child) for child in (*known["param"], *known["username"])]
    if len(names) > 1:
        raise bad_request("A request for registration names at most one account.")
    found = _at_most_one(known["proof"])
    proof = None
    if found is not None:
        parts = _children(found, "certificate", "signature")
        signature = _at_most_one(parts["signature"])
        if signature is None:
            raise bad_request("<proof/> needs a <signature/>.")
        proof = Proof(chain_of(parts["certificate"]), bytes_of(signature, longest=LONGEST_SIGNATURE))
    return Register(proof, names[0] if names else "", envelope=envelope)


def _challenge(element: Element, envelope: Envelope) -> DraftRequest:
    _children(element)
    return Challenge(envelope=envelope)


def _login(element: Element, envelope: Envelope) -> DraftRequest:
    _children(element)
    return Login(envelope=envelope)


def _logout(element: Element, envelope: Envelope) -> DraftRequest:
    _children(element)
    return Logout(envelope=envelope)


def _find(element: Element, envelope: Envelope) -> DraftRequest:
    name = text_of(_one(element, _children(element, "param"), "param"))
    return Find(name, read_page(element), envelope=envelope)


# Capabilities and topics


def _list(element: Element, envelope: Envelope) -> DraftRequest:
    _children(element)
    details = truth(element.get("details"), "The attribute details", default=False)
    return ListCapabilities(read_page(element), details, envelope=envelope)


def _init_publish(element: Element, envelope: Envelope) -> DraftRequest:
    known = _children(element, "capability", "filterable")
    named = [child for child in known["capability"] if TYPE in child.attrib]
    offers = [child for child in known["capability"] if TYPE not in child.attrib or _says_something(child)]
    if len(offers) > MOST_OFFERS:
        raise bad_request(f"A capability has at most {MOST_OFFERS} topics.")
    capability, version, child = _capability(element, named)
    filterable = _at_most_one(known["filterable"])
    return InitPublish(
        capability,
        version,
        tuple(map(read_offer, offers)),
        _filterable(filterable) if filterable is not None else None,
        envelope=_echo(envelope, child),
    )


def _subscribe(element: Element, envelope: Envelope) -> DraftRequest:
    known = _children(element, "capability", "filter")
    capability, version, child = _capability(element, known["capability"])
    return SubscribeRequest(
        capability,
        version,
        child.get("label", "").strip(),
        _at_most_one(known["filter"]),
        envelope=_echo(envelope, child),
    )


def _capability(parent: Element, found: list[Element]) -> tuple[str, str, Element]:
    """Name and version of the one capability that a request is about, and its element."""
    if len(found) != 1:
        raise bad_request(f"{called(parent)} names exactly one capability by xsi:type; it names {len(found)}.")
    element = found[0]
    known = _children(element, "id", "name", "version", "query", "notification")
    name = element.get(TYPE, "").strip().rpartition(":")[2]
    if not _NAME.fullmatch(name):
        raise bad_request("A capability is named by xsi:type, for example xsi:type='ns5:SessionCapability'.")
    version = text_of(_one(element, known, "version"), longest=32)
    if not _VERSION.fullmatch(version):
        raise bad_request("<version/> holds letters, digits, '.', '_', '+' and '-', for example 1.0.")
    return name, version, element


_DETAILS = ("type", "schema", "label", "flow", "cacheable", "payload")


def _says_something(capability: Element) -> bool:
    """Whether the element that names a capability also describes a topic of it."""
    return any(name in capability.attrib for name in _DETAILS) or any(
        split(child.tag)[1] in ("query", "notification") for child in capability
    )


def read_offer(element: Element) -> Offer:
    """What an element says of a topic by its attributes and its ``<query/>`` and ``<notification/>`` children."""
    known = _children(element, "id", "name", "version", "query", "notification")
    cacheable = element.get("cacheable")
    return Offer(
        type=_attribute(element, "type"),
        schema=_attribute(element, "schema"),
        label=_attribute(element, "label"),
        flow=_enum(Flow, element.get("flow"), "The attribute flow"),
        cacheable=None if cacheable is None else truth(cacheable, "The attribute cacheable", default=True),
        payload=_enum(Payload, element.get("payload"), "The attribute payload"),
        queries=_names(known["query"]),
        notifications=_names(known["notification"]),
    )


def _names(elements: list[Element]) -> tuple[str, ...]:
    if len(elements) > MOST_NAMES:
        raise bad_request(f"A capability has at most {MOST_NAMES} queries and as many notifications.")
    return tuple(_attribute(element, "name", needed=True) for element in elements)


def _filterable(element: Element) -> Filterable:
    found = _children(element, "attribute")["attribute"]
    if not 1 <= len(found) <= MOST_ATTRIBUTES:
        raise bad_request(f"<filterable/> holds 1 to {MOST_ATTRIBUTES} attributes.")
    most = element.get("max-subtopics")
    attributes = tuple(
        FilterAttribute(
            _attribute(child, "name", needed=True), _attribute(child, "path"), tuple(child.get("values", "").split())
        )
        for child in found
    )
    if len({attribute.name for attribute in attributes}) < len(attributes):
        raise bad_request("<filterable/> names an attribute more than once.")
    return Filterable(attributes, None if most is None else number(most, "The attribute max-subtopics"))


def _unsubscribe(element: Element, envelope: Envelope) -> DraftRequest:
    return Unsubscribe(_topic(element, _children(element, "topicName")), envelope=envelope)


def _filter_options(element: Element, envelope: Envelope) -> DraftRequest:
    return FilterOptions(_topic(element, _children(element, "topicName")), envelope=envelope)


def _topic(element: Element, known: dict[str, list[Element]]) -> str:
    return text_of(_one(element, known, "topicName"))


# Authorization


def _is_authorized(element: Element, envelope: Envelope) -> DraftRequest:
    known = _children(element, "identity", "certificateChain", "service")
    operation = _enum(Action, element.get("operation"), "The attribute operation")
    if operation is None:
        raise bad_request(f"{called(element)} needs the attribute operation.")
    identity = _at_most_one(known["identity"])
    chain = _at_most_one(known["certificateChain"])
    if (identity is None) == (chain is None):
        raise bad_request(f"{called(element)} needs an <identity/> or a <certificateChain/>, and not both.")
    return IsAuthorized(
        operation,
        text_of(_one(element, known, "service")),
        jid_of(text_of(identity, longest=3071), "<identity/>") if identity is not None else None,
        chain_of(_children(chain, "certificate")["certificate"]) if chain is not None else (),
        envelope=envelope,
    )


# Stored items, questions to several


def _history(element: Element, envelope: Envelope) -> DraftRequest:
    topic, since, until, filters = _span(element)
    return History(topic, since, until, filters, read_page(element), envelope=envelope)


def _bulk(element: Element, envelope: Envelope) -> DraftRequest:
    topic, since, until, filters = _span(element)
    return Bulk(topic, since, until, filters, read_page(element), envelope=envelope)


def _span(element: Element) -> tuple[str, float | None, float | None, Element | None]:
    known = _children(element, "topicName", "since", "until", "filter")
    since, until = (
        time_of(found) if found is not None else None
        for found in (_at_most_one(known["since"]), _at_most_one(known["until"]))
    )
    if since is not None and until is not None and since > until:
        raise bad_request("<since/> is later than <until/>.")
    return _topic(element, known), since, until, _at_most_one(known["filter"])


def _proxy_query(element: Element, envelope: Envelope) -> DraftRequest:
    service = _attribute(element, "service", needed=True)
    if len(element) > 1:
        raise bad_request("<proxyQuery/> holds one question.")
    if len(element):
        no_words(element)
    words = (element.text or "").strip()
    timeout = element.get("timeout")
    return ProxyQuery(
        service,
        element[0] if len(element) else None,
        "" if len(element) else words,
        None if timeout is None else _seconds(timeout),
        envelope=envelope,
    )


def _seconds(value: str) -> float:
    try:
        seconds = float(value) if value.isascii() and len(value) < 32 else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise bad_request(f"The attribute timeout is a number of seconds, {LONGEST_TIMEOUT:g} at most.")
    return seconds


# Parts


def _children(element: Element, *names: str) -> dict[str, list[Element]]:
    """The children of an element by name; unknown ones are passed over unless they are ours."""
    found: dict[str, list[Element]] = {name: [] for name in names}
    no_words(element)
    for child in element:
        namespace, name = split(child.tag)
        if name in found and namespace in KNOWN:
            found[name].append(child)
        elif namespace == ns.GRID:
            raise bad_request(f"{called(element)} knows no {called(child)}.")
    return found


def _one(parent: Element, known: dict[str, list[Element]], name: str) -> Element:
    found = known[name]
    if len(found) != 1:
        raise bad_request(f"{called(parent)} needs exactly one <{name}/>; it holds {len(found)}.")
    return found[0]


def _at_most_one(found: list[Element]) -> Element | None:
    if len(found) > 1:
        raise bad_request(f"There is more than one {called(found[0])}.")
    return found[0] if found else None


def _attribute(element: Element, name: str, *, needed: bool = False) -> str:
    value = element.get(name, "").strip()
    if needed and not value:
        raise bad_request(f"{called(element)} needs the attribute {name}.")
    if len(value) > LONGEST_NAME:
        raise bad_request(f"The attribute {name} of {called(element)} is too long; the limit is {LONGEST_NAME}.")
    return value


def _enum(kind: type[E], value: str | None, where: str) -> E | None:
    if value is None:
        return None
    try:
        return kind(value.strip())
    except ValueError:
        raise bad_request(f"{where} is one of {', '.join(kind)}.") from None


def _echo(envelope: Envelope, capability: Element) -> Envelope:
    """The request's own element is in the namespace that both families share: its capability may tell which."""
    namespace = split(capability.tag)[0]
    return Envelope(
        envelope.grid,
        envelope.query,
        envelope.query_namespace,
        envelope.namespace,
        family_of(envelope.namespace, namespace, *(split(child.tag)[0] for child in capability)),
    )


_OURS: dict[str, Callable[[Element, Envelope], DraftRequest]] = {
    "challengeRequest": _challenge,
}
_READERS: dict[Query, dict[str, Callable[[Element, Envelope], DraftRequest]]] = {
    Query.ACCOUNT: {"register": _register, "login": _login, "logout": _logout, **_OURS},
    Query.DISCOVERY: {"find": _find},
    Query.NONE: {
        "getCapabilityListRequest": _list,
        "initPublishRequest": _init_publish,
        "subscribeRequest": _subscribe,
        "unsubscribeRequest": _unsubscribe,
        "getFilterOptionsRequest": _filter_options,
        "isAuthorizedRequest": _is_authorized,
        "historyRequest": _history,
        "bulkRequest": _bulk,
        "proxyQuery": _proxy_query,
        **_OURS,
    },
}
