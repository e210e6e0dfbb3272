"""What every test shares: asyncio as the event loop, and retries without their waits."""

from collections.abc import Iterator

import hypothesis
import pytest
import stamina

from function.homeserver.requests import TRIES

hypothesis.settings.register_profile("house", deadline=None, max_examples=100)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """daprd's client and httpx-aiohttp run on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def impatient_retries() -> Iterator[None]:
    """As many tries as in production, without the pauses between them."""
    with stamina.set_testing(testing=True, attempts=TRIES):
        yield
