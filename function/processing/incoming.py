"""Decodes a Kafka record as it comes in: with the latest time that its event may have. Pure."""

from datetime import UTC, datetime

from function.events.decode import FUTURE_BOUND, decode
from function.events.types import Decoded
from function.kafka.record import KafkaRecord


def decode_record(record: KafkaRecord, now: datetime) -> Decoded:
    """Returns the record's event, or why there is none."""
    return decode(record.value, record.headers, latest=latest_time(record, now))


def latest_time(record: KafkaRecord, now: datetime) -> datetime:
    """Returns the latest time that an event in the record may have: neither its Kafka time nor `now` is far before it."""
    written = written_at(record)
    return (now if written <= now.timestamp() else datetime.fromtimestamp(written, UTC)) + FUTURE_BOUND


def written_at(record: KafkaRecord) -> float:
    """Returns the record's timestamp in Unix time, as the producer or Kafka set it; 0 if there is none."""
    text = record.kafka_field("timestamp")
    return int(text) / 1000 if text.isdecimal() and len(text) < 15 else 0.0
