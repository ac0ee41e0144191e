"""Acknowledgements on a stream (XEP-0198, without resumption): which stanzas the peer has certainly taken.

TCP does not tell what a peer that died had read. With acknowledgements the sender of every stanza that was not
certainly taken can be told so.
"""

from __future__ import annotations

from collections import deque

_WRAP = 2**32
_DIGITS = 10

ROOM = 5_000
"""So many stanzas may wait for their acknowledgement before a stream counts as congested."""

MANY = 100
PAUSE = 0.1
"""An acknowledgement is asked for behind so many stanzas, or so many seconds after the first: each question and its
answer cost as much as a stanza."""


class Acks:
    """The counters of one stream.

    :ivar counting: stanzas that we send are counted: acknowledgements were agreed on, or at least asked for.
    :ivar asked: since when an acknowledgement is outstanding, in seconds; None when none is.
    :ivar due: when to ask for one, in seconds; None when nothing waits, or it was asked for.
    :ivar agreed: both sides count.
    """

    def __init__(self) -> None:
        self.counting = False
        self.asked: float | None = None
        self.due: float | None = None
        self.agreed = False
        self._stalled: float | None = None
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

    @property
    def total(self) -> int:
        """How many stanzas we have sent, as it is written on the wire."""
        return self._sent % _WRAP

    def begin(self) -> None:
        """Count from here on what we send: ``<enable/>`` goes out, or has come."""
        self.counting = True

    def agree(self, now: float) -> None:
        """Count from here on what we take: ``<enabled/>`` goes out, or has come."""
        self.agreed = True
        self._handled = 0
        self.due = now if self._waiting else None

    def refuse(self) -> None:
        """The peer does not acknowledge."""
        self.counting = False
        self.unacknowledged()

    def sent(self, token: object, now: float) -> bool:
        """Note a stanza that is being sent.

        :returns: whether to ask for an acknowledgement at once (`ask`).
        """
        self._sent += 1
        self._waiting.append(token)
        if self.asked is not None or not self.agreed:
            return False
        if self.due is None:
            self.due = now + PAUSE
        return len(self._waiting) >= MANY

    def ask(self, now: float) -> None:
        """An acknowledgement is being asked for.

        `asked` stays when the last answer acknowledged nothing: answers alone do not keep a stream alive.
        """
        self.asked, self.due = now if self._stalled is None else self._stalled, None

    def acknowledged(self, handled: str, now: float) -> bool:
        """The peer says how many it has taken (XEP-0198 §4).

        :param handled: the attribute as it came.
        :returns: False when that cannot be.
        """
        if not (handled.isascii() and handled.isdigit() and len(handled) <= _DIGITS and int(handled) < _WRAP):
            return False
        waiting = (self._sent - int(handled)) % _WRAP
        if waiting > len(self._waiting):
            return False
        if waiting < len(self._waiting) or not waiting:
            self._stalled = None
        elif self.asked is not None:
            self._stalled = self.asked
        while len(self._waiting) > waiting:
            self._waiting.popleft()
        self.asked = None
        if not self._waiting:
            self.due = None
        elif self.due is None:
            self.due = now + PAUSE
        return True

    def taken(self) -> None:
        """Note a stanza that has come."""
        self._handled += 1

    def unacknowledged(self) -> tuple[object, ...]:
        """The tokens of what was not acknowledged, in order; taken out."""
        tokens = tuple(self._waiting)
        self._waiting.clear()
        self.asked = self.due = self._stalled = None
        return tokens
