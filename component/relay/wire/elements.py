"""Which input of the machines an element is, and what errors in it say."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.wire.states import Input

_INPUTS = {
    f"{{{ns.STREAM}}}stream": Input.HEADER,  # a second one, within the first
    f"{{{ns.STREAM}}}features": Input.FEATURES,
    f"{{{ns.STREAM}}}error": Input.ERROR,
    f"{{{ns.TLS}}}starttls": Input.STARTTLS,
    f"{{{ns.TLS}}}proceed": Input.PROCEED,
    f"{{{ns.TLS}}}failure": Input.TLS_FAILURE,
    f"{{{ns.BIDI}}}bidi": Input.BIDI,
    f"{{{ns.SASL}}}auth": Input.AUTH,
    f"{{{ns.SASL}}}response": Input.AUTH,
    f"{{{ns.SASL}}}abort": Input.AUTH,
    f"{{{ns.SASL}}}success": Input.SUCCESS,
    f"{{{ns.SASL}}}failure": Input.FAILURE,
    **{f"{{{ns.SERVER}}}{kind}": Input.STANZA for kind in ("iq", "message", "presence")},
}

_LONGEST = 64
"""Characters of a condition that are kept: those of the standards are shorter."""


def input_of(tag: str) -> Input:
    """The input that an element is.

    :param tag: Clark name.
    """
    known = _INPUTS.get(tag)
    if known is not None:
        return known
    namespace = tag[1:].partition("}")[0]
    if namespace == ns.DIALBACK:
        return Input.DIALBACK
    return Input.ACKNOWLEDGEMENT if namespace == ns.SM else Input.UNKNOWN


def condition_of(error: Element | None, namespace: str) -> str:
    """The condition in an error: the first child of the namespace that is no text; else ``undefined-condition``."""
    for child in error if error is not None else ():
        if child.tag.startswith(f"{{{namespace}}}"):
            name = child.tag.rpartition("}")[2]
            if name != "text":
                return name[:_LONGEST]
    return "undefined-condition"
