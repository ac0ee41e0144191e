"""Requests of the data plane over the controller's link."""

from __future__ import annotations

import asyncio
from xml.etree.ElementTree import Element

from component.base.correlate import Answer
from component.base.errors import StanzaError, Unreachable
from component.base.link import Link, NoAnswer
from component.base.stanzas import error_info

ANSWER_SECONDS = 10.0
"""So long a request waits; a server that is there answers within milliseconds."""


class Asker:
    """Asks, and does not wait for an answer that can no more come: when the link is lost, all that is outstanding
    fails at once, so that a caller can say so and begin anew.

    :param link: leads to the server.
    :param timeout: seconds that a request may take.
    """

    def __init__(self, link: Link, timeout: float = ANSWER_SECONDS) -> None:
        self.link = link
        self._timeout = timeout
        self._waiting: set[asyncio.Future[Element | Answer]] = set()
        link.watchers.append(self._attached_or_lost)

    async def iq(self, to: str, payload: str, kind: str) -> Element:
        """Send an IQ from the link's own JID and wait for its result.

        :raises StanzaError: the answer was an error.
        :raises NoAnswer: nobody answered in time; whether it was done is not known.
        :raises Unreachable: the link is down, or was lost meanwhile; likewise.
        """
        answered: asyncio.Future[Element | Answer] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Element | Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self._waiting.add(answered)
        try:
            self.link.request(to, payload, on_answer, timeout=self._timeout, sender=self.link.jid, kind=kind)
            answer = await answered
        finally:
            self._waiting.discard(answered)
        if answer is Answer.UNREACHABLE:
            raise Unreachable(f"The server at {self.link.host}:{self.link.port} is away.", hint="Is it running?")
        if isinstance(answer, Answer):
            raise NoAnswer(f"{to} did not answer within {self._timeout:g} s.")
        if answer.get("type") == "error":
            raise StanzaError(error_info(answer))
        return answer

    def _attached_or_lost(self, attached: bool) -> None:
        if not attached:
            for answered in self._waiting:
                if not answered.done():
                    answered.set_result(Answer.UNREACHABLE)
