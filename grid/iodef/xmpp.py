"""The extensions of IODEF that XEP-0268 §7 defines: JIDs in incidents, and roles of XMPP services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal
from xml.sax.saxutils import escape

from lxml import etree

from grid.iodef import v1
from grid.iodef.errors import Problem, path_of
from grid.iodef.names import V1, clark
from grid.iodef.types import Foreign

JID_NAMESPACE: Final = "urn:xmpp:jid:0"
"""XEP-0268 §7.4."""

NodeRoleName = Literal["xmpp", "xmpp-bytestreams", "xmpp-muc", "xmpp-pubsub"]
"""XEP-0268 §7.3."""

_JID = f"{{{JID_NAMESPACE}}}jid"
_JIDS = (_JID, "{urn:xmpp:incident:2}jid")
"""The second stands in the examples, and in XEP-0268 §8, for the first."""


def jid_data(jid: str) -> v1.Extension:
    """A JID as AdditionalData, for a Contact for example (§7.4).

    :raises JidError: it is not one.
    """
    element = f'<jid xmlns="{JID_NAMESPACE}">{escape(_prepared(jid))}</jid>'
    return v1.Extension(dtype="xml", content=(Foreign.of(etree.fromstring(element)),))


def chatroom(jid: str) -> v1.Contact:
    """A chat room in which the incident can be talked about (§7.1).

    :raises JidError: it is not a JID.
    """
    return v1.Contact(
        role="ext-value", ext_role="chatroom", type="ext-value", ext_type="chatroom", additional_data=(jid_data(jid),)
    )


def address(jid: str) -> v1.Address:
    """The address of an XMPP entity, as source or target (§7.2).

    :raises JidError: it is not one.
    """
    return v1.Address(category="ext-value", ext_category="xmpp", value=_prepared(jid))


def node_role(name: NodeRoleName) -> v1.NodeRole:
    """What an XMPP service is there for (§7.3)."""
    return v1.NodeRole(category="ext-value", ext_category=name)


def jids(contact: v1.Contact) -> tuple[str, ...]:
    """The JIDs of a contact, as they are written."""
    return tuple(
        "".join(part.element.itertext()).strip()
        for data in contact.additional_data
        for part in data.content
        if isinstance(part, Foreign) and part.tag in _JIDS
    )


def wrong_jids(incident: etree._Element) -> Iterator[Problem]:
    """Places for a JID that hold none (§8: they are JID slots)."""
    slots = list(incident.iter(*_JIDS))
    addresses = incident.iter(clark("Address", V1))
    slots += [each for each in addresses if each.get("ext-category", "").strip() == "xmpp"]
    if not slots:
        return
    from component.base.jid import JidError  # noqa: PLC0415  see _prepared

    for slot in slots:
        text = "".join(str(part) for part in slot.itertext()).strip()
        try:
            _prepared(text)
        except JidError as error:
            yield Problem(
                slot.sourceline or 0, path_of(slot), f"found {text[:80]!r}; expected a JID: {error.message[:200]}"
            )


def _prepared(jid: str) -> str:
    from component.base.jid import prepare  # noqa: PLC0415  it loads all of slixmpp; most incidents have no JID

    return prepare(jid).full
