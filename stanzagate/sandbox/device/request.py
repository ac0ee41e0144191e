"""Connection requests as a device reads and answers them (TR-069 Annex K.2.3).

What reaches a device is judged in this order; the first that holds is the answer:

===============================================================  ==============================================
an iq of type result or error, a message, a presence             nothing
an iq set, an iq get with another payload or none                ``cancel``/``service-unavailable``, code 503
more than one payload; not exactly one username and then one     ``modify``/``bad-request``
password; attributes; any other element or text
the sender is not on the device's list                           ``cancel``/``service-unavailable``, code 503
the device's own limit is reached                                ``cancel``/``service-unavailable``, code 503
wrong user name or password                                      ``cancel``/``not-authorized``
in a session with the ACS, and set to refuse then                ``cancel``/``service-unavailable``, code 503
otherwise                                                        an empty result
===============================================================  ==============================================

Every error echoes the children of the request. White space between the elements changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from slixmpp.xmlstream.tostring import tostring

from component.base import ns

CLIENT = "jabber:client"
_PAYLOAD = f"{{{ns.CONNECTION_REQUEST}}}connectionRequest"
_USERNAME = f"{{{ns.CONNECTION_REQUEST}}}username"
_PASSWORD = f"{{{ns.CONNECTION_REQUEST}}}password"


class Reading(Enum):
    """What an iq is to a device."""

    IGNORED = "neither a get nor a set"
    UNSUPPORTED = "another method"
    MALFORMED = "a connection request that the schema does not allow"
    REQUEST = "a connection request"


class Reply(Enum):
    """What a device says to a request: the error it holds, or nothing for a result."""

    RESULT = ""
    NOT_AUTHORIZED = "<error type='cancel'><not-authorized xmlns='{}'/></error>"
    NOT_AUTORIZED = "<error type='cancel'><not-autorized xmlns='{}'/></error>"
    REFUSED = "<error code='503' type='cancel'><service-unavailable xmlns='{}'/></error>"
    BAD_REQUEST = "<error type='modify'><bad-request xmlns='{}'/></error>"


@dataclass(frozen=True)
class Credentials:
    """The content of a connectionRequest."""

    username: str
    password: str = field(repr=False)


def carries_request(iq: Element) -> bool:
    """Whether `iq`, of whatever type, has a connectionRequest for a child."""
    return iq.find(_PAYLOAD) is not None


def read(iq: Element, *, any_type: bool = False) -> tuple[Reading, Credentials]:
    """Read an iq; the credentials are empty unless it is a request.

    :param any_type: take every type for a get, as firmware with `Quirk.ANY_TYPE` does.
    """
    nobody = Credentials("", "")
    type = "get" if any_type else iq.get("type", "")
    if type not in {"get", "set"}:
        return Reading.IGNORED, nobody
    payload = iq.find(_PAYLOAD)
    if type == "set" or payload is None:
        return Reading.UNSUPPORTED, nobody
    if len(iq) > 1 and not (any_type and iq.get("type") == "error"):
        return Reading.MALFORMED, nobody
    if payload.attrib or _text(payload.text) or [child.tag for child in payload] != [_USERNAME, _PASSWORD]:
        return Reading.MALFORMED, nobody
    for child in payload:
        if child.attrib or len(child) or _text(child.tail):
            return Reading.MALFORMED, nobody
    return Reading.REQUEST, Credentials(payload[0].text or "", payload[1].text or "")


def in_normal_form(iq: Element) -> bool:
    """Whether the payload is exactly a username and a password without anything between them: what the most fragile
    firmware survives."""
    if len(iq) != 1 or iq.text or iq[0].tail:
        return False
    payload = iq[0]
    return read(iq)[0] is Reading.REQUEST and not payload.text and not any(child.tail for child in payload)


def answer(iq: Element, reply: Reply, *, id: str) -> str:
    """The stanza that answers `iq`, with the id `id`."""
    to = f" to={quoteattr(iq.get('from', ''))}" if iq.get("from") else ""
    head = f"<iq type='{'result' if reply is Reply.RESULT else 'error'}'{to} id={quoteattr(id)}"
    if reply is Reply.RESULT:
        return f"{head}/>"
    return f"{head}>{_echo(iq)}{reply.value.format(ns.STANZAS)}</iq>"


def _echo(iq: Element) -> str:
    return "".join(tostring(child, xmlns=CLIENT).strip() for child in iq if child.tag != f"{{{CLIENT}}}error")


def _text(text: str | None) -> bool:
    return bool(text and text.strip(" \t\r\n"))
