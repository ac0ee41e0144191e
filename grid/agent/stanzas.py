"""Reading and writing the stanzas of a client."""

from __future__ import annotations

from component.base.jid import JidError, prepare_often
from component.base.stanzas import quote
from grid.ns import CLIENT

IQ = f"{{{CLIENT}}}iq"
MESSAGE = f"{{{CLIENT}}}message"
PRESENCE = f"{{{CLIENT}}}presence"


def iq(kind: str, id: str, to: str, payload: str) -> str:
    """An IQ stanza.

    :param payload: the serialised child, or empty.
    """
    return f"<iq type='{kind}' id='{quote(id)}' to='{quote(to)}'>{payload}</iq>"


def same(one: str, other: str) -> bool:
    """Whether two addresses are the same; servers may hand on the spelling of a login."""
    if one == other:
        return True
    try:
        return prepare_often(one) == prepare_often(other)
    except JidError:
        return False


def bare(address: str) -> str:
    """The bare JID of an address, prepared; empty when it is none."""
    try:
        return prepare_often(address).bare
    except JidError:
        return ""


def domain(address: str) -> str:
    """The domain of an address, prepared; empty when it is none."""
    return bare(address).rpartition("@")[2]
