"""One daprd for all canaries: a pub/sub component for each fact, with a group and a lock of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from dev.processes import Server, wait_until
from dev.servers.kafka import Kafka
from tests.contract.servers.recording_app import RecordingApp, Subscription
from tests.contract.servers.sidecar import component, running
from tests.contract.servers.topics import Topic

FACTS = ("raw", "parsed", "lost", "unanswered", "turns", "unlimited")
WITH_LETTERS = ("dropped", "unlimited")  # daprd may write dead letters of its own


def kafka_component(name: str, brokers: str, **more: str) -> dict[str, Any]:
    """Returns a component whose consumer group has its name."""
    metadata = {
        "brokers": brokers, "authType": "none", "consumerGroup": name, "version": "2.8.0", "initialOffset": "oldest",
        "consumerGroupRebalanceStrategy": "range", **more,
    }  # fmt: skip
    return component(name, "pubsub.kafka", "v1", metadata)


def resiliency(*names: str) -> dict[str, Any]:
    """Returns the function's policy for the components: retries without end, here with a shorter pause."""
    return {
        "apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": "resiliency"},
        "spec": {
            "policies": {"retries": {"again": {"policy": "constant", "duration": "200ms", "maxRetries": -1}}},
            "targets": {"components": {name: {"inbound": {"retry": "again"}} for name in names}},
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Canaries:
    """The app, the topic of each component and of its dead letters, and daprd with its ports."""

    app: RecordingApp
    topics: Mapping[str, Topic]
    daprd: Server
    http: int
    grpc: int

    def committed(self, name: str, partition: int = 0) -> int:
        """Returns the offset that the group of a component has committed; -1001 without one."""
        topic = self.topics[name]
        consumer = Consumer({"bootstrap.servers": topic.kafka.brokers, "group.id": name, "log_level": 0})
        try:
            return consumer.committed([TopicPartition(topic.name, partition)], timeout=10)[0].offset
        finally:
            consumer.close()

    def wait_committed(self, name: str, offset: int) -> bool:
        """Returns whether the group commits the offset; not if daprd ends, or not in time."""
        wait_until(lambda: not self.daprd.running() or self.committed(name) >= offset, 30)
        return self.committed(name) >= offset


@contextmanager
def opened(kafka: Kafka, folder: Path, facts: Sequence[str]) -> Iterator[Canaries]:
    """Runs daprd with a component for each fact."""
    topics = {name: Topic(kafka, 2 if name == "turns" else 1) for name in facts}
    dead = {name: Topic(kafka) for name in facts if name in WITH_LETTERS}
    app = RecordingApp([
        Subscription(name, topics[name].name, name != "parsed", dead[name].name if name in dead else "") for name in facts
    ])  # fmt: skip
    components = [*(kafka_component(name, kafka.brokers) for name in facts), resiliency(*set(facts) - {"unlimited"})]
    letters = {f"{name} letters": topic for name, topic in dead.items()}
    with app.serving(), running(folder, components, app_port=app.port) as (http, grpc):
        yield Canaries(app, topics | letters, Server("daprd", folder), http, grpc)


@pytest.fixture(scope="session")
def canaries(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    with opened(kafka, tmp_path_factory.mktemp("canaries"), FACTS) as found:
        yield found
