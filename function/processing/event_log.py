"""Logs a batch: a line for each event that changed something, waits or failed, and one for the batch."""

import logging
from collections import Counter
from collections.abc import Sequence

from function.dapr.bulk_envelope import KafkaRecord
from function.events.types import Event, Ignored
from function.outcomes import EventResult, Outcome, Rejected, TryAgain
from function.telemetry.logs import log, logs, plain


def event_id_of(event: Event | Ignored | Rejected, record: KafkaRecord) -> str:
    """Returns the event's id; if it could not be decoded, the id in its headers."""
    headers = record.headers
    return plain(headers.get("event_id") or headers.get("ce_id", "-") if isinstance(event, Rejected) else event.id)


def log_batch(
    records: Sequence[KafkaRecord], decoded: Sequence[Event | Ignored | Rejected], results: Sequence[EventResult]
) -> None:
    """Logs a line for each event that changed something, waits or failed, and one for the batch."""
    for record, event, result in zip(records, decoded, results, strict=True):
        level = {Outcome.APPLIED: logging.INFO, Outcome.DEAD_LETTER: logging.WARNING}.get(result.outcome, logging.DEBUG)
        if not logs(level):
            continue
        failure = result.failure
        log(
            level,
            "event",
            outcome=result.outcome.value,
            event_type=type(event).__name__,
            event_id=event_id_of(event, record),
            topic=record.topic,
            partition=plain(record.dapr_metadata("partition")),
            offset=plain(record.dapr_metadata("offset")),
            **({"reason": failure.reason.value, "detail": failure.detail} if failure else {}),
        )
    outcomes = Counter(result.outcome.value for result in results)
    waits = Counter(v.failure.reason.value for v in results if isinstance(v.failure, TryAgain))
    level = logging.INFO if outcomes.keys() & {Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.RETRY} else logging.DEBUG
    log(level, "batch", size=len(records), outcomes=dict(outcomes), **({"reason": dict(waits)} if waits else {}))
