"""The connection request of TR-069 Annex K: reading what an ACS sent, writing what a device understands.

Devices in the field crash on white space between the children, on a password that comes first and on missing
children. So a request is never passed on: it is read, judged, and written anew in its one normal form.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from component.base import ns
from component.base.errors import InputError

PAYLOAD = f"{{{ns.CONNECTION_REQUEST}}}connectionRequest"
_USERNAME = f"{{{ns.CONNECTION_REQUEST}}}username"
_PASSWORD = f"{{{ns.CONNECTION_REQUEST}}}password"

LONGEST_CREDENTIAL = 256
"""Characters of a user name or a password: the data model's limit of ConnectionRequestUsername and …Password."""


class MalformedRequest(InputError):
    """The stanza is not one connection request with one user name and one password."""


class Credentials(NamedTuple):
    """User name and password of a connection request; its text form hides both."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(hidden)"

    def __str__(self) -> str:
        return repr(self)

    @property
    def empty(self) -> bool:
        """Whether the requester leaves it to the gate to fill them in."""
        return not self.username and not self.password


def parse(iq: Element) -> Credentials:
    """Read the request in an IQ of type get, mending order, white space and attributes (contract, section 4).

    :raises MalformedRequest: it is anything but exactly one user name and one password in one payload.
    """
    if len(iq) != 1 or iq[0].tag != PAYLOAD:
        raise MalformedRequest("An IQ to a device holds exactly one connectionRequest and nothing else.")
    if _words(iq.text, iq[0].text, *(element.tail for element in (iq[0], *iq[0]))):
        raise MalformedRequest("A connectionRequest holds no text of its own.")
    fields: dict[str, str] = {}
    for child in iq[0]:
        if child.tag not in (_USERNAME, _PASSWORD) or child.tag in fields or len(child):
            raise MalformedRequest("A connectionRequest holds exactly one username and one password.")
        fields[child.tag] = child.text or ""
    if len(fields) != 2:
        raise MalformedRequest("A connectionRequest holds exactly one username and one password.")
    if max(map(len, fields.values())) > LONGEST_CREDENTIAL:
        raise MalformedRequest(f"Username and password have at most {LONGEST_CREDENTIAL} characters.")
    return Credentials(fields[_USERNAME], fields[_PASSWORD])


def serialise(credentials: Credentials) -> str:
    """The payload in normal form: user name, then password, no white space, no attributes."""
    return (
        f"<connectionRequest xmlns='{ns.CONNECTION_REQUEST}'>"
        f"<username>{_text(credentials.username)}</username>"
        f"<password>{_text(credentials.password)}</password></connectionRequest>"
    )


def _words(*texts: str | None) -> bool:
    return any(text and not text.isspace() for text in texts)


def _text(value: str) -> str:
    return escape(value, {"\r": "&#13;"})  # a bare one becomes a line feed in whoever reads it (XML 1.0 §2.11)
