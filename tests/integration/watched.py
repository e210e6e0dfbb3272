"""A function with a quick watchdog that replaces the session's for one test, and the steps that leave a claim dead."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from dapr.proto import api_v1

from dev.identity_events import ProducerRecord, new_user, profile
from dev.running_stack import partitions_of
from dev.servers.kafka import TOPIC
from tests.integration.stack import StackUnderTest, wait_until

QUICK = "tests.integration.programs.quick_watchdog"


@contextmanager
def watched(world: StackUnderTest, folder: Path, module: str = QUICK, **more: str) -> Iterator[StackUnderTest]:
    """Replaces the session's function, since both are in one consumer group."""
    world.settle()
    world.stop()
    other = StackUnderTest(world.stack, folder, more, module=module)
    try:
        other.start()
        wait_until(lambda: other.function.ready() is True, "ready")
        yield other
    finally:
        other.stop()
        world.start()


class Waiting:
    """An event that waits, and makes nothing else wait: its user's stored record is unreadable."""

    def __init__(self, world: StackUnderTest, partition: int) -> None:
        self._world, self.user, self._partition = world, new_user(), partition
        world.create(self.user)
        world.save_state(self.user, b"unreadable")
        self.event = profile(self.user, "Ada", 1)
        self.put(self.event)
        wait_until(lambda: "retry" in world.outcomes([self.event])[self.event.event_id], "it waits")

    def put(self, *records: ProducerRecord) -> None:
        """Produces records to the partition of the event."""
        self._world.send(*records, partition=self._partition)

    def heal(self) -> None:
        with self._world.state() as (dapr, token):
            dapr.DeleteState(api_v1.DeleteStateRequest(store_name="statestore", key=self.user), metadata=token)


def delete_records(world: StackUnderTest, partition: int, but: int = 10) -> None:
    """Deletes all records of a partition but the last ones, as retention does."""
    consumer = world.consumer("tests")
    place = partitions_of(consumer, TOPIC)[partition]
    _, end = consumer.get_watermark_offsets(place, timeout=10)
    consumer.close()
    admin = AdminClient({"bootstrap.servers": world.brokers, "log_level": 0})
    [future] = admin.delete_records([TopicPartition(TOPIC, partition, end - but)]).values()
    future.result(30)
