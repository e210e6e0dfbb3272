"""One stack and one running function for all integration tests; each test uses users of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.stack import Stack
from tests.integration.stack import StackUnderTest

LONGEST = Path(__file__).with_name("test_faults.py")
TOLD = "told"  # the property of a report under which its lines travel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest file first: the other files then fill the time of the other workers."""
    items.sort(key=lambda item: item.path != LONGEST)


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
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Keeps a line for the end of the run, where every run shows it: the counts of a fault test."""

    def say(line: str) -> None:
        record_property(TOLD, line)

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what the tests told; a worker of pytest-xdist has no terminal, so the lines travel with its reports."""
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        lines = [str(line) for name, line in getattr(report, "user_properties", ()) if name == TOLD]
        if lines and report.when == "call":
            terminalreporter.section(report.nodeid.rpartition("::")[2], sep="-")
            terminalreporter.write("\n".join(lines) + "\n")
