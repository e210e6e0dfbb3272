"""The SQL of docs/audit.md that lists the users of the state store, on the databases of both components."""

import re
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.toolchain import postgres
from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.users import UserList
from tests.contract.servers import stores

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()


def sql(program: str) -> str:
    """Returns the query that the page gives to `psql` or `sqlite3`."""
    found = re.search(rf'^{program} .*"(SELECT .*)" > users$', PAGE, re.MULTILINE)
    assert found, program
    return found[1]


class Sqlite:
    """The database of the component of the local stack."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.db"
        self.component = ("state.sqlite", "v1", str(self._file))

    def listed(self) -> list[bytes]:
        database = sqlite3.connect(self._file)
        rows = database.execute(sql("sqlite3")).fetchall()
        database.close()
        return [user.encode() for (user,) in rows]


class Postgresql:
    """The database of the component of the manifests, without its prefix of the tables."""

    def __init__(self, server: Postgres) -> None:
        self._url = server.url("state")
        self.component = ("state.postgresql", "v2", self._url)

    def listed(self) -> list[bytes]:
        query = sql("psql").replace("matrix_account_sync_state", "state")
        command = [str(postgres("psql")), self._url, "-Atc", query]
        return subprocess.run(command, capture_output=True, check=True).stdout.splitlines()


@pytest.fixture(params=[Sqlite, Postgresql])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sqlite | Postgresql]:
    if request.param is Sqlite:
        yield Sqlite(tmp_path)
        return
    server = Postgres(tmp_path, free_port())
    try:
        server.start()
        yield Postgresql(server)
    finally:
        server.remove()


async def test_the_query_of_the_page_lists_the_users_and_nothing_else(
    database: Sqlite | Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store holds other values too; what is listed is what `audit --users` takes."""
    users = sorted(str(uuid.uuid4()) for _ in range(5))
    others = ["health", "deletion-limit", "departures", f"rechecks:{users[0]}", f"{users[0]}-marks", "x" * 36]
    with stores.sidecar(tmp_path, {"statestore": database.component}) as (http, grpc):
        monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
        async with stores.over_grpc(grpc, "statestore") as store:
            await UserStore(store).write({user: Versioned(UserState(display_name="Ada")) for user in users})
            await store.write_values(dict.fromkeys(others, (b"{}", "")))
            listed = UserList.read(database.listed())
    assert listed.part(0, 9) == users
