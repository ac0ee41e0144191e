"""Where a stanza carries a connection request of TR-069 Annex K, and how it may be delivered.

A payload is any element that a device might take for a connection request: every element named connectionRequest,
whatever its namespace, and every element of the namespace, at any depth and in any kind of stanza. The in-server
plugins look for the same. What is looked at is the parsed stanza, never its bytes: a namespace can be written with
character references.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.connreq import Credentials, MalformedRequest, parse, serialise
from component.base.jid import Jid
from component.base.stanzas import quote
from component.relay.ns import COMPONENT, XML
from component.relay.wire.stanza import Stanza

_NAME = "connectionRequest"
_NAMESPACE = f"{{{ns.CONNECTION_REQUEST}}}"
_tag = attrgetter("tag")

LONGEST_REMEMBERED = 200
"""Characters of a name, with its namespace, that is remembered; those in use are shorter."""


class Payload(Enum):
    """What a stanza carries."""

    NONE = "none"
    ANSWER = "answer"
    """A result or an error with a payload; it is never delivered, since devices act on it."""
    MALFORMED = "malformed"
    """A payload that has no normal form."""
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Carried:
    """What a stanza carries; with its credentials when that is a request."""

    payload: Payload
    credentials: Credentials | None = None


_NONE = Carried(Payload.NONE)
_ANSWER = Carried(Payload.ANSWER)
_MALFORMED = Carried(Payload.MALFORMED)


class PayloadFinder:
    """Finds payloads. Names of elements that are none are remembered, so most stanzas cost one look at each name.

    :param remembered: how many names are kept; names that a partner makes up fill no memory.
    """

    def __init__(self, remembered: int = 4096) -> None:
        self._harmless: set[str] = set()
        self._remembered = remembered

    def read(self, stanza: Stanza) -> Carried:
        """What a stanza carries."""
        if not self.carries(stanza.element):
            return _NONE
        if stanza.type == "error" or (stanza.kind == "iq" and stanza.type == "result"):
            return _ANSWER
        if stanza.kind != "iq" or stanza.type != "get" or not stanza.id:
            return _MALFORMED
        try:
            return Carried(Payload.REQUEST, parse(stanza.element))
        except MalformedRequest:
            return _MALFORMED

    def carries(self, stanza: Element) -> bool:
        """Whether there is a payload in a stanza."""
        if self._harmless.issuperset(map(_tag, stanza.iter())):
            return False
        return any(self._suspect(element.tag) for element in stanza.iter())

    def _suspect(self, tag: str) -> bool:
        if tag in self._harmless:
            return False
        if tag.rpartition("}")[2] == _NAME or tag.startswith(_NAMESPACE):
            return True
        if len(self._harmless) >= self._remembered:
            self._harmless.clear()
        if len(tag) <= LONGEST_REMEMBERED:
            self._harmless.add(tag)
        return False


def normal_form(stanza: Stanza, requester: Jid, device: Jid, credentials: Credentials) -> bytes:
    """A request as a device may get it: prepared addresses, and no attribute or white space that it could trip over.

    :returns: the bytes of a stanza that mean the same under any content namespace.
    """
    return (
        f"<iq type='get' id='{quote(stanza.id)}' from='{quote(requester.full)}' to='{quote(device.full)}'>"
        f"{serialise(credentials)}</iq>"
    ).encode()


_COMPONENT = COMPONENT.encode()
_ODD_XML = re.compile(rb"[\s<]xml:(?!lang\b)")
_CHANGED = (f"{{{COMPONENT}}}", f"{{{XML}}}")
_XML_ATTRIBUTES = {f"{{{XML}}}{name}" for name in ("lang", "space", "base", "id")}
"""Those that the standards know, and Prosody can write."""


def changes_on_the_way(stanza: Stanza) -> bool:
    """Whether a stanza has names that the way to our server, or from there to its clients, would make others.

    What is in the namespace of component streams would become a part of the stanza itself: a body, an error. And
    Prosody writes unknown names of the XML namespace in a way that ends the stream on which it is written.
    """
    raw = stanza.raw  # with character references it was written anew, without them
    if _COMPONENT not in raw and not (b"xml:" in raw and _ODD_XML.search(raw)):
        return False
    for element in stanza.element.iter():
        if element.tag.startswith(_CHANGED):
            return True
        if any(name.startswith(_CHANGED[1]) and name not in _XML_ATTRIBUTES for name in element.attrib):
            return True
    return False
