"""One partner: its attachment to the local server, the lanes that lead to it, and what is counted and shown of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Protocol

from component.base.errors import StanzaErrorInfo
from component.relay.border import Border, Drop, Forward, Hold, Refuse, Verdict
from component.relay.counters import PartnerCounters, count
from component.relay.lanes import GONE, Lane, Surroundings, Tools
from component.relay.net.attachment import Attachment
from component.relay.peers import Peer
from component.relay.queues import Queued, QueueLimits
from component.relay.seldom import Seldom
from component.relay.status import PartnerStatus, QueueStatus, Refusal
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import PartnerPolicy
from component.relay.wire.serial import bounce
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)

UNCERTAIN = StanzaErrorInfo(
    "wait", "remote-server-timeout", "The connection broke; whether this arrived is not known."
)


class Hub(Surroundings, Protocol):
    """What a partner needs of the relay."""

    def outbound(self, domain: str, stanza: Stanza) -> None:
        """Take a stanza that the local server has handed to the attachment of a partner's domain."""


class Partner:
    """What the relay has of one partner.

    :ivar policy: what is wanted of it; see `change`.
    :ivar attachment: to the local server, as the partner's domain; set it before anything happens.
    :ivar last_refusal: why the last attempt, theirs or ours, came to nothing; None since a pair was authorized.
    :ivar peers: connections with a pair of the partner.
    :ivar warnings: for log lines on why it is not connected; `news` for the rest, which must not crowd those out.
    """

    def __init__(
        self,
        policy: PartnerPolicy,
        counters: PartnerCounters,
        border: Border,
        limits: QueueLimits,
        around: Hub,
        tools: Tools,
    ) -> None:
        self.policy = policy
        self.domain = policy.domain
        self.attachment: Attachment
        self.counters = counters
        self.lanes: dict[str, Lane] = {}
        self.peers: set[Peer] = set()
        self.last_refusal: Refusal | None = None
        self.warnings = Seldom(log, tools.clock)
        self.news = Seldom(log, tools.clock)
        self._border = border
        self._limits = limits
        self._around = around
        self._tools = tools
        self._pressed = False

    # From the partner to us

    def inbound(self, stanza: Stanza) -> None:
        """Take a stanza of an authorized pair from the partner."""
        counters = self.counters
        counters.received += 1
        counters.received_bytes += len(stanza.raw)
        verdict = self._border.inbound(stanza, self.domain)
        if not isinstance(verdict, Hold):
            self.release(stanza, verdict)

    def release(self, stanza: Stanza, verdict: Verdict) -> None:
        """Do what the border says, at once or later, with a stanza of the partner's."""
        if isinstance(verdict, Forward):
            self.attachment.send(verdict.raw, stanza)
        elif isinstance(verdict, Refuse):
            count(self.counters.refused, verdict.condition)
            self.answer(stanza, StanzaErrorInfo(*verdict))
        elif isinstance(verdict, Drop):
            count(self.counters.dropped, verdict.why)

    def answer(self, stanza: Stanza, why: StanzaErrorInfo) -> None:
        """Send an error to a sender at the partner's, if one is due."""
        raw = bounce(stanza, why.type, why.condition, why.text)
        if raw is not None:
            self.lane(stanza.recipient_domain).send(raw, None)

    # What the attachment tells

    def local_stanza(self, stanza: Stanza) -> None:
        """The local server has handed over a stanza for the partner."""
        self._around.outbound(self.domain, stanza)

    def returned(self, returned: list[Queued], why: StanzaErrorInfo, uncertain: bool) -> None:
        """The local server has not taken these stanzas, or not certainly: tell their senders."""
        for one in returned:
            if one.stanza is not None:
                count(self.counters.bounced, "partner")
                self.answer(one.stanza, why)
            elif not uncertain:
                count(self.counters.dropped, "answer-not-delivered")

    def pressure(self, on: bool) -> None:
        """The local server takes no more for now, or does again: read no more from the partner, or read again."""
        self._pressed = on
        for peer in self.peers:
            if on:
                peer.hold(self.domain)
            else:
                peer.resume(self.domain)

    def attached(self, attached: bool) -> None:
        """The attachment stands, or was lost."""
        if not attached:
            self.counters.attachment_losses += 1

    # From us to the partner

    def outbound(self, stanza: Stanza) -> None:
        """Take a stanza from the local server; its sender is in one of our domains."""
        verdict = self._border.outbound(stanza, self.domain)
        if isinstance(verdict, Refuse):
            count(self.counters.refused, verdict.condition)
            self.tell_local(stanza, StanzaErrorInfo(*verdict))
        else:
            self.lane(stanza.sender_domain).send(verdict.raw, stanza)

    def not_sent(self, returned: Iterable[Queued], why: StanzaErrorInfo) -> None:
        """Tell the local senders of stanzas that did not reach the partner."""
        for one in returned:
            if one.stanza is None:
                count(self.counters.dropped, "answer-not-delivered")
            else:
                count(self.counters.bounced, "local")
                self.tell_local(one.stanza, why)

    def unacknowledged(self, tokens: Iterable[object]) -> None:
        """A stream broke before the partner had acknowledged these stanzas."""
        for token in tokens:
            if isinstance(token, Stanza):
                count(self.counters.bounced, "local")
                self.tell_local(token, UNCERTAIN)

    def tell_local(self, stanza: Stanza, why: StanzaErrorInfo) -> None:
        """Send an error to a sender at our side, in the name of whom he wrote to."""
        raw = bounce(stanza, why.type, why.condition, why.text)
        if raw is not None:
            self.attachment.send(raw, None)

    def lane(self, local: str) -> Lane:
        """The lane from a local domain."""
        lane = self.lanes.get(local)
        if lane is None:
            pair = Pair(local, self.domain)
            lane = self.lanes[local] = Lane(pair, self, self._limits, self._around, self._tools)
        return lane

    # Connections

    def joined(self, peer: Peer) -> None:
        """A pair of the partner was authorized on a connection."""
        self.peers.add(peer)
        self.last_refusal = None
        if self._pressed:
            peer.hold(self.domain)

    def left(self, peer: Peer) -> None:
        """Nothing can be sent on a connection any more. What still comes on it is read whatever presses, since its
        end comes behind that.
        """
        self.peers.discard(peer)
        peer.resume(self.domain)

    def change(self, policy: PartnerPolicy, domains: Collection[str]) -> None:
        """Something else is wanted of the partner now, or its local domains are others.

        :param domains: our own, all of them.
        """
        self.policy = policy
        for local, lane in list(self.lanes.items()):
            if local in domains:
                lane.forgive()
            else:
                lane.close(GONE)
                del self.lanes[local]

    def close(self, why: StanzaErrorInfo = GONE) -> None:
        """Hand back what waits for the partner."""
        for lane in self.lanes.values():
            lane.close(why)

    def status(self, now: float) -> PartnerStatus:
        """What is shown.

        :param now: monotonic seconds.
        """
        streams = sorted(self.peers, key=lambda peer: peer.since)
        attempts = [lane.next_attempt for lane in self.lanes.values() if lane.next_attempt is not None]
        queues = tuple(
            QueueStatus(
                local, self.domain, len(lane.queue), lane.queue.size,
                now - ((lane.queue.deadline or now) - lane.queue.limits.seconds),
            )
            for local, lane in sorted(self.lanes.items())
            if lane.queue
        )  # fmt: skip
        pairs = tuple(pair for peer in streams for pair in peer.pairs() if pair.remote == self.domain)
        return PartnerStatus(
            self.domain, self.policy.direction, self.policy.bidi, self.attachment.status(),
            tuple(peer.status(now) for peer in streams), pairs, queues, self.counters.copy(),
            self.last_refusal, min(attempts, default=None),
        )  # fmt: skip
