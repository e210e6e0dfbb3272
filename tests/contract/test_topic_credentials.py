"""Reading a topic of a real broker that demands credentials and grants rights: with them, without, and with wrong ones."""

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclOperation,
    AclPermissionType,
    ResourceType,
)

from function.environment import WrongSettings
from function.kafka.reader import TopicReader
from function.outcomes import Reason, TryAgain
from tests.contract.servers.secure_kafka import SecureKafka
from tests.contract.servers.topics import Topic, config_of, everything, numbers, values

pytestmark = pytest.mark.real


@pytest.mark.parametrize("door", ["sasl", "mtls"])
def test_reads_with_a_password_or_a_client_certificate(secure_kafka: SecureKafka, tmp_path: Path, door: str) -> None:
    topic = Topic(secure_kafka)
    topic.put(*numbers(5))
    port = secure_kafka.sasl_port if door == "sasl" else secure_kafka.mtls_port
    config = config_of(f"127.0.0.1:{port}", secure_kafka.properties(tmp_path, door=door))
    with TopicReader(config, topic.name) as reader:
        assert values(everything(reader, reader.spans())) == numbers(5)


@pytest.mark.parametrize(
    ("door", "ask_with", "lines", "detail"),
    [
        ("sasl", "sasl", ["sasl.password=wrong"], "AUTHENTICATION"),
        ("sasl", "", [], "TRANSPORT|TIMED_OUT"),
        ("sasl", "mtls", [], "TRANSPORT|TIMED_OUT"),
        ("mtls", "", [], "TRANSPORT|TIMED_OUT"),
        ("mtls", "mtls", ["ssl.ca.location="], "SSL"),
    ],
)
def test_wrong_or_missing_credentials_are_a_clear_error(
    secure_kafka: SecureKafka, tmp_path: Path, door: str, ask_with: str, lines: list[str], detail: str
) -> None:  # fmt: skip
    port = secure_kafka.sasl_port if door == "sasl" else secure_kafka.mtls_port
    config = config_of(f"127.0.0.1:{port}", secure_kafka.properties(tmp_path, *lines, door=ask_with))
    began = time.monotonic()
    with TopicReader(config, "any", ask_seconds=5) as reader, pytest.raises(TryAgain) as failed:
        reader.spans()
    assert failed.value.reason is Reason.KAFKA_UNAVAILABLE
    assert failed.value.detail in detail.split("|")
    assert time.monotonic() - began < 8


def test_no_right_to_any_group_is_needed(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    topic = Topic(secure_kafka)
    topic.put(*numbers(5))
    secure_kafka.grant(ResourceType.GROUP, "*", AclOperation.ALL, AclPermissionType.DENY)
    config = config_of(f"127.0.0.1:{secure_kafka.sasl_port}", secure_kafka.properties(tmp_path, door="sasl"))
    try:
        with TopicReader(config, topic.name, silent_seconds=5) as reader:
            assert values(everything(reader, reader.spans())) == numbers(5)
    finally:
        secure_kafka.revoke(ResourceType.GROUP, "*")


def test_no_right_to_the_topic_is_a_refusal(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    topic = Topic(secure_kafka)
    topic.put(*numbers(5))
    secure_kafka.grant(ResourceType.TOPIC, topic.name, AclOperation.ALL, AclPermissionType.DENY)
    config = config_of(f"127.0.0.1:{secure_kafka.sasl_port}", secure_kafka.properties(tmp_path, door="sasl"))
    with TopicReader(config, topic.name, silent_seconds=5) as reader, pytest.raises(TryAgain) as failed:
        reader.spans()
    assert failed.value.detail == f"{topic.name}: TOPIC_AUTHORIZATION_FAILED"


@pytest.mark.parametrize(
    "line",
    [
        "no.such.property=1",
        "sasl.mechanism",
        "ssl.ca.location=/no/such/file",
        "error_cb=log",
        "throttle_cb=log",
        "default.topic.config=acks",
    ],
)
def test_a_wrong_property_is_a_wrong_setting(tmp_path: Path, line: str) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text(f"security.protocol=SSL\n{line}\n")
    with pytest.raises(WrongSettings, match="KAFKA_CLIENT_CONFIG"):
        config_of("127.0.0.1:1", path)
