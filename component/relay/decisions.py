"""The allowed-JID policy as the relay knows it: asked of the admin API, remembered, kept up to date, fails closed.

    decide   what is remembered and may be used now; None when it must be asked for
    ask      asks; all who want the same wait for one question
    run      follows the changes of the policy: what a change touches is forgotten, then that is confirmed

The stream of changes is what makes remembering safe. An answer counts only when it is not older than the last change
that was heard of and no stream has begun since the question, so that nothing from before a change is remembered after
it. While the stream is lost, what is remembered may be used until it is stale, counted from its own question and also
from the last sign of life: for so long every change waits for this relay, and names it. After that an answer counts
for this once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from component.base.enforcement import NoDecision
from component.base.errors import Conflict, StanzagateError
from component.base.jid import Jid
from component.base.pluginstatus import Guard
from component.relay.decisioncache import SIZE, Decision, DecisionCache, Entry, is_epoch, is_seconds, read_decision
from component.relay.policyapi import Away, BadAnswer

__all__ = ["Decision", "Decisions", "NoDecision"]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3.0
"""So long a question may take; less than stanzas wait at the border, so that a stale decision comes in time."""

SILENCE_SECONDS = 15.0
"""A stream without a sign of life, which comes every five seconds, is lost."""

RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0, 5.0)
MAX_QUESTIONS = 1000
MAX_OF_DOMAIN = 250
"""Questions under way about requesters of one domain: a partner whose requesters flood leaves room to the others."""

COMPLAINT_SECONDS = 5.0
"""The log hears of troubles that come and go no more often than this."""

TRIES = 5
"""An answer that is older than the last change is asked for again, so often."""


class Api(Protocol):
    """The admin API; `component.relay.policyapi.PolicyApi` is one."""

    async def decision(self, requester: str, device: str, partner: str) -> Any: ...

    def changes(self, patience: float) -> Any: ...

    async def confirm(self, stream: str, epoch: int) -> None: ...

    async def goodbye(self, stream: str) -> None: ...


class _Question:
    """One question that is under way, and all who wait for its answer."""

    def __init__(self, requester: Jid) -> None:
        self.requester = requester
        self.answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())


class Decisions:
    """See the head of this file. All methods are of the event loop's thread.

    :param spawn: starts background tasks.
    :param now: monotonic seconds.
    :param chance: a number from 0 to 1, for the time between two attempts to connect.
    :param patience: seconds that a question may take.
    :param silence: seconds without a sign of life after which the stream is lost.
    :param retry: seconds before each attempt to connect; the last one repeats.
    :param size: decisions that are remembered at most.
    :ivar guarded_hosts: whose recipients are devices, prepared domains; None while that is not known, and nothing
        may pass to anybody.
    :ivar guard: what is governed there.
    :ivar gate: the gate's JID, a domain; empty while it is not known.
    :ivar following: whether changes are told as they happen.
    :ivar reachable: whether the API answered the last time.
    :ivar epoch: of the last change that was heard of, or None.
    :ivar reason: why it is not followed or not reachable, one sentence; else empty.
    :ivar counters: `asked`, `hits`, `shared`, `stale` (used while nobody answered), `none`, `outdated`, `changes`,
        `streams`.
    """

    def __init__(
        self,
        api: Api,
        *,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        patience: float = PATIENCE_SECONDS,
        silence: float = SILENCE_SECONDS,
        retry: tuple[float, ...] = RETRY_SECONDS,
        size: int = SIZE,
    ) -> None:
        self.guarded_hosts: frozenset[str] | None = None
        self.guard: Guard = Guard.EVERYTHING
        self.gate = ""
        self.following = False
        self.reachable = False
        self.epoch: int | None = None
        self.reason = "The admin API has not been asked yet."
        self.ready = asyncio.Event()
        """Set once the guarded hosts are known."""
        self.counters: Counter[str] = Counter()
        self.cache = DecisionCache(size)
        self._api = api
        self._spawn = spawn
        self._now = now
        self._chance = chance
        self._patience = patience
        self._silence = silence
        self._retry = retry
        self._questions: dict[tuple[str, str], _Question] = {}
        self._asking_for: Counter[str] = Counter()
        self._life = 0  # grows with every stream: what was asked before one does not count in it
        self._known = -1  # no answer that is older counts
        self._heard = -math.inf
        self._stale_limit = 0.0
        self._stream = ""
        self._owed = -1
        self._confirming = False
        self._closed = False
        self._leave_alone_until = -math.inf
        self._complaint = ""
        self._silent_until = -math.inf

    # What is known

    def decide(self, requester: Jid, device: Jid) -> Decision | None:
        """What is known at once about a requester and a device; None means that it must be asked for."""
        now = self._now()
        entry = self._remembered(requester, device, now)
        if entry is None:
            return None
        if now >= entry.refresh_at and (self.reachable or now >= self._leave_alone_until):
            self._refresh(requester, device)
        if now < entry.fresh_until:
            self.counters["hits"] += 1
            return entry.decision
        if self.reachable:
            return None
        self.counters["stale"] += 1
        return entry.decision

    def _remembered(self, requester: Jid, device: Jid, now: float) -> Entry | None:
        if self._closed or not self._may_remember(now):
            return None
        return self.cache.find(requester, device.bare, now)

    def _may_remember(self, now: float) -> bool:
        """Whether changes still wait for this relay; see the head of this file."""
        return now < self._heard + self._stale_limit

    # Questions

    async def ask(self, requester: Jid, device: Jid) -> Decision:
        """Get a decision, from memory or from the API.

        :raises NoDecision: there is none to be had.
        """
        try:
            async with asyncio.timeout(self._patience):
                return await self._asked(requester, device)
        except (Away, TimeoutError) as error:
            entry = self._remembered(requester, device, self._now())
            if entry is not None:
                self.counters["stale"] += 1
                return entry.decision
            why = str(error) or f"No answer within {self._patience:g} s."
        except StanzagateError as error:
            why = str(error)
        self.counters["none"] += 1
        raise NoDecision(f"Nothing can be decided: {why}")

    async def _asked(self, requester: Jid, device: Jid) -> Decision:
        scope = requester.bare  # the answer to one resource may be that to all; if not, each asks for itself
        while True:
            decision = self.decide(requester, device)
            if decision is not None:
                return decision
            life = self._life
            question = self._join(requester, device, scope)
            decision = await asyncio.shield(question.answer)
            if life != self._life or decision.epoch < self._known:
                self.counters["outdated"] += 1  # a change was heard of since the answer came
            elif decision.every_resource or question.requester == requester:
                return decision
            else:
                scope = requester.full

    def _refresh(self, requester: Jid, device: Jid) -> None:
        if self._has_room(requester.domain) and (requester.bare, device.bare) not in self._questions:
            self._begin(requester, device, requester.bare)

    def _join(self, requester: Jid, device: Jid, scope: str) -> _Question:
        """The question of a requester's scope and a device; a new one unless it is under way."""
        if self._closed:
            raise BadAnswer("The relay ends.")
        question = self._questions.get((scope, device.bare))
        if question is not None:
            self.counters["shared"] += 1
            return question
        if not self._has_room(requester.domain):
            raise Away("Too many questions wait for an answer already.")
        return self._begin(requester, device, scope)

    def _has_room(self, domain: str) -> bool:
        return len(self._questions) < MAX_QUESTIONS and self._asking_for[domain] < MAX_OF_DOMAIN

    def _begin(self, requester: Jid, device: Jid, scope: str) -> _Question:
        question = self._questions[scope, device.bare] = _Question(requester)
        self._asking_for[requester.domain] += 1
        self._spawn("relay.question", self._settle(question, requester, device, scope))
        return question

    async def _settle(self, question: _Question, requester: Jid, device: Jid, scope: str) -> None:
        answer = question.answer
        try:
            async with asyncio.timeout(self._patience):
                decision = await self._answered(requester, device)
        except TimeoutError:
            self._failed(f"No answer within {self._patience:g} s.")
            answer.set_exception(Away(f"No answer within {self._patience:g} s."))
        except StanzagateError as error:
            self._failed(str(error), away=isinstance(error, Away))
            answer.set_exception(error)
        except Exception:
            log.exception("A question to the admin API failed.")
            answer.set_exception(BadAnswer("The question failed; this is a defect."))
        else:
            self._answers()
            answer.set_result(decision)
        finally:
            if not answer.done():
                answer.set_exception(BadAnswer("The relay ends."))
            del self._questions[scope, device.bare]
            self._asking_for[requester.domain] -= 1
            if not self._asking_for[requester.domain]:
                del self._asking_for[requester.domain]

    async def _answered(self, requester: Jid, device: Jid) -> Decision:
        """Ask until the answer is not older than what is known, and remember it."""
        for _ in range(TRIES):
            life, asked = self._life, self._now()
            self.counters["asked"] += 1
            decision = read_decision(await self._api.decision(requester.full, device.bare, requester.domain))
            if life == self._life and decision.epoch >= self._known:
                if self._may_remember(asked):
                    self.cache.put(requester, device.bare, decision, asked)
                return decision
            self.counters["outdated"] += 1
        raise BadAnswer(f"The admin API has answered {TRIES} times from before a change that it told of.")

    # Changes

    async def run(self) -> None:
        """Follow the changes until cancelled or closed; when the stream is lost, begin another one."""
        failures = 0
        while not self._closed:
            streams = self.counters["streams"]
            failures += 1
            try:
                await self._follow()
            except StanzagateError as error:
                self._lost(error)
                if isinstance(error, Conflict):  # whoever has our name would lose its stream again and again
                    failures = len(self._retry)
                elif self.counters["streams"] > streams:
                    failures = 1
            pause = self._retry[min(failures, len(self._retry)) - 1]
            await asyncio.sleep(pause * (0.5 + self._chance()))

    async def _follow(self) -> None:
        begun = False
        async with contextlib.aclosing(self._api.changes(self._silence)) as lines:
            async for line in lines:
                if not isinstance(line, dict):
                    raise BadAnswer("The stream of changes has a line that cannot be understood.")
                if "problem" in line:
                    raise _problem(line["problem"])
                if not begun:
                    self._begun(line)
                    begun = True
                elif line:
                    self._changed(line)
                self._heard = self._now()

    def _begun(self, line: dict[str, Any]) -> None:
        """Everything may have changed before a stream began, so everything is forgotten."""
        hosts, guard, gate = line.get("guarded_hosts"), line.get("guard"), line.get("gate")
        epoch, stale, stream = line.get("epoch"), line.get("stale_limit"), line.get("stream")
        if not (
            isinstance(hosts, list) and hosts and all(isinstance(host, str) and host for host in hosts)
            and isinstance(guard, str) and guard in set(Guard) and isinstance(gate, str)
            and is_epoch(epoch) and is_seconds(stale) and isinstance(stream, str) and stream
        ):  # fmt: skip
            raise BadAnswer("The stream of changes begins with a line that cannot be understood.")
        self._forget()
        self.guarded_hosts, self.guard, self.gate = frozenset(hosts), Guard(guard), gate
        self._stale_limit, self._stream = stale, stream
        self._known = self.epoch = epoch
        self.following = True
        self.counters["streams"] += 1
        self.ready.set()
        self._answers()
        self._confirm(self.epoch)

    def _changed(self, line: dict[str, Any]) -> None:
        epoch, requester, device = line.get("epoch"), line.get("requester", ""), line.get("device", "")
        if not (is_epoch(epoch) and isinstance(requester, str) and isinstance(device, str)):
            raise BadAnswer("The stream of changes has a line that cannot be understood.")
        if self.epoch is not None and epoch > self.epoch + 1:
            requester = device = ""  # there was a change that we were not told of
        self.cache.drop(requester, device)
        self.counters["changes"] += 1
        self._known = self.epoch = max(epoch, self._known)
        self._confirm(self.epoch)

    def _forget(self) -> None:
        """Forget everything, also what is being asked."""
        self.cache.drop()
        self._life += 1

    def _lost(self, error: StanzagateError) -> None:
        self.following, self._stream = False, ""
        if not isinstance(error, Away):  # nobody knows what was missed, or somebody else has our name
            self._forget()
            self._heard = -math.inf
        self._failed(str(error), away=isinstance(error, Away))

    def _confirm(self, epoch: int) -> None:
        """Say that what the changes up to `epoch` touch is forgotten; call after that."""
        self._owed = epoch
        if not self._confirming:
            self._confirming = True
            self._spawn("relay.confirm", self._confirmed())

    async def _confirmed(self) -> None:
        done = ("", -1)
        try:
            while self._stream and done != (self._stream, self._owed):
                owed = (self._stream, self._owed)
                try:
                    await self._api.confirm(*owed)
                    done = owed
                except Conflict:  # the stream is not the latest one any more, and ends
                    done = owed
                except StanzagateError as error:
                    self._failed(str(error), away=isinstance(error, Away))
                    await asyncio.sleep(self._retry[-1] * (0.5 + self._chance()))
        finally:
            self._confirming = False

    async def close(self) -> None:
        """Decide nothing any more, forget everything and say so, that no change waits for this relay."""
        stream, self._stream = self._stream, ""
        self._closed = True
        self._forget()
        if stream:
            with contextlib.suppress(StanzagateError, TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._api.goodbye(stream)

    # What the administrator is told

    def _answers(self) -> None:
        self.reachable = True
        if self.following:
            self.reason = ""
            if self._complaint:
                log.warning("The policy can be asked and followed again.")
            self._complaint = ""

    def _failed(self, why: str, *, away: bool = True) -> None:
        """Say why nothing can be decided, once until something else is the matter."""
        self.reason = why
        if away:
            self.reachable = False
            self._leave_alone_until = self._now() + self._retry[0]
        if why != self._complaint and not self._closed and self._now() >= self._silent_until:
            self._complaint, self._silent_until = why, self._now() + COMPLAINT_SECONDS
            log.warning("The policy cannot be asked or followed: %s", why)


def _problem(problem: Any) -> StanzagateError:
    """The error with which the API ends a stream."""
    found = problem if isinstance(problem, dict) else {}
    message = str(found.get("message", "The stream of changes has ended with a problem."))[:500]
    if found.get("error") == "conflict":
        return Conflict(message, hint=str(found.get("hint", ""))[:500])
    return Away(message)
