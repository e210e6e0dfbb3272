"""Publishes a record that can't succeed to the dead-letter topic, as it came, with the reason."""

from datetime import datetime

from function import __version__
from function.clock import utc_now
from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.pubsub import Publisher, headers_of
from function.outcomes import Rejected
from function.settings import REPLAY_SUFFIX

PREFIX = "x-dead-letter-"
REASON, DETAIL, TIME = PREFIX + "reason", PREFIX + "detail", PREFIX + "time"
TOPIC, PARTITION, OFFSET, TIMESTAMP = (PREFIX + name for name in ("topic", "partition", "offset", "timestamp"))
EVENT_ID, REPLAYS, VERSION = PREFIX + "event-id", PREFIX + "replays", PREFIX + "version"
IDS = PREFIX + "ids"


class DeadLetters:
    """Publishes to one dead-letter topic.

    Args:
        publisher: of the component that the topic belongs to.
        topic: the dead-letter topic.
    """

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher, self._topic = publisher, topic

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        """Publishes the record's bytes, key and headers with the reason. Raises TryAgain when Kafka did not take it."""
        headers = letter(record, rejected, event_id, utc_now())
        await self._publisher.publish(self._topic, record, headers, headers.get(PARTITION, ""))


def letter(record: KafkaRecord, rejected: Rejected, event_id: str, now: datetime) -> dict[str, str]:
    """The dead letter's headers. Where a replayed record fails again, its first origin and its count stay; on any other
    record such headers are a stranger's, and go."""
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
    if rejected.ids:
        own[IDS] = rejected.ids
    return origin(record) | kept | own


def origin(record: KafkaRecord) -> dict[str, str]:
    """Where a record lies, as a dead letter's headers, and that it was never replayed."""
    places = {
        PREFIX + n: record.dapr_metadata(n) for n in ("partition", "offset", "timestamp") if record.dapr_metadata(n)
    }
    return {REPLAYS: "0", TOPIC: record.topic} | places
