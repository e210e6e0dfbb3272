"""Reads a dead letter's fields from a record: reason, event type, origin, time. Pure.

Also reads records of the main topic, for `replay --from events`; those have no reason.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from function.dead_letters.publish import DETAIL, EVENT_ID, OFFSET, PARTITION, REASON, REPLAYS, TIME, TOPIC, VERSION
from function.events.decode import type_of
from function.kafka.record import KafkaRecord
from function.outcomes import Reason
from function.settings import DEAD_SUFFIX
from function.telemetry.logs import plain


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter's fields, from its headers or, if missing, from daprd's metadata.

    `place` is partition and offset in the topic that was read, for example "3:17". `origin` is topic, partition and
    offset of the record that failed, "" if unknown. `replays` counts earlier replays.
    """

    record: KafkaRecord
    place: str
    reason: str
    detail: str
    event_type: str
    event_id: str
    at: datetime
    replays: int
    origin: str
    version: str


def read_letter(record: KafkaRecord) -> DeadLetter:
    """Returns the dead letter of a record. Never fails: letters with malformed headers can be listed and replayed too."""
    headers = record.headers
    if record.topic.endswith(DEAD_SUFFIX):
        by_daprd, count = Reason.DAPR_RETRIES_EXHAUSTED.value, headers.get(REPLAYS, "")
    else:
        by_daprd, count = "", ""  # on the main topic the producer may have written such a header
    origin = ":".join(plain(headers[name]) for name in (TOPIC, PARTITION, OFFSET) if name in headers)
    return DeadLetter(
        record=record,
        place=f"{record.kafka_field('partition')}:{record.kafka_field('offset')}",
        reason=plain(headers.get(REASON, by_daprd)),
        detail=headers.get(DETAIL, ""),
        event_type=plain(type_of(record.value, headers)),
        event_id=plain(headers.get(EVENT_ID) or headers.get("event_id") or headers.get("ce_id", "-")),
        at=_time(record, headers.get(TIME, "")),
        replays=int(count) if count.isdecimal() and len(count) < 10 else 0,
        origin=origin,
        version=plain(headers.get(VERSION, "-")),
    )


def _time(record: KafkaRecord, written: str) -> datetime:
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        milliseconds = record.kafka_field("timestamp")
        return datetime.fromtimestamp(int(milliseconds) / 1000 if milliseconds.isdecimal() else 0, UTC)
