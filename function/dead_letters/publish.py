"""Publishes rejected records to the dead-letter topic, unchanged, with the reason in the headers."""

from collections.abc import Mapping
from datetime import datetime

from function import __version__
from function.clock import utc_now
from function.dapr.pubsub import Publisher, headers_of
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, Rejected
from function.settings import REPLAY_SUFFIX

PREFIX = "x-dead-letter-"
REASON, DETAIL, TIME = PREFIX + "reason", PREFIX + "detail", PREFIX + "time"
TOPIC, PARTITION, OFFSET, TIMESTAMP = (PREFIX + name for name in ("topic", "partition", "offset", "timestamp"))
EVENT_ID, REPLAYS, VERSION = PREFIX + "event-id", PREFIX + "replays", PREFIX + "version"
IDS = PREFIX + "ids"


class DeadLetters:
    """Publishes to one dead-letter topic.

    Args:
        publisher: publishes through the topic's pub/sub component.
        topic: the dead-letter topic.
    """

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher, self._topic = publisher, topic

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        """Publishes the record's bytes, key and headers with the reason. Raises TryAgain if publishing fails."""
        headers = letter_headers(record, rejected, event_id, utc_now())
        await self._publisher.publish(self._topic, record, headers, headers.get(PARTITION, ""))


def letter_headers(record: KafkaRecord, rejected: Rejected, event_id: str, now: datetime) -> dict[str, str]:
    """Returns the dead letter's headers.

    A replayed record that fails again keeps its first origin and its replay count; if the deletion limit held it back, the
    replay did not fail and does not count. On any other record the producer wrote these headers: they are dropped.
    """
    kept = {name: text for name, text in headers_of(record).items() if name != IDS}
    if not record.topic.endswith(REPLAY_SUFFIX):
        kept = {name: text for name, text in kept.items() if not name.lower().startswith(PREFIX)}
    own = {
        REASON: rejected.reason.value,
        DETAIL: rejected.detail,
        TIME: now.isoformat(timespec="seconds"),
        EVENT_ID: event_id,
        VERSION: __version__,
    }
    if rejected.reason is Reason.DELETION_LIMIT:
        own[REPLAYS] = str(max(0, replays(kept) - 1))
    if rejected.ids:
        own[IDS] = rejected.ids
    return origin(record) | kept | own


def replays(headers: Mapping[str, str]) -> int:
    """Returns the replay count in the headers; 0 if it is missing or no count."""
    count = headers.get(REPLAYS, "")
    return int(count) if count.isdecimal() and len(count) < 10 else 0


def origin(record: KafkaRecord) -> dict[str, str]:
    """Returns the headers of a record that was never replayed: topic, partition, offset, timestamp, replay count 0."""
    places = {PREFIX + n: record.kafka_field(n) for n in ("partition", "offset", "timestamp") if record.kafka_field(n)}
    return {REPLAYS: "0", TOPIC: record.topic} | places
