"""What ``/metrics`` tells of the grid. Names are stable; label values are words of ours, never JIDs or topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from component.base.metrics import Metrics
from component.base.pluginstatus import PluginMode
from grid.alerts import Alerts
from grid.controller import Grid


def observe_grid(metrics: Metrics, grid: Grid) -> None:
    """Register the grid."""
    _observe_nodes(metrics, grid)
    _observe_requests(metrics, grid)
    _observe_server(metrics, grid)
    observe_alerts(metrics, grid.alerts)


def _observe_nodes(metrics: Metrics, grid: Grid) -> None:
    metrics.gauges(
        "stanzagate_grid_nodes",
        "Nodes, by state.",
        "state",
        lambda: {str(state): count for state, count in grid.accounts.counts().items()},
    )
    metrics.gauge("stanzagate_grid_connected", "Nodes that are connected.", lambda: grid.sessions.count[0])
    metrics.gauge("stanzagate_grid_logged_in", "Nodes that are logged in.", lambda: grid.sessions.count[1])
    metrics.gauge("stanzagate_grid_topics", "Topics.", lambda: len(grid.topics.all()))
    metrics.gauge("stanzagate_grid_subscriptions", "Subscriptions.", lambda: _subscriptions(grid))
    metrics.counter("stanzagate_grid_epoch", "Number of the grid's last change.", lambda: grid.epochs.current)


def _subscriptions(grid: Grid) -> int:
    counted: Any = getattr(grid.topics, "subscription_count", None)  # cheaper than to list them all
    return int(counted) if counted is not None else len(grid.topics.subscriptions())


def _observe_requests(metrics: Metrics, grid: Grid) -> None:
    metrics.table(
        "stanzagate_grid_requests",
        "Requests of nodes, by kind and outcome.",
        ("kind", "outcome"),
        lambda: _table(grid.entrance.outcomes),
    )
    metrics.table(
        "stanzagate_grid_incidents",
        "Payloads of XEP-0268, by kind and outcome.",
        ("kind", "outcome"),
        lambda: _table(_counts(grid, "incidents", "handled")),
    )
    metrics.table(
        "stanzagate_grid_decisions",
        "Decisions on what a node may do, by action and effect.",
        ("action", "effect"),
        lambda: _table(grid.judge.decisions),
    )
    metrics.gauge("stanzagate_grid_queued", "Requests that wait for their turn.", lambda: grid.queues.count)
    metrics.counter("stanzagate_grid_limited", "Requests beyond a node's rate.", lambda: grid.limiter.refused)


def _observe_server(metrics: Metrics, grid: Grid) -> None:
    link, programmer = grid.link, grid.programmer
    metrics.gauge("stanzagate_grid_link_attached", "1 while the controller is attached.", link.attached.is_set)
    metrics.counter("stanzagate_grid_link_losses", "Times the attachment was lost.", lambda: link.counters.lost)
    metrics.gauge("stanzagate_grid_link_pending", "Requests that wait for the server.", lambda: link.pending)
    metrics.gauges(
        "stanzagate_grid_plugin_enforcing",
        "1 while the in-server plugin of the grid host holds back what is not allowed.",
        "host",
        lambda: {name: host.mode is PluginMode.ENFORCE for name, host in grid.enforcement.hosts.items()},
    )
    metrics.counters(
        "stanzagate_grid_plugin_refused",
        "What the in-server plugin of the grid host has refused, by reason.",
        "reason",
        lambda: _refused(grid),
    )
    metrics.counter(
        "stanzagate_grid_programming", "Requests to the publish-subscribe service.", lambda: grid.pubsub.requests
    )
    metrics.gauge(
        "stanzagate_grid_owed",
        "Topics and nodes with changes that the server has not confirmed.",
        lambda: len(programmer.owed) + len(programmer.owed_nodes),
    )
    metrics.counters(
        "stanzagate_grid_repairs",
        "Things at the server that were not as they should be and were put right, by kind.",
        "kind",
        lambda: {str(kind): count for kind, count in _counts(grid, "repairs").items()},
    )
    metrics.gauge(
        "stanzagate_grid_reconciliation_seconds",
        "How long the last reconciliation took.",
        lambda: programmer.last.seconds if programmer.last is not None else 0.0,
    )


def _refused(grid: Grid) -> dict[str, float]:
    """As the plugin said last; nothing while it cannot be asked."""
    told = (host.status for host in grid.enforcement.hosts.values())
    return {reason: count for status in told if status is not None for reason, count in status.refused.items()}


def observe_alerts(metrics: Metrics, alerts: Alerts) -> None:
    """Register the alerts and how they are delivered."""
    metrics.counters(
        "stanzagate_grid_alerts", "Alerts, repetitions included, by kind.", "kind", lambda: alerts.counts
    )
    metrics.counters(
        "stanzagate_grid_webhook",
        "What became of alerts for the webhook: delivered, refused by it, dropped for want of room.",
        "outcome",
        lambda: _webhook(alerts),
    )
    metrics.gauge(
        "stanzagate_grid_webhook_waiting",
        "Alerts that wait for the webhook.",
        lambda: alerts.webhook.waiting if alerts.webhook is not None else 0,
    )


def _webhook(alerts: Alerts) -> dict[str, float]:
    hook = alerts.webhook
    if hook is None:
        return {}
    return {"delivered": hook.delivered, "refused": hook.refused, "dropped": hook.dropped}


def _table(counts: Mapping[Any, int]) -> dict[tuple[str, ...], float]:
    return dict(counts)


def _counts(grid: Grid, *path: str) -> Mapping[Any, int]:
    """Counts of a part that a grid may do without."""
    found: Any = grid
    for name in path:
        found = getattr(found, name, None)
    return found if found is not None else {}
