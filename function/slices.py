"""Runs long computations in slices, so that the event loop serves other tasks in between. Knows nothing of what is computed."""

import asyncio
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

SLICE_SECONDS = 0.01  # of computing before other tasks run
LARGE_BYTES = 64 * 1024  # decoding less takes a few milliseconds at most

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run_in_slices(steps: Generator[None, None, Result], seconds: float = SLICE_SECONDS) -> Result:
    """Runs a generator to its end and returns what it returns; between two of its steps, other tasks run when it is time.

    Args:
        steps: yields where it can be interrupted; what it raises passes through.
        seconds: of computing before other tasks run.
    """
    now = asyncio.get_running_loop().time
    began = now()
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            result: Result = ended.value
            return result
        if now() - began >= seconds:
            await asyncio.sleep(0)
            began = now()


async def map_in_slices(
    work: Callable[[Item], Result], items: Iterable[Item], size: Callable[[Item], int], large: int = LARGE_BYTES
) -> list[Result]:
    """Returns `work(item)` for each item, in their order; other tasks run in between, when it is time.

    Args:
        work: pure, since it runs in another thread for a large item: a single one can take a tenth of a second, and Python
            changes between threads every few milliseconds.
        items: are worked on one after the other.
        size: the item's size in bytes.
        large: the size from which an item is large.
    """
    now = asyncio.get_running_loop().time
    results, began = list[Result](), now()
    for item in items:
        if size(item) >= large:
            results.append(await asyncio.to_thread(work, item))
            began = now()
            continue
        results.append(work(item))
        if now() - began >= SLICE_SECONDS:
            await asyncio.sleep(0)
            began = now()
    return results
