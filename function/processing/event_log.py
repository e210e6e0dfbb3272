"""What is logged of a batch: a line for each event that changed something, waits or failed, and one for the batch."""

import logging
from collections import Counter
from collections.abc import Sequence

from function.dapr.bulk_envelope import Delivered
from function.events.decode import Event, Ignored
from function.outcomes import Rejected, TryAgain
from function.processing.results import Fate, Verdict
from function.telemetry.logs import log, logs, plain


def event_id_of(event: Event | Ignored | Rejected, record: Delivered) -> str:
    """The event's id; where it could not be decoded, what its headers say."""
    headers = record.headers
    return plain(headers.get("event_id") or headers.get("ce_id", "-") if isinstance(event, Rejected) else event.id)


def tell(
    records: Sequence[Delivered], decoded: Sequence[Event | Ignored | Rejected], verdicts: Sequence[Verdict]
) -> None:
    """A line for every event that changed something or waits or failed, and one for the batch."""
    for record, event, verdict in zip(records, decoded, verdicts, strict=True):
        level = {Fate.APPLIED: logging.INFO, Fate.DEAD_LETTER: logging.WARNING}.get(verdict.fate, logging.DEBUG)
        if not logs(level):
            continue
        failure = verdict.failure
        log(
            level,
            "event",
            outcome=verdict.fate.value,
            event_type=type(event).__name__,
            event_id=event_id_of(event, record),
            topic=record.topic,
            partition=plain(record.about("partition")),
            offset=plain(record.about("offset")),
            **({"reason": failure.reason.value, "detail": failure.detail} if failure else {}),
        )
    outcomes = Counter(verdict.fate.value for verdict in verdicts)
    waits = Counter(v.failure.reason.value for v in verdicts if isinstance(v.failure, TryAgain))
    level = logging.INFO if outcomes.keys() & {Fate.APPLIED, Fate.DEAD_LETTER, Fate.RETRY} else logging.DEBUG
    log(level, "batch", size=len(records), outcomes=dict(outcomes), **({"reason": dict(waits)} if waits else {}))
