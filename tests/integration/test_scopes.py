"""Where a sidecar may publish: tried on the real daprd and Kafka with records that every reader ignores."""

from pathlib import Path

import grpc
import pytest
from dapr.proto import api_service_v1, api_v1

from dev.processes import free_port
from dev.running_stack import REPLAY_TOPIC
from dev.servers.daprd import Sidecar
from dev.servers.kafka import TOPIC, TOPICS
from tests.integration.stack import DEAD_TOPIC, StackUnderTest

RESULTS_TOPIC = TOPICS[3]
COMPONENTS = ("pubsub", *(f"pubsub-{number}" for number in range(2, 4)))


def answer(environment: dict[str, str], component: str, topic: str) -> grpc.StatusCode:
    """Publishes a record of an unknown type through a sidecar; returns daprd's answer."""
    metadata = {"rawPayload": "true", "event_type": "tests.scope"}
    request = api_v1.PublishEventRequest(pubsub_name=component, topic=topic, data=b"{}", metadata=metadata)
    token = (("dapr-api-token", environment["DAPR_API_TOKEN"]),)
    with grpc.insecure_channel(f"127.0.0.1:{environment['DAPR_GRPC_PORT']}") as channel:
        try:
            api_service_v1.DaprStub(channel).PublishEvent(request, metadata=token)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_functions_sidecar_publishes_dead_letters_replays_and_evidence_and_no_event(
    component: str, world: StackUnderTest
) -> None:
    """Through none of the components: function and tools share them, and neither may forge an event."""
    allowed, denied = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
    assert {topic: answer(world.environment, component, topic) for topic in TOPICS} == {
        TOPIC: denied, DEAD_TOPIC: allowed, REPLAY_TOPIC: allowed, RESULTS_TOPIC: allowed,
    }  # fmt: skip


def test_another_app_publishes_nothing(world: StackUnderTest, tmp_path: Path) -> None:
    """The components are scoped to the function's app id: for another one they do not exist."""
    ports = {name: str(free_port()) for name in ("APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT")}
    sidecar = Sidecar(world.environment | ports, tmp_path, app_id="another-app")
    sidecar.start()
    try:
        answers = {answer(sidecar.environment, name, topic) for name in COMPONENTS for topic in TOPICS}
    finally:
        sidecar.stop()
    assert answers == {grpc.StatusCode.INVALID_ARGUMENT}
