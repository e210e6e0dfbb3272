"""The steps of docs/credentials.md on a real PostgreSQL and a real Kafka that ask for passwords: two daprd, as an old and a new pod,
work at the same time, and the new one goes on after the first credential is gone."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres
from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from function.outcomes import Reason, TryAgain
from tests.contract.servers import stores
from tests.contract.servers.secure_kafka import PASSWORD, USER, SecureKafka
from tests.contract.servers.sidecar import component, running
from tests.manifests.pages import blocks

pytestmark = [pytest.mark.anyio, pytest.mark.real]

FIRST, SECOND = "matrix_account_sync", "matrix_account_sync_b"
POOL = 4  # connections of one daprd, as in the manifests


def statements(page: str, heading: str) -> list[list[str]]:
    """The SQL of the commands of psql under a heading of a page, by command."""
    found = [re.findall(r'-c "([^"]+)"', block.text) for block in blocks(page) if block.heading == heading]
    return [commands for commands in found if commands]


class Guarded:
    """A PostgreSQL that asks the two roles of the page for their passwords."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._server = folder, Postgres(folder, free_port())
        self._server.start()
        rules = Path((folder / "postgres.data").read_text()) / "pg_hba.conf"
        asks = "".join(f"host all {role} 127.0.0.1/32 scram-sha-256\n" for role in (FIRST, SECOND))
        rules.write_text(asks + rules.read_text())
        self.run("SELECT pg_reload_conf()")

    def run(self, *queries: str) -> str:
        """Runs statements as the superuser; returns what they print."""
        words = [word for query in queries for word in ("-c", query)]
        command = [str(postgres("psql")), self._server.url("postgres"), "-At", "-v", "ON_ERROR_STOP=1", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def daprd(self, role: str) -> AbstractContextManager[tuple[int, int]]:
        """A sidecar whose connection string names the role."""
        address = self._server.url(FIRST).replace("user=synapse", f"user={role} password='...'")
        (self._folder / role).mkdir()
        metadata = {"connectionString": address, "keyPrefix": "name", "maxConns": str(POOL)}
        return running(self._folder / role, [component("statestore", "state.postgresql", "v2", metadata)])

    def remove(self) -> None:
        self._server.remove()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    server = Guarded(tmp_path)
    try:
        yield server
    finally:
        server.remove()


async def test_a_second_role_of_postgresql_takes_over_the_records_while_the_first_one_works(
    guarded: Guarded, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = statements("deploy", "4. State store")
    added, removed = statements("credentials", "PostgreSQL")
    guarded.run(*made)
    with guarded.daprd(FIRST) as (http, grpc):
        monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
        async with stores.over_grpc(grpc, "statestore") as store:
            old = UserStore(store)
            await old.write({user: Versioned(UserState(display_name="before"))})
            guarded.run(*added)
            with guarded.daprd(SECOND) as (other_http, other_grpc):
                monkeypatch.setenv("DAPR_HTTP_PORT", str(other_http))
                async with stores.over_grpc(other_grpc, "statestore") as other:
                    new = UserStore(other)
                    found = await new.read(user)
                    assert found.state.display_name == "before"
                    await new.write({user: Versioned(UserState(display_name="between"), found.etag)})
                    found = await old.read(user)
                    assert found.state.display_name == "between"
                    await old.write({user: Versioned(UserState(display_name="both"), found.etag)})
                    guarded.run(*removed)
                    with pytest.raises(TryAgain) as refused:
                        for _ in range(POOL + 1):  # the answer over a connection that has just ended: test_state_outage.py
                            await old.read(user)
                    assert refused.value.reason is Reason.STATE_UNAVAILABLE
                    assert (await new.read(user)).state.display_name == "both"
