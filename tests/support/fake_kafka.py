"""Fakes Kafka's topics for the command-line tools, in memory: published records can be read again."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from function.dapr.pubsub import Publisher
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, NoPartition, Span
from function.kafka.stream import TopicStream
from function.outcomes import Reason, TryAgain


@dataclass
class FakeTopics(Publisher):
    """Records by topic, each with its partition and offset.

    Switches:
        full: the topics that accept no record.
        refused: the keys whose records are not accepted.
    """

    records: dict[str, list[KafkaRecord]] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    time: int = 1_000

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        if topic in self.full or record.kafka_field("key") in self.refused:
            raise TryAgain(Reason.PUBLISH_FAILED, topic)
        self.put(topic, record.value, {**headers, "__key": record.kafka_field("key")}, partition or "0")

    def put(self, topic: str, value: bytes, metadata: Mapping[str, str], partition: str = "0") -> KafkaRecord:
        known = self.records.setdefault(topic, [])
        offset = sum(record.kafka_field("partition") == partition for record in known)
        self.time += 1
        place = {"__partition": partition, "__offset": str(offset), "__timestamp": str(self.time)}
        known.append(KafkaRecord(value, topic, dict(metadata) | place))
        return known[-1]

    def ids(self, topic: str) -> list[str]:
        return [record.headers["event_id"] for record in self.records.get(topic, [])]

    def stream(self, topic: str, batch: int = 100) -> "FakeStream":
        return FakeStream(self, topic, batch)


class FakeStream(TopicStream):
    """Reads a topic as TopicStream does.

    Args:
        topics: holds the records.
        topic: the topic to read.
        batch: how many records a batch has.

    Switches:
        cut_after: the read is cut short after this number of batches.
        down: Kafka does not answer.
    """

    def __init__(self, topics: FakeTopics, topic: str, batch: int) -> None:
        self._topics, self._topic, self._size = topics, topic, batch
        self.cut_after: int | None = None
        self.down = False

    @property
    def gone(self) -> int:
        return 0

    async def spans(
        self, since: datetime | None = None, offsets: Mapping[int, int] | None = None, only: Collection[int] | None = None
    ) -> list[Span]:  # fmt: skip
        if self.down:
            raise TryAgain(Reason.KAFKA_UNAVAILABLE, "TRANSPORT")
        ends: dict[int, int] = {0: 0}
        for record in self._topics.records.get(self._topic, []):
            number = int(record.kafka_field("partition"))
            ends[number] = ends.get(number, 0) + 1
        if missing := ({*(offsets or ()), *(only or ())} - set(ends)):
            raise NoPartition(min(missing), len(ends))
        starts = {number: self._start(number, since) for number in ends} | dict(offsets or {})
        return [Span(number, min(starts.get(number, 0), end), end)
                for number, end in sorted(ends.items()) if only is None or number in only]  # fmt: skip

    def _start(self, number: int, since: datetime | None) -> int:
        mine = [r for r in self._topics.records.get(self._topic, []) if int(r.kafka_field("partition")) == number]
        late = [r for r in mine if since and int(r.kafka_field("timestamp")) < since.timestamp() * 1000]
        return len(late)

    async def batches(self, spans: Sequence[Span]) -> AsyncIterator[list[KafkaRecord]]:
        bounds = {span.partition: (span.start, span.end) for span in spans}
        wanted = []
        for record in list(self._topics.records.get(self._topic, [])):
            start, end = bounds.get(int(record.kafka_field("partition")), (0, 0))
            if start <= int(record.kafka_field("offset")) < end:
                wanted.append(record)
        for number, first in enumerate(range(0, len(wanted), self._size)):
            if number == self.cut_after:
                raise CutShort(spans, "TRANSPORT")
            yield wanted[first : first + self._size]
