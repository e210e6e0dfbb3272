"""One MAS and one Synapse for the whole suite; each test makes users of its own."""

import os
from collections.abc import Iterator

import pytest

from dev.processes import free_port
from dev.servers.mas import DelegatingSynapse, Mas
from tests.contract.mas.server import Server

REAL = ("MAS_URL", "MAS_SYNAPSE_URL", "MAS_CLIENT_ID", "MAS_CLIENT_SECRET", "MAS_PROVIDER")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if os.environ.get("MAS_URL"):
        real = _real()
        yield real
        real.close()
        return
    folder, port = tmp_path_factory.mktemp("mas"), free_port()
    mas = Mas(folder, free_port(), f"http://127.0.0.1:{port}")
    synapse = DelegatingSynapse(folder, port, None, mas)
    try:
        mas.start()
        synapse.start()
        provider = mas.control("POST", "providers", {"human_name": "Nova"})["id"]
        stand_in = Server(mas.url, synapse.url, (mas.client_id, mas.client_secret), provider, mas)
        yield stand_in
        stand_in.close()
    finally:
        synapse.stop()
        mas.stop()


@pytest.fixture
def stand_in(server: Server) -> Iterator[Mas]:
    """The stand-in, whose jobs, tokens and requests a test may disturb."""
    if server.stand_in is None:
        pytest.skip("a real MAS has no controls for this")
    yield server.stand_in
    server.stand_in.control("PUT", "jobs", {})
    server.stand_in.control("DELETE", "faults")
    server.stand_in.control("PUT", "client", {"secret": server.stand_in.client_secret, "admin": True,
                                              "token_seconds": 300})  # fmt: skip


def _real() -> Server:
    missing = [name for name in REAL if not os.environ.get(name)]
    if missing:
        pytest.exit(f"set {', '.join(missing)} beside MAS_URL: see docs/mas-test.md", 2)
    url, synapse_url, client_id, client_secret, provider = (os.environ[name] for name in REAL)
    return Server(url.rstrip("/"), synapse_url.rstrip("/"), (client_id, client_secret), provider, None)
