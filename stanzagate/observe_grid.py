"""What ``/metrics`` tells of the grid."""

from __future__ import annotations

from component.base.metrics import Metrics
from grid.controller import Grid


def observe_grid(metrics: Metrics, grid: Grid) -> None:
    """Register the grid's figures."""
