"""An event loop whose time jumps to the next timer as soon as there is nothing else to do: timeouts and pauses take no time.

A test module uses it by a fixture `anyio_backend` that returns `VIRTUAL_TIME`. Only for code without sockets and threads.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never blocks: waiting only moves the time."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("every task waits for something that never comes")
        if not found and timeout:
            self.passed += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0; `time()` is in seconds."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.passed


VIRTUAL_TIME: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualTimeLoop})


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in virtual time, for a test that is not asynchronous itself."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
