"""Selects dead letters by reason, event type, user, time and offset. Pure."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from function.dead_letters.letter import DeadLetter
from function.events.decode import user_of
from function.kafka.record import KafkaRecord


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Matches a letter that meets every criterion given; without any, matches all letters.

    Args:
        reasons: any of these reasons.
        types: any of these event types, with or without `identity.user.`.
        user: the user's UUID in lower case, as the record's key or in its payload.
        since: from this time on.
        until: before this time.
        offsets: first offset by partition; letters of other partitions do not match.
    """

    reasons: AbstractSet[str] = frozenset()
    types: AbstractSet[str] = frozenset()
    user: str = ""
    since: datetime | None = None
    until: datetime | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)

    def matches(self, letter: DeadLetter) -> bool:
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.types and self.types.isdisjoint({letter.event_type, letter.event_type.rpartition(".")[2]}):
            return False
        if (self.since and letter.at < self.since) or (self.until and letter.at >= self.until):
            return False
        if self.offsets and not self._at_or_after_offset(letter.record):
            return False
        return not self.user or self._of_user(letter.record)

    def _at_or_after_offset(self, record: KafkaRecord) -> bool:
        first = self.offsets.get(record.kafka_field("partition"))
        return first is not None and int(record.kafka_field("offset")) >= first

    def _of_user(self, record: KafkaRecord) -> bool:
        return self.user in {record.kafka_field("key").lower(), user_of(record.value, record.headers)}
