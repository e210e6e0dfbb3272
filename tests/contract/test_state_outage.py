"""A bulk read whose connection to PostgreSQL breaks: daprd answers that every record is absent, and the function does not believe it.

The component does not ask for the error that ended its rows (components-contrib 1.18.3, `BulkGet` of state/postgresql/v2). If the first test fails,
daprd has been fixed, and the probe's key need no longer be part of each read.
"""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from dapr.aio.clients import DaprClient

from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres
from function.dapr.state_store import CUT_OFF, StateStore
from function.outcomes import TryAgain
from tests.contract.servers import stores

pytestmark = [pytest.mark.anyio, pytest.mark.real]

KEY, VALUE = "user", b"{}"
TRIES = 20  # a connection that was idle for a second is tested by daprd before it is used


class Broken:
    """A sidecar whose connections to PostgreSQL end between two reads."""

    def __init__(self, client: DaprClient, store: StateStore, server: Postgres) -> None:
        self.client, self.store, self._server = client, store, server

    async def until(self, read: Callable[[], Awaitable[bool]]) -> bool:
        """Returns whether a read right after the connections have ended returned true."""
        for _ in range(TRIES):
            with contextlib.suppress(Exception):  # the statement must be prepared on this connection
                await self.client.get_bulk_state("statestore", [KEY, "health"])
            self._end_connections()
            if await read():
                return True
        return False

    def _end_connections(self) -> None:
        """Ends them as a restart or a failover of PostgreSQL does."""
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'state'"
        command = [str(postgres("psql")), self._server.url("synapse"), "-v", "ON_ERROR_STOP=1", "-qAtc", query]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
async def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broken]:
    server = Postgres(tmp_path, free_port())
    try:
        server.start()
        with stores.sidecar(tmp_path, {"statestore": ("state.postgresql", "v2", server.url("state"))}) as (http, grpc):
            monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
            async with DaprClient(f"127.0.0.1:{grpc}") as client:
                store = StateStore(client, "statestore")
                await store.probe()
                await store.write_values({KEY: (VALUE, "")})
                yield Broken(client, store, server)
    finally:
        server.remove()


async def test_daprd_answers_that_a_record_is_absent_and_the_function_does_not_believe_it(broken: Broken) -> None:
    async def hidden() -> bool:
        found = await broken.client.get_bulk_state("statestore", [KEY, "health"])
        return not any(item.data for item in found.items)

    async def noticed() -> bool:
        try:
            found = await broken.store.read_values([KEY])
        except TryAgain as failure:
            return failure.detail == CUT_OFF
        assert found[KEY][0] == VALUE
        return False

    assert await broken.until(hidden), "daprd may have been fixed"
    assert await broken.until(noticed)


async def test_a_store_that_was_never_probed_has_absent_records(broken: Broken) -> None:
    """A tool may be the first to use a store."""
    await broken.client.delete_state("statestore", "health")
    found = await broken.store.read_values(["other", KEY])
    assert {key: value for key, (value, _) in found.items()} == {"other": b"", KEY: VALUE}
