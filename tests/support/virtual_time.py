"""Runs a coroutine in virtual time: when nothing is ready, the event loop's clock jumps to the next timer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without sockets that never waits."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready and timers:
            self.now = max(self.now, timers[0].when())
        super()._run_once()  # type: ignore[misc]


T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
