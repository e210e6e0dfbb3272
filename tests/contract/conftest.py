"""The contracts' two fixtures: every test runs once for each homeserver or store that is plugged in."""

import uuid
from collections.abc import AsyncIterator

import pytest

from function.state import StateStore
from tests.contract.homeservers import HOMESERVERS, Homeserver
from tests.contract.stores import STORES


@pytest.fixture(params=HOMESERVERS)
async def homeserver(request: pytest.FixtureRequest) -> AsyncIterator[Homeserver]:
    async with HOMESERVERS[request.param]() as opened:
        yield opened


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    async with STORES[request.param]() as opened:
        yield opened


@pytest.fixture
def user() -> str:
    """A user that no other test knows: real servers and stores keep theirs."""
    return str(uuid.uuid4())
