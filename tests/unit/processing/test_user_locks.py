"""One writer per user, and no user waits for another."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function.processing.user_locks import UserLocks
from tests.support.events import ALICE, BOB, CAROL

pytestmark = pytest.mark.anyio


class Batches:
    """Batches that last until they are told to end."""

    def __init__(self) -> None:
        self._user_locks = UserLocks()
        self.at_work: dict[str, set[str]] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, *users: str) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._work(name, set(users)))
        await settle()

    async def _work(self, name: str, users: set[str]) -> None:
        async with self._user_locks.acquire(users):
            assert all(users.isdisjoint(others) for others in self.at_work.values()), "two writers"
            self.at_work[name] = users
            try:
                await self._ends[name].wait()
            finally:
                del self.at_work[name]

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await settle()

    async def end_all(self) -> None:
        for ends in self._ends.values():
            ends.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks.values(), return_exceptions=True), 5)


async def settle() -> None:
    """Lets every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_batches_without_a_common_user_run_side_by_side() -> None:
    batches = Batches()
    await batches.begin("one", ALICE)
    await batches.begin("two", BOB)
    assert set(batches.at_work) == {"one", "two"}
    await batches.end_all()


async def test_a_batch_retry_for_all_that_share_a_user_with_it() -> None:
    batches = Batches()
    await batches.begin("one", ALICE)
    await batches.begin("two", BOB)
    await batches.begin("three", ALICE, BOB, CAROL)
    await batches.end("one")
    assert set(batches.at_work) == {"two"}
    await batches.end("two")
    assert set(batches.at_work) == {"three"}
    await batches.end_all()


async def test_a_batch_that_waits_holds_nobody_else_up() -> None:
    batches = Batches()
    await batches.begin("one", ALICE)
    await batches.begin("two", ALICE, BOB)
    await batches.begin("three", BOB)
    assert set(batches.at_work) == {"one", "three"}
    await batches.end_all()


@pytest.mark.parametrize("cancelled", ["one", "two"])
async def test_a_cancelled_batch_leaves_its_users_free_and_those_of_others_taken(cancelled: str) -> None:
    batches = Batches()
    await batches.begin("one", ALICE)
    await batches.begin("two", ALICE)
    await batches.cancel(cancelled)
    await batches.begin("three", ALICE)
    [left] = {"one", "two"} - {cancelled}
    assert set(batches.at_work) == {left}
    await batches.end(left)
    assert set(batches.at_work) == {"three"}
    await batches.end_all()


async def test_a_batch_without_users_never_waits() -> None:
    batches = Batches()
    await batches.begin("one", ALICE)
    await batches.begin("two")
    assert set(batches.at_work) == {"one", "two"}
    await batches.end_all()


@given(st.lists(st.sets(st.sampled_from([ALICE, BOB, CAROL])), max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_every_batch_gets_its_turn_and_no_user_has_two_writers(wanted: Sequence[set[str]], order: Random) -> None:
    async def run() -> None:
        batches = Batches()
        for number, users in enumerate(wanted):
            await batches.begin(str(number), *users)
            if batches.at_work and order.random() < 0.3:
                await batches.end(order.choice(sorted(batches.at_work)))
        await batches.end_all()
        assert all(task.done() and not task.exception() for task in batches.tasks.values())

    asyncio.run(run())
