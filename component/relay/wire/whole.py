"""Showing expat whole tags only.

Expat would read part of a tag from the beginning again with each byte that comes, which takes quadratic time; or
(COMPAT: 2.6, and the patched 2.5.0 of Debian 12, where Python 3.11 cannot switch it off) not read it at all until
twice as much is there, so that a stanza whose last byte comes alone would wait for the next one. So it is shown
neither half a tag nor half a reference.

What may be shown depends on what has come so far and not on how it was cut. A ``<`` can stand in no tag, so only what
is behind the last one can be half a tag. In a CDATA section it may be anything, but then an end tag is still to come.
"""

from __future__ import annotations

import re

_SHORT = 64
"""Bytes that may be looked at again with each chunk."""

_TAG = re.compile(rb"""<[^"'>]*+(?:"[^"]*+"[^"'>]*+|'[^']*+'[^"'>]*+)*+>""")
_DELIMITER = re.compile(rb"""["'>]""")
_HALF_REFERENCE = re.compile(rb"&[#0-9A-Za-z_:.\x80-\xff-]*+")
_REFERENCE_GOES_ON = re.compile(rb"[#0-9A-Za-z_:.\x80-\xff-]*+")


class WholeTags:
    """What has come of one stream and not been shown to expat.

    :ivar held: it begins with ``<`` or ``&``, or is empty.
    """

    def __init__(self) -> None:
        self.held = bytearray()
        self._quote = b""
        """The quotation mark that is open at the end of `held`."""

    def take(self, data: bytes) -> bytes:
        """What may be shown now; the rest is kept for the next call. It takes linear time, whatever the chunks."""
        held = self.held
        if held:
            if len(held) > _SHORT and self._is_half(data):
                held += data
                return b""
            data = bytes(held) + data
            held.clear()
        whole = _whole(data)
        if whole == len(data):
            return data
        held += data[whole:]
        self._quote = b""
        if len(held) > _SHORT:
            self._is_half(data[whole + 1 :])
        return data[:whole]

    def _is_half(self, data: bytes) -> bool:
        """Whether what is held still has no end, nor is certainly malformed, with these bytes behind it."""
        if self.held[0] == b"&"[0]:
            return _REFERENCE_GOES_ON.fullmatch(data) is not None
        if b"<" in data:
            return False
        start = 0
        while True:
            if self._quote:
                start = data.find(self._quote, start) + 1
                if not start:
                    return True
                self._quote = b""
            found = _DELIMITER.search(data, start)
            if found is None:
                return True
            if found[0] == b">":
                return False
            self._quote = found[0]
            start = found.end()


def end_of_tag(data: bytes, start: int) -> int:
    """Where the tag ends that begins there, or -1."""
    tag = _TAG.match(data, start)
    return -1 if tag is None else tag.end()


def _whole(data: bytes) -> int:
    """How many bytes may be shown."""
    start = data.rfind(b"<")
    end = 0
    if start >= 0:
        tag = _TAG.match(data, start)
        if tag is None:
            return start
        end = tag.end()
        if end == len(data):
            return end
    start = data.rfind(b"&", end)
    return start if start >= 0 and _HALF_REFERENCE.fullmatch(data, start) else len(data)
