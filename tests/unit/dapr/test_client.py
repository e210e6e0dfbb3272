"""Deadlines of the calls to the sidecar: it accepts the connection and never answers, as a frozen process does."""

import asyncio
import http.server
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from dapr.aio.clients import DaprClient

from function.dapr.client import open_client
from function.dapr.pubsub import Publisher
from function.dapr.secret_store import AdminToken, Secret
from function.dapr.state_store import StateStore
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain
from function.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

SECONDS = 0.5  # instead of CALL_SECONDS
RECORD = KafkaRecord(b"{}", "topic", {"__key": "key"})

Use = Callable[[DaprClient], Awaitable[object]]


class _Healthy(http.server.BaseHTTPRequestHandler):
    """Answers the health check of the SDK, which looks before the sidecar freezes."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def health_port() -> Iterator[int]:
    """The SDK blocks the event loop while it waits for this answer, so it comes from a thread."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
async def frozen(health_port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DaprClient]:
    """A client of a port where the kernel accepts connections and no one reads them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("DAPR_HTTP_PORT", str(health_port))
        monkeypatch.setenv("DAPR_GRPC_PORT", str(listening.getsockname()[1]))
        async with open_client(call_seconds=SECONDS) as client:
            yield client


CALLS: dict[str, tuple[Use, Reason]] = {
    "read": (lambda client: StateStore(client, "store").read_values(["key"]), Reason.STATE_UNAVAILABLE),
    "write": (lambda client: StateStore(client, "store").write_values({"key": (b"{}", "")}), Reason.STATE_UNAVAILABLE),
    "probe": (lambda client: StateStore(client, "store").probe(), Reason.STATE_UNAVAILABLE),
    "secret": (
        lambda client: AdminToken(Secret(client, "store", "secret"), Metrics()).token(),
        Reason.SECRET_UNAVAILABLE,
    ),
    "publish by key": (lambda client: Publisher(client, "bus").publish("topic", RECORD, {}, ""), Reason.PUBLISH_FAILED),
    "publish": (lambda client: Publisher(client, "bus").publish("topic", RECORD, {}, "1"), Reason.PUBLISH_FAILED),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_to_a_sidecar_that_hangs_ends_at_its_deadline_with_its_reason(
    call: str, frozen: DaprClient
) -> None:
    """Else the batch would hold its users' locks until the sidecar goes on. One deadline: a publish that may have
    reached Kafka is not made again by key."""
    use, reason = CALLS[call]
    began = time.monotonic()
    with pytest.raises(TryAgain) as failed:
        async with asyncio.timeout(20):
            await use(frozen)
    assert failed.value.reason is reason
    assert time.monotonic() - began < 2 * SECONDS
