"""Acknowledgements on a stream (XEP-0198, without resumption): which stanzas the peer has certainly taken.

TCP does not tell what a peer that died had read. With acknowledgements the sender of every stanza that was not
certainly taken can be told so.
"""

from __future__ import annotations

from collections import deque

_WRAP = 2**32

ROOM = 5_000
"""So many stanzas may wait for their acknowledgement before a stream counts as congested."""


class Acks:
    """The counters of one stream.

    :ivar counting: stanzas that we send are counted: acknowledgements were agreed on, or at least asked for.
    :ivar asked: since when an acknowledgement is outstanding, in seconds; None when none is.
    """

    def __init__(self) -> None:
        self.counting = False
        self.asked: float | None = None
        self._agreed = False
        self._handled = 0
        self._sent = 0
        self._waiting: deque[object] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def congested(self) -> bool:
        """Whether so much waits that nothing more should be sent."""
        return len(self._waiting) >= ROOM

    @property
    def handled(self) -> int:
        """How many stanzas we have taken, as it is written on the wire."""
        return self._handled % _WRAP

    def begin(self) -> None:
        """Count from here on what we send: ``<enable/>`` goes out, or has come."""
        self.counting = True

    def agree(self, now: float) -> bool:
        """Count from here on what we take: ``<enabled/>`` goes out, or has come.

        :returns: whether to ask for an acknowledgement.
        """
        self._agreed = True
        self._handled = 0
        self.asked = now if self._waiting else None
        return bool(self._waiting)

    def refuse(self) -> None:
        """The peer does not acknowledge."""
        self.counting = False
        self.unacknowledged()

    def sent(self, token: object, now: float) -> bool:
        """Note a stanza that is being sent.

        :returns: whether to ask for an acknowledgement.
        """
        self._sent += 1
        self._waiting.append(token)
        if self.asked is not None or not self._agreed:
            return False
        self.asked = now
        return True

    def acknowledged(self, handled: str, now: float) -> bool | None:
        """The peer says how many it has taken (XEP-0198 §4).

        :param handled: the attribute as it came.
        :returns: None when that cannot be; else whether to ask again for what was sent meanwhile.
        """
        if not (handled.isascii() and handled.isdigit() and len(handled) <= len(str(_WRAP))):
            return None
        waiting = (self._sent - int(handled)) % _WRAP
        if waiting > len(self._waiting):
            return None
        while len(self._waiting) > waiting:
            self._waiting.popleft()
        self.asked = now if self._waiting else None
        return bool(self._waiting)

    def taken(self) -> None:
        """Note a stanza that has come."""
        self._handled += 1

    def unacknowledged(self) -> tuple[object, ...]:
        """The tokens of what was not acknowledged, in order; taken out."""
        tokens = tuple(self._waiting)
        self._waiting.clear()
        self.asked = None
        return tokens
