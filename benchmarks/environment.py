"""Sets up runs: all share one Kafka and one homeserver; each gets new topics, a new group and an empty state store."""

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.homeservers import Homeserver, RealSynapse, StubSynapse
from benchmarks.workloads import Event, Workload
from dev.processes import wait_until
from dev.servers.kafka import TOPIC, TOPICS, headers_of
from dev.servers.synapse import secrets_file
from dev.stack import Stack


class Bench:
    """The servers of a benchmark, on free ports.

    Args:
        folder: for data, logs and pid files.
        stack: runs Kafka, and the real Synapse if it is measured.
        homeserver: the stub or the real Synapse.
    """

    def __init__(self, folder: Path, stack: Stack, homeserver: Homeserver) -> None:
        self.folder, self.stack, self.homeserver = folder, stack, homeserver
        self.partitions = 12
        self._runs = itertools.count()
        self._group = ""
        self._producer: Producer

    def fresh(self, workload: Workload, partitions: int = 12, failing: float = 0.0) -> dict[str, str]:
        """Resets everything after the previous run. Returns the environment of the next."""
        self.partitions = partitions
        self._group = f"bench-{next(self._runs)}"
        self._remake_topics()
        # A new producer: the old one would cache for a while that the topic is missing. Idempotent: otherwise a record that
        # is sent again arrives after later ones, which costs an extra lookup.
        settings = {"linger.ms": 1, "log_level": 0, "enable.idempotence": True}
        self._producer = Producer({"bootstrap.servers": self.stack.kafka.brokers} | settings)
        for left in self.folder.glob("state.db*"):
            left.unlink()
        secrets_file(self.stack.secrets_file, self.homeserver.token)
        self.homeserver.prepare(workload, failing)
        own = {
            "KAFKA_CONSUMER_GROUP_ID": self._group,
            "MATRIX_HOMESERVER_URL": self.homeserver.url,
            "LOG_LEVEL": "INFO",
            "MATRIX_MAX_DELETIONS_PER_HOUR": "0",  # W4 deletes more than the limit
        }
        # The peers have their token without a secret store.
        return self.stack.env() | own | {"TOKEN": self.homeserver.token}

    def _remake_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.stack.kafka.brokers, "log_level": 0})
        present = [topic for topic in TOPICS if topic in admin.list_topics(timeout=10).topics]
        for future in admin.delete_topics(present).values() if present else ():
            future.result(30)
        gone = wait_until(lambda: not set(TOPICS) & set(admin.list_topics(timeout=10).topics), 30)
        assert gone, "Kafka still has the topics of the previous run"
        self.stack.kafka.make_topics(self.partitions)

    def produce(self, events: Iterable[Event]) -> None:
        for event in events:
            self.send(event)
        assert self._producer.flush(60) == 0, "Kafka did not take every event"

    def send(self, event: Event) -> None:
        """Passes one event to the producer, which sends it immediately."""
        partition = -1 if event.partition is None else event.partition  # -1: by the key
        headers: dict[str, str | bytes | None] = dict(event.headers)
        while True:
            try:
                self._producer.produce(TOPIC, event.value, event.user_id, partition, headers=headers)
                break
            except BufferError:  # its queue is full
                self._producer.poll(0.1)
        self._producer.poll(0)

    def committed(self) -> bool:
        """Whether the group has committed everything that the topic holds."""
        consumer = self._consumer(self._group)
        wanted = [TopicPartition(TOPIC, number) for number in range(self.partitions)]
        committed = consumer.committed(wanted, timeout=10)
        ends = [consumer.get_watermark_offsets(one, timeout=10)[1] for one in committed]
        consumer.close()
        return all(one.offset >= end or not end for one, end in zip(committed, ends, strict=True))

    def balance(self) -> str:
        """Returns how many partitions each member of the group owns, such as `6 + 6`; "" during a rebalance."""
        admin = AdminClient({"bootstrap.servers": self.stack.kafka.brokers, "log_level": 0})
        try:
            group = admin.describe_consumer_groups([self._group])[self._group].result(10)
        except KafkaException:  # the group does not exist yet
            return ""
        owned = [[p for p in m.assignment.topic_partitions if p.topic == TOPIC] for m in group.members if m.assignment]
        return " + ".join(str(len(partitions)) for partitions in owned if partitions)

    def letters(self) -> set[str]:
        """Returns the ids of the events in the dead-letter topic."""
        consumer, topic = self._consumer("bench-letters"), TOPICS[1]
        found: set[str] = set()
        for number in range(self.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            if low == high:
                continue
            consumer.assign([TopicPartition(topic, number, low)])
            read = consumer.consume(high - low, timeout=30)
            found |= {headers_of(message).get("event_id", b"").decode() for message in read}
        consumer.close()
        return found

    def _consumer(self, group: str) -> Consumer:
        servers = self.stack.kafka.brokers
        return Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False, "log_level": 0})


@contextmanager
def bench(folder: Path, *, real: bool = False) -> Iterator[Bench]:
    """Starts a benchmark's servers and stops them afterwards."""
    stack, stub = Stack.on_free_ports(folder), StubSynapse(folder)
    try:
        stack.kafka.start()
        if real:
            stack.synapse.start()
            yield Bench(folder, stack, RealSynapse(stack.synapse))
        else:
            stub.start()
            yield Bench(folder, stack, stub)
    finally:
        stub.stop()
        stack.stop()


def now() -> float:
    """Returns the time of the clock that the stub also reads."""
    return time.monotonic()
