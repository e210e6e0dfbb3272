"""A canary: when daprd's connection to PostgreSQL breaks during a bulk read, daprd answers that the records are absent. The component does
not ask for the error that ended its rows (components-contrib 1.18.3, `BulkGet` of state/postgresql/v2).

What protects the promises: a state is written only over the ETag that it was read with, so that a record which was taken for absent is
never overwritten. If no read is answered so any more, daprd has been fixed, and this file can go.
"""

import contextlib
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.dapr.state_store import Conflict
from function.outcomes import TryAgain
from tests.contract.servers import stores

pytestmark = [pytest.mark.anyio, pytest.mark.real]

T = TypeVar("T")
TRIES = 20  # a connection that was idle for a second is tested by daprd before it is used


async def test_a_record_that_a_broken_connection_hides_is_not_overwritten(
    tmp_path: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Postgres(tmp_path, free_port())
    try:
        server.start()
        with stores.sidecar(tmp_path, {"statestore": ("state.postgresql", "v2", server.url("state"))}) as (http, grpc):
            monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
            async with stores.over_grpc(grpc, "statestore") as store:
                users = UserStore(store)
                await users.write({user: Versioned(UserState(Status.ERASED))})
                hidden = await read_while_connections_end(users, user, server)
                with pytest.raises(Conflict):
                    await until_answered(
                        lambda: users.write({user: Versioned(UserState(display_name="back"), hidden.etag)})
                    )
                assert (await until_answered(lambda: users.read(user))).state == UserState(Status.ERASED)
    finally:
        server.remove()


async def read_while_connections_end(users: UserStore, user: str, server: Postgres) -> Versioned:
    """Returns the first answer that has no record."""
    for _ in range(TRIES):
        try:
            await users.read(
                user
            )  # the statement is prepared on this connection: only then its next error is not asked for
            end_connections(server)
            found = await users.read(user)
        except TryAgain:
            continue  # an error that daprd tells
        if not found.etag:
            return found
    pytest.fail("no read was answered without the record: daprd may have been fixed")


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call for each connection in daprd's pool that has ended too."""
    for _ in range(TRIES):
        with contextlib.suppress(TryAgain):
            return await call()
    pytest.fail("the state store does not answer any more")


def end_connections(server: Postgres) -> None:
    """Ends every connection to the state's database, as a restart or a failover of PostgreSQL does."""
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'state'"
    command = [str(postgres("psql")), server.url("synapse"), "-v", "ON_ERROR_STOP=1", "-qAtc", query]
    subprocess.run(command, check=True, capture_output=True)
