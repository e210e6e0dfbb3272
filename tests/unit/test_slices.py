"""Other tasks run while something long is computed, and its result is the same."""

import asyncio
import threading
from collections.abc import Generator

import pytest

from function.slices import LARGE_BYTES, map_in_slices, run_in_slices

pytestmark = pytest.mark.anyio


class Turns:
    """Counts how often another task has had its turn."""

    count = 0

    async def take(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def test_other_tasks_run_between_the_steps_of_a_long_computation() -> None:
    turns = Turns()
    seen = list[int]()

    def steps() -> Generator[None, None, str]:
        for _ in range(5):
            seen.append(turns.count)
            yield
        return "done"

    other = asyncio.create_task(turns.take())
    assert await run_in_slices(steps(), seconds=0) == "done"
    other.cancel()
    assert seen == [0, 1, 2, 3, 4]


async def test_short_computations_are_not_interrupted() -> None:
    """A usual batch is as fast as without slices."""
    turns = Turns()
    other = asyncio.create_task(turns.take())

    def steps() -> Generator[None, None, int]:
        yield
        return turns.count

    assert await run_in_slices(steps(), seconds=60) == 0
    other.cancel()


async def test_what_a_step_raises_reaches_the_caller() -> None:
    def steps() -> Generator[None, None, None]:
        yield
        raise KeyError("entries")

    with pytest.raises(KeyError):
        await run_in_slices(steps())


async def test_each_item_is_worked_on_in_order_and_large_ones_off_the_event_loop() -> None:
    threads = dict[int, threading.Thread]()

    def work(item: int) -> str:
        threads[item] = threading.current_thread()
        return f"item {item}"

    items = [5, LARGE_BYTES, 7, LARGE_BYTES - 1]
    assert await map_in_slices(work, items, size=lambda item: item) == [f"item {item}" for item in items]
    assert [item for item, thread in threads.items() if thread is not threading.main_thread()] == [LARGE_BYTES]


async def test_what_the_work_on_a_large_item_raises_reaches_the_caller() -> None:
    def work(_: int) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await map_in_slices(work, [LARGE_BYTES], size=lambda item: item)
