"""Metrics in Prometheus' form."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from component.base.metrics import Histogram, Metrics


def told(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_figures_are_read_when_they_are_asked_for() -> None:
    metrics, counts = Metrics(), {"yes": 1}
    metrics.counters("answers", "Answers", "answer", lambda: counts)
    metrics.gauge("up", "Up", lambda: True)
    counts["no"] = 2
    found = told(metrics)
    assert found["answers_total", (("answer", "no"),)] == 2 and found["up", ()] == 1


def test_a_histogram_counts_each_observation_once() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    assert histogram.cumulative() == [("0.1", 2), ("1", 3), ("+Inf", 4)]
    assert histogram.count == 4 and histogram.sum == pytest.approx(7.65)
    metrics = Metrics()
    metrics.histograms("seconds", "Seconds", "outcome", lambda: {"accepted": histogram})
    found = told(metrics)
    assert found["seconds_bucket", (("le", "+Inf"), ("outcome", "accepted"))] == 4
    assert found["seconds_count", (("outcome", "accepted"),)] == 4


def test_a_reader_that_fails_hides_no_other() -> None:
    metrics = Metrics()
    metrics.gauge("broken", "Broken", lambda: 1 / 0)
    metrics.gauge("whole", "Whole", lambda: 1)
    assert set(told(metrics)) == {("whole", ())}


def test_a_name_is_given_once() -> None:
    metrics = Metrics()
    metrics.gauge("one", "One", lambda: 1)
    with pytest.raises(ValueError, match="one"):
        metrics.counter("one", "One", lambda: 1)
