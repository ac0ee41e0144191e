"""Requests that the plugin on the pubsub host hands over, wrapped as in XEP-0355 §5."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from grid import ns
from grid.errors import Refusal, bad_request
from grid.protocol.elements import called, quote, split
from grid.protocol.errors import error

DELEGATION = f"{{{ns.DELEGATION}}}delegation"
_FORWARDED = f"{{{ns.FORWARD}}}forwarded"
_IQ = f"{{{ns.CLIENT}}}iq"


def is_delegated(iq: Element) -> bool:
    """Whether an IQ is for `unwrap`. Believe it only when it comes from the broker's own host."""
    return len(iq) == 1 and iq[0].tag == DELEGATION


def unwrap(iq: Element) -> Element:
    """The request inside: an IQ of type get or set in ``jabber:client``, with its sender, receiver and id.

    :raises Refusal: bad_request.
    """
    inner = _inner(iq)
    if inner.get("type") not in ("get", "set"):
        raise bad_request("What is delegated is an IQ of type get or set.")
    for name in ("from", "to", "id"):
        if not inner.get(name):
            raise bad_request(f"What is delegated lacks the attribute {name}.")
    return inner


def _inner(iq: Element) -> Element:
    forwarded = _only(_only(iq, DELEGATION), _FORWARDED)
    return _only(forwarded, _IQ)


def _only(parent: Element, tag: str) -> Element:
    found = [child for child in parent if child.tag == tag]
    if len(found) != 1:
        raise bad_request(f"{called(parent)} needs exactly one <{split(tag)[1]}/>; it holds {len(found)}.")
    return found[0]


def wrap_answer(outer: Element, content: str = "") -> str:
    """The whole answer to the plugin's IQ, with a result for the requester in it.

    :param outer: the plugin's IQ, for which `unwrap` succeeded.
    :param content: the serialised child of the result.
    """
    return _wrap(outer, "result", content)


def wrap_refusal(outer: Element, refusal: Refusal) -> str:
    """The same with an error for the requester in it."""
    return _wrap(outer, "error", error(refusal))


def _wrap(outer: Element, kind: str, content: str) -> str:
    inner = f"<iq xmlns='{ns.CLIENT}' type='{kind}'{_turned(_inner(outer))}>{content}</iq>"
    return (
        f"<iq type='result'{_turned(outer)}><delegation xmlns='{ns.DELEGATION}'>"
        f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded></delegation></iq>"
    )


def _turned(iq: Element) -> str:
    given = (("from", iq.get("to")), ("to", iq.get("from")), ("id", iq.get("id")))
    return "".join(f" {name}='{quote(value)}'" for name, value in given if value is not None)
