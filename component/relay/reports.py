"""What happens at the relay, on its way into the audit record: handed to the admin API, which keeps it.

Nothing here blocks and nothing grows without bound: events are gathered for 50 ms, sent, and sent again while the API
is away, under the same number, so that none is recorded twice. What there is no room for is counted, and the count is
recorded once there is. Refusals are told as the audit record tells them: the first at once, those that follow as one
number a minute (`component.base.audit_counts`), so a flood of them fills no disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from component.base.audit_counts import MANY, MAX_PAIRS, Count, RefusalCounts
from component.base.errors import StanzagateError
from component.relay.policyapi import BadAnswer

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.04
BATCH_EVENTS = 500
BATCH_BYTES = 1024 * 1024
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MAX_EVENTS = 10_000
MAX_BYTES = 4 * 1024 * 1024
MAX_TEXT = 1_024
MAX_DETAIL = 8_192
MINUTE_SECONDS = 60
LAST_SECONDS = 3.0
"""So long the end of the relay waits for the API to take what is left."""

REFUSED = "relay.refused"


class Api(Protocol):
    """The admin API; `component.relay.policyapi.PolicyApi` is one."""

    async def report(self, batch: str, events: bytes) -> None: ...


class Reports:
    """See the head of this file.

    :param clock: Unix time in seconds.
    :param chance: a number from 0 to 1, for the time between two attempts.
    :param new_id: names batches; no two of a relay may be equal.
    :param retry: seconds before each further attempt; the last one repeats.
    :ivar lost: events that are in no row.
    """

    def __init__(
        self,
        api: Api,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        gather: float = BATCH_SECONDS,
        retry: tuple[float, ...] = RETRY_SECONDS,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        max_pairs: int = MAX_PAIRS,
    ) -> None:
        self.lost = 0
        self._api = api
        self._clock = clock
        self._chance = chance
        self._new_id = new_id
        self._gather = gather
        self._retry = retry
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_pairs = max_pairs
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._unreported = 0
        self._counts: dict[str, RefusalCounts] = {}
        self._minute = int(clock() // MINUTE_SECONDS)
        self._minute_started = clock()
        self._batch = ""
        self._in_flight: list[bytes] = []
        self._sending = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._works = True

    @property
    def waiting(self) -> int:
        """Events that the API has not taken yet."""
        return len(self._queue) + len(self._in_flight)

    def note(self, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Report something that happened. Never blocks.

        What a stranger can make happen as often as he likes belongs into `refusal`, which counts.

        :param action: what happened, words that begin with ``relay.``: ``relay.authorized``.
        :param subject: to what: a partner, a pair of domains.
        :param detail: everything else that a reader needs; JSON, no secrets, no contents of stanzas.
        :raises ValueError: when the detail is not JSON.
        """
        if not self._put(self._event(action, subject, detail)):
            self._lose()

    def refusal(self, requester: str, subject: str, rule: str, reason: str, action: str = REFUSED) -> None:
        """Report that something was refused. Never blocks.

        The first of an (action, requester, rule) is told at once, those that follow once a minute as one number, as
        ``ACTION.counted``.

        :param requester: who was refused: best the bare JID or the domain, so that resources do not multiply keys.
        :param subject: what was asked for.
        :param rule: a word for why, or the id of a rule.
        :param action: a word of the program, never of a peer.
        """
        counts = self._counts.get(action)
        if counts is None:
            counts = self._counts[action] = RefusalCounts(self._max_pairs)
        key = counts.add(requester, subject, rule)
        if key is None:
            return
        detail = {"requester": _cut(requester), "rule": rule, "reason": _cut(reason)}
        if key[0] == MANY:
            detail["counted_as"] = f"{key[0]} {key[1]}"
        if not self._put(self._event(action, subject, detail)):
            counts.untold(requester, rule)

    def _put(self, event: bytes) -> bool:
        if self.waiting >= self._max_events or self._bytes + len(event) > self._max_bytes:
            return False
        self._queue.append(event)
        self._bytes += len(event)
        self._wanted.set()
        return True

    def _lose(self, count: int = 1) -> None:
        self.lost += count
        self._unreported += count
        self._wanted.set()

    def _event(self, action: str, subject: str, detail: Mapping[str, Any]) -> bytes:
        try:
            text = json.dumps(detail, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the detail of {action} is not JSON: {error}") from None
        if len(text) > MAX_DETAIL:
            text = json.dumps({"cut": text[:MAX_DETAIL], "length": len(text)})
        head = {"time": round(self._clock(), 6), "action": action, "subject": _cut(subject)}
        return f'{json.dumps(head)[:-1]}, "detail": {text}}}'.encode()

    # Handing it over

    async def run(self) -> None:
        """Hand over what is reported until cancelled; then hand over what is left, if the API takes it in time."""
        failures = 0
        try:
            while True:
                if not failures:
                    await self._something_to_do()
                pause = self._retry[min(failures, len(self._retry)) - 1] * (0.5 + self._chance())
                await asyncio.sleep(pause if failures else self._gather)
                self._wanted.clear()
                failures = 0 if await self._attempt() else failures + 1
        finally:
            with contextlib.suppress(StanzagateError, TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.flush()
            if self.waiting:
                log.error("Ending with %d events that are not in the audit record.", self.waiting)

    async def flush(self) -> None:
        """Return when everything reported so far is taken, the counts of the minute under way included.

        :raises StanzagateError: the API does not take it; nothing is lost by that.
        """
        await self._hand_over(partial_counts=True)

    async def _something_to_do(self) -> None:
        left = (self._minute + 1) * MINUTE_SECONDS - self._clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(left, 0.0), MINUTE_SECONDS)):
                await self._wanted.wait()

    async def _attempt(self) -> bool:
        try:
            await self._hand_over(partial_counts=False)
        except StanzagateError as error:
            if self._works:
                log.warning("Events cannot be put on record; trying again until they can: %s", error)
            self._works = False
            return False
        if not self._works:
            log.warning("Events can be put on record again.")
        self._works = True
        return True

    async def _hand_over(self, *, partial_counts: bool) -> None:
        async with self._sending:
            await self._send()
            self._count(partial_counts)
            while self._queue or self._unreported:
                self._take()
                await self._send()

    def _count(self, partial_counts: bool) -> None:
        """Put the numbers of a minute that is over behind what is waiting; they have room beside it."""
        now = self._clock()
        minute = int(now // MINUTE_SECONDS)
        if minute == self._minute and not partial_counts:
            return
        for action, counts in self._counts.items():
            for count in counts.take(minute_over=minute != self._minute):
                event = self._counted(action, count, now)
                self._queue.append(event)
                self._bytes += len(event)
        self._minute, self._minute_started = minute, now

    def _counted(self, action: str, count: Count, now: float) -> bytes:
        detail = {
            "requester": _cut(count.requester), "rule": count.rule, "count": count.count,
            "since": round(self._minute_started, 3), "until": round(now, 3), "last_subject": _cut(count.subject),
        }  # fmt: skip
        return self._event(f"{action}.counted", "" if count.several else count.subject, detail)

    def _take(self) -> None:
        size = 0
        while self._queue and len(self._in_flight) < BATCH_EVENTS and size < BATCH_BYTES:
            event = self._queue.popleft()
            size += len(event)
            self._in_flight.append(event)
        if self._unreported:
            detail = {"events": self._unreported, "reason": "they could not be put on record in time"}
            event = self._event("relay.lost", "audit", detail)
            self._in_flight.append(event)
            self._bytes += len(event)
            self._unreported = 0
        self._batch = self._new_id()

    async def _send(self) -> None:
        if not self._in_flight:
            return
        try:
            await self._api.report(self._batch, b"[" + b",".join(self._in_flight) + b"]")
        except BadAnswer as error:  # the API does not want these, today or tomorrow
            log.error("The admin API refuses %d events for the record: %s", len(self._in_flight), error)
            self._lose(len(self._in_flight))
            self._landed()
            raise
        self._landed()

    def _landed(self) -> None:
        self._bytes -= sum(map(len, self._in_flight))
        self._in_flight = []


def _cut(text: str) -> str:
    return text[:MAX_TEXT]
