"""Stanzas for tests of what judges and queues them, made without a stream."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from component.relay import ns
from component.relay.wire.stanza import Stanza


def stanza(
    content: str = "",
    *,
    kind: str = "iq",
    type: str = "get",
    id: str = "i1",
    sender: str = "acs@partner.test/x",
    recipient: str = "cpe1@cpe.test/tr069",
) -> Stanza:
    """A stanza with a content, which stands for the bytes between the tags of the stanza."""
    names = {"type": type, "id": id, "from": sender, "to": recipient}
    attributes = "".join(f' {name}="{value}"' for name, value in names.items() if value)
    raw = f"<{kind}{attributes}>{content}</{kind}>"
    element = ET.fromstring(f'<s xmlns="{ns.SERVER}">{raw}</s>')[0]
    return Stanza(kind, type, id, sender, recipient, _domain(sender), _domain(recipient), element, raw.encode())


def _domain(address: str) -> str:
    return address.partition("/")[0].rpartition("@")[2]
