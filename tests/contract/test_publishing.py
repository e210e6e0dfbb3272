"""Whether the sidecar may publish is found out without leaving a record behind: the real daprd, the real broker."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourceType
from dapr.aio.clients import DaprClient

from function.dapr.sidecar import Publishing, Sidecar
from tests.contract.servers.secure_kafka import PASSWORD, USER, SecureKafka
from tests.contract.servers.sidecar import APP_ID, component, running
from tests.contract.servers.topics import Topic

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@dataclass(frozen=True)
class Topics:
    """One topic for each case; `missing` does not exist, and the component's scopes leave out `out_of_scope`."""

    good: str
    denied: str
    out_of_scope: str
    missing: str = "no-such-topic"


@pytest.fixture(scope="module")
def topics(secure_kafka: SecureKafka) -> Topics:
    names = [Topic(secure_kafka).name for _ in range(3)]
    secure_kafka.grant(ResourceType.TOPIC, names[1], AclOperation.ALL, AclPermissionType.DENY)
    return Topics(*names)


@pytest.fixture(scope="module")
def ports(
    secure_kafka: SecureKafka, topics: Topics, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, int]]:
    metadata = {
        "brokers": f"127.0.0.1:{secure_kafka.sasl_port}", "version": "2.8.0", "consumerGroup": "none",
        "authType": "password", "saslMechanism": "SHA-512", "saslUsername": USER, "saslPassword": PASSWORD,
        "caCert": secure_kafka.certificate.read_text(),
        "publishingScopes": f"{APP_ID}={topics.good},{topics.denied},{topics.missing}",
    }  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("publishing")
    with running(folder, [component("pubsub", "pubsub.kafka", "v1", metadata)]) as found:
        yield found


@pytest.fixture
async def sidecar(ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sidecar]:
    http, grpc = ports
    monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
    async with DaprClient(f"127.0.0.1:{grpc}") as client:
        yield Sidecar(client)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("good", Publishing.ALLOWED),
        ("denied", Publishing.DENIED),
        ("out_of_scope", Publishing.FORBIDDEN),
        ("missing", Publishing.NO_TOPIC),
    ],
)
async def test_each_answer_of_daprd_is_understood(
    sidecar: Sidecar, topics: Topics, topic: str, expected: Publishing
) -> None:
    assert await sidecar.try_publishing("pubsub", getattr(topics, topic)) is expected


async def test_a_component_that_is_not_loaded_is_told(sidecar: Sidecar, topics: Topics) -> None:
    assert await sidecar.try_publishing("pubsub-2", topics.good) is Publishing.NO_COMPONENT


async def test_no_record_is_left_behind(sidecar: Sidecar, topics: Topics, secure_kafka: SecureKafka) -> None:
    assert await sidecar.try_publishing("pubsub", topics.good) is Publishing.ALLOWED
    consumer = Consumer({"bootstrap.servers": secure_kafka.brokers, "group.id": "none", "log_level": 0})
    bounds = consumer.get_watermark_offsets(TopicPartition(topics.good, 0), timeout=10)
    consumer.close()
    assert bounds == (0, 0)


async def test_what_is_loaded_is_told(sidecar: Sidecar) -> None:
    found = await sidecar.loaded()
    assert found
    assert (found.app_id, dict(found.components)) == (APP_ID, {"pubsub": "pubsub.kafka"})
    assert not found.subscriptions
    assert (found.resiliencies, found.health_checked, found.has_app) == (0, False, False)


DENYING = """
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: denying}
spec: {api: {allowed: [{name: publish, version: v1, protocol: grpc}, {name: healthz, version: v1.0, protocol: http}]}}
"""


async def test_a_configuration_that_denies_the_question_is_told_from_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(DENYING)
    with running(tmp_path, [component("pubsub", "pubsub.in-memory", "v1", {})], config) as (http, grpc):
        monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
        async with DaprClient(f"127.0.0.1:{grpc}") as client:
            assert await Sidecar(client).loaded() is None
