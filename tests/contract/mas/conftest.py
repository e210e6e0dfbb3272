"""One MAS and one Synapse for the whole suite; each test makes users of its own."""

import os
from collections.abc import Iterator

import pytest

from dev.servers.mas import Mas
from tests.contract.mas.server import Server, on_stand_in

REAL = ("MAS_URL", "MAS_SYNAPSE_URL", "MAS_CLIENT_ID", "MAS_CLIENT_SECRET", "MAS_PROVIDER")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if os.environ.get("MAS_URL"):
        real = _real()
        yield real
        real.close()
        return
    with on_stand_in(tmp_path_factory.mktemp("mas")) as started:
        yield started


@pytest.fixture
def stand_in(server: Server) -> Iterator[Mas]:
    """The stand-in, whose jobs, tokens and requests a test may disturb."""
    if server.stand_in is None:
        pytest.skip("a real MAS has no controls for this")
    yield server.stand_in
    server.reset()


def _real() -> Server:
    missing = [name for name in REAL if not os.environ.get(name)]
    if missing:
        pytest.exit(f"set {', '.join(missing)} with MAS_URL: see dev/servers/mas_stand_in/README.md", 2)
    url, synapse_url, client_id, client_secret, provider = (os.environ[name] for name in REAL)
    return Server(url.rstrip("/"), synapse_url.rstrip("/"), (client_id, client_secret), provider)
