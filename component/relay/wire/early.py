"""Stanzas that come between ``<success/>`` and the header with which the stream begins anew.

COMPAT: Prosody 0.12 sends on a bidi stream from its ``<success/>`` on, before it has seen our header and sent its own
(RFC 6120 §6.4.6 lets nothing come there). It keeps no copy, so refusing them would lose them for good. They are read
as a part of the stream before, behind whose authentication they stand.
"""

from __future__ import annotations

import re

_MARKS = (b"<?xml", b"<stream:stream")
"""How a header begins, where it may stand behind stanzas."""

_HEADER = re.compile(rb"\s*<(?:\?xml|(?:[\w.-]+:)?stream[\s>])")
"""How it may begin where it comes at once."""


class EarlyStanzas:
    """Finds where the new stream begins."""

    def __init__(self) -> None:
        self._held = b""
        self._fresh = True

    def split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """What belongs to the stream before, and what to the new one: None while that has not begun."""
        data = self._held + data
        self._held = b""
        if self._fresh and _HEADER.match(data):
            return b"", data
        begins = min((place for place in map(data.find, _MARKS) if place >= 0), default=-1)
        if begins >= 0:
            return data[:begins], data[begins:]
        half = _half_a_mark(data)
        if half:
            data, self._held = data[:-half], data[-half:]
        self._fresh = self._fresh and not data.strip()
        return data, None


def _half_a_mark(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a header."""
    start = data.rfind(b"<")
    rest = data[start:] if start >= 0 else b""
    return len(rest) if rest and any(mark.startswith(rest) for mark in _MARKS) else 0
