"""Reads a dead letter's fields from a record: reason, event type, origin, time. Pure.

Also reads records of the main topic, for `replay --from events`; those have no reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from function.dead_letters.publish import DETAIL, EVENT_ID, OFFSET, PARTITION, REASON, TOPIC, VERSION, replays
from function.events.decode import type_of
from function.events.type_names import UNUSED_TYPES
from function.events.types import TYPES, EventType
from function.kafka.record import KafkaRecord
from function.outcomes import Reason
from function.settings import DEAD_SUFFIX, REPLAY_SUFFIX
from function.telemetry.logs import plain

UNKNOWN = "unknown"  # a reason that this version does not know; a type that is not of the identity service
KNOWN_TYPES = frozenset(EventType) | UNUSED_TYPES
_REASONS = frozenset(Reason)
_BY_DAPRD = Reason.DAPR_RETRIES_EXHAUSTED.value
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253402300799999  # milliseconds: the end of the year 9999


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter's fields. None is older than a letter's own headers, which a producer can't write.

    Attributes:
        record: as Kafka's own client read it.
        reason: why it was rejected; `unknown` if this version does not know the reason, "" on the main topic.
        own: the headers that the function wrote; of a letter that daprd wrote those of its replay, if it is one.
        daprd: the headers in which daprd wrote the origin of a letter of its own: topic, partition, offset.
    """

    record: KafkaRecord
    reason: str
    own: Mapping[str, str]
    daprd: Mapping[str, str]

    @cached_property
    def place(self) -> str:
        """Partition and offset in the topic that was read, for example "3:17"."""
        return f"{self.record.kafka_field('partition')}:{self.record.kafka_field('offset')}"

    @property
    def milliseconds(self) -> int:
        """Kafka's timestamp of the record."""
        text = self.record.kafka_field("timestamp")
        return min(int(text), _LAST) if text.isdecimal() else 0

    @property
    def at(self) -> datetime:
        """Kafka's timestamp of the record."""
        return _EPOCH + timedelta(milliseconds=self.milliseconds)

    @cached_property
    def type_text(self) -> str:
        """The event type as the record names it; a handled type under its current name. A producer can write anything."""
        headers = self.record.headers
        kind = TYPES.get(headers.get("event_type", ""))
        if kind and "ce_type" not in headers and b"specversion" not in self.record.value:
            return kind.value  # as most records; saves parsing the value
        return type_of(self.record.value, headers)

    @property
    def event_type(self) -> str:
        """The type under its current name; `unknown` for each that is not of the identity service."""
        return self.type_text if self.type_text in KNOWN_TYPES else UNKNOWN

    @property
    def detail(self) -> str:
        return self.own.get(DETAIL, "") if self.reason != _BY_DAPRD else ""

    @property
    def event_id(self) -> str:
        headers = self.record.headers
        return self.own.get(EVENT_ID) or headers.get("event_id") or headers.get("ce_id") or "-"

    @property
    def replays(self) -> int:
        """How many times the event was replayed before this letter was written."""
        return replays(self.own)

    @property
    def origin(self) -> str:
        """Topic, partition and offset of the record that failed; "" if unknown."""
        first = [plain(self.own[name]) for name in (TOPIC, PARTITION, OFFSET) if name in self.own]
        return ":".join(first or [plain(text) for text in self.daprd.values()])

    @property
    def version(self) -> str:
        return plain(self.own.get(VERSION, "-"))


def read_letter(record: KafkaRecord) -> DeadLetter:
    """Returns the dead letter of a record. Never fails: letters with malformed headers can be listed and replayed too.

    daprd copies the headers of the record that it gives up on. Ours are among them only if that was a replayed record.
    """
    headers = record.headers
    if not record.topic.endswith(DEAD_SUFFIX):
        return DeadLetter(record, "", {}, {})
    daprd = {n: t for n in ("topic", "partition", "offset") if (t := record.metadata.get(f"___{n}")) is not None}
    if not daprd and (reason := headers.get(REASON)) is not None:
        return DeadLetter(record, reason if reason in _REASONS else UNKNOWN, headers, daprd)
    replayed = daprd.get("topic", "").endswith(REPLAY_SUFFIX)
    return DeadLetter(record, _BY_DAPRD, headers if replayed else {}, daprd)
