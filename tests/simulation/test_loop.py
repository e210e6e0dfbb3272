"""The simulated event loop: time that jumps, frozen and killed processes, and runs that do not end."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.loop import NoProgress, Process, VirtualLoop


def run(coro: Coroutine[Any, Any, Any], loop: VirtualLoop) -> Any:
    try:
        return loop.run_until_complete(coro)
    finally:
        loop.close()


def test_an_hour_takes_no_time() -> None:
    loop, began = VirtualLoop(1, 1000), time.monotonic()
    run(asyncio.sleep(3600), loop)
    assert loop.time() == 3600
    assert time.monotonic() - began < 5


def test_a_frozen_process_goes_on_where_it_was_once_it_is_woken() -> None:
    loop, process, seen = VirtualLoop(1, 1000), Process(0, 0), list[float]()

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def world() -> None:
        task = loop.create_task(work(), context=process.context())
        await asyncio.sleep(1.5)
        loop.freeze(process, 10)
        await task

    run(world(), loop)
    assert seen == [1, 11.5, 12.5]


def test_a_killed_process_ends_with_every_task_that_it_began() -> None:
    loop, process, seen = VirtualLoop(1, 1000), Process(0, 0), list[str]()

    async def child() -> None:
        await asyncio.sleep(5)
        seen.append("child")

    async def parent() -> None:
        await asyncio.gather(child(), asyncio.create_task(child()))
        seen.append("parent")

    async def world() -> None:
        task = loop.create_task(parent(), context=process.context())
        await asyncio.sleep(1)
        loop.kill(process)
        await asyncio.wait([task])
        await asyncio.sleep(10)

    run(world(), loop)
    assert seen == []


def test_the_order_among_processes_depends_on_the_seed_and_that_within_one_does_not() -> None:
    orders = set()
    for seed in range(20):
        loop, seen = VirtualLoop(seed, 1000), list[str]()

        async def world(loop: VirtualLoop = loop, seen: list[str] = seen) -> None:
            for number in range(2):
                context = Process(number, number).context()
                for place in "abc":
                    loop.call_soon(seen.append, f"{number}{place}", context=context)
            await asyncio.sleep(1)

        run(world(), loop)
        for number in "01":
            assert [one for one in seen if one[0] == number] == [f"{number}{place}" for place in "abc"]
        orders.add(tuple(seen))
    assert len(orders) > 5


def test_a_run_that_does_not_end_is_told() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - nothing will happen
            await asyncio.sleep(0)

    loop = VirtualLoop(1, 1000)
    with pytest.raises(NoProgress, match="over 1000 steps"):
        loop.run_until_complete(spin())
    loop.max_steps *= 2
    for task in asyncio.all_tasks(loop):
        task.cancel()
    run(asyncio.sleep(0), loop)


def test_a_run_in_which_nothing_is_left_is_told() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    loop = VirtualLoop(1, 1000)
    with pytest.raises(NoProgress, match="nothing is left"):
        loop.run_until_complete(wait())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    run(asyncio.sleep(0), loop)
