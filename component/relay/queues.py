"""What waits for a connection, and what was written and not confirmed: bounded, and nothing is lost without a word.

A queue says no when it is full, and hands back what has waited too long; whoever asked it to keep a stanza then tells
the sender (RFC 6120 §8.3.3: ``resource-constraint``, ``remote-server-timeout``). The caller's clock is the only one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element

from component.relay.wire.stanza import Stanza


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of one queue.

    :ivar stanzas: how many may wait.
    :ivar bytes: as they are written to a stream.
    :ivar seconds: how long one may wait.
    """

    stanzas: int = 1000
    bytes: int = 16 * 1024 * 1024
    seconds: float = 60.0


class Queued(NamedTuple):
    """A stanza that waits.

    :ivar raw: the bytes to write; they may differ from those of the stanza.
    :ivar stanza: what to answer when it cannot be delivered, or None for what is never answered, such as an error.
    :ivar since: when it came, by the caller's clock.
    """

    raw: bytes
    stanza: Stanza | None
    since: float


class StanzaQueue:
    """First in, first out."""

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.size = 0
        """Bytes that wait."""
        self._waiting: deque[Queued] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def deadline(self) -> float | None:
        """When the oldest will have waited too long."""
        return self._waiting[0].since + self.limits.seconds if self._waiting else None

    def add(self, raw: bytes, stanza: Stanza | None, now: float) -> bool:
        """Let a stanza wait.

        :param now: seconds.
        :returns: False when there is no room.
        """
        size = self.size + len(raw)
        if len(self._waiting) >= self.limits.stanzas or size > self.limits.bytes:
            return False
        self._waiting.append(Queued(raw, stanza, now))
        self.size = size
        return True

    def take(self, most: int) -> list[Queued]:
        """Take out the oldest: about `most` bytes, and at least one if there is any."""
        taken = []
        waiting = self._waiting
        while waiting and most > 0:
            one = waiting.popleft()
            taken.append(one)
            most -= len(one.raw)
            self.size -= len(one.raw)
        return taken

    def expired(self, now: float) -> list[Queued]:
        """Take out what has waited too long."""
        late = []
        until = now - self.limits.seconds
        while self._waiting and self._waiting[0].since <= until:
            late.append(self._waiting.popleft())
            self.size -= len(late[-1].raw)
        return late

    def clear(self) -> list[Queued]:
        """Take out everything."""
        everything = list(self._waiting)
        self._waiting.clear()
        self.size = 0
        return everything


class Unconfirmed:
    """What was written to a connection and may still be lost with it, in two heaps with a barrier between them.

    A barrier is something that the peer answers once it has taken all that was written before it. `barrier` is called
    when one is written, `confirmed` when it is answered; there is one at a time.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.outstanding = False
        """Whether a barrier has been written that was not answered."""
        self._ahead: list[Queued] = []
        self._behind: list[Queued] = []
        self._ahead_size = 0

    @property
    def behind(self) -> int:
        """How many have been written since the last barrier."""
        return len(self._behind)

    def add(self, written: Iterable[Queued], size: int) -> None:
        """Remember what has just been written.

        :param size: bytes of all of it.
        """
        before = len(self._behind)
        self._behind.extend(written)
        self.count += len(self._behind) - before
        self.size += size

    def barrier(self) -> None:
        """A barrier has been written behind all that was added."""
        self.outstanding = True
        self._ahead, self._behind = self._behind, []
        self._ahead_size = self.size

    def confirmed(self) -> None:
        """The barrier was answered: what lies before it has arrived."""
        self.outstanding = False
        self.count -= len(self._ahead)
        self.size -= self._ahead_size
        self._ahead = []
        self._ahead_size = 0

    def clear(self) -> list[Queued]:
        """The connection was lost: take out everything, oldest first."""
        lost = self._ahead + self._behind
        self._ahead, self._behind = [], []
        self.count = self.size = self._ahead_size = 0
        self.outstanding = False
        return lost


_NOTHING = Element("nothing")


def light(stanza: Stanza) -> Stanza:
    """The same stanza without what it carries: all that an error answer needs, in little memory."""
    return Stanza(
        stanza.kind, stanza.type, stanza.id, stanza.sender, stanza.recipient, stanza.sender_domain,
        stanza.recipient_domain, _NOTHING, b"",
    )  # fmt: skip
