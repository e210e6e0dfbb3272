"""What is counted and timed: METRICS is the list, with every label and every value that a label can have.

Nothing here knows a user. A value comes from the closed sets below, and what is not in one of them counts as `other`.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from function import __version__
from function.operations import Operation
from function.outcomes import Reason

__all__ = ["CONTENT_TYPE", "METRICS", "CountRefusal", "Counted", "Metric", "Metrics", "Refusal", "uncounted"]

OTHER = "other"
TYPES = (
    "identity.user.created", "identity.user.deleted", "identity.user.password_changed", "identity.user.profile_updated",
    "unknown", OTHER,
)  # fmt: skip
OUTCOMES = ("applied", "unchanged", "stale", "no_account", "ignored", "dead_letter", "retry", OTHER)
OPERATIONS = (*Operation, OTHER)
STATUSES = ("2xx", "3xx", "4xx", "429", "5xx", "timeout", "unreachable", OTHER)
TokenRead = Literal["renewed", "same", "failed"]  # a new token, the refused one again, none
# A wrong or missing app token; a body over the limit; a body that is no batch; an entry that is not as rawPayload has it.
Refusal = Literal["token", "too_large", "unreadable_batch", "unreadable_entry"]
CountRefusal = Callable[[Refusal], None]
# A delivery's type in its present spelling, what became of it, and the reason of a dead letter or a retry.
Counted = tuple[str, str, Reason | None]
_PARTS = {
    Reason.STARTING: "sidecar",
    Reason.SECRET_UNAVAILABLE: "secret",
    Reason.TOKEN_REFUSED: "token",
    Reason.SERVER_NAME_MISMATCH: "token",
    Reason.SYNAPSE_UNAVAILABLE: "synapse",
    Reason.SYNAPSE_UNEXPECTED: "synapse",
    Reason.STATE_UNAVAILABLE: "state",
}
PARTS = (*dict.fromkeys(_PARTS.values()), OTHER)

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_AGES = (
    0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY,
)  # fmt: skip
_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Kind(StrEnum):
    """As Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `labels` holds the values that each label can have; `buckets` the upper bounds of a histogram's."""

    name: str
    kind: Kind
    means: str
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)
    buckets: Sequence[float] = ()

    def value(self, label: str, value: str) -> str:
        """The value as it is counted."""
        return value if value in self.labels[label] else OTHER


def _metric(name: str, kind: Kind, means: str, buckets: Sequence[float] = (), **labels: Collection[str]) -> Metric:
    return Metric(f"matrix_account_sync_{name}", kind, means, labels, buckets)


EVENTS = _metric("events_total", Kind.COUNTER, "Deliveries of events; with `retry` the event waits and comes again.",
                 type=TYPES, outcome=OUTCOMES)  # fmt: skip
DEAD_LETTERS = _metric("dead_letters_total", Kind.COUNTER, "Events that went to the dead letters.",
                       reason=(*Reason, OTHER))  # fmt: skip
RETRIES = _metric("retries_total", Kind.COUNTER, "Deliveries that were answered RETRY.", reason=(*Reason, OTHER))
AGE = _metric("event_age_seconds", Kind.HISTOGRAM,
              "From the record's timestamp, which its producer sets, to the event's end; not of events that wait.", _AGES)  # fmt: skip
LAST_EVENT = _metric("last_event_timestamp_seconds", Kind.GAUGE,
                     "When an event came to its end last, in Unix time; 0 before the first.")  # fmt: skip
BATCH_RECORDS = _metric("batch_records", Kind.HISTOGRAM, "Records in a batch.", (1, 2, 5, 10, 20, 50, 100))
BATCH_SECONDS = _metric("batch_seconds", Kind.HISTOGRAM, "From a batch's arrival to its answer.", (*_CALLS, 30, 60))
REFUSED = _metric("refused_total", Kind.COUNTER,
                  "Deliveries that were refused unread, each time they came: batches, and single entries of one.",
                  why=get_args(Refusal))  # fmt: skip
CALLS = _metric("synapse_calls_total", Kind.COUNTER,
                "Requests to Synapse, repeated ones included, by what they are for and what came back.",
                operation=OPERATIONS, status=STATUSES)  # fmt: skip
CALL_SECONDS = _metric("synapse_call_seconds", Kind.HISTOGRAM,
                       "From a request to Synapse to the head of its answer, or to the failure.", _CALLS, operation=OPERATIONS)  # fmt: skip
TOKENS = _metric("token_reads_total", Kind.COUNTER,
                 "Reads of the admin token: a new one, the refused one again, or none.", result=get_args(TokenRead))  # fmt: skip
BRAKE = _metric("deletion_brake", Kind.GAUGE, "1 while deletions go to the dead letters because there are too many.")
READY = _metric("ready", Kind.GAUGE, "0 for the part that makes the function not ready; only the first to fail is known.",
                part=PARTS)  # fmt: skip
CONSUMING = _metric("consuming", Kind.GAUGE, "0 when switched off by `KAFKA_ENABLED` or `MATRIX_ENABLED`.")
BUILD = _metric("build_info", Kind.GAUGE, "Always 1; the label says which version runs.", version=(__version__,))

METRICS = (
    EVENTS, DEAD_LETTERS, RETRIES, AGE, LAST_EVENT, BATCH_RECORDS, BATCH_SECONDS, REFUSED, CALLS, CALL_SECONDS, TOKENS,
    BRAKE, READY, CONSUMING, BUILD,
)  # fmt: skip


def uncounted(_: Refusal) -> None:
    """A CountRefusal for an app that has no metrics."""


class Metrics:
    """The metrics of one process, in a registry of their own.

    Args:
        clock: Unix time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._made = {metric.name: _made(metric, self._registry) for metric in METRICS}
        ProcessCollector(registry=self._registry)
        self._get(BUILD, version=__version__).set(1)

    def events(self, delivered: Mapping[Counted, int], written: Iterable[float]) -> None:
        """Counts a batch's deliveries of events.

        Args:
            delivered: how often each came to the same end.
            written: the records' timestamps in Unix time, where they have one; without those of events that wait.
        """
        now = self._clock()
        for (kind, outcome, reason), count in delivered.items():
            self._get(EVENTS, type=kind, outcome=outcome).inc(count)
            if outcome == "retry":
                self._get(RETRIES, reason=reason or OTHER).inc(count)
                continue
            if outcome == "dead_letter":
                self._get(DEAD_LETTERS, reason=reason or OTHER).inc(count)
            self._get(LAST_EVENT).set(now)
        age = self._get(AGE)
        for at in written:
            age.observe(max(0.0, now - at))  # clocks differ

    def batch(self, records: int, seconds: float) -> None:
        self._get(BATCH_RECORDS).observe(records)
        self._get(BATCH_SECONDS).observe(seconds)

    def refused(self, why: Refusal) -> None:
        self._get(REFUSED, why=why).inc()

    def synapse_call(self, operation: str, status: str, seconds: float) -> None:
        """Counts one request; `status` is one of STATUSES."""
        self._get(CALLS, operation=operation, status=status).inc()
        self._get(CALL_SECONDS, operation=operation).observe(seconds)

    def token_read(self, result: TokenRead) -> None:
        self._get(TOKENS, result=result).inc()

    def brake(self, on: bool) -> None:
        self._get(BRAKE).set(on)

    def world(self, failure: Reason | None, *, consuming: bool) -> None:
        """What health says now; `sick` is why the function is not ready."""
        self._get(CONSUMING).set(consuming)
        broken = _PARTS.get(failure, OTHER) if failure else None
        for part in PARTS:
            self._get(READY, part=part).set(part != broken)

    def exposed(self) -> bytes:
        """All of it in Prometheus' text format (CONTENT_TYPE)."""
        return generate_latest(_Plain(self._registry))

    def _get(self, metric: Metric, **labels: str) -> Any:
        made = self._made[metric.name]
        return made.labels(*(metric.value(name, labels[name]) for name in metric.labels)) if labels else made


class _Plain(Collector):
    """The registry without the `_created` samples, which double the series and tell nothing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            if not family.name.endswith("_created"):
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
                yield family


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    """The library's object, with every combination of labels at 0: Prometheus sees no increase in what appears at 1."""
    names = list(metric.labels)
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric.name, metric.means, names, buckets=metric.buckets, registry=registry)
    made = (Counter if metric.kind is Kind.COUNTER else Gauge)(metric.name, metric.means, names, registry=registry)
    for values in product(*metric.labels.values()) if names else ():
        made.labels(*values)
    return made
