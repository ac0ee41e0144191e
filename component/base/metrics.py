"""Metrics: plain integers where stanzas pass, turned into Prometheus' form only when somebody asks.

Whoever has figures keeps them as he likes (a `Counter` of outcomes, an attribute) and registers a function that reads
them. Nothing here holds a JID or another value that outsiders choose: label values are bounded sets of words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: from a device on the same machine to the longest sensible ``answer_timeout``."""

Reader = Callable[[], float]
LabelledReader = Callable[[], Mapping[str, float]]
ManyLabelsReader = Callable[[], Mapping[tuple[str, ...], float]]


class Histogram:
    """Counts observations by size.

    :param bounds: upper bounds of the buckets, ascending, in the unit of what is observed.
    """

    __slots__ = ("_counts", "_sum", "bounds")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    @property
    def sum(self) -> float:
        """The sum of everything observed."""
        return self._sum

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """Upper bound and number of observations up to it, the last bound being ``+Inf``."""
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        total = 0
        buckets = []
        for name, count in zip(names, self._counts, strict=True):
            total += count
            buckets.append((name, float(total)))
        return buckets


class Metrics(Collector):
    """A set of metrics that are read when they are scraped.

    A metric whose reader fails is left out of that scrape; the others are still told.
    """

    def __init__(self) -> None:
        self._sources: list[Callable[[], Metric]] = []
        self._names: set[str] = set()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def counter(self, name: str, text: str, read: Reader) -> None:
        """Register something that only grows.

        :param name: without the suffix ``_total``.
        """
        self._add(name, lambda: CounterMetricFamily(name, text, value=read()))

    def gauge(self, name: str, text: str, read: Reader) -> None:
        """Register something that goes up and down."""
        self._add(name, lambda: GaugeMetricFamily(name, text, value=read()))

    def counters(self, name: str, text: str, label: str, read: LabelledReader) -> None:
        """Register counts by the value of one label."""
        self._add(name, lambda: _labelled(CounterMetricFamily(name, text, labels=[label]), read()))

    def gauges(self, name: str, text: str, label: str, read: LabelledReader) -> None:
        """Register gauges by the value of one label.

        :param read: returns figures by the label's value.
        """
        self._add(name, lambda: _labelled(GaugeMetricFamily(name, text, labels=[label]), read()))

    def table(self, name: str, text: str, labels: Sequence[str], read: ManyLabelsReader) -> None:
        """Register counts by the values of several labels.

        :param name: without the suffix ``_total``.
        :param read: returns figures by the labels' values, in their order.
        """
        self._add(name, lambda: _with_values(CounterMetricFamily(name, text, labels=list(labels)), read()))

    def gauge_table(self, name: str, text: str, labels: Sequence[str], read: ManyLabelsReader) -> None:
        """Register gauges by the values of several labels.

        :param read: returns figures by the labels' values, in their order.
        """
        self._add(name, lambda: _with_values(GaugeMetricFamily(name, text, labels=list(labels)), read()))

    def histograms(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, Histogram]]) -> None:
        """Register histograms by the value of one label."""

        def family() -> Metric:
            metric = HistogramMetricFamily(name, text, labels=[label])
            for value, histogram in sorted(read().items()):
                metric.add_metric([value], histogram.cumulative(), histogram.sum)
            return metric

        self._add(name, family)

    def _add(self, name: str, source: Callable[[], Metric]) -> None:
        if name in self._names:
            raise ValueError(f"there is a metric {name} already")
        self._names.add(name)
        self._sources.append(source)

    @property
    def names(self) -> frozenset[str]:
        """The names of everything registered."""
        return frozenset(self._names)

    def collect(self) -> Iterator[Metric]:
        """Read everything; called by prometheus-client."""
        for source in self._sources:
            try:
                yield source()
            except Exception:  # noqa: S112  # a part that is just ending must not hide the figures of the others
                continue

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


def _labelled(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    return _with_values(family, {(value,): figure for value, figure in values.items()})


def _with_values(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[tuple[str, ...], float]) -> Metric:
    for labels, figure in sorted(values.items()):
        family.add_metric(labels, figure)
    return family
