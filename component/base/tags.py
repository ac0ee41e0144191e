"""Feeding expat whole tags only.

COMPAT: expat 2.6, and Debian 12's 2.5.0-1+deb12u2, when it has met half a tag, looks at it again only when twice as
much is there. A stanza whose last bytes come alone would then wait for the next one, or for ever; and Python 3.11 has
no way to switch that off. So half a tag is never shown to it.
"""

from __future__ import annotations


class WholeTags:
    """What has arrived on one connection and not been shown to the parser yet."""

    def __init__(self) -> None:
        self._rest = b""

    def __len__(self) -> int:
        return len(self._rest)

    def take(self, data: bytes) -> bytes:
        """Everything up to the end of the last tag; the rest is kept for the next call."""
        end = data.rfind(b">") + 1
        if not end:
            self._rest += data
            return b""
        whole, self._rest = self._rest + data[:end], data[end:]
        return whole
