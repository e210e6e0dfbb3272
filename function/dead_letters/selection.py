"""Decides which letters a replay or a discard concerns. Pure."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter
from function.dead_letters.marks import Mark, Place, place_of
from function.kafka.record import KafkaRecord
from function.kafka.spans import Span
from function.kafka.stream import TopicStream

_PLACE = re.compile(r"(\d{1,9}):(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are concerned: those that match the filter and are open.

    Args:
        wanted: the filter.
        places: only these letters, and these also if they were replayed or discarded.
        again: also letters that were replayed before.
        since: from this Kafka time on.
        offsets: only these partitions, from these offsets on.
        ends: only these partitions, before these offsets: what a person saw and agreed to.
    """

    wanted: DeadLetterFilter = field(default_factory=DeadLetterFilter)
    places: AbstractSet[Place] = frozenset()
    again: bool = False
    since: datetime | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)
    ends: Mapping[int, int] | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it."""
        return not (self.places or self.since or self.offsets) and self.wanted == DeadLetterFilter()

    def matches(self, letter: DeadLetter) -> bool:
        """Returns whether the letter is meant, open or not."""
        return (not self.places or place_of(letter.record) in self.places) and self.wanted.matches(letter)

    def is_open(self, mark: Mark | None) -> bool:
        """Returns whether a letter that matches is concerned, with what was done about it before."""
        return mark is None or bool(self.places) or (self.again and not mark.discarded)

    async def spans(self, stream: TopicStream) -> list[Span]:
        """Asks Kafka which part of the topic has to be read: of letters that are named, nothing else.

        Raises:
            TryAgain: Kafka does not answer.
            NoPartition: a partition that is named is not there.
        """
        if not self.places:
            found = await stream.spans(self.since, self.offsets, self.offsets or None)
            return found if self.ends is None else [_before(span, self.ends.get(span.partition, 0)) for span in found]
        bounds = {span.partition: span for span in await stream.spans(only={number for number, _ in self.places})}
        return [
            Span(number, offset, offset + 1)
            for number, offset in sorted(self.places)
            if bounds[number].start <= offset < bounds[number].end
        ]

    async def batches(self, stream: TopicStream, spans: Sequence[Span]) -> AsyncIterator[list[KafkaRecord]]:
        """Yields the records of the spans; letters that are named one by one. Raises CutShort."""
        for some in [[span] for span in spans] if self.places else [spans]:
            async for batch in stream.batches(some):
                yield batch


def read_places(texts: Sequence[str]) -> list[Place]:
    """Reads places: each text has one or several PARTITION:OFFSET, separated by commas. Raises ValueError."""
    places = []
    for text in (part.strip() for one in texts for part in one.split(",")):
        if not (found := _PLACE.fullmatch(text)):
            raise ValueError(f"{text!r} is no place; expected a partition and an offset, such as 3:17")
        places.append((int(found[1]), int(found[2])))
    return places


def _before(span: Span, end: int) -> Span:
    return Span(span.partition, min(span.start, end), min(span.end, end))
