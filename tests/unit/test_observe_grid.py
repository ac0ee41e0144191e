"""What the metrics tell of a grid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest

from component.base.audit import Audit, AuditKey
from component.base.metrics import Metrics
from component.base.ns import POLICY
from component.base.pluginstatus import read_status
from component.base.store import Store
from grid.alerts import Alert, AlertKind
from grid.controller import Grid
from grid.settings import GridSettings
from stanzagate import migrations
from stanzagate.observe_grid import observe_grid


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Grid]:
    monkeypatch.setenv("GRID_SECRET", "s")
    settings = GridSettings.model_validate(
        {
            "jid": "controller.grid.test", "secret": {"env": "GRID_SECRET"}, "host": "grid.test",
            "pubsub": "pubsub.grid.test", "alerts": {"webhook": "http://127.0.0.1:1/"},
        }
    )  # fmt: skip
    migrations.upgrade("sqlite:///grid.db", tmp_path)
    store = Store("sqlite:///grid.db", tmp_path)
    audit = Audit(store, AuditKey.open(tmp_path / "audit.key", create=True), tmp_path / "audit.head")

    def spawn(name: str, coroutine: Any) -> None:
        coroutine.close()

    yield Grid(
        settings, "s", "127.0.0.1", store, audit, spawn=spawn, on_mode=lambda *_: None, software={}
    )  # nothing of it runs
    store.close()


def told(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    found = [re.fullmatch(r"(\S+) (\S+)", line) for line in lines if not line.startswith("#")]
    return {match[1]: float(match[2]) for match in found if match}


async def test_every_figure_can_be_read(grid: Grid) -> None:
    await grid.load()
    metrics = Metrics()
    observe_grid(metrics, grid)
    grid.entrance.outcomes["Register", "result"] += 2
    grid.judge.decisions["publish", "deny"] += 1
    grid.alerts.raise_(Alert(AlertKind.HONEYTOKEN, "soc1@grid.test", "Touched."))
    figures = told(metrics)
    assert figures['stanzagate_grid_nodes{state="active"}'] == 0
    assert figures['stanzagate_grid_requests_total{kind="Register",outcome="result"}'] == 2
    assert figures['stanzagate_grid_decisions_total{action="publish",effect="deny"}'] == 1
    assert figures['stanzagate_grid_alerts_total{kind="honeytoken"}'] == 1
    assert figures['stanzagate_grid_alerts_total{kind="drift"}'] == 0
    assert figures["stanzagate_grid_webhook_waiting"] == 1
    assert figures["stanzagate_grid_topics"] == 1  # the built-in one
    assert figures["stanzagate_grid_link_attached"] == 0
    assert figures['stanzagate_grid_plugin_enforcing{host="grid.test"}'] == 0
    missing = [name for name in metrics.names if f"{name}" not in metrics.exposition().decode()]
    assert missing == []  # a reader that fails leaves its metric out


async def test_what_the_plugin_refuses_is_told_by_reason(grid: Grid) -> None:
    await grid.load()
    metrics = Metrics()
    observe_grid(metrics, grid)
    assert not [name for name in told(metrics) if name.startswith("stanzagate_grid_plugin_refused")]
    status = Element("status", mode="enforce", guard="everything")
    for number, reason in enumerate(("forbidden", "quiet", "lost", "revoked", "heavy", "answer", "of-tomorrow")):
        SubElement(status, f"{{{POLICY}}}refused", reason=reason, count=str(number))
    (host,) = grid.enforcement.hosts.values()
    host.status = read_status(status)
    figures = told(metrics)
    assert figures['stanzagate_grid_plugin_refused_total{reason="forbidden"}'] == 0
    assert figures['stanzagate_grid_plugin_refused_total{reason="revoked"}'] == 3
    assert figures['stanzagate_grid_plugin_refused_total{reason="heavy"}'] == 4
    assert not any("of-tomorrow" in name for name in figures)


def test_every_metric_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text()
    source = (Path(__file__).parents[2] / "stanzagate" / "observe_grid.py").read_text()
    names = set(re.findall(r'"(stanzagate_\w+)"', source))
    assert len(names) > 15
    assert sorted(name for name in names if f"`{name}" not in page) == []
