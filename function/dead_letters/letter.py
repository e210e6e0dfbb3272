"""A dead letter as a person asks about it: why, which type, whose, since when, from where. Pure; moves nothing.

A record of the main topic, which `replay --from events` reads, is looked at in the same way; it has no reason.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime

from function.dapr.bulk_envelope import KafkaRecord
from function.dead_letters.publish import DETAIL, EVENT_ID, OFFSET, PARTITION, REASON, REPLAYS, TIME, TOPIC, VERSION
from function.events.decode import type_of, user_of
from function.outcomes import Reason
from function.settings import DEAD_SUFFIX
from function.telemetry.logs import plain


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the headers say, or daprd where they say nothing.

    `place` is partition and offset in the topic that was read, such as "3:17"; `origin` the same of the record that
    failed, "" where nobody wrote it down. `replays` counts how often it was replayed before.
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
    """Never fails: a letter with nonsense in its headers is a letter all the same."""
    headers = record.headers
    if record.topic.endswith(DEAD_SUFFIX):
        by_daprd, count = Reason.DELIVERY.value, headers.get(REPLAYS, "")
    else:
        by_daprd, count = "", ""  # such a header on a record of the main topic is a stranger's
    origin = ":".join(plain(headers[name]) for name in (TOPIC, PARTITION, OFFSET) if name in headers)
    return DeadLetter(
        record=record,
        place=f"{record.dapr_metadata('partition')}:{record.dapr_metadata('offset')}",
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
        milliseconds = record.dapr_metadata("timestamp")
        return datetime.fromtimestamp(int(milliseconds) / 1000 if milliseconds.isdecimal() else 0, UTC)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which letters: all that are named, or all where none is. `types` may leave out `identity.user.`; `user` is a
    lower-case UUID; `since` is within, `until` is not; `offsets` are the first offsets by partition, of no others."""

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
        if self.offsets and not self._is_behind(letter.record):
            return False
        return not self.user or self._of_user(letter.record)

    def _is_behind(self, record: KafkaRecord) -> bool:
        first = self.offsets.get(record.dapr_metadata("partition"))
        return first is not None and int(record.dapr_metadata("offset")) >= first

    def _of_user(self, record: KafkaRecord) -> bool:
        return self.user in {record.dapr_metadata("key").lower(), user_of(record.value, record.headers)}
