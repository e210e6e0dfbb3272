"""Defines what a metric is, and makes the library's objects. metrics.py lists the metrics."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

OTHER = "other"


class Kind(StrEnum):
    """The kinds of metrics, as Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        labels: the values that each label can have.
        buckets: a histogram's upper bounds.
        unknown: a gauge that has no series while its value is not known.
    """

    name: str
    kind: Kind
    means: str
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)
    buckets: Sequence[float] = ()
    unknown: bool = False

    def value(self, label: str, value: str) -> str:
        """Returns the value under which it is counted."""
        return value if value in self.labels[label] else OTHER


class KnownGauge(Collector):
    """A gauge with a series for each known value, and none for what is not known; `values` are by the labels' values."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self._metric = metric
        self.values: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._metric.name, self._metric.means, labels=list(self._metric.labels))
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


def made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram | KnownGauge:
    """Makes the library's object with every combination of labels at 0: in a series that appears at 1, Prometheus sees no
    increase."""
    names = list(metric.labels)
    if metric.unknown:
        return KnownGauge(metric, registry)
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric.name, metric.means, names, buckets=metric.buckets, registry=registry)
    found = (Counter if metric.kind is Kind.COUNTER else Gauge)(metric.name, metric.means, names, registry=registry)
    for values in product(*metric.labels.values()) if names else ():
        found.labels(*values)
    return found
