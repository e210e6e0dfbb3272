"""One MAS and one Synapse for these tests; each test makes users of its own."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.mas.server import Server, on_stand_in
from tests.integration.mas.deployment import Deployment, opened

UNREADABLE = {400, 415, 422}  # what MAS answers to a body or a parameter that it can't read


@pytest.fixture(scope="session")
def mas_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with on_stand_in(tmp_path_factory.mktemp("mas")) as started:
        yield started


@pytest.fixture
async def deployment(mas_server: Server) -> AsyncIterator[Deployment]:
    """Also checks at the end that MAS could read each request. 400 to `finish` only says that the session had ended."""
    mas, synapse = mas_server.stand_in, mas_server.running_synapse
    assert mas
    assert synapse
    mas.control("DELETE", "requests")
    async with opened(mas_server, mas) as clients:
        yield clients
    mas.start()  # if the test failed while it was down
    synapse.start()
    mas_server.reset()
    sent = mas.control("GET", "requests")
    assert sent
    assert [one for one in sent if one["status"] in UNREADABLE and not one["path"].endswith("/finish")] == []


@pytest.fixture
def user() -> str:
    return str(uuid.uuid4())
