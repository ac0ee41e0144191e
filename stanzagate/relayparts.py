"""The parts of the relay, each made with what it needs, and what happens to them when the configuration changes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from component.base.errors import StanzaErrorInfo
from component.relay.border import Border, PartnerRules
from component.relay.border_waiting import WaitingRoom
from component.relay.counters import RelayCounters
from component.relay.decisions import Decisions
from component.relay.dialling import Dialler
from component.relay.lanes import Tools
from component.relay.net.attachment import Attachment
from component.relay.net.certs import Trust
from component.relay.net.connection import Connection, Wiring, connect
from component.relay.net.listener import Listener
from component.relay.net.resolve import NoService, Resolver, Target
from component.relay.net.splice import Splicer
from component.relay.partner import Partner
from component.relay.partnersettings import PartnerSettings
from component.relay.peers import Peer
from component.relay.policyapi import PolicyApi
from component.relay.queues import QueueLimits
from component.relay.relay import Relay
from component.relay.reports import Reports
from component.relay.settings import RelaySettings, federation
from component.relay.status import PolicyStatus, RelayStatus
from component.relay.wire.component import ComponentStream
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import PartnerPolicy
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.s2s_out import OutgoingStream, Purpose
from stanzagate.process import Spawn
from stanzagate.relaychanges import attachment_of, outdated
from stanzagate.relaymaterial import Material

STREAM_ID_BYTES = 16
RESTARTING = StanzaErrorInfo("wait", "remote-server-timeout", "The relay is restarting.")
DRAIN_SECONDS = 8.0
"""For the streams to end, and for the local server to take what has come."""


def assemble(material: Material, name: str, version: str, spawn: Spawn) -> Parts:
    """Make the relay of what was read; nothing is opened yet.

    :param name: what the relay is called at the admin API and in the record.
    """
    return Parts(material, name, version, spawn)


def _new_id() -> str:
    return secrets.token_hex(STREAM_ID_BYTES)


class Parts:
    """All parts of one relay.

    :ivar counters: what has happened.
    """

    def __init__(self, material: Material, name: str, version: str, spawn: Spawn) -> None:
        settings = material.settings
        self.counters = RelayCounters()
        self._name = name
        self._version = version
        self._spawn = spawn
        self._since = time.time()
        self._material = material
        self._tools = Tools(spawn, time.monotonic, time.time, random.uniform)
        source = settings.policy
        self._api = PolicyApi(name, socket=source.socket, url=source.url or "", token=material.token or "")
        self._decisions = Decisions(self._api, spawn=spawn)
        self._reports = Reports(self._api)
        self._resolver = Resolver(random.randint, settings.nameservers)
        self._contexts = material.contexts
        self._trust = Trust(material.trust, material.partner_trust, lambda: datetime.now(UTC))
        self._border = self._make_border(settings)
        self._relay = Relay(
            federation(settings, material.dialback_secret), self._border, self.counters, self._reports, self._tools,
            new_id=lambda: secrets.token_hex(4),
        )  # fmt: skip
        self._border.waiting = self._waiting = WaitingRoom(
            self._border, self._decisions, release=self._relay.released, spawn=spawn, clock=time.monotonic
        )
        self._relay.dialler = Dialler(self._targets, self._open, spawn=spawn, clock=time.monotonic)
        self._listener = self._make_listener(settings)
        self._wiring = Wiring(self._contexts, self._trust.identify, time.monotonic, adopt=self._listener.adopt)
        for domain in settings.partners:
            self._relay.partners[domain] = self._make_partner(domain, material)

    # Making

    def _make_border(self, settings: RelaySettings) -> Border:
        return Border(
            _rules(settings), self._decisions, on_refusal=self._refused_at_the_border,
            on_decision=lambda partner, outcome: self.counters.of(partner).decisions.update((outcome,)),
            clock=time.monotonic,
        )  # fmt: skip

    def _refused_at_the_border(self, partner: str, requester: str, recipient: str, rule: str, reason: str) -> None:
        self._reports.refusal(requester, recipient, rule, f"{reason} (from {partner})", action="relay.stanza-refused")

    def _make_partner(self, domain: str, material: Material) -> Partner:
        policy = material.settings.partners[domain].policy(domain)
        limits = _queue_limits(material.settings)
        partner = Partner(policy, self.counters.of(domain), self._border, limits, self._relay, self._tools)
        partner.attachment = self._make_attachment(partner, material)
        return partner

    def _make_attachment(self, partner: Partner, material: Material) -> Attachment:
        domain, settings = partner.domain, material.settings
        return Attachment(
            domain, settings.server.host, settings.partners[domain].component_port,
            stream=partial(
                ComponentStream, domain, material.partner_secrets[domain],
                limit=settings.limits.stanza_bytes,  # what is more would end the stream to the partner
            ),
            listener=partner, rounds=self._wiring.rounds, uniform=random.uniform, new_id=_new_id,
            clock=time.monotonic, wall=time.time, limits=_queue_limits(settings),
        )  # fmt: skip

    def _make_listener(self, settings: RelaySettings) -> Listener:
        limits, splicer = settings.limits, None
        if settings.pass_through is not None:
            splicer = Splicer(settings.pass_through, limits.idle, self._spawn)
        return Listener(
            settings.listen, settings.direct_tls, self._accepted, most=limits.connections,
            most_per_address=limits.per_address, counters=self.counters, clock=time.monotonic, splicer=splicer,
        )  # fmt: skip

    def _accepted(self, direct_tls: bool, on_end: Callable[[], None]) -> Connection:
        relay = self._relay
        passes = self._material.settings.pass_through is not None
        stream = IncomingStream(
            relay.federation, _new_id, time.monotonic(), pass_through=passes and not direct_tls, tls=direct_tls
        )
        return Connection(stream, relay, self._wiring, direct_tls=direct_tls, on_end=on_end)

    async def _targets(self, domain: str) -> Sequence[Target]:
        settings = self._material.settings.partners.get(domain)
        if settings is None:
            raise NoService(f"{domain} is no partner any more.")
        return await self._resolver.targets(domain, settings.connect, direct_tls=settings.direct_tls)

    async def _open(self, target: Target, pair: Pair, policy: PartnerPolicy, purpose: Purpose) -> Peer:
        """Connect to a partner; the stream begins by itself.

        :raises OSError: the target cannot be reached, does not answer in time, or is not wanted any more.
        """
        relay, material = self._relay, self._material
        stream = OutgoingStream(
            relay.federation, pair.local, policy, _new_id, time.monotonic(), purpose=purpose, tls=target.direct_tls
        )
        connection = Connection(stream, relay, self._wiring, purpose=purpose, direct_tls=target.direct_tls)
        await connect(connection, target.host, target.port, material.settings.limits.connect_timeout)
        peer = relay.peers.get(connection)
        if peer is None:
            raise ConnectionResetError("the connection was closed at once")
        if relay.draining or material is not self._material:  # it was begun for what holds no more
            peer.close("", "The configuration has changed.", time.monotonic())
            raise ConnectionAbortedError("the configuration has changed meanwhile")
        return peer

    # Running

    def open(self) -> None:
        """Open the listeners.

        :raises StanzagateError: one cannot be opened; none is open then.
        """
        self._listener.open()

    async def run(self) -> None:
        """Serve until cancelled."""
        self._spawn("relay.policy", self._decisions.run())
        self._spawn("relay.reports", self._reports.run())
        self._spawn("relay.tick", self._relay.run())
        for partner in self._relay.partners.values():
            self._attach(partner)
        await self._listener.run()

    def _attach(self, partner: Partner) -> None:
        self._spawn(f"relay.attachment {partner.domain}", partner.attachment.run())

    async def drain(self) -> None:
        """Take nothing new, end streams in good order, deliver or bounce what waits, say goodbye."""
        relay = self._relay
        relay.draining = True
        self._listener.close()
        for partner in relay.partners.values():
            partner.close(RESTARTING)
        await self._end_streams(list(relay.peers.values()), "The relay ends.")
        await self._waiting.settled()
        await asyncio.gather(*(partner.attachment.drain(DRAIN_SECONDS) for partner in relay.partners.values()))
        await self._decisions.close()

    async def _end_streams(self, peers: list[Peer], why: str) -> None:
        """End streams in good order, and wait until their partners have ended them, too, or did not in time."""
        now = time.monotonic()
        for peer in peers:
            peer.close("", why, now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._relay.federation.limits.close_timeout + 1):
                for peer in peers:
                    await peer.gone.wait()

    def status(self) -> RelayStatus:
        """A snapshot."""
        relay, decisions, settings = self._relay, self._decisions, self._material.settings
        now = time.monotonic()
        policy = PolicyStatus(
            decisions.reachable, decisions.following, decisions.epoch,
            tuple(sorted(decisions.guarded_hosts or ())), decisions.reason,
        )  # fmt: skip
        unauthenticated = sum(not peer.stream.authenticated for peer in relay.peers.values())
        self.counters.reports_lost = self._reports.lost
        return RelayStatus(
            self._name, self._version, time.time(), self._since, policy,
            tuple(partner.status(now) for partner in relay.partners.values()), tuple(settings.domains),
            tuple(str(address) for address in self._listener.addresses), unauthenticated, relay.draining,
        )  # fmt: skip

    # Changing

    async def reload(self, material: Material) -> None:
        """Work with these partners, certificates and rules from now on; what did not change goes on.

        What is decided is decided at once; then what ended or moved to another attachment is brought to its end.
        """
        relay, before = self._relay, self._material
        self._material = material = material.after(before)
        self._take(material)
        stale = [
            peer for peer in relay.peers.values() if outdated(peer, before.settings, material.settings, self._trust)
        ]
        gone = [partner for domain, partner in relay.partners.items() if domain not in material.settings.partners]
        moved = []
        for domain in material.settings.partners:
            partner = relay.partners.get(domain)
            if partner is None:
                relay.partners[domain] = partner = self._make_partner(domain, material)
                self._attach(partner)
                continue
            partner.change(relay.federation.partners[domain], relay.federation.domains)
            if attachment_of(domain, before) != attachment_of(domain, material):
                moved.append(partner)
        for partner in gone:
            partner.close()
        endings = [self._end_streams(stale, "The configuration has changed.")]
        endings += [self._move(partner, material) for partner in moved]
        await asyncio.gather(*endings)
        await asyncio.gather(*(self._remove(partner) for partner in gone))
        self.counters.keep(material.settings.partners)

    def _take(self, material: Material) -> None:
        """Judge and speak by this configuration."""
        relay = self._relay
        self._contexts.replace(material.contexts)
        self._trust.replace(material.trust, material.partner_trust)
        self._border.rules = _rules(material.settings)
        relay.federation = federation(material.settings, material.dialback_secret)
        for peer in relay.peers.values():
            peer.stream.federation = relay.federation

    async def _remove(self, partner: Partner) -> None:
        """Let go of a partner whose streams have ended: nothing comes from it any more, or has to be handed back."""
        await partner.attachment.drain(DRAIN_SECONDS)
        del self._relay.partners[partner.domain]

    async def _move(self, partner: Partner, material: Material) -> None:
        """Attach a partner anew; what comes meanwhile waits for the new attachment."""
        old = partner.attachment
        partner.attachment = self._make_attachment(partner, material)
        await old.drain(DRAIN_SECONDS)
        self._attach(partner)


def _rules(settings: RelaySettings) -> dict[str, PartnerRules]:
    return {name: _rule(partner, settings) for name, partner in settings.partners.items()}


def _rule(partner: PartnerSettings, settings: RelaySettings) -> PartnerRules:
    domains = settings.domains if partner.domains is None else partner.domains
    return PartnerRules(frozenset(domains), frozenset(map(str, partner.stanzas)), partner.rate)


def _queue_limits(settings: RelaySettings) -> QueueLimits:
    limits = settings.limits
    return QueueLimits(limits.queue_stanzas, limits.queue_bytes, limits.queue_time)
