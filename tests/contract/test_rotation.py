"""The steps of docs/credentials.md on a real PostgreSQL and a real Kafka that ask for passwords: two daprd, as an old and a new pod,
work at the same time, and the new one goes on after the first credential is gone."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.processes import StackError, free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres
from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from function.outcomes import Reason, TryAgain
from tests.contract.servers import stores
from tests.contract.servers.secure_kafka import SecureKafka
from tests.contract.servers.sidecar import component, running
from tests.contract.servers.topics import Topic
from tests.manifests.pages import blocks

pytestmark = [pytest.mark.anyio, pytest.mark.real]

FIRST, SECOND = "matrix_account_sync", "matrix_account_sync_b"
NO_CONTENT = 204
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
                    assert await refused_at_last(old, user) is Reason.STATE_UNAVAILABLE
                    assert (await new.read(user)).state.display_name == "both"


async def refused_at_last(users: UserStore, user: str) -> Reason | None:
    """Returns why a read is refused; a connection that has just ended is answered differently (test_state_outage.py)."""
    for _ in range(POOL + 1):
        try:
            await users.read(user)
        except TryAgain as refused:
            return refused.reason
    return None


def pubsub(broker: SecureKafka, user: str) -> dict[str, Any]:
    """A component with production's kind of credentials."""
    metadata = {"brokers": f"127.0.0.1:{broker.sasl_port}", "consumerGroup": "any", "version": "2.8.0"}
    metadata |= {"authType": "password", "saslMechanism": "SHA-512", "saslUsername": user, "saslPassword": user}
    return component("pubsub", "pubsub.kafka", "v1", metadata | {"caCert": broker.certificate.read_text()})


def published(http: int, topic: str) -> int:
    """Returns the status of an event that is published."""
    return httpx.post(f"http://127.0.0.1:{http}/v1.0/publish/pubsub/{topic}", json={}, timeout=30).status_code


def test_a_second_user_of_kafka_takes_over_and_what_is_connected_goes_on(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("old", "new", "late")]
    for folder in folders:
        folder.mkdir()
    topic = Topic(secure_kafka).name
    secure_kafka.add_user("first")
    with running(folders[0], [pubsub(secure_kafka, "first")]) as (old, _):
        assert published(old, topic) == NO_CONTENT
        secure_kafka.add_user("second")
        with running(folders[1], [pubsub(secure_kafka, "second")]) as (new, _):
            assert published(new, topic) == NO_CONTENT
            secure_kafka.remove_user("first")
            assert (published(old, topic), published(new, topic)) == (NO_CONTENT, NO_CONTENT)
    with pytest.raises(StackError), running(folders[2], [pubsub(secure_kafka, "first")]):
        pass
