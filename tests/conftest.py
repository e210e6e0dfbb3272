"""What every test shares: asyncio as the event loop, retries without their waits, and brokers that start quickly."""

import logging
import os
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


@pytest.fixture(scope="session", autouse=True)
def short_lived_brokers() -> None:
    """Halves the processor time of a start: Java's first compiler alone, for brokers that end before the second pays off."""
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(autouse=True)
def levels_of_the_logs() -> Iterator[None]:
    """A test that runs a command leaves the log levels as they were: another test may read what they would hide."""
    loggers = logging.getLogger(), logging.getLogger("function")
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
