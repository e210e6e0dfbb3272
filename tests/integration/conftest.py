"""One stack and one running function for all integration tests; each test uses users of its own."""

from collections.abc import Callable, Iterator

import pytest

from dev.stack import Stack
from tests.integration.stack import StackUnderTest


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.on_free_ports(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="session")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    started = StackUnderTest(stack, tmp_path_factory.mktemp("function"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line that is seen in every run: the counts of a fault test."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}")

    return say
