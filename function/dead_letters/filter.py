"""Selects dead letters by reason, event type, user and time. Pure."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from function.dead_letters.letter import DeadLetter
from function.events.decode import user_of
from function.kafka.record import KafkaRecord


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Matches a letter that meets every criterion given; without any, matches all letters.

    Args:
        reasons: any of these reasons.
        types: any of these event types, as letters have them, or `=` and the text that the record itself has.
        user: the user's UUID in lower case, as the record's key or in its payload.
        since: from this Kafka time on.
        until: before this Kafka time.
    """

    reasons: AbstractSet[str] = frozenset()
    types: AbstractSet[str] = frozenset()
    user: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, letter: DeadLetter) -> bool:
        if self.reasons and letter.reason not in self.reasons:
            return False
        if (self.since and letter.at < self.since) or (self.until and letter.at >= self.until):
            return False
        if self.types and letter.event_type not in self.types and f"={letter.type_text}" not in self.types:
            return False
        return not self.user or self._of_user(letter.record)

    def _of_user(self, record: KafkaRecord) -> bool:
        return self.user in {record.kafka_field("key").lower(), user_of(record.value, record.headers)}
