"""The metrics of this service: METRICS lists them, with every label and every value that a label can have.

No metric knows a user. Label values come from the closed sets below; a value that is in none of them counts as `other`.
"""

import collections
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from function import __version__
from function.changes import ChangeType
from function.events.types import Cause, EventType
from function.operations import Operation
from function.outcomes import Outcome
from function.reasons import Dependency, Reason
from function.telemetry.metric import OTHER, Kind, KnownGauge, Metric, made
from function.telemetry.waiting import Waiting

__all__ = [
    "CONTENT_TYPE", "METRICS", "CountRefusal", "Counted", "Metric", "Metrics", "Refusal", "uncounted",
]  # fmt: skip

TYPES = (*EventType, "unknown", OTHER)
OUTCOMES = (*Outcome, OTHER)
OPERATIONS = (*(operation for operation in Operation if not operation.on_mas), OTHER)
MAS_OPERATIONS = (*(operation for operation in Operation if operation.on_mas), OTHER)
STATUSES = ("2xx", "3xx", "4xx", "429", "5xx", "timeout", "unreachable", OTHER)
TokenRead = Literal["renewed", "same", "failed"]  # a new token, the refused one again, none
# Why a request was rejected: bad app token, body too large, not a bulk envelope, or an entry that is not base64 (rawPayload
# off).
Refusal = Literal["token", "too_large", "unreadable_batch", "unreadable_entry"]
CountRefusal = Callable[[Refusal], None]
# A delivery's event type, its outcome, and the reason of a dead letter or a retry.
Counted = tuple[str, str, Reason | None]
DEPENDENCIES = (*Dependency, OTHER)
# Lag is counted by what a topic is for, so that alerts fit a topic of any name. Partitions from 256 on are added up.
TOPICS = ("events", "replay")
PARTITIONS = (*map(str, range(256)), OTHER)
UNCOUNTED = "uncounted"  # open letters over the limit of those whose reason is known
OPEN_REASONS = (*(reason for reason in Reason if not reason.retried), OTHER, UNCOUNTED)

# What is removed of an erased user, and how; accounts/traces.py has them as enums.
REMOVED_PARTS = ("messages", "media")
REMOVAL_RESULTS = ("begun", "waits", "done", "failed")

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_AGES = (
    0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY,
)  # fmt: skip
_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def _metric(
    name: str, kind: Kind, means: str, buckets: Sequence[float] = (), *, unknown: bool = False, **labels: Collection[str]
) -> Metric:  # fmt: skip
    return Metric(f"matrix_account_sync_{name}", kind, means, labels, buckets, unknown)


EVENTS = _metric("events_total", Kind.COUNTER, "Deliveries of events; an event with `retry` is delivered again.",
                 type=TYPES, outcome=OUTCOMES)  # fmt: skip
DEAD_LETTERS = _metric("dead_letters_total", Kind.COUNTER, "Events that were published to the dead letters.",
                       reason=(*Reason, OTHER))  # fmt: skip
RETRIES = _metric(
    "retries_total", Kind.COUNTER, "Deliveries of events that were answered RETRY.", reason=(*Reason, OTHER)
)
AGE = _metric("event_age_seconds", Kind.HISTOGRAM,
              "From the record's timestamp, set by its producer, to the answer; without events that are retried.", _AGES)  # fmt: skip
LAST_EVENT = _metric("last_event_timestamp_seconds", Kind.GAUGE,
                     "When the last event was processed (not retried), in Unix time; 0 before the first.")  # fmt: skip
BATCH_RECORDS = _metric("batch_records", Kind.HISTOGRAM, "Records in a batch.", (1, 2, 5, 10, 20, 50, 100))
BATCH_SECONDS = _metric(
    "batch_seconds", Kind.HISTOGRAM, "From the arrival of a batch to the answer.", (*_CALLS, 30, 60)
)
WAITING = _metric("oldest_waiting_event_seconds", Kind.GAUGE,
                  "Age of the oldest event that is in processing or was answered RETRY, whatever the reason, from its record's timestamp; 0 if none waits.")  # fmt: skip
IGNORED = _metric("ignored_total", Kind.COUNTER, "Deliveries of events that were ignored.", cause=(*Cause, OTHER))  # fmt: skip
RESULTS = _metric("published_results_total", Kind.COUNTER,
                  "Changes of accounts that were published to MATRIX_RESULTS_TOPIC; a second publication counts again.",
                  type=(*ChangeType, OTHER))  # fmt: skip
REJECTED = _metric("rejected_requests_total", Kind.COUNTER,
                   "Batches, and single entries of a batch, that were rejected without decoding an event; each delivery counts.",
                   cause=get_args(Refusal))  # fmt: skip
CALLS = _metric("synapse_calls_total", Kind.COUNTER,
                "Requests to Synapse, retries included.",
                operation=OPERATIONS, status=STATUSES)  # fmt: skip
CALL_SECONDS = _metric("synapse_call_seconds", Kind.HISTOGRAM,
                       "From sending a request to Synapse to the head of the response, or to the failure.", _CALLS, operation=OPERATIONS)  # fmt: skip
MAS_CALLS = _metric("mas_calls_total", Kind.COUNTER,
                    "Requests to Matrix Authentication Service, retries included.",
                    operation=MAS_OPERATIONS, status=STATUSES)  # fmt: skip
MAS_CALL_SECONDS = _metric("mas_call_seconds", Kind.HISTOGRAM,
                           "From sending a request to MAS to the head of the response, or to the failure.", _CALLS, operation=MAS_OPERATIONS)  # fmt: skip
TOKENS = _metric("token_reads_total", Kind.COUNTER,
                 "Reads of the admin token from the secret store: a new token, the refused one again, or none.", result=get_args(TokenRead))  # fmt: skip
DELETION_LIMIT = _metric("deletion_limit", Kind.GAUGE,
                         "1 while deletions go to the dead letters because MATRIX_MAX_DELETIONS_PER_HOUR is reached.")  # fmt: skip
REMOVALS = _metric("removals_total", Kind.COUNTER,
                   "Looks that removed what an erased user left behind: begun (a redaction), waits, done, or failed with something left.",
                   part=REMOVED_PARTS, result=REMOVAL_RESULTS)  # fmt: skip
RECHECKS = _metric("rechecks", Kind.GAUGE,
                   "Users who are looked at again later: after a deletion or a request in doubt, and until what an erased user left behind is removed. Every pod shows all of them.")  # fmt: skip
READY = _metric("ready", Kind.GAUGE, "0 for the dependency that makes the function not ready; only the first to fail is known.",
                dependency=DEPENDENCIES)  # fmt: skip
CONSUMING = _metric("consuming", Kind.GAUGE, "0 if consuming is switched off by `KAFKA_ENABLED` or `MATRIX_ENABLED`.")
LAG = _metric("consumer_lag", Kind.GAUGE,
              "Records that the consumer group has not committed, from Kafka itself; no series if unknown. Every pod shows all partitions.",
              unknown=True, topic=TOPICS, partition=PARTITIONS)  # fmt: skip
LAG_KNOWN = _metric("lag_known", Kind.GAUGE, "1 if Kafka told the lag; 0 if it is unavailable, or may not be asked.")
REJOINED = _metric("partitions_rejoined_total", Kind.COUNTER,
                   "Partitions that daprd had stopped reading, for which the function had it join the consumer group again.")  # fmt: skip
OPEN_LETTERS = _metric("open_dead_letters", Kind.GAUGE,
                       "Dead letters that were neither replayed nor discarded; no series if unknown. Every pod shows all of them.",
                       unknown=True, reason=OPEN_REASONS)  # fmt: skip
EXPIRES = _metric("open_dead_letter_expires_seconds", Kind.GAUGE,
                  "Until Kafka may delete the oldest open dead letter; no series if there is none, or its retention is unlimited or unknown.",
                  unknown=True)  # fmt: skip
BUILD = _metric("build_info", Kind.GAUGE, "Always 1; the label is the running version.", version=(__version__,))

METRICS = (
    EVENTS, DEAD_LETTERS, RETRIES, IGNORED, AGE, WAITING, LAST_EVENT, BATCH_RECORDS, BATCH_SECONDS, RESULTS, REJECTED, CALLS, CALL_SECONDS,
    MAS_CALLS, MAS_CALL_SECONDS, TOKENS,
    DELETION_LIMIT, REMOVALS, RECHECKS, READY, CONSUMING, LAG, LAG_KNOWN, REJOINED, OPEN_LETTERS, EXPIRES, BUILD,
)  # fmt: skip


def uncounted(_: Refusal) -> None:
    """Counts nothing: a CountRefusal for an app without metrics."""


class Metrics:
    """The metrics of one process, in a registry of their own.

    Args:
        clock: Unix time.

    Attributes:
        waiting: is told of each batch and its answers.

    Making one disables `_created` samples in the whole process, since prometheus_client has no other switch. They double the
    number of series and say when the process started, which `process_start_time_seconds` says as well.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self.waiting = Waiting(clock)
        self._registry = CollectorRegistry()
        self._made = {metric.name: made(metric, self._registry) for metric in METRICS}
        self._of_calls: dict[tuple[str, str], tuple[Any, Any]] = {}
        ProcessCollector(registry=self._registry)
        self._get(BUILD, version=__version__).set(1)

    def events(self, delivered: Mapping[Counted, int], written: Iterable[float]) -> None:
        """Counts a batch's deliveries of events.

        Args:
            delivered: the number of deliveries by type, outcome and reason.
            written: the timestamps of the records that have one, in Unix time; without events that are retried.
        """
        now = self._clock()
        for (kind, outcome, reason), count in delivered.items():
            self._get(EVENTS, type=kind, outcome=outcome).inc(count)
            if outcome == Outcome.RETRY:
                self._get(RETRIES, reason=reason or OTHER).inc(count)
                continue
            if outcome == Outcome.DEAD_LETTER:
                self._get(DEAD_LETTERS, reason=reason or OTHER).inc(count)
            self._get(LAST_EVENT).set(now)
        age = self._get(AGE)
        for at in written:
            age.observe(max(0.0, now - at))  # clocks differ

    def ignored(self, causes: Iterable[str]) -> None:
        """Counts ignored events, each by its cause."""
        for cause in causes:
            self._get(IGNORED, cause=cause).inc()

    def published(self, kind: str) -> None:
        """Counts a change of an account that was published."""
        self._get(RESULTS, type=kind).inc()

    def batch(self, records: int, seconds: float) -> None:
        self._get(BATCH_RECORDS).observe(records)
        self._get(BATCH_SECONDS).observe(seconds)

    def rejected(self, cause: Refusal) -> None:
        self.waiting.deliveries.rejected()
        self._get(REJECTED, cause=cause).inc()

    def call(self, operation: str, status: str, seconds: float) -> None:
        """Counts one request to Synapse or MAS; `status` is one of STATUSES."""
        if (operation, status) not in self._of_calls:  # the library's own look-up takes longer than to count
            of_mas = operation in MAS_OPERATIONS
            count = self._get(MAS_CALLS if of_mas else CALLS, operation=operation, status=status)
            duration = self._get(MAS_CALL_SECONDS if of_mas else CALL_SECONDS, operation=operation)
            self._of_calls[operation, status] = count, duration
        count, duration = self._of_calls[operation, status]
        count.inc()
        duration.observe(seconds)

    def token_read(self, result: TokenRead) -> None:
        self._get(TOKENS, result=result).inc()

    def deletion_limit(self, *, reached: bool) -> None:
        self._get(DELETION_LIMIT).set(reached)

    def removal(self, part: str, result: str) -> None:
        self._get(REMOVALS, part=part, result=result).inc()

    def rechecks(self, users: int) -> None:
        self._get(RECHECKS).set(users)

    def lag(self, records: Mapping[tuple[str, int], int] | None) -> None:
        """Sets the lag by topic (one of TOPICS) and partition; None if it is not known."""
        self._get(LAG_KNOWN).set(records is not None)
        summed = collections.Counter[tuple[str, ...]]()
        for (topic, partition), lag in (records or {}).items():
            summed[topic, LAG.value("partition", str(partition))] += lag
        self._unknown(LAG).values = summed

    def rejoined(self) -> None:
        self._get(REJOINED).inc()

    def open_letters(self, by_reason: Mapping[str, int] | None, expires: float | None) -> None:
        """Sets the number of open dead letters by reason, None if it is not known, and the seconds until the oldest expires."""
        summed = collections.Counter[tuple[str, ...]]()
        for reason in OPEN_REASONS if by_reason is not None else ():
            summed[reason,] = 0
        for reason, count in (by_reason or {}).items():
            summed[OPEN_LETTERS.value("reason", reason),] += count
        self._unknown(OPEN_LETTERS).values = summed
        self._unknown(EXPIRES).values = {} if expires is None else {(): expires}

    def readiness(self, failure: Reason | None, *, consuming: bool) -> None:
        """Sets the gauges of /health/ready, and that of the events that wait; `failure` is why the function is not ready."""
        self._get(WAITING).set(self.waiting.oldest_seconds(ready=failure is None))
        self._get(CONSUMING).set(consuming)
        failed = (failure.dependency or OTHER) if failure else None
        for dependency in DEPENDENCIES:
            self._get(READY, dependency=dependency).set(dependency != failed)

    def exposed(self) -> bytes:
        """Returns all metrics in Prometheus' text format (CONTENT_TYPE)."""
        return generate_latest(self._registry)

    def _unknown(self, metric: Metric) -> KnownGauge:
        return cast("KnownGauge", self._made[metric.name])

    def _get(self, metric: Metric, **labels: str) -> Any:
        found: Any = self._made[metric.name]
        return found.labels(*(metric.value(name, labels[name]) for name in metric.labels)) if labels else found
