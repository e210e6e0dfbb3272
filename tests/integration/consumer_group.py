"""The consumer group of a stack under test, as Kafka knows it."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev.running_stack import REPLAY_TOPIC
from dev.servers.kafka import TOPIC
from tests.integration.stack import StackUnderTest

Owned = dict[str, set[int]]  # partitions by topic


class Group:
    """The consumer group of a world, as Kafka knows it."""

    def __init__(self, world: StackUnderTest) -> None:
        self._admin = AdminClient({"bootstrap.servers": world.environment["KAFKA_BROKERS"], "log_level": 0})
        self._name = world.environment["KAFKA_CONSUMER_GROUP_ID"]

    def members(self) -> list[Owned]:
        """What each member owns now; none while the group is only being made."""
        try:
            members = self._admin.describe_consumer_groups([self._name])[self._name].result(10).members
        except KafkaException:
            return []
        found: list[Owned] = []
        for member in members:
            found.append({TOPIC: set(), REPLAY_TOPIC: set()})
            for one in member.assignment.topic_partitions if member.assignment else []:
                found[-1][one.topic].add(one.partition)
        return found

    def owners(self) -> int:
        """How many members own partitions."""
        return sum(bool(member[TOPIC]) for member in self.members())
