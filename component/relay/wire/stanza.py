"""Stanzas as the relay looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element


@dataclass(frozen=True, slots=True)
class Stanza:
    """A stanza (RFC 6120 §8).

    :ivar kind: ``iq``, ``message`` or ``presence``.
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
