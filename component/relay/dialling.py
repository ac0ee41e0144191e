"""Opening connections to partners: for stanzas, and to ask whether dialback keys are genuine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from component.base.errors import StanzaErrorInfo, StanzagateError
from component.relay.counters import RefusalKind
from component.relay.lanes import DialFailed
from component.relay.net.resolve import NoService, Target
from component.relay.peers import Peer
from component.relay.seldom import Seldom
from component.relay.wire.events import KeyVerified, Outcome, VerifyKey
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import PartnerPolicy
from component.relay.wire.s2s_out import Purpose

log = logging.getLogger(__name__)

NOWHERE = StanzaErrorInfo("cancel", "remote-server-not-found", "The other server is not known to DNS.")
UNACCEPTED = StanzaErrorInfo(
    "cancel", "remote-server-not-found", "No stream with the other server could be negotiated."
)

_PERMANENT = frozenset(
    {RefusalKind.CERTIFICATE, RefusalKind.AUTHENTICATION, RefusalKind.BIDI, RefusalKind.DIRECTION, RefusalKind.TLS}
)
CALL_BACKS = 20
"""So many keys of one partner are asked about at the same time; more wait. Whoever uses one partner's name to have
its server called takes nothing from the others.
"""


Resolve = Callable[[str], Awaitable[Sequence[Target]]]
"""Where a partner can be reached, best first; raises StanzagateError when that cannot be found out."""

Open = Callable[[Target, Pair, PartnerPolicy, Purpose], Awaitable[Peer]]
"""A TCP connection with a stream that has begun; raises OSError or TimeoutError."""


class Dialler:
    """Opens connections.

    :param resolve: finds the targets of a partner.
    :param open_: connects to one.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        resolve: Resolve,
        open_: Open,
        *,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._resolve = resolve
        self._open = open_
        self._spawn = spawn
        self._clock = clock
        self._seldom = Seldom(log, clock)
        self._asking: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(CALL_BACKS))
        self._answers: dict[Peer, asyncio.Future[KeyVerified]] = {}

    async def dial(self, pair: Pair, policy: PartnerPolicy, purpose: Purpose = Purpose.STANZAS) -> Peer:
        """Try every target until a stream comes to something.

        :raises DialFailed: none did; the reason names the last one.
        """
        failed = DialFailed(RefusalKind.RESOLUTION, f"DNS knows no server for {policy.domain}.", permanent=True)
        for target in await self._targets(policy.domain):
            where = f"{target.host}:{target.port}"
            try:
                peer = await self._open(target, pair, policy, purpose)
            except OSError as error:
                reason = f"{policy.domain} cannot be reached at {where}: {_reason(error)}."
                failed = DialFailed(RefusalKind.UNREACHABLE, reason, permanent=False)
                continue
            if await asyncio.shield(peer.settled):
                return peer
            failed = _why(peer, policy, where)
        raise failed

    async def _targets(self, domain: str) -> Sequence[Target]:
        try:
            return await self._resolve(domain)
        except NoService as error:
            raise DialFailed(RefusalKind.RESOLUTION, str(error), permanent=True, error=NOWHERE) from None
        except StanzagateError as error:
            raise DialFailed(RefusalKind.RESOLUTION, str(error), permanent=False) from None
        except Exception:  # whoever answers for the domain in DNS must not be able to end the relay
            log.exception("The servers of %s could not be looked up; this is a defect.", domain)
            reason = f"What DNS says of {domain} cannot be used."
            raise DialFailed(RefusalKind.RESOLUTION, reason, permanent=False) from None

    # Call backs

    def ask_about(self, question: VerifyKey, policy: PartnerPolicy, asker: Peer) -> None:
        """Ask the authoritative server of the remote domain about a key, and tell the stream that wants to know."""
        self._spawn(f"relay.verify {question.pair.remote}", self._call_back(question, policy, asker))

    async def _call_back(self, question: VerifyKey, policy: PartnerPolicy, asker: Peer) -> None:
        pair, stream_id = question.pair, question.stream_id
        try:
            async with self._asking[pair.remote]:
                if asker.gone.is_set():
                    return
                answer = await self._asked(question, policy)
        except DialFailed as failure:
            condition = (
                "remote-server-not-found" if failure.kind is RefusalKind.RESOLUTION else "remote-connection-failed"
            )
            self._seldom.write(logging.WARNING, "a key of %s could not be verified: %s", pair.remote, failure.reason)
            answer = KeyVerified(pair, stream_id, Outcome.ERROR, condition)
        asker.connection.do(asker.stream.verified(answer, self._clock()))

    async def _asked(self, question: VerifyKey, policy: PartnerPolicy) -> KeyVerified:
        peer = await self.dial(question.pair, policy, Purpose.VERIFY)
        if peer.gone.is_set():
            raise _gone(peer)
        answer: asyncio.Future[KeyVerified] = asyncio.get_running_loop().create_future()
        self._answers[peer] = answer
        now = self._clock()
        try:
            peer.connection.do(peer.stream.verify(question.pair, question.stream_id, question.key, now))
            return await answer
        finally:
            del self._answers[peer]
            peer.close("", "The key was asked about.", self._clock())

    def answered(self, peer: Peer, answer: KeyVerified) -> None:
        """What the authoritative server has said on a stream of ours."""
        waiting = self._answers.get(peer)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def ended(self, peer: Peer) -> None:
        """A connection is no more; nothing is answered on it."""
        waiting = self._answers.get(peer)
        if waiting is not None and not waiting.done():
            waiting.set_exception(_gone(peer))


def _gone(peer: Peer) -> DialFailed:
    reason = f"The stream to {peer.stream.remote} ended before the key was asked about: {peer.ended}"
    return DialFailed(RefusalKind.PROTOCOL, reason, permanent=False)


def _reason(error: OSError) -> str:
    """What the system says; asyncio says less in its place."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return os.strerror(error.errno) if error.errno else str(error)


def _why(peer: Peer, policy: PartnerPolicy, where: str) -> DialFailed:
    """Why a stream came to nothing."""
    refusal = peer.refusal
    if refusal is None:
        reason = f"The stream to {policy.domain} at {where} ended before anything was authorized: {peer.ended}"
        return DialFailed(RefusalKind.PROTOCOL, reason, permanent=False)
    permanent = refusal.kind in _PERMANENT
    return DialFailed(refusal.kind, f"{refusal.reason} (at {where})", permanent=permanent, error=UNACCEPTED)
