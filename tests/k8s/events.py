"""Sends events to the stack's Kafka and reads their effect from its Synapse. Starts nothing."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dev.identity_events import ProducerRecord
from dev.running_stack import mxid
from dev.servers.kafka import TOPIC
from dev.stack import Stack
from tests.integration.stack import wait_until

GROUP = "realtime-chat-service"


class Events:
    """A producer like the identity service, on the stack's broker unless another is given."""

    def __init__(self, stack: Stack, brokers: str = "") -> None:
        self._stack = stack
        self._producer = Producer({"bootstrap.servers": brokers or stack.kafka.brokers, "log_level": 0})

    def send(self, event: ProducerRecord) -> None:
        self._producer.produce(event.topic, event.value, event.user_id, headers=dict(event.headers))
        assert self._producer.flush(30) == 0

    def name_of(self, user: str) -> str | None:
        account = self._stack.account(mxid(user))
        return account["displayname"] if account else None

    def until_named(self, event: ProducerRecord, name: str) -> float:
        """Sends the event and waits until its user has the name; returns the seconds that it took."""
        began = time.monotonic()
        self.send(event)
        self.wait_named(event.user_id, name)
        return time.monotonic() - began

    def waiting(self) -> int:
        """Returns the number of records of the main topic that the group has not committed."""
        group = {"group.id": GROUP, "enable.auto.commit": False}
        consumer = Consumer({"bootstrap.servers": self._stack.kafka.brokers, "log_level": 0} | group)
        partitions = [
            TopicPartition(TOPIC, n) for n in consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        ]
        lag = 0
        for committed in consumer.committed(partitions, timeout=10):
            low, high = consumer.get_watermark_offsets(committed, timeout=10)
            lag += high - max(committed.offset, low)
        consumer.close()
        return lag

    def wait_named(self, user: str, name: str) -> None:
        wait_until(lambda: self.name_of(user) == name, f"{user} is called {name}")


def members(stack: Stack) -> list[str]:
    """Returns the client id of each member of the function's group; none before Kafka knows the group."""
    admin = AdminClient({"bootstrap.servers": stack.kafka.brokers, "log_level": 0})
    try:
        return [member.client_id for member in admin.describe_consumer_groups([GROUP])[GROUP].result(10).members]
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE):
            return []
        raise
