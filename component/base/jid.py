"""JIDs, prepared as both servers prepare them (RFC 6122), compared exactly.

For ASCII preparation is that of slixmpp, for all else that of `component.base.profiles`, since slixmpp follows a
newer Unicode than the servers and so takes addresses for equal that they keep apart. On top of it, what RFC 7622
forbids or what the servers would treat as yet another address is refused: a domain that ends in a dot or contains a
full stop other than U+002E, and empty parts. A `Jid` is only ever made by `prepare`, so two equal addresses are two
equal strings, and nobody needs a prefix or a case-insensitive comparison.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from slixmpp.jid import JID, InvalidJID

from component.base.errors import InputError
from component.base.profiles import ProfileError, nameprep, nodeprep, resourceprep

_FOREIGN_DOTS = frozenset("\u3002\uff0e\uff61")  # RFC 3490 §3.1: full stops that IDNA knows and DNS does not
_ESCAPES = {
    " ": "\\20", '"': "\\22", "&": "\\26", "'": "\\27", "/": "\\2f",
    ":": "\\3a", "<": "\\3c", ">": "\\3e", "@": "\\40",
}  # fmt: skip
_UNESCAPES = {code: char for char, code in _ESCAPES.items()} | {"\\5c": "\\"}
_ESCAPE_SEQUENCE = re.compile(r"\\(?:20|22|26|27|2f|3a|3c|3e|40|5c)")


class JidError(InputError):
    """A string is not a JID."""


class Jid(NamedTuple):
    """A prepared JID. Make one with `prepare`.

    :ivar bare: ``local@domain``, or ``domain`` for an address without a local part.
    :ivar resource: the resource, or the empty string.
    """

    bare: str
    resource: str

    @property
    def full(self) -> str:
        """The whole address; equal to `bare` when there is no resource."""
        return f"{self.bare}/{self.resource}" if self.resource else self.bare

    @property
    def local(self) -> str:
        """The local part, or the empty string."""
        local, at, _ = self.bare.rpartition("@")
        return local if at else ""

    @property
    def domain(self) -> str:
        """The domain part."""
        return self.bare.rpartition("@")[2]

    def __str__(self) -> str:
        return self.full


def prepare(text: str) -> Jid:
    """Prepare an address for comparison (RFC 6122 §2).

    :param text: an address as it came from a stanza, a file or a person.
    :raises JidError: when it is not a JID; the message shows the text with control characters escaped.
    """
    try:
        jid = _ascii(text) if text.isascii() else _beyond_ascii(text)
    except (InvalidJID, ProfileError) as error:
        raise JidError(f"{_shown(text)} is not a JID: {error}.", hint="Write local@domain/resource.") from error
    domain = jid.domain
    if not domain:
        raise JidError("The empty string is not a JID.", hint="Write local@domain/resource.")
    if domain.endswith(".") or not _FOREIGN_DOTS.isdisjoint(domain):
        raise JidError(
            f"{_shown(text)} is not a JID: the domain has a full stop that no server would accept.",
            hint="Use '.' between labels and none at the end.",
        )
    return jid


def _ascii(text: str) -> Jid:
    jid = JID(text)
    return Jid(jid.bare, jid.resource)


def _beyond_ascii(text: str) -> Jid:
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.rpartition("@")
    if (at and not local) or (slash and not resource) or "@" in local:
        raise ProfileError("a part is empty, or there is one too many")
    domain = nameprep(domain)
    return Jid(f"{nodeprep(local)}@{domain}" if at else domain, resourceprep(resource) if slash else "")


REMEMBERED_LENGTH = 160
"""Longer addresses, and those beyond ASCII, are read anew each time: a flood of them would fill the memory, since an
address may have 3,071 bytes, each of which becomes four in a string with one rare character."""


def prepare_often(text: str) -> Jid:
    """`prepare` for addresses that come again and again: recent ones are remembered.

    :raises JidError: not a JID.
    """
    return _remembered(text) if len(text) <= REMEMBERED_LENGTH and text.isascii() else prepare(text)


_remembered = lru_cache(maxsize=16_384)(prepare)


def escape_local(text: str) -> str:
    r"""Turn any text into a local part (XEP-0106 §4.2): ``cpe1@cpe.test`` becomes ``cpe1\40cpe.test``.

    A backslash is escaped only where it would otherwise start an escape sequence.
    """
    guarded = _ESCAPE_SEQUENCE.sub(lambda match: "\\5c" + match.group()[1:], text)
    return "".join(_ESCAPES.get(char, char) for char in guarded)


def unescape_local(local: str) -> str:
    """Undo `escape_local` once (XEP-0106 §4.3)."""
    if "\\" not in local:
        return local
    return _ESCAPE_SEQUENCE.sub(lambda match: _UNESCAPES[match.group()], local)


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"
