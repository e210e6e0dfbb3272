"""The host of images; every test runs on asyncio's event loop and on uvloop."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import trustme

from tests.contract.servers.avatar_host import HOST, INSIDE, INTERNET, Net, certified, trusting
from tests.contract.servers.cdn import both


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The function runs on uvloop, which has sockets and TLS of its own."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def net(authority: trustme.CA) -> AsyncIterator[Net]:
    tls = certified(authority, HOST, "other.example", INSIDE)
    async with both(INTERNET, INSIDE, tls) as (cdn, inside), AsyncExitStack() as stack:
        yield Net(cdn, trusting(authority), stack)
        assert inside.connections == 0, "whatever a test did, no connection was made inside"
