"""``ManagementServer.ConnReqAllowedJabberIDs``: who may send connection requests, as TR-069 Annex K has it."""

from __future__ import annotations

from dataclasses import dataclass

from component.base.errors import InputError
from component.base.jid import Jid, JidError, prepare

MAX_ENTRIES = 32
MAX_LENGTH = 256
"""Characters of an entry."""


@dataclass(frozen=True)
class AllowedList:
    """The list. An entry without a resource matches every resource of its JID, one with a resource matches exactly;
    an **empty list allows everyone**. Entries for a whole domain do not exist.

    :ivar entries: prepared JIDs, in the order of the list.
    """

    entries: tuple[Jid, ...] = ()

    @classmethod
    def of(cls, texts: tuple[str, ...] | list[str]) -> AllowedList:
        """A list of these entries.

        :raises InputError: when there are more than 32, or one is longer than 256 characters or no JID of a user.
        """
        if len(texts) > MAX_ENTRIES:
            raise InputError(
                f"ConnReqAllowedJabberIDs has {len(texts)} entries, a device holds {MAX_ENTRIES}.",
                hint="Allow bare JIDs, or only the gate.",
            )
        return cls(tuple(_entry(text) for text in texts))

    @classmethod
    def parse(cls, value: str) -> AllowedList:
        """Read the parameter's value, which is split at ``,`` alone: a space after a comma belongs to the next entry,
        and since no JID begins with one, it is an error.

        :raises InputError: as `of` does.
        """
        return cls.of(value.split(",") if value else [])

    def allows(self, sender: Jid) -> bool:
        """Whether a request from `sender` (a full JID) is let in."""
        return not self.entries or any(
            entry == sender if entry.resource else entry.bare == sender.bare for entry in self.entries
        )

    def begins(self, sender: Jid) -> bool:
        """`allows` as some firmware has it: comparing no further than the entry is long."""
        return not self.entries or any(sender.full.startswith(entry.full) for entry in self.entries)

    def __str__(self) -> str:
        return ",".join(entry.full for entry in self.entries)


def _entry(text: str) -> Jid:
    if len(text) > MAX_LENGTH:
        raise InputError(f"{text[:40]}… has {len(text)} characters, an entry may have {MAX_LENGTH}.")
    if text != text.strip():
        raise InputError(
            f"{text!r} is not an entry of ConnReqAllowedJabberIDs: white space belongs to the entry.",
            hint="Write the list without spaces.",
        )
    try:
        jid = prepare(text)
    except JidError as error:
        raise InputError(f"{text!r} is not an entry of ConnReqAllowedJabberIDs: {error.message}") from None
    if not jid.local:
        raise InputError(
            f"{text!r} is not an entry of ConnReqAllowedJabberIDs: there are none for a whole domain.",
            hint="Write local@domain or local@domain/resource.",
        )
    return jid
