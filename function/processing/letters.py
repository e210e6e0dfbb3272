"""Publishes the dead letters of a batch, concurrently, within a limit of their own: what else was done stays done."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from function.dead_letters.publish import DeadLetters
from function.outcomes import EventResult, Outcome, Reason, Rejected, TryAgain
from function.processing.event_log import event_id_of
from function.processing.user import Item, UserJob
from function.telemetry.logs import log

SECONDS = 10.0  # for all dead letters of a batch
AT_A_TIME = 8


async def publish_letters(items: Sequence[Item], jobs: Iterable[UserJob], dead_letters: DeadLetters) -> None:
    """Publishes the dead letter of each item that has one. After the first failure no other is begun.

    An item whose letter is not published waits, and with it the later ones of its user: a letter goes out once, in order.
    """
    of_users = [job.items for job in jobs]
    owned = {id(item) for group in of_users for item in group}
    groups = [*of_users, *([item] for item in items if id(item) not in owned)]
    groups = [group for group in groups if any(_letter(item) for item in group)]
    if groups:
        await _Publishing(dead_letters).run(groups)


class _Publishing:
    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters, self._free = dead_letters, asyncio.Semaphore(AT_A_TIME)
        self._failure: TryAgain | None = None

    async def run(self, groups: Sequence[Sequence[Item]]) -> None:
        published: set[int] = set()
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*(self._group(group, published) for group in groups))
        except TimeoutError:
            self._failed(TryAgain(Reason.PUBLISH_FAILED, f"over {SECONDS:.0f} s"))
        if self._failure:
            for group in groups:
                _wait_from_first_unpublished(group, published, self._failure)

    async def _group(self, group: Sequence[Item], published: set[int]) -> None:
        """Publishes one user's dead letters, one after the other."""
        for item in group:
            if (rejected := _letter(item)) is None:
                continue
            async with self._free:
                if self._failure:
                    return
                try:
                    await self._dead_letters.publish(item.record, rejected, event_id_of(item))
                except TryAgain as failure:
                    self._failed(failure)
                    return
                published.add(id(item))

    def _failed(self, failure: TryAgain) -> None:
        if self._failure is None:
            self._failure = failure
            log(logging.WARNING, "dead_letter_retry", reason=failure.reason.value, detail=failure.detail)


def _letter(item: Item) -> Rejected | None:
    failure = item.result.failure if item.result else None
    return failure if isinstance(failure, Rejected) else None


def _wait_from_first_unpublished(group: Sequence[Item], published: set[int], failure: TryAgain) -> None:
    waiting = False
    for item in group:
        waiting = waiting or (_letter(item) is not None and id(item) not in published)
        if waiting and id(item) not in published:
            item.result = EventResult(Outcome.RETRY, failure)
