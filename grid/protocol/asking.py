"""Writing the requests of `grid.protocol.requests`, as a node does: the other way round of `grid.protocol.draft`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any
from xml.etree.ElementTree import Element

from grid import ns
from grid.protocol.answers import offer, prefixed, wrap
from grid.protocol.elements import attributes, element, quote, serialise, text, time_text
from grid.protocol.requests import (
    CAPABILITY,
    Bulk,
    Challenge,
    DirectedQuery,
    DraftRequest,
    Filterable,
    FilterOptions,
    Find,
    History,
    InitPublish,
    IsAuthorized,
    ListCapabilities,
    Login,
    Logout,
    Proof,
    ProxyQuery,
    Register,
    SubscribeRequest,
    Unsubscribe,
)
from grid.protocol.rsm import write_page


def write(request: DraftRequest) -> str:
    """The serialised child of the IQ; of type get for questions, set for changes, the controller takes both.

    :raises Refusal: bad_request; a filter or a question is nested too deeply.
    """
    return wrap(request.envelope, _WRITERS[type(request)](request), "request")


def notification(content: Element | str) -> str:
    """What the draft puts around the payload of an item: ``<grid xmlns='xgrid' type='notification'>``.

    :raises Refusal: bad_request; it is nested too deeply.
    """
    return wrap(CAPABILITY, content if isinstance(content, str) else serialise(content), "notification")


# Accounts and discovery


def _register(request: Register) -> str:
    name = element("username", request.username) if request.username else ""
    return _named("register", name + (_proof(request.proof) if request.proof is not None else ""))


def _proof(proof: Proof) -> str:
    return f"<proof xmlns='{ns.GRID}'>{_certificates(proof.chain)}{_binary('signature', proof.signature)}</proof>"


def _certificates(chain: Iterable[bytes]) -> str:
    return "".join(_binary("certificate", each) for each in chain)


def _binary(name: str, data: bytes) -> str:
    return element(name, base64.b64encode(data).decode())


def _challenge(request: Challenge) -> str:
    return f"<challengeRequest xmlns='{ns.GRID}'/>"


def _find(request: Find) -> str:
    return _named("find", element("param", request.name) + write_page(request.page))


# Capabilities and topics


def _list(request: ListCapabilities) -> str:
    details = attributes(details="true" if request.details else None)
    return prefixed(request, "getCapabilityListRequest", write_page(request.page), details)


def _init_publish(request: InitPublish) -> str:
    capability = _capability(request.capability, request.version)
    offers = "".join(offer("capability", each) for each in request.offers)
    filterable = _filterable(request.filterable) if request.filterable is not None else ""
    return prefixed(request, "initPublishRequest", capability + offers + filterable)


def _capability(name: str, version: str, label: str = "") -> str:
    return (
        f"<ns2:capability xmlns:xsi='{ns.XSI}' xsi:type='ns2:{quote(name)}'{attributes(label=label or None)}>"
        f"<ns2:id>0</ns2:id>{element('ns2:version', version)}</ns2:capability>"
    )


def _filterable(what: Filterable) -> str:
    most = attributes(max_subtopics=None if what.max_subtopics is None else str(what.max_subtopics))
    each = "".join(
        f"<attribute{attributes(name=one.name, path=one.path or None, values=' '.join(one.values) or None)}/>"
        for one in what.attributes
    )
    return f"<filterable xmlns='{ns.GRID}'{most}>{each}</filterable>"


def _subscribe(request: SubscribeRequest) -> str:
    capability = _capability(request.capability, request.version, request.label)
    return prefixed(request, "subscribeRequest", capability + _element(request.filter))


def _unsubscribe(request: Unsubscribe) -> str:
    return _own("unsubscribeRequest", element("topicName", request.topic))


def _filter_options(request: FilterOptions) -> str:
    return _own("getFilterOptionsRequest", element("topicName", request.topic))


# Authorization, stored items, questions to others


def _is_authorized(request: IsAuthorized) -> str:
    if request.identity is not None:
        who = element("identity", request.identity.full)
    else:
        who = f"<certificateChain>{_certificates(request.chain)}</certificateChain>"
    operation = attributes(operation=request.operation)
    return _own("isAuthorizedRequest", who + element("service", request.service), operation)


def _stored(request: History | Bulk) -> str:
    since = element("since", time_text(request.since)) if request.since is not None else ""
    until = element("until", time_text(request.until)) if request.until is not None else ""
    content = element("topicName", request.topic) + since + until + _element(request.filter)
    name = "historyRequest" if isinstance(request, History) else "bulkRequest"
    return _own(name, content + write_page(request.page))


def _proxy_query(request: ProxyQuery) -> str:
    timeout = attributes(timeout=None if request.timeout is None else f"{request.timeout:.9g}")
    content = _element(request.payload) or text(request.text)
    return _own("proxyQuery", content, attributes(service=request.service) + timeout)


def _directed(request: DirectedQuery) -> str:
    return serialise(request.element)


# Parts


def _named(name: str, content: str = "") -> str:
    return f"<{name}>{content}</{name}>" if content else f"<{name}/>"


def _own(name: str, content: str, said: str = "") -> str:
    return f"<{name} xmlns='{ns.GRID}'{said}>{content}</{name}>"


def _element(what: Element | None) -> str:
    return serialise(what) if what is not None else ""


_WRITERS: dict[type[DraftRequest], Callable[[Any], str]] = {
    Register: _register,
    Challenge: _challenge,
    Login: lambda request: "<login/>",
    Logout: lambda request: "<logout/>",
    Find: _find,
    ListCapabilities: _list,
    InitPublish: _init_publish,
    SubscribeRequest: _subscribe,
    Unsubscribe: _unsubscribe,
    FilterOptions: _filter_options,
    IsAuthorized: _is_authorized,
    History: _stored,
    Bulk: _stored,
    ProxyQuery: _proxy_query,
    DirectedQuery: _directed,
}
