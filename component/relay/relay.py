"""The relay: partners, connections, and the order of things.

A stanza from a partner: stream (is its pair authorized?) → border (may it pass?) → attachment of the partner's
domain. A stanza to a partner: attachment → border → lane (is there a route, or what must be done for one?) → stream.
Routes come from authorized pairs alone, and only here do streams and routes meet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from component.base.errors import StanzaErrorInfo
from component.relay.border import Border, Verdict
from component.relay.counters import RefusalKind, RelayCounters, Role, count
from component.relay.dialling import Dialler
from component.relay.lanes import GONE, DialFailed, Tools
from component.relay.partner import Partner
from component.relay.peers import Connection, Peer
from component.relay.seldom import Seldom, printable
from component.relay.status import Refusal
from component.relay.wire.events import (
    KeyVerified,
    Noticed,
    Outcome,
    Output,
    PairAuthorized,
    PairRefused,
    ReadyToAsk,
    Relieved,
    StanzaReceived,
    StreamEnded,
    StreamGone,
    VerifyKey,
)
from component.relay.wire.pairs import Pair, Routes
from component.relay.wire.policy import Authentication, Federation
from component.relay.wire.s2s_out import Purpose
from component.relay.wire.stanza import Stanza

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks for what has waited too long."""


class Reports(Protocol):
    """The audit record, as the relay writes to it (`component.relay.reports`)."""

    def note(self, action: str, subject: str, detail: Mapping[str, str | bool]) -> None:
        """Report something that happened."""

    def refusal(self, requester: str, subject: str, rule: str, reason: str) -> None:
        """Report that something was refused; a flood is counted."""


class Relay:
    """All partners and all connections.

    :param federation: our side of all streams; `federation` can be replaced at any time.
    :param new_id: draws an id for people to tell connections apart.
    """

    def __init__(
        self,
        federation: Federation,
        border: Border,
        counters: RelayCounters,
        reports: Reports,
        tools: Tools,
        new_id: Callable[[], str],
    ) -> None:
        self.federation = federation
        self.border = border
        self.counters = counters
        self.partners: dict[str, Partner] = {}
        self.routes: Routes[Peer] = Routes()
        self.peers: dict[Connection, Peer] = {}
        self.dialler: Dialler
        self.draining = False
        self._reports = reports
        self._tools = tools
        self._new_id = new_id
        self._strangers = Seldom(log, tools.clock)

    # Connections

    def connected(self, connection: Connection, role: Role, purpose: Purpose = Purpose.STANZAS) -> Peer:
        """A connection has been made."""
        tools = self._tools
        peer = Peer(connection, role, self._new_id(), tools.wall(), tools.clock(), purpose)
        self.peers[connection] = peer
        return peer

    def closed(self, connection: Connection) -> None:
        """A connection has ended; its stream has said so before."""
        peer = self.peers.pop(connection, None)
        if peer is not None:
            self._forget(peer)
            peer.gone.set()
            self.dialler.ended(peer)

    def happened(self, connection: Connection, output: Output) -> None:
        """Take an event of a connection's stream."""
        peer = self.peers.get(connection)
        if peer is None:
            return
        match output:
            case StanzaReceived(stanza):
                self._inbound(peer, stanza)
            case PairAuthorized():
                self._authorized(peer, output)
            case PairRefused():
                self._refused(peer, output)
            case VerifyKey():
                self._key_in_question(peer, output)
            case KeyVerified():
                self.dialler.answered(peer, output)
            case ReadyToAsk():
                peer.settle(True)
            case Relieved():
                self._flush(peer)
            case Noticed(kind, text):
                self._noticed(peer, kind, text)
            case StreamEnded():
                self._ended(peer, output)
            case StreamGone(tokens):
                self._unacknowledged(tokens)

    def writable(self, connection: Connection) -> None:
        """A connection takes more again."""
        peer = self.peers.get(connection)
        if peer is not None:
            self._flush(peer)

    # Stanzas

    def _inbound(self, peer: Peer, stanza: Stanza) -> None:
        peer.received += 1
        peer.last = self._tools.clock()
        partner = self.partners.get(stanza.sender_domain)
        if partner is not None:
            partner.inbound(stanza)

    def outbound(self, domain: str, stanza: Stanza) -> None:
        """Take a stanza that the local server has handed to the attachment of a partner's domain.

        Only our own domains may send: anybody can open a stream to the local server and write to an attached domain.
        """
        partner = self.partners.get(domain)
        if partner is None:
            return
        if stanza.recipient_domain != domain or stanza.sender_domain not in self.federation.domains:
            count(partner.counters.dropped, "foreign-sender")
            return
        if self.draining:
            partner.tell_local(stanza, StanzaErrorInfo("wait", "remote-server-timeout", "The relay is restarting."))
            return
        partner.outbound(stanza)

    def released(self, stanza: Stanza, verdict: Verdict) -> None:
        """The border has decided on a stanza that it held."""
        partner = self.partners.get(stanza.sender_domain)
        if partner is not None:
            partner.release(stanza, verdict)

    def _unacknowledged(self, tokens: Iterable[object]) -> None:
        for token in tokens:
            partner = self.partners.get(token.recipient_domain) if isinstance(token, Stanza) else None
            if partner is not None:
                partner.unacknowledged((token,))

    # Pairs and routes

    def streams_to(self, remote: str) -> list[Peer]:
        """Streams on which a pair with this remote domain may be sent for."""
        return [peer for peer in self.peers.values() if any(pair.remote == remote for pair in peer.stream.sends)]

    async def dial(self, pair: Pair) -> Peer:
        """Open a connection on which we may send for a pair.

        :raises DialFailed: that was not possible.
        """
        policy = self.federation.partners.get(pair.remote)
        if policy is None or pair.local not in self.federation.domains:
            raise DialFailed(RefusalKind.OTHER, f"{pair} is not configured any more.", permanent=True, error=GONE)
        return await self.dialler.dial(pair, policy)

    def _authorized(self, peer: Peer, event: PairAuthorized) -> None:
        pair = event.pair
        partner = self.partners.get(pair.remote)
        if partner is None:
            return
        if event.authentication not in peer.ways:
            peer.ways.append(event.authentication)
        partner.joined(peer)
        if event.sends or peer.role is Role.INCOMING:  # whoever dialled wants to send
            if not peer.settled.done():
                count(partner.counters.connections, peer.role)
            peer.settle(True)
        self._authorization(partner, peer, event)
        if event.sends and self.routes.add(pair, peer):
            partner.lane(pair.local).routed()
        if event.sends and Authentication.DIALBACK in partner.policy.authentication:
            for lane in partner.lanes.values():
                lane.stir()  # it may ask on this stream

    def _authorization(self, partner: Partner, peer: Peer, event: PairAuthorized) -> None:
        """Put it into the log, and on record."""
        partner.news.write(
            logging.INFO, "%s: %s authorized by %s on the %s stream %s at %s (%s%s)", partner.domain, event.pair,
            event.authentication, peer.role, peer.id, peer.connection.address,
            peer.connection.tls_version or "no TLS", ", bidi" if peer.stream.bidi else "",
        )  # fmt: skip
        detail: dict[str, str | bool] = {
            "authentication": str(event.authentication), "sends": event.sends, "receives": event.receives,
        }  # fmt: skip
        self._reports.note("relay.authorized", str(event.pair), peer.detail() | detail)

    def _refused(self, peer: Peer, event: PairRefused) -> None:
        peer.refusal = event
        pair = event.pair
        partner = self.partners.get(pair.remote)
        if partner is not None and pair in peer.asked and pair.local in partner.lanes:
            partner.lanes[pair.local].stir()
        if peer.role is Role.OUTGOING and not peer.settled.done() and event.final:
            return  # whoever dials tells it, with the address that was tried
        self.refused(pair, event.kind, event.reason, peer=peer, by_us=event.by_us)

    def refused(
        self, pair: Pair, kind: RefusalKind, reason: str, *, peer: Peer | None = None, by_us: bool = False
    ) -> None:
        """Note why an attempt came to nothing.

        :param reason: it may hold what the peer has said.
        """
        partner = self.partners.get(pair.remote)
        address, reason = peer.connection.address if peer is not None else "", printable(reason)
        if partner is None:
            self._stranger(kind, reason, address)
            return
        count(partner.counters.refusals, kind)
        before = partner.last_refusal
        partner.last_refusal = Refusal(self._tools.wall(), kind, reason, by_us, pair.local, address)
        if before is None or before.reason != reason:  # a partner that tries again and again fills no log
            at = f" ({address})" if address else ""
            partner.warnings.write(logging.WARNING, "%s: not connected: %s%s", pair.remote, reason, at)
        self._reports.refusal(pair.remote, str(pair), kind, f"{reason} ({address})" if address else reason)

    def _stranger(self, kind: RefusalKind, reason: str, address: str) -> None:
        count(self.counters.strangers, kind)
        self._strangers.write(logging.INFO, "a stranger at %s was refused: %s", address, reason)
        self._reports.refusal(address.rpartition(":")[0], "stranger", kind, reason)

    def _noticed(self, peer: Peer, kind: str, text: str) -> None:
        partner = self.partners.get(peer.stream.remote) if peer.stream.authenticated else None
        counters, seldom = (self.counters, self._strangers) if partner is None else (partner.counters, partner.news)
        count(counters.noticed, kind)
        seldom.write(logging.INFO, "stream %s at %s: %s", peer.id, peer.connection.address, printable(text))

    def _key_in_question(self, peer: Peer, question: VerifyKey) -> None:
        policy = self.federation.partners.get(question.pair.remote)
        if policy is None:
            answer = KeyVerified(question.pair, question.stream_id, Outcome.ERROR, "policy-violation")
            peer.connection.do(peer.stream.verified(answer, self._tools.clock()))
        else:
            self.dialler.ask_about(question, policy, peer)

    # Ends

    def _ended(self, peer: Peer, event: StreamEnded) -> None:
        peer.ended = printable(event.text or event.condition or "it was closed")
        settled = peer.settled.done()
        peer.settle(False)
        partner = self.partners.get(peer.stream.remote)
        if event.condition and (settled or peer.role is Role.INCOMING) and peer.refusal is None:
            reason = f"{'We' if event.by_us else 'It'} ended the stream: {event.condition} ({event.text})."
            pair = Pair(peer.stream.local, peer.stream.remote)
            self.refused(pair, RefusalKind.PROTOCOL, reason, peer=peer, by_us=event.by_us)
        elif settled and partner is not None:
            partner.news.write(logging.INFO, "%s: stream %s ended: %s", partner.domain, peer.id, peer.ended)
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        """Take the routes from a stream on which nothing can be sent any more."""
        peer.settle(False)
        for pair in self.routes.remove_stream(peer):
            partner = self.partners.get(pair.remote)
            if partner is None:
                continue
            for other in self.streams_to(pair.remote):
                if pair in other.stream.sends and self.routes.add(pair, other):
                    partner.lane(pair.local).routed()
                    break
            else:
                partner.lane(pair.local).unrouted()
        for partner in self.partners.values():
            partner.left(peer)

    def _flush(self, peer: Peer) -> None:
        """Send what waits for a stream; the lane where something has waited longest comes first."""
        lanes = [
            lane
            for pair in self.routes.pairs_of(peer)
            if (partner := self.partners.get(pair.remote)) and (lane := partner.lanes.get(pair.local)) and lane.queue
        ]
        for lane in sorted(lanes, key=lambda lane: lane.queue.deadline or 0.0):
            lane.flush()

    async def run(self) -> None:
        """Look from time to time for what has waited too long."""
        while True:
            await asyncio.sleep(TICK)
            for partner in self.partners.values():
                for lane in partner.lanes.values():
                    lane.expire()
