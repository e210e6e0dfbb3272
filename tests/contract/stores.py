"""The state stores that the contract is held against."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from function.state import StateStore
from tests.fakes.sidecar import FakeStateStore

Open = Callable[[], AbstractAsyncContextManager[StateStore]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[StateStore]:
    yield FakeStateStore()


# The one place where the real ones are plugged in: an entry for each component that yields
# StateStore(DaprClient(...), component name) of a running daprd is all it takes.
STORES: dict[str, Open] = {"fake": in_memory}
