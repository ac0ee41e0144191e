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
from component.relay.net.resolve import Resolver, Target
from component.relay.net.splice import Splicer
from component.relay.net.tls import KeyPair
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
        self._tasks: dict[str, asyncio.Task[None]] = {}
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
        settings = material.settings.partners[domain]
        limits = _queue_limits(material.settings)
        partner = Partner(
            settings.policy(domain), self.counters.of(domain), self._border, limits, self._relay, self._tools
        )
        partner.attachment = Attachment(
            domain, material.settings.server.host, settings.component_port,
            stream=partial(
                ComponentStream, domain, material.partner_secrets[domain],
                limit=2 * material.settings.limits.stanza_bytes,  # the server adds to what its clients may send
            ),
            listener=partner, rounds=self._wiring.rounds, uniform=random.uniform, new_id=_new_id,
            clock=time.monotonic, wall=time.time,
            limits=limits,
        )  # fmt: skip
        return partner

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
        settings = self._material.settings.partners[domain]
        return await self._resolver.targets(domain, settings.connect, direct_tls=settings.direct_tls)

    async def _open(self, target: Target, pair: Pair, policy: PartnerPolicy, purpose: Purpose) -> Peer:
        """Connect to a partner; the stream begins by itself.

        :raises OSError: the target cannot be reached.
        :raises TimeoutError: it does not answer.
        """
        relay = self._relay
        stream = OutgoingStream(
            relay.federation, pair.local, policy, _new_id, time.monotonic(), purpose=purpose, tls=target.direct_tls
        )
        connection = Connection(stream, relay, self._wiring, purpose=purpose, direct_tls=target.direct_tls)
        await connect(connection, target.host, target.port, self._material.settings.limits.connect_timeout)
        peer = relay.peers.get(connection)
        if peer is None:
            raise ConnectionResetError("it was closed at once")
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
        self._tasks[partner.domain] = self._spawn(f"relay.attachment {partner.domain}", partner.attachment.run())

    async def drain(self) -> None:
        """Take nothing new, end streams in good order, deliver or bounce what waits, say goodbye."""
        relay = self._relay
        relay.draining = True
        self._listener.close()
        for partner in relay.partners.values():
            partner.close(RESTARTING)
        await self._end_streams(list(relay.peers.values()))
        await self._waiting.settled()
        await asyncio.gather(*(partner.attachment.drain(DRAIN_SECONDS) for partner in relay.partners.values()))
        await self._decisions.close()

    async def _end_streams(self, peers: list[Peer]) -> None:
        """End streams in good order, and wait until their partners have ended them, too, or did not in time."""
        now = time.monotonic()
        for peer in peers:
            peer.close("", "The relay ends.", now)
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
            tuple(relay.partners[domain].status(now) for domain in settings.partners), tuple(settings.domains),
            tuple(str(address) for address in self._listener.addresses), unauthenticated, relay.draining,
        )  # fmt: skip

    # Changing

    async def reload(self, material: Material) -> None:
        """Work with these partners, certificates and rules from now on; what did not change goes on."""
        relay, before = self._relay, self._material
        self._material = material = material.after(before)
        settings = material.settings
        self._contexts.load({name: KeyPair(one.certificate, one.key) for name, one in settings.domains.items()})
        self._trust.replace(material.trust, material.partner_trust)
        relay.federation = federation(settings, material.dialback_secret)
        self._border.rules = _rules(settings)
        stale = [peer for peer in relay.peers.values() if _outdated(peer, before.settings, settings)]
        for domain in [domain for domain in relay.partners if domain not in settings.partners]:
            await self._remove(domain)
        for peer in stale:
            peer.close("", "The configuration has changed.", time.monotonic())
        for peer in relay.peers.values():
            peer.stream.federation = relay.federation
        for domain in settings.partners:
            await self._renew(domain, before, material)
        self.counters.keep(settings.partners)

    async def _remove(self, domain: str) -> None:
        partner = self._relay.partners[domain]
        partner.close()
        for peer in list(partner.peers):
            peer.close("", f"{domain} is no partner any more.", time.monotonic())
        await partner.attachment.drain(DRAIN_SECONDS)
        del self._relay.partners[domain]

    async def _renew(self, domain: str, before: Material, after: Material) -> None:
        """Add a partner, attach it anew when its attachment is another one, or tell it what is wanted of it now."""
        partner = self._relay.partners.get(domain)
        if partner is not None and _attachment_of(domain, before) != _attachment_of(domain, after):
            partner.close()
            await partner.attachment.drain(DRAIN_SECONDS)
            partner = None
        if partner is None:
            self._relay.partners[domain] = partner = self._make_partner(domain, after)
            self._attach(partner)
        else:
            partner.change(after.settings.partners[domain].policy(domain))


def _attachment_of(domain: str, material: Material) -> tuple[object, ...]:
    """What an attachment depends on."""
    settings = material.settings.partners.get(domain)
    return settings and settings.component_port, material.partner_secrets.get(domain)


def _outdated(peer: Peer, before: RelaySettings, after: RelaySettings) -> bool:
    """Whether a stream was negotiated under a configuration that does not hold any more."""
    stream = peer.stream
    remotes = {pair.remote for pair in stream.sends | stream.receives} | {stream.remote}
    locals_ = {pair.local for pair in stream.sends | stream.receives} | {stream.local}
    return any(_negotiated(before, name) != _negotiated(after, name) for name in remotes if name) or any(
        name not in after.domains for name in locals_ if name
    )


def _negotiated(settings: RelaySettings, domain: str) -> object:
    """What a stream with a partner depends on."""
    partner = settings.partners.get(domain)
    return partner and (partner.policy(domain), partner.connect, partner.direct_tls, partner.trust)


def _rules(settings: RelaySettings) -> dict[str, PartnerRules]:
    return {name: _rule(partner, settings) for name, partner in settings.partners.items()}


def _rule(partner: PartnerSettings, settings: RelaySettings) -> PartnerRules:
    domains = settings.domains if partner.domains is None else partner.domains
    return PartnerRules(frozenset(domains), frozenset(map(str, partner.stanzas)), partner.rate)


def _queue_limits(settings: RelaySettings) -> QueueLimits:
    limits = settings.limits
    return QueueLimits(limits.queue_stanzas, limits.queue_bytes, limits.queue_time)
