"""Writing errors: of a stream, and in answer to a stanza. The content namespace is left out."""

from __future__ import annotations

from dataclasses import replace

from component.relay import ns
from component.relay.wire.stanza import Stanza
from component.relay.wire.text import quote, text

__all__ = ["bounce", "instead", "quote", "stream_error", "text"]

_LONGEST = 32 * 1024
"""Bytes of an error. Addresses and ids alone can be as long as a stanza, and grow when they are written; an error
that is more than a server takes would end the stream on which it goes."""

_SUBSCRIPTIONS = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})


def stream_error(condition: str, reason: str = "", further: bytes = b"") -> bytes:
    """``<stream:error/>`` (RFC 6120 §4.9.2); close the stream behind it.

    :param reason: one sentence for people; empty for none.
    :param further: an element that says more, for programs (RFC 6120 §4.9.4).
    """
    said = f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>{text(reason)}</text>" if reason else ""
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>{said}".encode() + further + b"</stream:error>"


def bounce(stanza: Stanza, type: str, condition: str, reason: str = "") -> bytes | None:
    """The error that answers a stanza (RFC 6120 §8.3), from its recipient to its sender; what it carried is left out.

    None when no error may answer it: errors and results never (RFC 6120 §8.3.1, §8.2.3), and presence only where it
    is about a subscription, since nobody waits for an answer to any other; and when its addresses and its id are so
    long that an error with them would not be taken.

    :param type: ``auth``, ``cancel``, ``modify`` or ``wait``.
    :param reason: one sentence for people; empty for none.
    """
    if not _answerable(stanza):
        return None
    raw = _error_stanza(stanza, stanza.recipient, stanza.sender, _error(type, condition, reason))
    return raw if len(raw) <= _LONGEST else None


def instead(stanza: Stanza, type: str, condition: str, reason: str = "") -> Stanza | None:
    """An error that goes where a result or an error should have gone, which cannot be handed on itself; whoever waits
    for it learns that much. None for anything else, and when it would be too long, too.

    :param type, condition, reason: as in `bounce`.
    """
    if not (stanza.type == "error" or (stanza.kind == "iq" and stanza.type == "result")):
        return None
    raw = _error_stanza(stanza, stanza.sender, stanza.recipient, _error(type, condition, reason))
    return replace(stanza, type="error", raw=raw) if len(raw) <= _LONGEST else None


def _error_stanza(stanza: Stanza, sender: str, to: str, error: str) -> bytes:
    stanza_id = f" id='{quote(stanza.id)}'" if stanza.id else ""
    names = f"type='error'{stanza_id} from='{quote(sender)}' to='{quote(to)}'"
    return f"<{stanza.kind} {names}>{error}</{stanza.kind}>".encode()


def _answerable(stanza: Stanza) -> bool:
    match stanza.kind:
        case "iq":
            return stanza.type in ("get", "set")
        case "presence":
            return stanza.type in _SUBSCRIPTIONS
        case _:
            return stanza.type != "error"


def _error(type: str, condition: str, reason: str) -> str:
    """``<error/>`` in the namespace around it."""
    said = f"<text xmlns='{ns.STANZA_ERRORS}' xml:lang='en'>{text(reason)}</text>" if reason else ""
    return f"<error type='{type}'><{condition} xmlns='{ns.STANZA_ERRORS}'/>{said}</error>"
