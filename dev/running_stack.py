"""Runs daprd and the function on a local stack and sends records through them, for tests, benchmarks and the dashboard's picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from dev.identity_events import ProducerRecord
from dev.processes import StackError, wait_until
from dev.servers.daprd import COMPONENTS, FunctionProcess, Sidecar
from dev.servers.kafka import TOPIC, TOPICS
from dev.servers.synapse import SERVER_NAME
from dev.stack import Stack

REPLAY_TOPIC = TOPICS[2]
BY_KEY = -1  # the producer chooses the partition by the key


def mxid(user_id: str) -> str:
    return f"@nova-{user_id}:{SERVER_NAME}"


class RunningStack:
    """A stack with daprd and the function on it.

    Args:
        stack: started by the caller.
        folder: for logs and pid files.
        environment: overrides the stack's.
        module: started with `python -m` as the function.
        components: folder of daprd's components.
    """

    def __init__(
        self, stack: Stack, folder: Path, environment: Mapping[str, str] | None = None, *,
        module: str = "function", components: Path = COMPONENTS,
    ) -> None:  # fmt: skip
        self.stack = stack
        self.environment = stack.env() | {"LOG_LEVEL": "DEBUG"} | dict(environment or {})
        # As pods have: the watchdog knows its own members of the group by it.
        self.environment.setdefault("KAFKA_CLIENT_ID", f"matrix-account-sync-{self.environment['APP_PORT']}")
        self.function = FunctionProcess(self.environment, folder, module)
        self.sidecar = Sidecar(self.environment, folder, components)
        self.brokers = self.environment["KAFKA_BROKERS"]
        self._producer = Producer(
            {"bootstrap.servers": self.brokers, "linger.ms": 5, "message.max.bytes": 1_048_588, "log_level": 0}
        )

    def start(self) -> None:
        self.function.start()
        self.sidecar.start()

    def stop(self) -> None:
        self.sidecar.stop()
        self.function.stop()

    def create(self, *user_ids: str, name: str = "before") -> None:
        """Creates the users' Matrix accounts."""
        for user_id in user_ids:
            self.stack.create_account(f"nova-{user_id}", name)

    def account(self, user_id: str) -> dict[str, Any] | None:
        """Returns the user as Synapse's admin API shows it now."""
        return self.stack.account(mxid(user_id))

    def send(self, *records: ProducerRecord, partition: int = BY_KEY) -> None:
        """Produces the records; returns once Kafka has taken them all."""
        for record in records:
            self._producer.produce(record.topic, record.value, record.user_id, partition, headers=dict(record.headers))
            self._producer.poll(0)
        if self._producer.flush(30):
            raise StackError("Kafka did not take every record within 30 s")

    def settle(self, seconds: float = 90.0) -> None:
        """Waits until the consumer group has committed everything that the topics hold."""
        if not wait_until(self._caught_up, seconds):
            raise StackError(f"the consumer group did not commit all records within {seconds:.0f} s")

    def _caught_up(self) -> bool:
        try:
            return self.lag() == 0
        except KafkaException:  # the broker is down or has just come back
            return False

    def lag(self) -> int:
        """Returns the number of records of the main and the replay topic that the group has not committed."""
        consumer = self.consumer(self.environment["KAFKA_CONSUMER_GROUP_ID"])  # asks about the group, does not join it
        lag = 0
        for topic in (TOPIC, REPLAY_TOPIC):
            for committed in consumer.committed(partitions_of(consumer, topic), timeout=10):
                low, high = consumer.get_watermark_offsets(committed, timeout=10)
                lag += high - max(committed.offset, low)
        consumer.close()
        return lag

    def consumer(self, group: str) -> Consumer:
        """Returns a consumer that commits nothing."""
        return Consumer(
            {"bootstrap.servers": self.brokers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        )


def partitions_of(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """Returns a topic's partitions. Always asks the broker, which may have been restarted."""
    return [
        TopicPartition(topic, number)
        for number in sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    ]
