"""Addresses of the gate: its own, and those under which an ACS reaches a device through it (contract, section 4)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from component.base.jid import REMEMBERED_LENGTH, Jid, JidError, prepare, unescape_local

GATE_LOCAL = "gate"
"""Local part and resource of the gate's one stable address; reserved as a device id."""


class Address(NamedTuple):
    """Where in the gate's domain a stanza goes.

    :ivar jid: the device's bare JID, or empty.
    :ivar device_id: the device's id, or empty. With both empty the stanza is for the gate itself.
    :ivar resource: the resource to send to, or empty for the one in the registry.
    :ivar full: the address itself, prepared. Answers come from there: ejabberd hands on the requester's spelling, and
        slixmpp accepts an answer only from the prepared one.
    """

    jid: str
    device_id: str
    resource: str
    full: str


def gate_jid(domain: str) -> str:
    """The one address from which the gate sends to devices."""
    return f"{GATE_LOCAL}@{domain}/{GATE_LOCAL}"


def address_of(to: str) -> Address:
    """Read ``LOCAL@GATE/RESOURCE``: LOCAL is prepared, then unescaped once.

    :raises JidError: not a JID.
    """
    return _remembered(to) if len(to) <= REMEMBERED_LENGTH and to.isascii() else _read(to)


def _read(to: str) -> Address:
    jid = prepare(to)
    local = jid.local
    if not local or local == GATE_LOCAL:
        return Address("", "", jid.resource, jid.full)
    text = unescape_local(local)
    if "\\40" not in local:
        return Address("", text, jid.resource, jid.full)
    try:
        named: Jid | None = prepare(text)
    except JidError:
        named = None
    if named is None or named.resource:
        return Address("", local, jid.resource, jid.full)  # no id holds an escaped @, so this is nobody's
    return Address(named.bare, "", jid.resource, jid.full)


_remembered = lru_cache(maxsize=65_536)(_read)
