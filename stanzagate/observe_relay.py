"""What ``/metrics`` tells of the relay.

Names are stable. Label values are partners, which the configuration names, and words of ours: nothing that a stranger
can choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter

from component.base.metrics import Metrics
from component.relay.status import (
    AttachmentState,
    DecisionOutcome,
    PartnerCounters,
    PartnerStatus,
    RefusalKind,
    RelayCounters,
    RelayStatus,
    Role,
)

_STATE: tuple[tuple[str, str, Callable[[PartnerStatus], float]], ...] = (
    ("attached", "1 while the relay is attached to the local server as the partner's domain.",
     lambda partner: partner.attachment.state is AttachmentState.ATTACHED),
    ("attachment_queued", "Stanzas that wait for the local server.", lambda partner: partner.attachment.queued),
    ("queued", "Stanzas that wait for a stream to the partner.",
     lambda partner: sum(queue.stanzas for queue in partner.queues)),
    ("queued_bytes", "Bytes of the stanzas that wait for a stream to the partner.",
     lambda partner: sum(queue.bytes for queue in partner.queues)),
    ("waiting_bytes", "Bytes that were written and that the network has not taken.",
     lambda partner: sum(stream.waiting_bytes for stream in partner.streams)),
)  # fmt: skip

_COUNTS: tuple[tuple[str, str], ...] = (("attachment_losses", "Times the local server was lost."),)

_KINDS: tuple[tuple[str, str, str, Iterable[str]], ...] = (
    ("connections", "Connections that came to a stream, by who opened it.", "role", Role),
    ("bounced", "Stanzas answered with an error because they could not be delivered, by where they came from.",
     "origin", ("local", "partner")),
    ("refused", "Stanzas that the border did not let pass, by the condition they were answered with.",
     "condition", ()),
    ("dropped", "Stanzas that went nowhere and got no answer, by reason.", "reason", ()),
    ("refusals", "Streams and pairs that came to nothing, by reason.", "reason", RefusalKind),
    ("noticed", "What the partner should not have done, by kind.", "kind", ()),
    ("decisions", "Decisions on stanzas for guarded hosts, by outcome.", "outcome", DecisionOutcome),
)  # fmt: skip


class Observed:
    """One snapshot for all figures of a scrape; the counters are read as they are.

    :param status: makes a snapshot.
    """

    def __init__(self, status: Callable[[], RelayStatus], counters: RelayCounters) -> None:
        self._make = status
        self.counters = counters
        self.status = status()

    def refresh(self) -> None:
        """Take a new snapshot; before each scrape."""
        self.status = self._make()

    def by_partner(self, read: Callable[[PartnerStatus], float]) -> dict[str, float]:
        """A figure of each partner."""
        return {partner.domain: read(partner) for partner in self.status.partners}

    def counted(self, read: Callable[[PartnerCounters], float]) -> dict[str, float]:
        """A counter of each partner."""
        return {domain: read(counters) for domain, counters in self.counters.partners.items()}

    def kinds(self, name: str, known: Iterable[str]) -> dict[tuple[str, ...], float]:
        """Counters of each partner by kind; the known kinds are told from the beginning, with 0."""
        zeros = {str(word): 0 for word in known}
        return {
            (domain, kind): figure
            for domain, counters in self.counters.partners.items()
            for kind, figure in (zeros | dict(getattr(counters, name))).items()
        }


def observe_relay(metrics: Metrics, observed: Observed) -> None:
    """Register the relay."""
    _observe_relay(metrics, observed)
    _observe_traffic(metrics, observed)
    for name, text, read in _STATE:
        metrics.gauges(f"stanzagate_relay_{name}", text, "partner", partial(observed.by_partner, read))
    for name, text in _COUNTS:
        metrics.counters(f"stanzagate_relay_{name}", text, "partner", partial(observed.counted, attrgetter(name)))
    for name, text, label, known in _KINDS:
        labels = ("partner", label)
        metrics.table(f"stanzagate_relay_{name}", text, labels, partial(observed.kinds, name, known))


def _observe_relay(metrics: Metrics, observed: Observed) -> None:
    """What belongs to no partner."""
    counters = observed.counters
    metrics.gauge(
        "stanzagate_relay_policy_reachable",
        "1 while the admin API answers.",
        lambda: observed.status.policy.reachable,
    )
    metrics.gauge(
        "stanzagate_relay_policy_following",
        "1 while changes of the policy are told as they happen.",
        lambda: observed.status.policy.following,
    )
    metrics.gauge(
        "stanzagate_relay_unauthenticated",
        "Connections that have not yet proven to be a partner's.",
        lambda: observed.status.unauthenticated,
    )
    metrics.counter("stanzagate_relay_accepted", "TCP connections that were accepted.", lambda: counters.accepted)
    metrics.counters(
        "stanzagate_relay_turned_away",
        "TCP connections beyond a limit, by limit.",
        "limit",
        lambda: counters.turned_away,
    )
    metrics.counter(
        "stanzagate_relay_passed_through",
        "Connections handed to the server's own port.",
        lambda: counters.passed_through,
    )
    metrics.counters(
        "stanzagate_relay_strangers",
        "Connections that ended without being a partner's, by reason.",
        "reason",
        lambda: {str(kind): 0 for kind in RefusalKind} | dict(counters.strangers),
    )
    metrics.counters(
        "stanzagate_relay_strangers_noticed",
        "What those should not have done who had not yet proven who they are, by kind.",
        "kind",
        lambda: counters.noticed,
    )
    metrics.counter(
        "stanzagate_relay_reports_lost",
        "Rows for the audit record that were dropped for want of room.",
        lambda: counters.reports_lost,
    )


def _observe_traffic(metrics: Metrics, observed: Observed) -> None:
    metrics.gauge_table(
        "stanzagate_relay_streams",
        "Streams with the partner, by who opened them.",
        ("partner", "role"),
        lambda: {
            (partner.domain, str(role)): sum(stream.role is role for stream in partner.streams)
            for partner in observed.status.partners
            for role in Role
        },
    )
    metrics.gauge_table(
        "stanzagate_relay_pairs",
        "Pairs of domains with a stream, by direction.",
        ("partner", "direction"),
        lambda: {
            (partner.domain, direction): len(
                {(pair.local, pair.remote) for pair in partner.pairs if getattr(pair, name)}
            )
            for partner in observed.status.partners
            for direction, name in (("sent", "sends"), ("received", "receives"))
        },
    )
    for name, text, sent, received in (
        ("stanzas", "Stanzas, by direction.", "sent", "received"),
        ("bytes", "Bytes of stanzas, by direction.", "sent_bytes", "received_bytes"),
    ):
        metrics.table(
            f"stanzagate_relay_{name}", text, ("partner", "direction"), partial(_both, observed, sent, received)
        )


def _both(observed: Observed, sent: str, received: str) -> dict[tuple[str, ...], float]:
    return {
        (domain, direction): getattr(counters, name)
        for domain, counters in observed.counters.partners.items()
        for direction, name in (("sent", sent), ("received", received))
    }
