"""The contracts' fixtures: every test runs on the fake and on the real thing, which is started once, when first used."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from dev.processes import free_port
from dev.servers.kafka import Kafka
from dev.servers.postgres import Postgres
from dev.servers.synapse import ADMIN_ID, Synapse
from function.dapr.state_store import StateStore
from tests.contract.servers import homeservers, stores
from tests.contract.servers.homeservers import Homeserver
from tests.contract.servers.secure_kafka import SecureKafka

REAL = pytest.mark.real


@pytest.fixture(scope="session")
def running_synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    server = Synapse(tmp_path_factory.mktemp("synapse"), free_port(), None)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def running_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    folder = tmp_path_factory.mktemp("sidecar")
    postgres = Postgres(folder, free_port())
    try:
        postgres.start()
        components = {
            "sqlite": ("state.sqlite", "v1", str(folder / "state.db")),
            "postgresql": ("state.postgresql", "v2", postgres.url("state")),
        }
        with stores.sidecar(folder, components) as ports:
            yield ports
    finally:
        postgres.remove()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka"), free_port(), free_port(), 2) as broker:
        yield broker


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure-kafka")) as broker:
        yield broker


@pytest.fixture(params=["fake", pytest.param("real", marks=REAL)])
def open_homeserver(request: pytest.FixtureRequest) -> homeservers.Opened:
    if request.param == "fake":
        return homeservers.in_memory()
    server: Synapse = request.getfixturevalue("running_synapse")
    return homeservers.over_http(server.url, server.token, ADMIN_ID)


@pytest.fixture
async def homeserver(open_homeserver: homeservers.Opened) -> AsyncIterator[Homeserver]:
    async with open_homeserver as opened:
        yield opened


@pytest.fixture(params=["fake", pytest.param("sqlite", marks=REAL), pytest.param("postgresql", marks=REAL)])
def open_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> stores.Opened:
    if request.param == "fake":
        return stores.in_memory()
    http, grpc = request.getfixturevalue("running_sidecar")
    monkeypatch.setenv("DAPR_HTTP_PORT", str(http))
    return stores.over_grpc(grpc, request.param)


@pytest.fixture
async def store(open_store: stores.Opened) -> AsyncIterator[StateStore]:
    async with open_store as opened:
        yield opened


@pytest.fixture
def user() -> str:
    """A user that no other test knows: real servers and stores keep theirs."""
    return str(uuid.uuid4())
