"""What Kafka's own client tells of brokers, topics and a group: on a real broker that demands a password and grants rights."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourceType

from dev.processes import wait_until
from function.kafka.client import client_config
from function.kafka.cluster import Cluster
from function.kafka.lag import NONE, Members, PartitionLag
from function.outcomes import Reason, TryAgain
from function.settings import CommonSettings
from tests.contract.servers.secure_kafka import SecureKafka
from tests.contract.servers.topics import Topic

pytestmark = pytest.mark.real

FIRST_SECONDS = 3.0  # a broker on this machine answers sooner

Open = Callable[..., Cluster]


@pytest.fixture
def cluster(secure_kafka: SecureKafka, tmp_path: Path) -> Open:
    """Opens the cluster through a door, with further properties."""

    def opened(*lines: str, door: str = "sasl", ask_with: str = "sasl", brokers: str = "") -> Cluster:
        port = {"sasl": secure_kafka.sasl_port, "mtls": secure_kafka.mtls_port, "": secure_kafka.port}[door]
        path = secure_kafka.properties(tmp_path, *lines, door=ask_with)
        address = brokers or f"127.0.0.1:{port}"
        config = client_config(CommonSettings.model_construct(kafka_brokers=address, kafka_client_config=str(path)))
        return Cluster(config, first_seconds=FIRST_SECONDS)

    return opened


@pytest.mark.parametrize("door", ["sasl", "mtls", ""])
def test_brokers_answer_who_has_the_right_credentials(cluster: Open, door: str) -> None:
    assert cluster(door=door, ask_with=door).brokers() == 1


@pytest.mark.parametrize(
    ("door", "ask_with", "lines", "brokers", "said"),
    [
        ("sasl", "sasl", ["sasl.password=wrong"], "", "AUTHENTICATION"),
        ("sasl", "", [], "", "ALL_BROKERS_DOWN"),
        ("", "sasl", [], "", "TRANSPORT"),
        ("mtls", "sasl", [], "", "TRANSPORT"),
        ("sasl", "sasl", ["ssl.ca.location=/etc/ssl/certs/ca-certificates.crt"], "", "SSL"),
        ("", "", [], "127.0.0.1:9", "TRANSPORT"),
        ("", "", [], "no-such-host.invalid:9092", "RESOLVE"),
    ],
)
def test_why_brokers_do_not_answer_is_named_in_a_bounded_time(
    cluster: Open, door: str, ask_with: str, lines: list[str], brokers: str, said: str
) -> None:
    asked = cluster(*lines, door=door, ask_with=ask_with, brokers=brokers)
    began = time.monotonic()
    with pytest.raises(TryAgain) as failed:
        asked.brokers()
    assert (failed.value.reason, failed.value.detail) == (Reason.KAFKA_UNAVAILABLE, said)
    assert time.monotonic() - began < FIRST_SECONDS + 2


def test_a_topic_is_described_with_its_limits_and_the_rights_there(cluster: Open, secure_kafka: SecureKafka) -> None:
    topic = Topic(
        secure_kafka, 3, {"cleanup.policy": "compact", "max.message.bytes": "2097152", "retention.ms": "1000"}
    )
    found = cluster().topic(topic.name)
    assert found
    assert (found.partitions, found.replicas, found.in_sync, found.leaderless) == (3, 1, 1, 0)
    assert found.config
    assert [found.config[name] for name in ("cleanup.policy", "max.message.bytes", "retention.ms")] == [
        "compact", "2097152", "1000",
    ]  # fmt: skip
    assert found.operations
    assert found.operations >= {"READ", "WRITE", "DESCRIBE_CONFIGS"}


def test_no_such_topic_is_none(cluster: Open) -> None:
    assert cluster().topic("no-such-topic") is None


def test_a_right_that_is_missing_is_told(cluster: Open, secure_kafka: SecureKafka) -> None:
    topic = Topic(secure_kafka)
    secure_kafka.grant(ResourceType.TOPIC, topic.name, AclOperation.READ)
    found = cluster().topic(topic.name)
    assert found
    assert (found.operations, found.config) == (frozenset({"READ", "DESCRIBE"}), None)


def test_a_topic_without_any_right_is_refused(cluster: Open, secure_kafka: SecureKafka) -> None:
    topic = Topic(secure_kafka)
    secure_kafka.grant(ResourceType.TOPIC, topic.name, AclOperation.ALL, AclPermissionType.DENY)
    with pytest.raises(TryAgain, match="TOPIC_AUTHORIZATION_FAILED"):
        cluster().topic(topic.name)


def commit(kafka: SecureKafka, group: str, topic: str, offset: int) -> Consumer:
    """Joins the group, commits, and stays a member of it until it is closed."""
    member = Consumer(
        {"bootstrap.servers": kafka.brokers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )
    member.subscribe([topic])

    def assigned() -> bool:
        member.poll(0.1)
        return bool(member.assignment())

    assert wait_until(assigned, 30)
    member.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    return member


def test_a_group_has_members_and_its_progress_in_each_partition(cluster: Open, secure_kafka: SecureKafka) -> None:
    """Also where Kafka no longer has the next record."""
    topic = Topic(secure_kafka, 2)
    topic.put(*[b"x"] * 10)
    member = commit(secure_kafka, topic.name, topic.name, 2)
    topic.delete_records(5)
    members, lag = cluster().group(topic.name, [topic.name])
    member.close()
    assert (members.state, len(members.by_id)) == ("Stable", 1)
    assert lag == {(topic.name, 0): PartitionLag(2, 5, 10), (topic.name, 1): PartitionLag(NONE, 0, 0)}
    assert [one.lag for one in lag.values()] == [5, 0]


def test_a_group_that_does_not_exist_has_no_members(cluster: Open, secure_kafka: SecureKafka) -> None:
    topic = Topic(secure_kafka)
    members, lag = cluster().group("no-such-group", [topic.name])
    assert (members, lag) == (Members({}, "Dead"), {(topic.name, 0): PartitionLag(NONE, 0, 0)})


def test_a_group_without_the_right_is_refused(cluster: Open, secure_kafka: SecureKafka) -> None:
    topic = Topic(secure_kafka)
    secure_kafka.grant(ResourceType.GROUP, topic.name, AclOperation.ALL, AclPermissionType.DENY)
    with pytest.raises(TryAgain, match="GROUP_AUTHORIZATION_FAILED"):
        cluster().group(topic.name, [topic.name])
