"""Provides the state stores for the contract tests: in memory, and daprd's components."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

from dapr.aio.clients import DaprClient

from function.dapr.state_store import StateStore
from tests.contract.servers.sidecar import component, running
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
    made = [
        component(name, kind, version, {"connectionString": connection, "keyPrefix": "name"})
        for name, (kind, version, connection) in components.items()
    ]
    with running(folder, made) as ports:
        yield ports
