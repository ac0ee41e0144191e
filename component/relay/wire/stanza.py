"""Stanzas as the relay looks at them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from xml.etree.ElementTree import Element

from component.base.jid import JidError, prepare
from component.relay.wire.anew import anew
from component.relay.wire.errors import WireError

_KINDS = ("iq", "message", "presence")
_LABEL = "(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{0,15}}")
"""Preparation would leave it as it is."""

_REMEMBERED_LENGTH = 160


class Arrived(Protocol):
    """What a parser has read: see `component.relay.wire.parser.Received`."""

    @property
    def element(self) -> Element:
        """Clark names."""

    @property
    def raw(self) -> bytes:
        """Its bytes, which mean the same under any content namespace."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """A stanza (RFC 6120 §8).

    :ivar kind: ``iq``, ``message`` or ``presence``.
    :ivar type: empty when there is none; so is `id`.
    :ivar sender: address as received, with its domain prepared; so is `recipient`.
    :ivar element: read it, never change it.
    :ivar raw: its bytes, which mean the same under any content namespace.
    """

    kind: str
    type: str
    id: str
    sender: str
    recipient: str
    sender_domain: str
    recipient_domain: str
    element: Element
    raw: bytes


def read(received: Arrived, content: str) -> Stanza:
    """A stanza between two servers, or a server and its component: both addresses are there (RFC 6120 §8.1).

    Addresses whose domain was not prepared are written anew, since servers compare those of a component as they are.

    :param content: the content namespace of the stream.
    :raises WireError: ``unsupported-stanza-type``, or ``improper-addressing`` when an address is missing or is none.
    """
    element = received.element
    kind = _kinds(content).get(element.tag)
    if kind is None:
        raise WireError("unsupported-stanza-type", "It is neither iq, message nor presence.")
    get = element.get
    given_sender = get("from", "")
    given_recipient = get("to", "")
    sender, sender_domain = address(given_sender)
    recipient, recipient_domain = address(given_recipient)
    raw = received.raw
    if sender != given_sender or recipient != given_recipient:
        element.set("from", sender)
        element.set("to", recipient)
        raw = anew(element, content)
    return Stanza(
        kind, get("type", ""), get("id", ""), sender, recipient, sender_domain, recipient_domain, element, raw
    )


def domain_of(jid: str) -> str:
    """The domain of an address, prepared (RFC 6122 §2.2).

    :raises WireError: ``improper-addressing``: it is no address.
    """
    return address(jid)[1]


def address(jid: str) -> tuple[str, str]:
    """The address with its domain prepared, and that domain.

    Local part and resource stay as they are: only the server whose user it is knows what they mean.

    :raises WireError: ``improper-addressing``: it is no address.
    """
    return _remembered(jid) if len(jid) <= _REMEMBERED_LENGTH else _address(jid)


def _address(jid: str) -> tuple[str, str]:
    if not jid:
        raise WireError("improper-addressing", "A stanza between servers has both a sender and a recipient.")
    bare, slash, resource = jid.partition("/")
    local, at, domain = bare.rpartition("@")
    if (at and not local) or (slash and not resource) or "@" in local:
        raise WireError("improper-addressing", "A part of an address is empty, or there is one too many.")
    if _PLAIN_DOMAIN.fullmatch(domain):
        return jid, domain
    try:
        prepared = prepare(domain).full
    except JidError as error:
        raise WireError("improper-addressing", "The domain of an address is not possible.") from error
    return f"{local}{at}{prepared}{slash}{resource}", prepared


_remembered = lru_cache(maxsize=4096)(_address)


@lru_cache(maxsize=16)
def _kinds(content: str) -> dict[str, str]:
    return {f"{{{content}}}{kind}": kind for kind in _KINDS}
