"""Publishes a pod's record to a topic in virtual time: it travels, or a fault hits it, or only its answer is lost."""

import asyncio
from collections.abc import Callable
from contextvars import Context

from function.outcomes import Reason, TryAgain
from tests.simulation.loop import Process
from tests.simulation.scenario import Hit

_NO_PROCESS = Context()


def expect_alive(process: Process) -> None:
    """Raises TryAgain for what a dead process still tries."""
    if process.dead:
        raise TryAgain(Reason.PUBLISH_FAILED, "this process is dead")


async def publish(
    loop: asyncio.AbstractEventLoop, process: Process, hit: Hit | None, delay: float, take: Callable[[], None],
    on_sent: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Lets the topic take a record after a delay, unless it is hit. Raises TryAgain: it did not take it, or does not say so.

    Args:
        loop: in virtual time.
        process: of the pod that publishes.
        hit: the fault.
        delay: seconds to the topic.
        take: puts the record into the topic.
        on_sent: called once the record is on its way.
    """
    answer: asyncio.Future[None] = loop.create_future()

    def arrive() -> None:
        if hit is not Hit.RESET:
            take()
        if not answer.done():
            answer.set_result(None)

    loop.call_later(delay, arrive, context=_NO_PROCESS)
    on_sent()
    await answer
    expect_alive(process)
    if hit in {Hit.RESET, Hit.LOST}:
        raise TryAgain(Reason.PUBLISH_FAILED, "simulated")
