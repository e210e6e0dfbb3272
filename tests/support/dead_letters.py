"""Dead letters for unit tests."""

from collections.abc import Mapping

from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.publish import DETAIL, EVENT_ID, OFFSET, PARTITION, REASON, REPLAYS, TIME, TOPIC, VERSION
from function.kafka.record import KafkaRecord
from tests.support.events import ALICE

DEAD = "nova.identity.events.matrix.dead"
POSITION = {"__partition": "3", "__offset": "17", "__timestamp": "1762000000000", "__key": ALICE}
HEADERS = {
    REASON: "synapse_error", DETAIL: "500", TIME: "2026-01-31T03:00:00+00:00", EVENT_ID: "e-1", REPLAYS: "2",
    TOPIC: "nova.identity.events", PARTITION: "5", OFFSET: "9", VERSION: "0.1.0",
    "event_type": "UserProfileUpdatedEvent",
}  # fmt: skip


def letter(headers: Mapping[str, str] | None = None, *, topic: str = DEAD, value: bytes = b"{}") -> DeadLetter:
    """Returns a dead letter with HEADERS, some of them replaced."""
    return read_letter(KafkaRecord(value, topic, POSITION | HEADERS | dict(headers or {})))
