"""The device's sessions with the ACS: one at a time, and at most one more that is owed.

::

             report()                session begins            session ended, nothing new
    IDLE ────────────────▶ DUE ─────────────────────▶ ACTIVE ─────────────────────────────▶ IDLE
                            ▲                            │
                            └────────────────────────────┘
                  session failed, or something was reported meanwhile

Everything reported before a session begins is delivered by it, so any number of connection requests that are accepted
while a session runs lead to exactly one later session (Annex K.2.3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum, StrEnum

from stanzagate.sandbox.device.cwmp import CwmpError
from stanzagate.sandbox.device.settings import InSession, Retry

log = logging.getLogger(__name__)

SESSION_RETRY = Retry(initial=5, maximum=2560)
"""The wait after a failed session (TR-069 §3.2.1.1), started anew by whatever is reported meanwhile."""


class Event(StrEnum):
    """Event codes of an Inform (TR-069 §3.7.1.5), in the order in which an Inform lists them."""

    BOOT = "1 BOOT"
    VALUE_CHANGE = "4 VALUE CHANGE"
    CONNECTION_REQUEST = "6 CONNECTION REQUEST"


class State(Enum):
    """See the module."""

    IDLE = "idle"
    DUE = "due"
    ACTIVE = "active"


class Sessions:
    """
    :param hold: runs one session that delivers these events; returns at its end.
    :param in_session: what to do with connection requests during a session.
    :param uniform: like `random.uniform`.
    """

    def __init__(
        self,
        hold: Callable[[tuple[Event, ...]], Awaitable[None]],
        *,
        in_session: InSession,
        uniform: Callable[[float, float], float],
        retry: Retry = SESSION_RETRY,
    ) -> None:
        self._hold = hold
        self._in_session = in_session
        self._uniform = uniform
        self._retry = retry
        self._owed: set[Event] = set()
        self._news = asyncio.Event()
        self.state = State.IDLE

    @property
    def busy(self) -> bool:
        """Whether a connection request has to be refused now."""
        return self.state is State.ACTIVE and self._in_session is InSession.REFUSE

    def report(self, *events: Event) -> None:
        """Owe the ACS a session with these events."""
        self._owed.update(events)
        self._news.set()
        if self.state is State.IDLE:
            self.state = State.DUE

    async def run(self) -> None:
        """Hold the sessions that are owed, until cancelled."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            events = tuple(event for event in Event if event in self._owed)
            self._owed.clear()
            self.state = State.ACTIVE
            try:
                await self._hold(events)
            except (OSError, CwmpError) as error:
                failures += 1
                self._owed.update(events)
                self.state = State.DUE
                log.warning("A session with the ACS failed and will be repeated: %s", error)
                await self._pause(failures)
            else:
                failures = 0
                self.state = State.DUE if self._owed else State.IDLE

    async def _pause(self, failures: int) -> None:
        try:
            async with asyncio.timeout(self._retry.wait(failures, self._uniform)):
                await self._news.wait()
        except TimeoutError:
            self._news.set()
