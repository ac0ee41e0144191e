"""Stanzas that come between ``<success/>`` and the header with which the stream begins anew.

COMPAT: Prosody 0.12 sends on a bidi stream from its ``<success/>`` on, before it has seen our header and sent its own
(RFC 6120 §6.4.6 lets nothing come there). It keeps no copy, so refusing them would lose them for good. They are read
as a part of the stream before, behind whose authentication they stand.
"""

from __future__ import annotations

import re

_MARKS = (b"<?xml", b"<stream:stream")
"""How a header begins, where it may stand behind stanzas."""

_FIRST = re.compile(rb"\s*<([^\s/>]*)[\s/>]")
"""The first tag, once its name is complete."""

_LONGEST_NAME = 100


class EarlyStanzas:
    """Finds where the new stream begins, however it is cut into chunks.

    :param between: nothing has come in part yet, so a header may come at once, with any prefix.
    """

    def __init__(self, *, between: bool) -> None:
        self._held = b""
        self._between = between

    def split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """What belongs to the stream before, and what to the new one: None while that has not begun."""
        data = self._held + data
        self._held = b""
        if self._between:
            first = _FIRST.match(data)
            begun = data.lstrip()
            if first is None and len(begun) <= _LONGEST_NAME and (not begun or begun.startswith(b"<")):
                self._held = begun
                return b"", None
            self._between = False
            if first is not None and (first[1] == b"?xml" or first[1].rpartition(b":")[2] == b"stream"):
                return b"", data
        begins = min((place for place in map(data.find, _MARKS) if place >= 0), default=-1)
        if begins >= 0:
            return data[:begins], data[begins:]
        half = _half_a_mark(data)
        if half:
            data, self._held = data[:-half], data[-half:]
        return data, None


def _half_a_mark(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a header."""
    start = data.rfind(b"<")
    rest = data[start:] if start >= 0 else b""
    return len(rest) if rest and any(mark.startswith(rest) for mark in _MARKS) else 0
