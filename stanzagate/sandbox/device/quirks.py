"""The misbehaviour of shipped firmware, one flag each, for tests of what stands in front of such devices.

Every flag reproduces something that a shipped Annex K client was seen to do. A device without flags behaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto

from component.base.errors import InputError


class Quirk(Flag):
    """What a device does wrong. In a file a flag is written in lower case with hyphens: ``foreign-id``."""

    NONE = 0
    MISSPELT = auto()
    """Wrong credentials are answered with ``<not-autorized/>``."""
    SILENT = auto()
    """Never answers and never calls."""
    TWICE = auto()
    """Sends every answer twice."""
    LATE = auto()
    """Answers only after `DeviceSettings.late` seconds."""
    FOREIGN_ID = auto()
    """Answers with the id of the request before, or with an id that nobody used when there was none."""
    PREFIX_MATCH = auto()
    """Accepts a sender whose address merely begins with an entry of the allowed list."""
    CRASH_ON_WHITESPACE = auto()
    """Drops the connection, unanswered, at anything but ``<username/><password/>`` without white space."""
    ANY_TYPE = auto()
    """Takes an iq of type set, result or error that carries a connectionRequest for a request."""


def parse_quirks(names: Iterable[str]) -> Quirk:
    """The flags that `names` name.

    :raises InputError: when a name is unknown; the message lists those that exist.
    """
    known = {_name(quirk): quirk for quirk in Quirk}
    quirks = Quirk.NONE
    for name in names:
        if name not in known:
            raise InputError(f"{name!r} is not a quirk.", hint=f"Choose from {', '.join(known)}.")
        quirks |= known[name]
    return quirks


def _name(quirk: Quirk) -> str:
    return (quirk.name or "").lower().replace("_", "-")
