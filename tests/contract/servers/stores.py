"""Provides the state stores for the contract tests: in memory, and daprd's components."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import yaml
from dapr.aio.clients import DaprClient

from dev.processes import Server, free_port
from dev.toolchain import daprd
from function.dapr.state_store import StateStore
from tests.support.fake_dapr import FakeStateStore

Opened = AbstractAsyncContextManager[StateStore]


@asynccontextmanager
async def in_memory() -> AsyncIterator[StateStore]:
    yield FakeStateStore()


@asynccontextmanager
async def over_grpc(port: int, name: str) -> AsyncIterator[StateStore]:
    """Yields a component of a running sidecar. DaprClient also reads the sidecar's HTTP port from the environment."""
    async with DaprClient(f"127.0.0.1:{port}") as client:
        yield StateStore(client, name)


@contextmanager
def sidecar(folder: Path, components: dict[str, tuple[str, str, str]]) -> Iterator[tuple[int, int]]:
    """Runs daprd with state stores only: each a name with type, version and connection string.

    Yields:
        its HTTP and its gRPC port.
    """
    resources = folder / "components"
    resources.mkdir()
    for name, (kind, version, connection) in components.items():
        metadata = [{"name": "connectionString", "value": connection}, {"name": "keyPrefix", "value": "name"}]
        (resources / f"{name}.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "dapr.io/v1alpha1",
                    "kind": "Component",
                    "metadata": {"name": name},
                    "spec": {"type": kind, "version": version, "metadata": metadata},
                }
            )
        )
    http, grpc = free_port(), free_port()
    flags = {
        "app-id": "state-contract",
        "dapr-http-port": str(http),
        "dapr-grpc-port": str(grpc),
        "dapr-internal-grpc-port": str(free_port()),
        "metrics-port": str(free_port()),
        "dapr-listen-addresses": "127.0.0.1",
        "resources-path": str(resources),
        "placement-host-address": " ",
        "scheduler-host-address": " ",
    }
    server = Server("daprd", folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAPR_")}
    try:
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        server.start([str(daprd(print)), *words], env=environment)
        server.wait_ready(lambda: _answers(http), 60)
        yield http, grpc
    finally:
        server.stop()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1.0/healthz/outbound").is_success
    except httpx.HTTPError:
        return False
