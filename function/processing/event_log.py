"""Logs a batch: a line for each event that changed something, waits or failed, and one for the batch."""

import logging
from collections import Counter
from collections.abc import Sequence

from function.outcomes import Outcome, Rejected, TryAgain
from function.processing.user import Item
from function.telemetry.logs import log, logs, plain

_LEVELS = {Outcome.APPLIED: logging.INFO, Outcome.DEAD_LETTER: logging.WARNING}


def event_id_of(item: Item) -> str:
    """Returns the event's id; if it could not be decoded, the id in its headers."""
    if not isinstance(item.event, Rejected):
        return plain(item.event.id)
    headers = item.record.headers
    return plain(headers.get("event_id") or headers.get("ce_id", "-"))


def log_batch(items: Sequence[Item]) -> None:
    """Logs a line for each event that changed something, waits or failed, and one for the batch."""
    results = [item.result for item in items if item.result]
    for item in items:
        _log_event(item)
    outcomes = Counter(result.outcome for result in results)
    waits = Counter(result.failure.reason.value for result in results if isinstance(result.failure, TryAgain))
    level = logging.INFO if outcomes.keys() & {Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.RETRY} else logging.DEBUG
    log(level, "batch", size=len(items), outcomes=dict(outcomes), **({"reason": dict(waits)} if waits else {}))


def _log_event(item: Item) -> None:
    result = item.result
    if result is None:
        return
    level = _LEVELS.get(result.outcome, logging.DEBUG)
    if not logs(level):
        return
    failure = result.failure
    log(
        level,
        "event",
        outcome=result.outcome.value,
        event_type=type(item.event).__name__,
        event_id=event_id_of(item),
        topic=item.record.topic,
        partition=plain(item.record.kafka_field("partition")),
        offset=plain(item.record.kafka_field("offset")),
        **({"reason": failure.reason.value, "detail": failure.detail} if failure else {}),
    )
