"""What the relay tells of itself: counters that it keeps, and snapshots for ``relay status`` and ``/metrics``.

The hub counts in `RelayCounters` where stanzas pass, and makes a `RelayStatus` when somebody asks. Points in time are
seconds since 1970, durations are seconds. Nothing here holds a secret, a key, a stream id or the content of a stanza.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

from component.relay.wire.policy import Authentication, Bidi, Direction

KINDS = 40
"""So many kinds a counter tells apart; further ones are counted as `OTHER`. Kinds become labels of metrics."""

OTHER = "other"


class AttachmentState(StrEnum):
    """Whether the relay is attached to the local server as a partner's domain (XEP-0114)."""

    ATTACHED = "attached"
    CONNECTING = "connecting"
    WAITING = "waiting"
    """Lost or refused; it is tried again."""

    REFUSED = "refused"
    """The local server does not take the secret or the domain; it is tried again, but somebody must mend it."""

    STOPPED = "stopped"


class Role(StrEnum):
    """Who opened a stream: the partner (incoming) or we (outgoing)."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class RefusalKind(StrEnum):
    """Why a stream or a pair came to nothing, in one word."""

    STRANGER = "stranger"
    """Not a partner of ours, or not a local domain."""

    DIRECTION = "direction"
    """The partner may not connect to us, or we not to it (`direction`)."""

    CERTIFICATE = "certificate"
    AUTHENTICATION = "authentication"
    """No mechanism that both allow, or SASL failed."""

    DIALBACK = "dialback"
    BIDI = "bidi"
    """`bidi: required`, and the other side has none."""

    TLS = "tls"
    """No TLS, or its handshake failed."""

    RESOLUTION = "resolution"
    UNREACHABLE = "unreachable"
    PROTOCOL = "protocol"
    """A stream error, ours or the other side's."""

    LIMIT = "limit"
    TIMEOUT = "timeout"
    OTHER = "other"


class DecisionOutcome(StrEnum):
    """How a decision on a stanza for a guarded host ended."""

    ALLOWED = "allowed"
    DENIED = "denied"
    NONE = "none"
    """It could not be had; the stanza was refused for the time being."""


@dataclass(frozen=True, slots=True)
class AttachmentStatus:
    """The attachment of one partner's domain to the local server.

    :ivar since: when it came into this state.
    :ivar queued: stanzas that wait for the local server.
    :ivar reason: one sentence; empty while it is attached.
    """

    state: AttachmentState
    since: float
    queued: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PairStatus:
    """A pair of domains on one stream.

    :ivar sends: we send from local to remote on it.
    :ivar receives: we take from remote to local from it.
    """

    local: str
    remote: str
    sends: bool
    receives: bool


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream with a partner.

    :ivar id: local, drawn for this purpose; it is not the id in the stream's header.
    :ivar address: of the other end, ``HOST:PORT``.
    :ivar authentication: how the pairs were proven; empty before any was.
    :ivar bidi: whether stanzas travel both ways on it.
    :ivar tls_version: ``TLSv1.3``; empty before TLS.
    :ivar fingerprint: SHA-256 of the other side's certificate, hex; empty when it showed none.
    :ivar idle_seconds: since the last stanza in either direction.
    :ivar sent: stanzas.
    :ivar received: stanzas.
    :ivar waiting_bytes: written and not yet taken by the network.
    """

    id: str
    role: Role
    address: str
    pairs: tuple[PairStatus, ...]
    authentication: tuple[Authentication, ...]
    bidi: bool
    tls_version: str
    cipher: str
    fingerprint: str
    since: float
    idle_seconds: float
    sent: int = 0
    received: int = 0
    waiting_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Stanzas of one pair that wait for a stream.

    :ivar oldest_seconds: how long the first one has waited.
    """

    local: str
    remote: str
    stanzas: int
    bytes: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something came to nothing the last time.

    :ivar reason: one sentence for the administrator: what, why, and what to do.
    :ivar by_us: whether we refused the partner; else it refused us, or could not be reached.
    :ivar local: the local domain, when it is known.
    :ivar address: of the other end, when there was a connection.
    """

    time: float
    kind: RefusalKind
    reason: str
    by_us: bool = True
    local: str = ""
    address: str = ""


@dataclass(slots=True)
class PartnerCounters:
    """What has happened with one partner since the relay knows it. The hub counts; `copy` goes into a snapshot.

    :ivar sent: stanzas that went to the partner; `received` those that were taken from it.
    :ivar bounced: answered with an error because they could not be delivered, by whom they came from:
        ``local`` or ``partner``.
    :ivar refused: stanzas that the border did not let pass, by condition.
    :ivar dropped: stanzas that went nowhere and got no answer, by reason.
    :ivar refusals: streams and pairs that came to nothing, by `RefusalKind`.
    :ivar noticed: what the partner should not have done, by kind.
    :ivar decisions: on stanzas for guarded hosts, by `DecisionOutcome`.
    :ivar connections: TCP connections that came to a stream, by `Role`.
    :ivar handshake_failures: TLS handshakes that failed.
    :ivar attachment_losses: times the local server was lost.
    """

    sent: int = 0
    received: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    bounced: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    handshake_failures: int = 0
    attachment_losses: int = 0

    def copy(self) -> PartnerCounters:
        """The figures of this moment."""
        return replace(
            self, bounced=self.bounced.copy(), refused=self.refused.copy(), dropped=self.dropped.copy(),
            refusals=self.refusals.copy(), noticed=self.noticed.copy(), decisions=self.decisions.copy(),
            connections=self.connections.copy(),
        )  # fmt: skip


@dataclass(slots=True)
class RelayCounters:
    """What has happened in the relay; of those who are not partners nothing is kept but numbers.

    :ivar partners: by domain.
    :ivar strangers: connections that ended without being a partner's, by `RefusalKind`.
    :ivar noticed: what those who had not said or proven who they are should not have done, by kind.
    :ivar accepted: TCP connections that were accepted.
    :ivar turned_away: connections beyond a limit, by limit: ``connections``, ``per-address``.
    :ivar passed_through: connections handed to the server's own port.
    :ivar handshake_failures: TLS handshakes that failed with those who had not said who they are.
    :ivar reports_lost: rows for the audit record that were dropped for want of room.
    """

    partners: dict[str, PartnerCounters] = field(default_factory=dict)
    strangers: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)
    passed_through: int = 0
    handshake_failures: int = 0
    reports_lost: int = 0

    def of(self, partner: str) -> PartnerCounters:
        """The counters of a configured partner, made when they are missing."""
        return self.partners.setdefault(partner, PartnerCounters())

    def keep(self, partners: Iterable[str]) -> None:
        """Forget the partners that are not among these."""
        wanted = set(partners)
        for domain in [domain for domain in self.partners if domain not in wanted]:
            del self.partners[domain]


def count(counter: Counter[str], kind: str, number: int = 1) -> None:
    """Count a kind; the number of kinds is bounded (`KINDS`), whatever they come from."""
    counter[kind if kind in counter or len(counter) < KINDS else OTHER] += number


@dataclass(frozen=True, slots=True)
class PartnerStatus:
    """One partner.

    :ivar pairs: those that have a stream, over all streams.
    :ivar queues: of pairs that wait for a stream; empty ones are left out.
    :ivar last_refusal: why the last attempt, theirs or ours, came to nothing; None when there was none.
    :ivar next_attempt: when we try to connect again; None when nothing is planned.
    """

    domain: str
    direction: Direction
    bidi: Bidi
    attachment: AttachmentStatus
    streams: tuple[StreamStatus, ...] = ()
    pairs: tuple[PairStatus, ...] = ()
    queues: tuple[QueueStatus, ...] = ()
    counters: PartnerCounters = field(default_factory=PartnerCounters)
    last_refusal: Refusal | None = None
    next_attempt: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The connection to the admin API.

    :ivar reachable: whether it answered last time.
    :ivar following: whether changes are told as they happen.
    :ivar epoch: of the last change that is known; None before any.
    :ivar guarded_hosts: whose stanzas need a decision.
    :ivar reason: why it is not reachable or not following, one sentence.
    """

    reachable: bool
    following: bool
    epoch: int | None = None
    guarded_hosts: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """The whole relay at one moment.

    :ivar time: of the snapshot.
    :ivar since: when the relay started.
    :ivar domains: local domains.
    :ivar listeners: ``HOST:PORT`` where it listens for partners.
    :ivar unauthenticated: connections that have not yet proven to be a partner's.
    :ivar draining: it is about to end.
    """

    name: str
    version: str
    time: float
    since: float
    policy: PolicyStatus
    partners: tuple[PartnerStatus, ...] = ()
    domains: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    unauthenticated: int = 0
    draining: bool = False


def as_json(record: RelayStatus | PartnerStatus | StreamStatus) -> dict[str, Any]:
    """A record as JSON has it: mappings, lists, words and numbers; times are seconds since 1970."""
    return {item.name: _plain(getattr(record, item.name)) for item in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value
