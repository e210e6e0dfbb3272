"""Ends waiting when a person stops the tool, and lets finish what was begun."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Stopped(Exception):
    """The tool was told to stop."""


async def unless_stopped(stop: asyncio.Event, waiting: Coroutine[Any, Any, _Result]) -> _Result:
    """Returns what `waiting` returns. Raises Stopped, and cancels it, once `stop` is set."""
    work, told = asyncio.ensure_future(waiting), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            raise Stopped
        return work.result()
    finally:
        for task in (work, told):
            task.cancel()
        await asyncio.wait({work, told})
        if not work.cancelled():
            work.exception()  # it was told, or does not matter any more
