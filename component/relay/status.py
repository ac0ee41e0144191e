"""What the relay tells of itself: snapshots for ``relay status`` and ``/metrics``, made when somebody asks.

Points in time are seconds since 1970, durations are seconds. Nothing here holds a secret, a key, the id of a stream's
header or the content of a stanza.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

from component.relay.counters import (
    DecisionOutcome,
    PartnerCounters,
    RefusalKind,
    RelayCounters,
    Role,
    count,
)
from component.relay.wire.policy import Authentication, Bidi, Direction

__all__ = [
    "AttachmentState", "AttachmentStatus", "DecisionOutcome", "PairStatus", "PartnerCounters", "PartnerState",
    "PartnerStatus", "PolicyStatus", "QueueStatus", "Refusal", "RefusalKind", "RelayCounters", "RelayStatus", "Role",
    "StreamStatus", "as_json", "count",
]  # fmt: skip


class AttachmentState(StrEnum):
    """Whether the relay is attached to the local server as a partner's domain (XEP-0114)."""

    ATTACHED = "attached"
    CONNECTING = "connecting"
    WAITING = "waiting"
    """Lost or refused; it is tried again."""

    REFUSED = "refused"
    """The local server does not take the secret or the domain; it is tried again, but somebody must mend it."""

    STOPPED = "stopped"


class PartnerState(StrEnum):
    """Whether stanzas travel between a partner and us at this moment."""

    CONNECTED = "connected"
    SENDING = "sending-only"
    RECEIVING = "receiving-only"
    DISCONNECTED = "not-connected"


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


@dataclass(frozen=True, slots=True)
class PartnerStatus:
    """One partner.

    :ivar pairs: those that have a stream, over all streams.
    :ivar queues: of pairs that wait for a stream; empty ones are left out.
    :ivar last_refusal: why the last attempt, theirs or ours, came to nothing; None when there was none since a pair
        of the partner was authorized.
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

    @property
    def state(self) -> PartnerState:
        """Which ways stanzas travel."""
        sends, receives = (any(getattr(pair, name) for pair in self.pairs) for name in ("sends", "receives"))
        if sends and receives:
            return PartnerState.CONNECTED
        if sends:
            return PartnerState.SENDING
        return PartnerState.RECEIVING if receives else PartnerState.DISCONNECTED

    @property
    def why(self) -> str:
        """Why stanzas do not travel both ways, a sentence or two; empty when they do."""
        match self.state:
            case PartnerState.CONNECTED:
                return ""
            case PartnerState.SENDING:
                return _ONLY_WE if self.direction is Direction.OUTBOUND else _IT_OPENS
            case PartnerState.RECEIVING if self.direction is Direction.INBOUND:
                return _ONLY_IT
            case PartnerState.DISCONNECTED if self.last_refusal is not None:
                return self.last_refusal.reason
            case PartnerState.DISCONNECTED if self.direction is Direction.INBOUND:
                return _WAITING
        return _SOON if self.queues else _WE_OPEN


_ONLY_WE = "Only we may connect (direction: outbound), and the stream has no bidi, so the partner cannot send."
_ONLY_IT = "Only the partner may connect (direction: inbound), and the stream has no bidi, so we cannot send."
_IT_OPENS = "The stream has no bidi; the partner opens another when it has something to send."
_WE_OPEN = "We connect when there is something to send."
_WAITING = "The partner has not connected, and we never do (direction: inbound)."
_SOON = "Stanzas wait; we are about to connect."


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
    document: dict[str, Any] = _plain(record)
    return document


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        document = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        return (
            document | {"state": str(value.state), "why": value.why} if isinstance(value, PartnerStatus) else document
        )
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value
