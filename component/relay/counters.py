"""What the relay counts where stanzas pass, and the words that are counted by. Kinds become labels of metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

KINDS = 40
"""So many kinds a counter tells apart; further ones are counted as `OTHER`. Kinds become labels of metrics."""

OTHER = "other"


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
    """No TLS is offered, or its handshake failed."""

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
    :ivar reports_lost: rows for the audit record that were dropped for want of room.
    """

    partners: dict[str, PartnerCounters] = field(default_factory=dict)
    strangers: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)
    passed_through: int = 0
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
