"""Reads a topic with Kafka's own client: from a start to the end that the topic had when it was asked. Joins no group."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from function.kafka.client import SILENT, ClientConfig, asking_kafka, error_name
from function.kafka.record import KafkaRecord, record_from

BATCH = 500  # records; a few milliseconds of work
POLL_SECONDS = 0.5  # between two looks at the deadline
SILENT_SECONDS = 30.0  # without a record and without an end, after which a read is cut short
NO_GROUP = "matrix-account-sync-reads-without-a-group"  # librdkafka wants a name; nothing joins or commits under it


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets of one partition that are read: from `start` up to, but not including, `end`."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CutShort(Exception):
    """A read ended before the end of the topic: `offset` is the first one of `partition` that was not read."""

    partition: int
    offset: int
    end: int
    why: str

    def __str__(self) -> str:
        return f"partition {self.partition} was read up to offset {self.offset} of {self.end}: {self.why}"


class TopicReader:
    """Reads one topic; use it as a context manager. Every method blocks: call it in a thread.

    Args:
        config: from `client_config`.
        topic: the topic.
        silent_seconds: without a record and without an end, after which a read is cut short.
        clock: monotonic seconds.
    """

    def __init__(
        self, config: ClientConfig, topic: str, silent_seconds: float = SILENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._topic, self._silent, self._clock = topic, silent_seconds, clock
        self._consumer = Consumer({**config, "group.id": NO_GROUP, "enable.partition.eof": True}, logger=SILENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def spans(self, since: datetime | None = None, offsets: Mapping[int, int] | None = None) -> list[Span]:
        """Asks Kafka for the beginning and the end of each partition.

        Args:
            since: start at the first record with this Kafka timestamp or a later one.
            offsets: the first offset by partition; other partitions are left out.

        Raises:
            TryAgain: Kafka does not answer, has no such topic, or refuses the client.
        """
        with asking_kafka():
            partitions = self._partitions() if offsets is None else sorted(offsets)
            bounds = {
                number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=self._silent)
                for number in partitions
            }
            starts = self._starts(partitions, since)
        spans = []
        for number, (low, high) in bounds.items():
            start = max(low, starts.get(number, low), (offsets or {}).get(number, low))
            spans.append(Span(number, min(start, high), high))
        return spans

    def batches(self, spans: Sequence[Span]) -> Iterator[list[KafkaRecord]]:
        """Yields the records of the spans in batches; within a partition in the order of their offsets.

        Raises:
            CutShort: Kafka went away, refused, or fell silent before the end.
        """
        left = {span.partition: span for span in spans if span.start < span.end}
        if not left:
            return
        with self._cutting_short(left):
            self._consumer.assign([TopicPartition(self._topic, s.partition, s.start) for s in left.values()])
        heard = self._clock()
        while left:
            with self._cutting_short(left):
                messages = self._consumer.consume(BATCH, POLL_SECONDS)
            records = [record for message in messages if (record := self._take(message, left))]
            if records:
                yield records
            if messages:
                heard = self._clock()  # after the yield: a caller that takes its time is not Kafka's silence
            elif self._clock() - heard >= self._silent:
                raise _cut(left, f"no answer from Kafka for {self._silent:.0f} s")

    def _take(self, message: Message, left: dict[int, Span]) -> KafkaRecord | None:
        """Returns the message's record if it is wanted, and moves its partition on."""
        number, error = message.partition(), message.error()
        span = left.get(number) if number is not None else None
        if error and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name
            raise _cut(left, error_name(error), number)
        if span is None:
            return None
        offset = message.offset() or 0
        following = offset if error else offset + 1
        record = None if error or offset >= span.end else _record(message)
        if following >= span.end:
            del left[span.partition]
            self._consumer.incremental_unassign([TopicPartition(self._topic, span.partition)])
        else:
            left[span.partition] = Span(span.partition, following, span.end)
        return record

    def _partitions(self) -> list[int]:
        found = self._consumer.list_topics(self._topic, timeout=self._silent).topics[self._topic]
        if found.error:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _starts(self, partitions: Sequence[int], since: datetime | None) -> dict[int, int]:
        if since is None:
            return {}
        milliseconds = int(since.timestamp() * 1000)
        asked = [TopicPartition(self._topic, number, milliseconds) for number in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=self._silent)
        for place in found:
            if place.error:
                raise KafkaException(place.error)
        # -1: no record is that late; the highest offset leaves nothing to read.
        return {place.partition: place.offset if place.offset >= 0 else 2**62 for place in found}

    @contextlib.contextmanager
    def _cutting_short(self, left: Mapping[int, Span]) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise _cut(left, error_name(error.args[0])) from None


def _cut(left: Mapping[int, Span], why: str, partition: int | None = None) -> CutShort:
    span = left.get(partition) if partition is not None else None
    span = span or next(iter(left.values()))
    return CutShort(span.partition, span.start, span.end, why)


def _record(message: Message) -> KafkaRecord:
    _, milliseconds = message.timestamp()
    return record_from(
        message.topic() or "", message.partition() or 0, message.offset() or 0, milliseconds, message.key(),
        message.value(), cast("list[tuple[str, bytes | None]]", message.headers() or []),
    )  # fmt: skip
