"""Stream management (XEP-0198): what was received and handled, what was sent and not acknowledged. Sans-IO.

A stanza counts as handled when whoever got it says so, which for an item is when its consumer comes back for the next
one. So what a crashed node had not handled comes again. Servers keep a limited number of unacknowledged stanzas
(Prosody 500 by default): what is more than `WINDOW` behind is acknowledged although nobody has handled it yet.
"""

from __future__ import annotations

from collections import deque

WINDOW = 256
REQUEST_AFTER = 32
"""An acknowledgement is asked for after so many stanzas."""
TELL_AFTER = 16
"""One is given after so many that were handled, without being asked."""

_MODULO = 2**32


class Management:
    """One session, over all the connections that resume it.

    :param id: what the server calls the session; empty when it cannot be resumed.
    """

    def __init__(self, id: str = "") -> None:
        self.id = id
        self._received = 0
        self._skip = 0
        self._waiting: dict[int, None] = {}
        self._told = 0
        self._acknowledged = 0
        self._unacknowledged: deque[str] = deque()
        self._since_request = 0

    # Incoming

    def received(self) -> int | None:
        """A stanza came.

        :returns: its number, for `handled`; None when it was received before the session was resumed.
        """
        self._received += 1
        if self._skip:
            self._skip -= 1
            return None
        self._waiting[self._received] = None
        return self._received

    def handled(self, number: int) -> bool:
        """A stanza is done with; whether it is time to tell the server."""
        self._waiting.pop(number, None)
        return self.h - self._told >= TELL_AFTER

    @property
    def h(self) -> int:
        """How many stanzas are handled, without a gap."""
        first = next(iter(self._waiting), self._received + 1)
        return max(first - 1, self._received - WINDOW, self._told)

    def tell(self) -> int:
        """The number to tell the server (modulo 2³²), in ``<a/>`` or ``<resume/>``."""
        self._told = self.h
        return self._told % _MODULO

    # Outgoing

    def sent(self, stanza: str) -> bool:
        """A stanza is about to be sent; whether to ask for an acknowledgement behind it."""
        self._unacknowledged.append(stanza)
        self._since_request += 1
        if self._since_request < REQUEST_AFTER:
            return False
        self._since_request = 0
        return True

    def acknowledged(self, h: int) -> bool:
        """The server has handled so many; False when that is not possible."""
        count = (h - self._acknowledged) % _MODULO
        if count > len(self._unacknowledged):
            return False
        for _ in range(count):
            self._unacknowledged.popleft()
        self._acknowledged = h
        return True

    def resumed(self, h: int) -> list[str] | None:
        """``<resumed/>`` came.

        :returns: what has to be sent again; None when the server's number is not possible.
        """
        if not self.acknowledged(h):
            return None
        self._skip = self._received - self._told
        self._received = self._told
        return list(self._unacknowledged)
