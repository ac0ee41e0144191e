"""The hub without sockets: streams that say what they are told, connections that carry out in the real order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from component.base.errors import StanzaErrorInfo
from component.relay.border import Border, PartnerRules
from component.relay.border_waiting import WaitingRoom
from component.relay.counters import PartnerCounters, RelayCounters, Role
from component.relay.dialling import Dialler
from component.relay.lanes import Tools
from component.relay.net.resolve import Target
from component.relay.partner import Partner
from component.relay.peers import Peer
from component.relay.queues import QueueLimits
from component.relay.relay import Relay
from component.relay.status import AttachmentState, AttachmentStatus
from component.relay.wire.acks import Acks
from component.relay.wire.events import KeyVerified, Output, PairAuthorized, SendBytes, StreamEnded, StreamGone
from component.relay.wire.pairs import Pair, Routes
from component.relay.wire.policy import Authentication, Federation, PartnerPolicy
from component.relay.wire.s2s_out import Purpose
from component.relay.wire.stanza import Stanza
from tests.unit.fakeserver import Tasks
from tests.unit.relay.borderkit import FakePolicy

PAIR = Pair("isp.test", "partner.test")
OTHER = Pair("cpe.test", "partner.test")
BOTH = (Authentication.EXTERNAL, Authentication.DIALBACK)
LIMITS = QueueLimits()
POLICY = PartnerPolicy("partner.test", authentication=BOTH)


class Machine:
    """In place of a stream's machine: it does what the test says, and keeps the one promise about `sends`."""

    def __init__(self, local: str = "isp.test", remote: str = "partner.test") -> None:
        self.local, self.remote = local, remote
        self.sends: set[Pair] = set()
        self.receives: set[Pair] = set()
        self.bidi = True
        self.authenticated = False
        self.acks = Acks()
        self.told: list[Any] = []
        """What was asked of it."""
        self.answers: list[Output] = []
        """What it has to say to the next thing that it is asked."""

    def send(self, pair: Pair, raw: bytes, token: object, now: float) -> list[Output]:
        if pair not in self.sends:
            raise LookupError(str(pair))
        return [SendBytes(raw)]

    def authorize(self, pair: Pair, now: float) -> list[Output]:
        return self._asked(("authorize", pair))

    def verify(self, pair: Pair, stream_id: str, key: str, now: float) -> list[Output]:
        return self._asked(("verify", pair, stream_id, key))

    def verified(self, answer: KeyVerified, now: float) -> list[Output]:
        return self._asked(answer)

    def close(self, condition: str, text: str, now: float) -> list[Output]:
        self.told.append(("close", text))
        return self.ends("", text)

    def authorizes(self, pair: Pair, *, sends: bool = True) -> PairAuthorized:
        """A pair may be sent for."""
        self.authenticated = True
        self.receives.add(pair)
        if sends:
            self.sends.add(pair)
        return PairAuthorized(pair, sends, True, Authentication.EXTERNAL)

    def ends(self, condition: str = "", text: str = "", *unacknowledged: object) -> list[Output]:
        """What it says when it ends; that nothing can be sent any more it knows at once."""
        self.sends.clear()
        self.receives.clear()
        return [StreamEnded(condition, text, by_us=not condition), StreamGone(unacknowledged)]

    def _asked(self, what: object) -> list[Output]:
        self.told.append(what)
        answers, self.answers = self.answers, []
        return answers


class Line:
    """In place of a connection. Outputs that are caused while others are carried out wait for their turn."""

    tls_version, cipher, fingerprint = "TLSv1.3", "TLS_AES_256_GCM_SHA384", "ab" * 32

    def __init__(self, relay: Relay | None, machine: Machine, address: str = "192.0.2.7:5269") -> None:
        self.machine = machine
        self.stream = cast(Any, machine)
        self.address = address
        self.congested = False
        self.waiting_bytes = 0
        self.reading = True
        self.written: list[bytes] = []
        self.outputs: list[Output] = []
        self._relay = relay
        self._todo: deque[Output] = deque()
        self._busy = False

    def do(self, outputs: Sequence[Output]) -> None:
        self._todo.extend(outputs)
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                self._carry_out(self._todo.popleft())
        finally:
            self._busy = False

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, SendBytes):
            self.written.append(output.data)
        elif self._relay is not None:
            self._relay.happened(cast(Any, self), output)
        else:
            self.outputs.append(output)

    def hold(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


def peer(machine: Machine | None = None, relay: Relay | None = None, role: Role = Role.INCOMING) -> Peer:
    """A connection that nobody has been told of."""
    line = Line(relay, machine or Machine())
    return Peer(cast(Any, line), role, "p1", 1000.0, 0.0)


def line_of(one: Peer) -> Line:
    """The other view of a peer's connection."""
    return cast(Line, one.connection)


class FakeAttachment:
    """In place of an attachment to the local server."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Stanza | None]] = []

    def send(self, raw: bytes, stanza: Stanza | None = None) -> None:
        self.sent.append((raw, stanza))

    def status(self) -> AttachmentStatus:
        return AttachmentStatus(AttachmentState.ATTACHED, 1000.0)

    @property
    def conditions(self) -> list[str]:
        """Conditions of the errors that were sent."""
        words = ("remote-server-timeout", "remote-server-not-found", "resource-constraint", "forbidden")
        return [word for raw, _ in self.sent for word in words if b"<" + word.encode() in raw]


class Recorded:
    """In place of the audit record."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, Mapping[str, str | bool]]] = []
        self.refusals: list[tuple[str, str, str, str]] = []

    def note(self, action: str, subject: str, detail: Mapping[str, str | bool]) -> None:
        self.notes.append((action, subject, detail))

    def refusal(self, requester: str, subject: str, rule: str, reason: str) -> None:
        self.refusals.append((requester, subject, rule, reason))


class Scene:
    """A relay with partners, time that the test turns, and peers that the test plays.

    :ivar targets: what DNS says of everybody.
    :ivar opens: what opening a connection comes to: a peer's machine and what happens on it at once, or an error.
    :ivar delay: seconds that lanes wait between two attempts.
    """

    def __init__(self, *policies: PartnerPolicy, limits: QueueLimits = LIMITS) -> None:
        self.now = 100.0
        self.spawn = Tasks()
        self.delay = 0.0
        self.tools = Tools(self.spawn, lambda: self.now, lambda: 1000.0 + self.now, self._uniform)
        self.policy = FakePolicy()
        self.counters, self.reports = RelayCounters(), Recorded()
        partners = {policy.domain: policy for policy in policies or (POLICY,)}
        domains = frozenset({"isp.test", "cpe.test"})
        border = Border(
            {name: PartnerRules(domains) for name in partners}, self.policy, on_refusal=lambda *_: None,
            clock=lambda: self.now,
        )  # fmt: skip
        self.relay = Relay(
            Federation(domains, partners, "secret"), border, self.counters, self.reports, self.tools,
            new_id=iter(map(str, range(1000))).__next__,
        )  # fmt: skip
        border.waiting = WaitingRoom(
            border, self.policy, release=self.relay.released, spawn=self.spawn, clock=lambda: self.now
        )
        for name, policy in partners.items():
            partner = Partner(policy, self.counters.of(name), border, limits, self.relay, self.tools)
            partner.attachment = cast(Any, FakeAttachment())
            self.relay.partners[name] = partner
        self.targets: Sequence[Target] | Exception = [Target("192.0.2.7", 5269)]
        self.opens: deque[tuple[Machine, Callable[[Machine], list[Output]]] | Exception] = deque()
        self.opened: list[tuple[Target, Pair, Purpose]] = []
        self.relay.dialler = Dialler(self._resolve, self._open, spawn=self.spawn, clock=lambda: self.now)

    def partner(self, domain: str = "partner.test") -> Partner:
        return self.relay.partners[domain]

    def attachment(self, domain: str = "partner.test") -> FakeAttachment:
        return cast(FakeAttachment, self.partner(domain).attachment)

    def connects(self, *pairs: Pair, role: Role = Role.INCOMING, sends: bool = True) -> Line:
        """A connection is made, and pairs are authorized on it."""
        line = Line(self.relay, Machine())
        self.relay.connected(cast(Any, line), role)
        for pair in pairs:
            line.do([line.machine.authorizes(pair, sends=sends)])
        return line

    def loses(self, line: Line) -> None:
        """A connection is closed."""
        line.do(line.machine.ends())
        self.relay.closed(cast(Any, line))

    def peer(self, line: Line) -> Peer:
        return self.relay.peers[cast(Any, line)]

    def _uniform(self, low: float, high: float) -> float:
        return self.delay

    async def _resolve(self, domain: str) -> Sequence[Target]:
        if isinstance(self.targets, Exception):
            raise self.targets
        return self.targets

    async def _open(self, target: Target, pair: Pair, policy: PartnerPolicy, purpose: Purpose) -> Peer:
        self.opened.append((target, pair, purpose))
        if not self.opens:
            await asyncio.get_running_loop().create_future()
        what = self.opens.popleft()
        if isinstance(what, Exception):
            raise what
        machine, happens = what
        line = Line(self.relay, machine, f"{target.host}:{target.port}")
        opened = self.relay.connected(cast(Any, line), Role.OUTGOING, purpose)
        line.do(happens(machine))
        return opened


class Around:
    """What a lane has around it, and whose it is."""

    def __init__(self, policy: PartnerPolicy = POLICY) -> None:
        self.policy = policy
        self.counters = PartnerCounters()
        self.routes: Routes[Peer] = Routes()
        self.streams: list[Peer] = []
        self.returned: list[tuple[bytes, str]] = []
        self.refusals: list[str] = []
        self.dialled: asyncio.Queue[asyncio.Future[Peer]] = asyncio.Queue()
        """One for each attempt to connect."""

    async def dial(self, pair: Pair) -> Peer:
        future: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        self.dialled.put_nowait(future)
        return await future

    def refused(self, pair: Pair, kind: object, reason: str) -> None:
        self.refusals.append(reason)

    def streams_to(self, remote: str) -> list[Peer]:
        return self.streams

    def not_sent(self, returned: Any, why: StanzaErrorInfo) -> None:
        self.returned += [(one.raw, why.condition) for one in returned]
