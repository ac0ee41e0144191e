"""Requests and their answers (RFC 6120 §8.2.3), matched exactly.

An answer counts only when it comes from the very address that was asked, with the id that was sent. Ids hold 128
random bits, so nobody can guess the id of a request that was not sent to him.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from secrets import token_hex
from xml.etree.ElementTree import Element

from component.base.stanzas import is_from


class Answer(Enum):
    """What became of a request, when no stanza says it."""

    TIMEOUT = "timeout"
    OVERLOAD = "overload"
    UNREACHABLE = "unreachable"


OnAnswer = Callable[["Element | Answer"], None]


@dataclass(slots=True)
class _Pending:
    to: str
    on_answer: OnAnswer
    timer: asyncio.TimerHandle


class Requests:
    """What was asked and not answered yet.

    :ivar foreign: answers that came from somebody else than was asked.
    :ivar late: answers to what nobody waits for (any more).
    """

    def __init__(self) -> None:
        self.foreign = 0
        self.late = 0
        self._pending: dict[str, _Pending] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, to: str, on_answer: OnAnswer, timeout: float) -> str:
        """Expect an answer.

        :param to: prepared address.
        :param on_answer: called exactly once.
        :param timeout: seconds.
        :returns: the id to send.
        """
        request_id = token_hex(16)
        timer = asyncio.get_running_loop().call_later(timeout, self._expired, request_id)
        self._pending[request_id] = _Pending(to, on_answer, timer)
        return request_id

    def answered(self, stanza: Element) -> None:
        """Take an IQ of type result or error; what matches nothing is counted and forgotten."""
        request_id = stanza.get("id", "")
        pending = self._pending.get(request_id)
        if pending is None:
            self.late += 1
        elif not is_from(stanza.get("from", ""), pending.to):
            self.foreign += 1
        else:
            pending.timer.cancel()
            self._finish(request_id, pending, stanza)

    def give_up(self) -> None:
        """Tell everybody who waits that the time is over."""
        for request_id, pending in list(self._pending.items()):
            pending.timer.cancel()
            self._finish(request_id, pending, Answer.TIMEOUT)

    def wake(self) -> None:
        """Have `change` return: something else that its caller waits for has happened."""
        self._changed.set()

    async def change(self) -> None:
        """Wait until a request has ended, or `wake` was called."""
        self._changed.clear()
        await self._changed.wait()

    def _expired(self, request_id: str) -> None:
        self._finish(request_id, self._pending[request_id], Answer.TIMEOUT)

    def _finish(self, request_id: str, pending: _Pending, answer: Element | Answer) -> None:
        del self._pending[request_id]
        pending.on_answer(answer)
        self._changed.set()
