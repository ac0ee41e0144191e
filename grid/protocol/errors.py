"""Stanza errors (RFC 6120 §8.3): writing a refusal, and reading one.

What was asked is never echoed: a request may carry a password or an incident, and its sender has it already.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from component.base import ns as base
from grid import ns
from grid.errors import Refusal
from grid.protocol.elements import quote, serialise, split, text

LONGEST_TEXT = 1000
KINDS = ("auth", "cancel", "continue", "modify", "wait")


def error(refusal: Refusal) -> str:
    """The serialised ``<error/>`` of a refusal, in the namespace around it."""
    said = refusal.text if len(refusal.text) <= LONGEST_TEXT else f"{refusal.text[:LONGEST_TEXT]}…"
    words = f"<text xmlns='{base.STANZAS}' xml:lang='en'>{text(said)}</text>" if said else ""
    return (
        f"<error type='{quote(refusal.kind)}'>"
        f"<{refusal.condition} xmlns='{base.STANZAS}'/>{words}{refusal.extra}</error>"
    )


def result(iq: Element, content: str = "") -> str:
    """The IQ of type result that answers `iq`, addresses turned round."""
    return _answer(iq, "result", content)


def refuse(iq: Element, refusal: Refusal) -> str:
    """The IQ of type error that answers `iq`."""
    return _answer(iq, "error", error(refusal))


def _answer(iq: Element, kind: str, content: str) -> str:
    addresses = "".join(
        f" {name}='{quote(value)}'"
        for name, value in (("from", iq.get("to")), ("to", iq.get("from")), ("id", iq.get("id")))
        if value is not None
    )
    return f"<iq type='{kind}'{addresses}>{content}</iq>"


def read_refusal(stanza: Element) -> Refusal:
    """What the error of a stanza says, in whatever stream namespace; ``undefined-condition`` when it says nothing.

    `extra` holds the other elements beside the condition.
    """
    found = next((child for child in stanza if split(child.tag)[1] == "error"), None)
    if found is None:
        return Refusal("cancel", "undefined-condition")
    condition, words, extra = "undefined-condition", "", ""
    for child in found:
        namespace, name = split(child.tag)
        if namespace != base.STANZAS:
            extra += _shallow(child)
        elif name == "text":
            words = child.text or ""
        elif condition == "undefined-condition":
            condition = name
    kind = found.get("type", "cancel")
    return Refusal(kind if kind in KINDS else "cancel", condition, words[:LONGEST_TEXT], extra=extra)


def is_pending(refusal: Refusal) -> bool:
    """Whether it says that the registration waits for an administrator."""
    return refusal.condition == "registration-required" and f"<pending xmlns='{ns.GRID}'" in refusal.extra


def _shallow(element: Element) -> str:
    try:
        return serialise(element)
    except Refusal:  # too deep: an error says what it has to say in one level
        return ""
