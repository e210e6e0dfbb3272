"""Makes, fills, changes and reads topics of a real broker, and configures its clients."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dev.processes import wait_until
from dev.servers.kafka import Kafka
from function.kafka.client import client_config
from function.kafka.reader import TopicReader
from function.kafka.record import KafkaRecord
from function.kafka.spans import Span
from function.settings import CommonSettings


class Topic:
    """A topic of its own on a broker.

    Args:
        kafka: the broker.
        partitions: how many.
        config: of the topic.
        name: of the topic; one of its own by default.
    """

    def __init__(
        self, kafka: Kafka, partitions: int = 1, config: Mapping[str, str] | None = None, name: str = ""
    ) -> None:  # fmt: skip
        self.name = name or f"topic-{uuid.uuid4()}"
        self.kafka, self._partitions, self._config = kafka, partitions, dict(config or {})
        self.admin = AdminClient({"bootstrap.servers": kafka.brokers, "log_level": 0})
        self.make()

    def make(self) -> None:
        new = NewTopic(self.name, self._partitions, 1, config=self._config)
        self.admin.create_topics([new])[self.name].result(30)
        assert wait_until(self._leads, 30)

    def delete(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result(30)
        assert wait_until(lambda: self.name not in self.admin.list_topics(timeout=10).topics, 30)

    def put(
        self, *values: bytes | None, partition: int = 0, key: bytes = b"key", time: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Produces values; returns once Kafka has taken them all."""
        producer = self.producer()
        self.produce(producer, values, partition, key, time, headers)
        assert producer.flush(60) == 0

    def producer(self, **more: str) -> Producer:
        roomy = {"message.max.bytes": "4000000", "linger.ms": "5", "log_level": "0"}
        return Producer({"bootstrap.servers": self.kafka.brokers, **roomy, **more})

    def produce(
        self, producer: Producer, values: Sequence[bytes | None], partition: int = 0, key: bytes = b"key", time: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Hands the values to the producer."""
        for value in values:
            producer.produce(self.name, value, key, partition, timestamp=time, headers=dict(headers or {}))
            producer.poll(0)

    def delete_records(self, before: int, partition: int = 0) -> None:
        """Deletes the records before an offset, as the end of their retention does."""
        place = TopicPartition(self.name, partition, before)
        [future] = self.admin.delete_records([place]).values()
        future.result(30)

    def _leads(self) -> bool:
        found = self.admin.list_topics(self.name, timeout=10).topics[self.name]
        return len(found.partitions) == self._partitions and all(one.leader >= 0 for one in found.partitions.values())


def config_of(brokers: str, properties: Path | None = None) -> dict[str, str]:
    return client_config(
        CommonSettings.model_construct(kafka_brokers=brokers, kafka_client_config=str(properties or ""))
    )


def numbers(*bounds: int) -> list[bytes]:
    return [str(number).encode() for number in range(*bounds)]


def everything(reader: TopicReader, spans: list[Span]) -> list[KafkaRecord]:
    return [record for batch in reader.batches(spans) for record in batch]


def values(records: list[KafkaRecord]) -> list[bytes]:
    return [record.value for record in records]
