"""What text may hold, and words that several modules share."""

from __future__ import annotations

import re

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that XML cannot carry, not even as a reference (XML 1.0 §2.2)."""

EXT_VALUE = "ext-value"
"""The value of an enumeration that points to the ``ext-`` attribute beside it (RFC 7970 §5.1.1)."""

DATE_TIME = re.compile(r"(-?\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?", re.ASCII)
"""The form of xs:dateTime: year, month, day, hour, minute, second, fraction, zone."""

BLANKS = " \t\r\n"
"""White space in XML; `str.strip` without it would take away more."""


def shortened(text: str, longest: int) -> str:
    """A text, cut when it has more than so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
