"""Fakes Kafka's topics for the command-line tools, in memory: published records can be read again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from function.dapr.pubsub import Publisher
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain


@dataclass
class FakeTopics(Publisher):
    """Records by topic, each with its partition and offset. `full` names the topics that accept no record."""

    records: dict[str, list[KafkaRecord]] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    time: int = 1_000

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        if topic in self.full:
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
