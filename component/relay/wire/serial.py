"""Writing errors: of a stream, and in answer to a stanza. The content namespace is left out."""

from __future__ import annotations

from component.relay import ns
from component.relay.wire.stanza import Stanza
from component.relay.wire.text import quote, text

__all__ = ["bounce", "quote", "stream_error", "text"]

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
    is about a subscription, since nobody waits for an answer to any other.

    :param type: ``auth``, ``cancel``, ``modify`` or ``wait``.
    :param reason: one sentence for people; empty for none.
    """
    if not _answerable(stanza):
        return None
    stanza_id = f" id='{quote(stanza.id)}'" if stanza.id else ""
    return (
        f"<{stanza.kind} type='error'{stanza_id} from='{quote(stanza.recipient)}' to='{quote(stanza.sender)}'>"
        f"{_error(type, condition, reason)}</{stanza.kind}>"
    ).encode()


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
