"""Reading and writing stanzas without stanza objects."""

from __future__ import annotations

from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from component.base import ns
from component.base.errors import StanzaErrorInfo
from component.base.jid import JidError, prepare

IQ = f"{{{ns.COMPONENT}}}iq"
MESSAGE = f"{{{ns.COMPONENT}}}message"
ERROR = f"{{{ns.COMPONENT}}}error"
STREAM_ERROR = f"{{{ns.STREAM}}}error"


def is_from(sender: str, asked: str) -> bool:
    """Whether an answer comes from the address that was asked; ejabberd hands on the spelling of the login."""
    if sender == asked:
        return True
    try:
        return prepare(sender).full == asked
    except JidError:
        return False


def quote(value: str) -> str:
    """Escape a value for an attribute in single quotes."""
    return escape(value, {"'": "&apos;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


def error_info(answer: Element) -> StanzaErrorInfo:
    """What the ``<error/>`` of an answer says; ``undefined-condition`` when it says nothing."""
    error = answer.find(ERROR)
    if error is None:
        return StanzaErrorInfo("cancel", "undefined-condition")
    names = [child.tag.rpartition("}")[2] for child in error if child.tag.startswith(f"{{{ns.STANZAS}}}")]
    condition = next((name for name in names if name != "text"), "undefined-condition")
    return StanzaErrorInfo(error.get("type", "cancel"), condition, error.findtext(f"{{{ns.STANZAS}}}text") or "")
