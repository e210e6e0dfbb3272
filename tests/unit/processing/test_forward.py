"""However slow Synapse is and however large the backlog, each round ends some users for good. In virtual time."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from function.accounts.updater import CLAIM
from function.outcomes import EventResult, Outcome, Reason
from function.processing.admission import FIRST, LATE, LEAST, MOST, Admission
from function.processing.groups import BEGIN_SECONDS
from tests.support.events import ALICE, BOB, EPOCH, deletion, profile
from tests.support.harness import Clock, Harness, world
from tests.support.virtual_time import VIRTUAL_TIME

pytestmark = pytest.mark.anyio

USERS, COMPONENTS, IN_FLIGHT = 600, 6, 16
PICTURE = "mxc://test.example/new"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return VIRTUAL_TIME


class LoopClock(Clock):
    """The clock of the event loop as UTC."""

    def __call__(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def now() -> float:
    return asyncio.get_running_loop().time()


def on_loop_time(w: Harness, seconds: float) -> None:
    """Lets each request take that number of seconds."""
    w.clock = LoopClock()
    w.restart()
    w.homeserver.before = pausing(seconds)


def pausing(seconds: float, only: str = "") -> Callable[[str, str], Awaitable[None]]:
    async def before(_method: str, path: str) -> None:
        if only in path:
            await asyncio.sleep(seconds)

    return before


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0])
async def test_a_slow_synapse_delays_a_backlog_by_little_more_than_its_calls(seconds: float) -> None:
    """600 users with a new name and a new avatar, on six components: three calls each, sixteen at a time."""
    users = [str(uuid.UUID(int=number)) for number in range(USERS)]
    async with world(*users) as w:
        on_loop_time(w, seconds)
        ended: list[int] = []

        async def component(number: int) -> None:
            waiting = [profile(user, 5, avatar_url=PICTURE) for user in users[number::COMPONENTS]]
            while waiting:
                outcomes = await w.process(*waiting)
                ended.append(len(outcomes) - outcomes.count(Outcome.RETRY))
                waiting = [r for r, outcome in zip(waiting, outcomes, strict=True) if outcome is Outcome.RETRY]
                await asyncio.sleep(1)  # daprd's pause before it delivers again

        await asyncio.gather(*(component(number) for number in range(COMPONENTS)))
        least = 3 * USERS * seconds / IN_FLIGHT
        assert all(w.account(user)["avatar_url"] == PICTURE for user in users)
        assert len(w.homeserver.calls()) == 3 * USERS  # nothing is done twice
        assert now() < 1.1 * least
        assert sum(ended) == USERS


async def test_a_batch_holds_its_partitions_for_a_bounded_time() -> None:
    """Those who have begun end, and the rest is answered RETRY; no claim is left."""
    users = [str(uuid.UUID(int=number)) for number in range(USERS)]
    async with world(*users) as w:
        on_loop_time(w, 3)
        outcomes = await w.process(*(profile(user, 5, avatar_url=PICTURE) for user in users))
        assert now() < BEGIN_SECONDS + CLAIM.total_seconds()
        done = [user for user, outcome in zip(users, outcomes, strict=True) if outcome is Outcome.APPLIED]
        assert len(done) > LEAST
        assert {w.state.record(user).claim for user in users} == {None}
        assert all(w.account(user)["avatar_url"] == PICTURE for user in done)


async def test_a_deletion_does_not_wait_for_the_profiles_before_it() -> None:
    users = [str(uuid.UUID(int=number)) for number in range(USERS)]
    async with world(*users, BOB) as w:
        on_loop_time(w, 1)
        profiles = asyncio.create_task(w.processor.process([profile(user, 5, avatar_url=PICTURE) for user in users]))
        await asyncio.sleep(0.1)
        assert await w.process(deletion(BOB)) == [Outcome.APPLIED]
        assert not profiles.done()
        assert now() < 10
        await profiles


async def test_a_user_all_of_whose_writes_hang_is_a_dead_letter() -> None:
    """Each of the two takes longer than half of what a user may take, while Synapse works for others."""
    async with world(ALICE, BOB) as w:
        on_loop_time(w, 0)
        await w.process(profile(ALICE, 1))
        w.homeserver.before = pausing(1000, only="/profile/" + w.homeserver.mxid(ALICE))
        both = [profile(ALICE, 2, display_name="New", avatar_url=PICTURE), profile(BOB, 2)]
        results = await w.processor.process(both)
        assert [result.outcome for result in results] == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert reason(results[0]) is Reason.SYNAPSE_ERROR
        assert w.health.failure is None
        assert w.state.record(ALICE).in_doubt


def reason(result: EventResult) -> Reason:
    assert result.failure
    return result.failure.reason


async def test_more_users_begin_while_they_end_soon_and_fewer_while_they_do_not() -> None:
    admission = Admission()
    for _ in range(2 * MOST):
        await admission.enter(1, (0.0,))
        admission.leave(0.1)
    assert admission.limit == MOST
    for _ in range(MOST):
        await admission.enter(1, (0.0,))
        admission.leave(LATE + 1)
    assert admission.limit == LEAST


async def test_the_oldest_begins_first_and_nobody_who_gave_up_counts() -> None:
    admission = Admission()
    assert await admission.enter(1000, (1.0, 0.0)) == FIRST
    waiting = {name: asyncio.create_task(admission.enter(1, (1.0, at))) for name, at in (("new", 2.0), ("old", 1.0))}
    gone = asyncio.create_task(admission.enter(1, (0.0, 0.0)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    admission.leave(3)
    assert await waiting["old"] == 1
    assert not waiting["new"].done()
    admission.leave(3)
    assert await waiting["new"] == 1
