"""What ``/metrics`` tells of each part. Names are stable; label values are bounded sets of words, never JIDs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from component.base.audit import Audit
from component.base.enforcement import Enforcement
from component.base.link import Link
from component.base.metrics import Metrics
from component.base.pluginstatus import PluginMode, PluginStatus
from component.gate.gateway import Gateway
from component.gate.policy import Policy
from stanzagate.admin.relays import Relays


def observe_link(metrics: Metrics, link: Link) -> None:
    """Register the attachment to the server."""
    counters = link.counters
    metrics.gauge("stanzagate_link_attached", "1 while the gate is attached.", link.attached.is_set)
    metrics.counter("stanzagate_link_attachments", "Times the gate attached.", lambda: counters.attached)
    metrics.counter("stanzagate_link_losses", "Times the attachment was lost.", lambda: counters.lost)
    metrics.gauge("stanzagate_link_pending", "Requests that wait for an answer.", lambda: link.pending)
    metrics.gauge("stanzagate_link_queued", "Stanzas that wait for the server to come back.", lambda: link.queued)
    metrics.counters(
        "stanzagate_link_dropped",
        "Stanzas that were dropped, by reason.",
        "reason",
        lambda: {
            "queue-full": counters.queued_dropped,
            "server-not-reading": link.stream.dropped,
            "foreign-answer": link.requests.foreign,
            "late-answer": link.requests.late,
        },
    )


def observe_gateway(metrics: Metrics, gateway: Gateway) -> None:
    """Register what requesters were answered and what devices did."""
    metrics.counters(
        "stanzagate_gate_answers",
        "Answers to requesters, by kind.",
        "answer",
        lambda: {name.lower().replace("_", "-"): count for name, count in gateway.answers.items()},
    )
    metrics.counters(
        "stanzagate_gate_refusals",
        "Requests that were refused before a device was asked, by reason.",
        "reason",
        lambda: gateway.refusals,
    )
    metrics.histograms(
        "stanzagate_wake_seconds",
        "Seconds from a request to its outcome, for requests that were sent to a device.",
        "outcome",
        lambda: gateway.durations,
    )
    metrics.gauge("stanzagate_gate_devices_waiting", "Devices with a request outstanding.", lambda: gateway.under_way)
    metrics.counter(
        "stanzagate_gate_shared", "Requests that shared another's outcome.", lambda: gateway.flights.shared
    )
    metrics.counter("stanzagate_gate_queued", "Requests that waited for their turn.", lambda: gateway.flights.queued)


def observe_plugins(metrics: Metrics, plugins: Enforcement) -> None:
    """Register what the in-server plugins ask, and what each says of itself, up to ten seconds ago."""
    metrics.counters(
        "stanzagate_plugin_decisions", "Checks of in-server plugins, by effect.", "effect", lambda: plugins.checks
    )
    metrics.gauges(
        "stanzagate_plugin_enforcing",
        "1 while the in-server plugin of a guarded host holds back what is not allowed.",
        "host",
        lambda: {name: host.mode is PluginMode.ENFORCE for name, host in plugins.hosts.items()},
    )
    for name, text in (
        ("hits", "Requests that an in-server plugin decided from its cache."),
        ("passed", "Requests that an in-server plugin delivered after a decision."),
        ("bypassed", "Requests that an in-server plugin let through without a decision, or against it."),
        ("evicted", "Decisions that an in-server plugin forgot for want of room."),
        ("discarded", "Decisions and orders that an in-server plugin did not believe, or that were outdated."),
    ):
        metrics.counters(f"stanzagate_plugin_{name}", text, "host", partial(_by_host, plugins, attrgetter(name)))
    for name, text in (
        ("cached", "Decisions that an in-server plugin has cached."),
        ("held", "Stanzas that wait in an in-server plugin for a decision."),
        ("sessions", "Clients that are connected to a guarded host."),
    ):
        metrics.gauges(f"stanzagate_plugin_{name}", text, "host", partial(_by_host, plugins, attrgetter(name)))
    metrics.table(
        "stanzagate_plugin_refused",
        "Stanzas that an in-server plugin did not deliver, by reason.",
        ("host", "reason"),
        lambda: {(host, reason): count for host, found in _told(plugins) for reason, count in found.refused.items()},
    )


def _told(plugins: Enforcement) -> list[tuple[str, PluginStatus]]:
    """What the plugins that can be asked have said; a host whose plugin is silent is left out of the figures."""
    return [(name, host.status) for name, host in plugins.hosts.items() if host.status is not None]


def _by_host(plugins: Enforcement, read: Callable[[PluginStatus], int]) -> dict[str, float]:
    return {host: read(status) for host, status in _told(plugins)}


def observe_relays(metrics: Metrics, relays: Relays) -> None:
    """Register what relays ask and whether they follow."""
    metrics.gauges(
        "stanzagate_relays",
        "Relays that follow the policy, and those that are lost but may remember decisions.",
        "state",
        relays.states,
    )
    metrics.counters(
        "stanzagate_relays_questions", "Questions of relays, by effect.", "effect", lambda: relays.decisions
    )
    metrics.counter("stanzagate_relays_events", "Events that relays have reported.", lambda: relays.reported)


def observe_policy(metrics: Metrics, policy: Policy, audit: Audit) -> None:
    """Register the size of the policy and the state of the record."""
    metrics.gauge("stanzagate_policy_available", "1 while decisions can be made.", lambda: policy.available)
    metrics.counter("stanzagate_policy_epoch", "Number of the policy; grows with every change.", lambda: policy.epoch)
    metrics.gauge("stanzagate_policy_rules", "Rules in force.", lambda: len(policy.index.rules))
    metrics.gauge("stanzagate_policy_suspensions", "Suspensions in force.", lambda: len(policy.index.suspensions))
    metrics.gauge("stanzagate_devices", "Devices in the registry.", lambda: len(policy.index.devices))
    metrics.counter("stanzagate_audit_lost", "Wakes that could not be recorded.", lambda: audit.lost)
