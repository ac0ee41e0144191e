"""Requests that are under way: one at a time for each device, equal ones share it, others wait their turn.

A device takes one connection request after the other. While one is outstanding, a request with equal credentials
learns its outcome; another one is queued. Both are bounded in number, and every waiter has an answer before its
deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree.ElementTree import Element

from component.base.connreq import Credentials, serialise
from component.base.correlate import Answer
from component.base.jid import Jid
from component.base.link import Link
from component.gate.outcome import Outcome, classify

QUEUE_LIMIT = 16
"""Different requests that may wait for one device."""

SHARE_LIMIT = 1000
"""Requesters that may wait for one request."""

OnOutcome = Callable[[Outcome, str], None]

log = logging.getLogger(__name__)


class _Waiter(NamedTuple):
    on_outcome: OnOutcome
    admitted: Callable[[], bool]


@dataclass(slots=True, eq=False)
class _Flight:
    target: Jid
    credentials: Credentials
    deadline: float
    waiters: list[_Waiter] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def matches(self, target: Jid, credentials: Credentials) -> bool:
        return self.target == target and self.credentials == credentials


@dataclass(slots=True, eq=False)
class _Turns:
    current: _Flight
    queue: deque[_Flight] = field(default_factory=deque)


class Flights:
    """What is outstanding, for every device.

    :param link: sends the requests.
    :param sender: the gate's one address, the only entry that a device's own list needs.
    :param connected: whether a full JID is connected, or None when nobody tells.
    """

    def __init__(
        self, link: Link, sender: str, connected: Callable[[Jid], bool | None] = lambda _target: None
    ) -> None:
        self._link = link
        self._sender = sender
        self._connected = connected
        self._devices: dict[str, _Turns] = {}
        self.shared = 0
        self.queued = 0

    def __len__(self) -> int:
        return len(self._devices)

    def under_way(self, device: str, target: Jid, credentials: Credentials) -> bool:
        """Whether `join` would share a request that is outstanding or queued, so that the device sees no other."""
        turns = self._devices.get(device)
        return turns is not None and self._same(turns, target, credentials) is not None

    def join(
        self,
        device: str,
        target: Jid,
        credentials: Credentials,
        timeout: float,
        on_outcome: OnOutcome,
        *,
        admitted: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Send a request to a device, share one that is under way, or queue.

        :param device: the device's id; requests are in turn for each id.
        :param target: the full JID to send to.
        :param timeout: seconds until `on_outcome` is called with `Outcome.TIMEOUT` at the latest.
        :param on_outcome: called exactly once, unless this returns False or `admitted` did.
        :param admitted: asked when a queued request is about to be sent, since the policy may have changed while it
            waited; on no, it has told the requester itself.
        :returns: False when too many wait already.
        """
        turns = self._devices.get(device)
        waiter = _Waiter(on_outcome, admitted)
        loop = asyncio.get_running_loop()
        if turns is None:
            flight = _Flight(target, credentials, loop.time() + timeout, [waiter])
            self._devices[device] = _Turns(flight)
            self._start(device, flight, timeout)
            return True
        same = self._same(turns, target, credentials)
        if same is not None:
            if len(same.waiters) >= SHARE_LIMIT:
                return False
            same.waiters.append(waiter)
            self.shared += 1
            return True
        if len(turns.queue) >= QUEUE_LIMIT:
            return False
        flight = _Flight(target, credentials, loop.time() + timeout, [waiter])
        flight.timer = loop.call_later(timeout, self._waited_too_long, turns, flight)
        turns.queue.append(flight)
        self.queued += 1
        return True

    @staticmethod
    def _same(turns: _Turns, target: Jid, credentials: Credentials) -> _Flight | None:
        if turns.current.matches(target, credentials):
            return turns.current
        return next((flight for flight in turns.queue if flight.matches(target, credentials)), None)

    def _start(self, device: str, flight: _Flight, timeout: float) -> None:
        self._link.request(
            flight.target.full,
            serialise(flight.credentials),
            lambda answer: self._answered(device, flight, answer),
            timeout=timeout,
            sender=self._sender,
        )

    def _answered(self, device: str, flight: _Flight, answer: Element | Answer) -> None:
        turns = self._devices[device]
        following = self._next(turns)
        if following is not None:
            turns.current = following
            remaining = following.deadline - asyncio.get_running_loop().time()
            self._start(device, following, max(remaining, 0.0))
        else:
            del self._devices[device]
        _tell(flight, *classify(answer, self._connected(flight.target)))

    @staticmethod
    def _next(turns: _Turns) -> _Flight | None:
        while turns.queue:
            flight = turns.queue.popleft()
            if flight.timer is not None:
                flight.timer.cancel()
            flight.waiters = [waiter for waiter in flight.waiters if waiter.admitted()]
            if flight.waiters:
                return flight
        return None

    @staticmethod
    def _waited_too_long(turns: _Turns, flight: _Flight) -> None:
        turns.queue.remove(flight)
        _tell(flight, Outcome.TIMEOUT, "The device was busy with other requests until the time was over.")


def _tell(flight: _Flight, outcome: Outcome, detail: str) -> None:
    for waiter in flight.waiters:
        try:
            waiter.on_outcome(outcome, detail)
        except Exception:  # a defect of ours must not leave the others without an answer
            log.exception("One of those who waited for a device was not told the outcome.")
