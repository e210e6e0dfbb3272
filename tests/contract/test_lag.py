"""What a real broker tells about a consumer group, and what happens when it does not."""

import itertools
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourceType

from dev.processes import free_port, wait_until
from dev.servers.kafka import Kafka
from function.kafka.lag import NONE, KafkaGroup, Member, PartitionLag, Refused
from function.kafka.retention import retention_milliseconds
from function.outcomes import TryAgain
from tests.contract.servers.secure_kafka import SecureKafka
from tests.contract.servers.topics import Topic, config_of, numbers

pytestmark = pytest.mark.real


def group_of(topic: Topic, *others: Topic, name: str = "") -> KafkaGroup:
    topics = [one.name for one in (topic, *others)]
    return KafkaGroup(config_of(topic.kafka.brokers), name or str(uuid.uuid4()), topics)


def answer(ask: Callable[[], object]) -> None:
    """Asks until Kafka answers: it needs a moment after a topic was made."""

    def answers() -> bool:
        try:
            ask()
        except TryAgain:
            return False
        return True

    assert wait_until(answers, 30)


@contextmanager
def consumer(topic: Topic, group: str, client_id: str = "pod-a") -> Iterator[Consumer]:
    servers = {"bootstrap.servers": topic.kafka.brokers, "log_level": 0}
    member = Consumer({**servers, "group.id": group, "client.id": client_id, "enable.auto.commit": False})
    try:
        yield member
    finally:
        member.close()


def test_lag_counts_from_the_commit_from_the_beginning_without_one_and_from_what_is_left(kafka: Kafka) -> None:
    topic, replay, name = Topic(kafka, 3), Topic(kafka), str(uuid.uuid4())
    for partition in range(3):
        topic.put(*numbers(10), partition=partition)
    with consumer(topic, name) as member:
        places = [TopicPartition(topic.name, 0, 7), TopicPartition(topic.name, 2, 2)]
        member.commit(offsets=places, asynchronous=False)
    topic.delete_records(5, partition=2)
    group = group_of(topic, replay, name=name)
    answer(group.lag)
    found = group.lag()
    assert found == {
        (topic.name, 0): PartitionLag(7, 0, 10),
        (topic.name, 1): PartitionLag(NONE, 0, 10),
        (topic.name, 2): PartitionLag(2, 5, 10),
        (replay.name, 0): PartitionLag(NONE, 0, 0),
    }
    assert [one.lag for one in found.values()] == [3, 10, 5, 0]


def test_the_members_of_a_group_and_what_they_own(kafka: Kafka) -> None:
    topic, name = Topic(kafka, 2), str(uuid.uuid4())
    group = group_of(topic, name=name)
    answer(group.members)
    assert group.members().by_id == {}
    with consumer(topic, name, "pod-b") as member:
        member.subscribe([topic.name])
        assert wait_until(lambda: member.poll(0.1) is None and bool(member.assignment()), 30)
        found = group.members()
        assert found.stable
        assert list(found.by_id.values()) == [Member("pod-b", frozenset({(topic.name, 0), (topic.name, 1)}))]


def test_the_marker_of_a_transaction_is_an_offset_without_a_record(kafka: Kafka) -> None:
    topic = Topic(kafka)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(30)
    producer.begin_transaction()
    topic.produce(producer, numbers(3))
    producer.commit_transaction(30)
    group = group_of(topic)
    answer(group.lag)
    place, found = (topic.name, 0), PartitionLag(NONE, 0, 4)
    assert wait_until(lambda: group.lag() == {place: found}, 30)  # the broker writes the marker after its answer
    assert group.has_record(place, found)
    assert group.has_record(place, PartitionLag(2, 0, 4))
    assert not group.has_record(place, PartitionLag(3, 0, 4))


def test_without_a_right_to_the_group_the_client_is_refused(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    topic, name = Topic(secure_kafka), str(uuid.uuid4())
    secure_kafka.grant(ResourceType.GROUP, name, AclOperation.ALL, AclPermissionType.DENY)
    config = config_of(f"127.0.0.1:{secure_kafka.sasl_port}", secure_kafka.properties(tmp_path, door="sasl"))
    with pytest.raises(Refused, match="GROUP_AUTHORIZATION_FAILED"):
        KafkaGroup(config, name, [topic.name]).lag()


def test_a_wrong_password_is_a_refusal(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    path = secure_kafka.properties(tmp_path, "sasl.password=wrong", door="sasl")
    config = config_of(f"127.0.0.1:{secure_kafka.sasl_port}", path)
    with pytest.raises(Refused, match="AUTHENTICATION"):
        KafkaGroup(config, "any", ["any"]).lag()


def test_events_that_are_processed_during_the_questions_never_put_the_commit_beyond_the_end(kafka: Kafka) -> None:
    topic, name = Topic(kafka), str(uuid.uuid4())
    group, stopped = group_of(topic, name=name), threading.Event()

    def process() -> None:
        with consumer(topic, name) as member:
            for end in itertools.count(1):
                if stopped.is_set():
                    return
                topic.put(*numbers(1))
                member.commit(offsets=[TopicPartition(topic.name, 0, end)], asynchronous=False)

    answer(group.lag)
    with ThreadPoolExecutor(1) as thread:
        processing = thread.submit(process)
        try:
            found = [group.lag()[topic.name, 0] for _ in range(100)]
        finally:
            stopped.set()
        processing.result(30)
    assert [one for one in found if one.committed > one.end] == []
    assert found[-1].committed > 0


def test_a_topic_that_is_missing_and_a_broker_that_is_away_are_failures_within_seconds(kafka: Kafka) -> None:
    with pytest.raises(TryAgain) as missing:
        KafkaGroup(config_of(kafka.brokers), "any", ["no-such-topic"]).lag()
    assert missing.value.detail == "UNKNOWN_TOPIC_OR_PART"
    began = time.monotonic()
    with pytest.raises(TryAgain):
        KafkaGroup(config_of(f"127.0.0.1:{free_port()}"), "any", ["any"]).lag()
    assert time.monotonic() - began < 5


def test_the_process_survives_a_broker_that_comes_and_goes_and_has_its_answers_again(tmp_path: Path) -> None:
    broker = Kafka(tmp_path, free_port(), free_port(), 2)
    try:
        broker.start()
        topic = Topic(broker)
        script = [sys.executable, "-m", "tests.contract.lag_under_outages", broker.brokers, "group", topic.name]
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as asking:
            assert asking.stdout
            for _ in range(2):
                heard = ""
                while heard != "told\n":
                    heard = asking.stdout.readline()
                    assert heard, "the process has ended"
                broker.stop(kill=True)
                assert asking.stdout.readline() == "failed\n"
                broker.start()
            assert asking.poll() is None
            asking.kill()
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("config", "milliseconds"),
    [
        ({"retention.ms": "3600000"}, 3_600_000),
        ({"retention.ms": "-1"}, None),
        ({"retention.ms": "3600000", "cleanup.policy": "compact"}, None),
        ({"retention.ms": "3600000", "cleanup.policy": "compact,delete"}, 3_600_000),
    ],
)
def test_the_retention_of_a_topic(kafka: Kafka, config: dict[str, str], milliseconds: int | None) -> None:
    topic = Topic(kafka, config=config)
    assert retention_milliseconds(config_of(kafka.brokers), topic.name) == milliseconds
