"""The deletion limit: how many accounts all pods together deactivate per hour."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function.dapr.state_store import Value
from function.outcomes import Reason, TryAgain
from function.processing.deletion_counts import COUNTED, SETTLED, USABLE
from function.processing.deletion_limit import KEY, DeletionLimit
from tests.support.fake_dapr import FakeStateStore
from tests.support.harness import Clock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


class SharedStore(FakeStateStore):
    """A state store whose calls take a turn of the event loop, so that pods meet between a read and a write.

    `lost`: number of next writes whose answer is lost: they are made, and raise TryAgain.
    """

    lost = 0

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        found = await super().read_values(wanted)
        await asyncio.sleep(0)
        return found

    async def write_values(self, values: Mapping[str, Value]) -> None:
        await super().write_values(values)
        if self.lost:
            self.lost -= 1
            raise TryAgain(Reason.STATE_UNAVAILABLE, "the answer is lost")


@dataclass
class Fleet:
    """Pods on one state store and one clock."""

    limit: int
    state: SharedStore = field(default_factory=SharedStore)
    clock: Clock = field(default_factory=Clock)

    def pod(self) -> DeletionLimit:
        return DeletionLimit(self.state, self.limit, self.clock)


async def delete(pod: DeletionLimit, *, ends: bool = True) -> bool:
    """One deletion; `ends`: whether the user has an account. Returns whether the limit let it pass."""
    if not await pod.try_acquire():
        return False
    await asyncio.sleep(0)  # Synapse
    if ends:
        pod.confirm()
    else:
        pod.release()
    return True


async def passed(pod: DeletionLimit, deletions: int) -> int:
    """Deletes one account after the other; returns how many deletions the limit let pass."""
    return sum([await delete(pod) for _ in range(deletions)])


async def until_decided(call: Callable[[], Awaitable[bool]], fleet: Fleet, pods: Iterable[DeletionLimit]) -> bool:
    """Redelivers a deletion until the limit decides; each time the pods give back what they do not use."""
    for _ in range(2 * SETTLED):
        try:
            return await call()
        except TryAgain as failure:
            assert failure.reason is Reason.DELETION_LIMIT_PENDING  # noqa: PT017 - any number of them may come first
        fleet.clock.now += minutes(1)
        for pod in pods:
            await pod.give_back_unused()
    raise AssertionError("never decided")


async def test_the_limit_lets_as_many_accounts_end_as_it_says() -> None:
    fleet = Fleet(limit=500)
    pod = fleet.pod()
    assert await passed(pod, 600) == 500
    assert pod.exhausted


async def test_deletions_that_end_no_account_do_not_count() -> None:
    """600 deletions, a sixth of them of people without an account, on a limit of 500."""
    pod = Fleet(limit=500).pod()
    assert all([await delete(pod, ends=number % 6 > 0) for number in range(600)])
    assert not await delete(pod)


async def test_deletions_in_flight_that_end_no_account_refuse_none() -> None:
    """More at once than the limit: those over it wait until the others are settled."""
    pod = Fleet(limit=10).pod()
    assert all(await asyncio.gather(*(delete(pod, ends=False) for _ in range(40))))
    assert await passed(pod, 11) == 10


async def test_of_deletions_in_flight_no_more_pass_than_the_limit() -> None:
    pod = Fleet(limit=10).pod()
    assert sum(await asyncio.gather(*(delete(pod) for _ in range(40)))) == 10


async def test_pods_share_the_limit() -> None:
    """At the same time, so that they meet at the state store."""
    fleet = Fleet(limit=100)
    pods = [fleet.pod() for _ in range(4)]

    async def some(pod: DeletionLimit) -> int:
        return sum([await until_decided(lambda: delete(pod), fleet, pods) for _ in range(40)])

    assert sum(await asyncio.gather(*(some(pod) for pod in pods))) == 100
    assert fleet.state.conflicts > 0


async def test_two_pods_delete_600_people_of_whom_100_have_no_account() -> None:
    """To the last permit: what one pod holds idle, the other waits for."""
    fleet = Fleet(limit=500)
    pods = [fleet.pod(), fleet.pod()]

    async def some(pod: DeletionLimit, deletions: int) -> list[bool]:
        return [
            await until_decided(lambda ends=number % 6 > 0: delete(pod, ends=ends), fleet, pods)  # type: ignore[misc]
            for number in range(deletions)
        ]

    let_pass = await asyncio.gather(some(pods[0], 450), some(pods[1], 150))
    assert all(all(each) for each in let_pass)
    assert not await until_decided(lambda: delete(pods[1]), fleet, pods)


async def test_a_restart_keeps_the_count() -> None:
    fleet = Fleet(limit=100)
    pod = fleet.pod()
    assert await passed(pod, 60) == 60
    await pod.close()
    assert await passed(fleet.pod(), 60) == 40


async def test_what_a_killed_pod_held_counts_as_used() -> None:
    fleet = Fleet(limit=100)
    assert await passed(fleet.pod(), 1) == 1  # a block of five
    survivor = fleet.pod()
    assert await passed(survivor, 95) == 95
    with pytest.raises(TryAgain) as raised:
        await survivor.try_acquire()
    assert raised.value.reason is Reason.DELETION_LIMIT_PENDING
    fleet.clock.now += minutes(SETTLED)
    assert not await survivor.try_acquire()


async def test_the_window_moves() -> None:
    """There is no turn of the hour at which the whole limit is free again."""
    fleet = Fleet(limit=100)
    pod = fleet.pod()
    assert await passed(pod, 50) == 50
    fleet.clock.now += minutes(30)
    assert await passed(pod, 60) == 50
    assert pod.exhausted
    fleet.clock.now += minutes(COUNTED - 30)
    assert not pod.exhausted
    assert await passed(pod, 60) == 50
    assert pod.exhausted


async def test_a_limit_that_is_reached_is_asked_for_once_a_minute() -> None:
    """A bulk job goes on for hours."""
    fleet = Fleet(limit=20)
    pod = fleet.pod()
    await passed(pod, 21)
    before = fleet.state.reads
    assert await passed(pod, 1000) == 0
    assert fleet.state.reads == before
    fleet.clock.now += minutes(1)
    assert await passed(pod, 1000) == 0
    assert fleet.state.reads == before + 1


async def test_a_write_covers_a_block_of_deletions() -> None:
    """One write for a twentieth of the limit, until a fifth of it is left; then the blocks shrink."""
    fleet = Fleet(limit=500)
    pod = fleet.pod()
    assert await passed(pod, 400) == 400
    assert fleet.state.writes == 400 // 25
    assert await passed(pod, 100) == 100
    assert fleet.state.writes <= 40


async def test_idle_permits_are_given_back() -> None:
    fleet = Fleet(limit=100)
    idle, busy = fleet.pod(), fleet.pod()
    await delete(idle)
    await idle.give_back_unused()
    assert fleet.state.writes == 1  # they may still be used
    fleet.clock.now += minutes(USABLE)
    await idle.give_back_unused()
    assert await passed(busy, 100) == 99
    await idle.give_back_unused()
    assert not await busy.try_acquire()


async def test_near_the_limit_idle_permits_are_given_back_at_the_next_round() -> None:
    """Other pods' deletions wait for them."""
    fleet = Fleet(limit=100)
    idle, busy = fleet.pod(), fleet.pod()
    assert await passed(busy, 80) == 80
    assert await delete(idle)
    await busy.give_back_unused()
    await idle.give_back_unused()
    assert await passed(busy, 100) == 19


async def test_a_shutdown_gives_back_what_was_not_handed_out() -> None:
    fleet = Fleet(limit=100)
    pod = fleet.pod()
    await delete(pod)
    await pod.close()
    assert await passed(fleet.pod(), 100) == 99


async def test_pods_that_shut_down_at_the_same_time_give_everything_back() -> None:
    fleet = Fleet(limit=100)
    pods = [fleet.pod() for _ in range(4)]
    for pod in pods:
        await delete(pod)
    await asyncio.gather(*(pod.close() for pod in pods))
    assert fleet.state.conflicts > 0
    assert await passed(fleet.pod(), 100) == 96


async def test_a_shutdown_without_the_store_ends() -> None:
    fleet = Fleet(limit=100)
    pod = fleet.pod()
    await delete(pod)
    fleet.state.down = True
    await pod.close()


async def test_permits_whose_return_had_a_lost_answer_are_not_given_back_twice() -> None:
    fleet = Fleet(limit=100)
    pod, other = fleet.pod(), fleet.pod()
    assert (await passed(pod, 1), await passed(other, 50)) == (1, 50)
    fleet.clock.now += minutes(USABLE)
    fleet.state.lost = 1
    with pytest.raises(TryAgain):
        await pod.give_back_unused()
    await pod.give_back_unused()
    await other.give_back_unused()
    assert await passed(pod, 100) == 49


async def test_no_deletion_passes_without_the_store() -> None:
    fleet = Fleet(limit=100)
    fleet.state.down = True
    with pytest.raises(TryAgain):
        await fleet.pod().try_acquire()


async def test_a_limit_of_zero_is_no_limit_and_costs_no_call() -> None:
    fleet = Fleet(limit=0)
    fleet.state.down = True
    pod = fleet.pod()
    assert await passed(pod, 1000) == 1000
    await pod.give_back_unused()
    await pod.close()
    assert not pod.exhausted


async def test_a_dry_run_limits_the_process_and_writes_nothing() -> None:
    fleet = Fleet(limit=100)
    fleet.state.read_only = True
    assert await passed(fleet.pod(), 150) == 100
    assert (fleet.state.reads, fleet.state.writes) == (0, 0)


@pytest.mark.parametrize(
    "value",
    [b"{", b"[]", b'{"v":2,"minutes":{}}', b'{"v":1,"minutes":{"1":[-1,0]}}', b'{"v":1,"minutes":{"1":["5",0]}}',
     b'{"v":1}', b'{"v":1,"minutes":{},"more":1}'],
)  # fmt: skip
async def test_a_count_that_cannot_be_read_makes_deletions_wait(value: bytes) -> None:
    """It does not start from zero, and it does not make the function not ready."""
    fleet = Fleet(limit=100)
    await fleet.state.write_values({KEY: (value, "")})
    with pytest.raises(TryAgain) as raised:
        await fleet.pod().try_acquire()
    assert raised.value.reason is Reason.DELETION_COUNT_UNREADABLE
    assert not raised.value.reason.dependency
    assert fleet.state.stored_bytes(KEY) == value


async def test_a_deleted_count_starts_from_zero() -> None:
    """What an operator does about an unreadable one; the pods' own permits stay."""
    fleet = Fleet(limit=100)
    pod = fleet.pod()
    assert await passed(pod, 1) == 1
    fleet.state._values.pop(KEY)
    fleet.clock.now += minutes(USABLE)
    await pod.give_back_unused()
    assert await passed(pod, 101) == 100


async def test_permits_taken_by_a_clock_that_is_ahead_leave_the_window_an_hour_from_now() -> None:
    """They would hold the limit for years."""
    fleet = Fleet(limit=100)
    ahead = int(fleet.clock.now.timestamp() // 60) + 1_000_000
    await fleet.state.write_values({KEY: (json.dumps({"v": 1, "minutes": {ahead: [99, 99]}}).encode(), "")})
    pod = fleet.pod()
    assert await passed(pod, 2) == 1
    fleet.clock.now += minutes(COUNTED)
    assert await passed(pod, 101) == 100


async def test_a_late_release_frees_no_permit_that_a_newer_deletion_used() -> None:
    """After four minutes a permit counts as used, whatever becomes of its deletion."""
    fleet = Fleet(limit=1)
    pod = fleet.pod()
    assert await pod.try_acquire()
    fleet.clock.now += minutes(COUNTED)
    assert await pod.try_acquire()
    pod.release()  # the first one
    pod.confirm()
    assert not await pod.try_acquire()


async def test_what_is_given_back_counts_as_the_oldest_permit() -> None:
    """Of two in flight, the newer one stays in the window for longer."""
    fleet = Fleet(limit=20)
    pod = fleet.pod()
    first = int(fleet.clock.now.timestamp() // 60)
    await pod.try_acquire()
    fleet.clock.now += minutes(1)
    await pod.try_acquire()
    pod.release()
    pod.confirm()
    await pod.close()
    assert json.loads(fleet.state.stored_bytes(KEY)) == {"v": 1, "minutes": {str(first + 1): [1, 1]}}


@dataclass
class Interleaving:
    """Three pods whose deletions take time; a deletion ends within two minutes or never."""

    fleet: Fleet
    pods: list[DeletionLimit] = field(default_factory=list)
    in_flight: list[tuple[DeletionLimit, float]] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pods = [self.fleet.pod() for _ in range(3)]

    @property
    def now(self) -> float:
        return self.fleet.clock.now.timestamp()

    async def step(self, step: str, number: int) -> None:
        match step:
            case "begin":
                await self.begin(self.pods[number])
            case "burst":
                await asyncio.gather(*(self.begin(pod) for _ in range(5) for pod in self.pods))
            case "end" | "no account":
                self.settle(number, ends=step == "end")
            case "all end":
                while self.in_flight:
                    self.settle(number, ends=True)
            case "idle":
                with contextlib.suppress(TryAgain):
                    await self.pods[number].give_back_unused()
            case "lost answer":
                self.fleet.state.lost = 1
            case "close":
                await self.pods[number].close()
            case "kill":
                self.in_flight = [each for each in self.in_flight if each[0] is not self.pods[number]]
                self.pods[number] = self.fleet.pod()

    async def begin(self, pod: DeletionLimit) -> None:
        try:
            async with asyncio.timeout(0.01):
                if await pod.try_acquire():
                    self.in_flight.append((pod, self.now))
        except TimeoutError:
            pass  # it waits for a deletion of the same pod
        except TryAgain as failure:
            assert failure.reason in {Reason.DELETION_LIMIT_PENDING, Reason.CONFLICT, Reason.STATE_UNAVAILABLE}  # noqa: PT017 - or it passes

    def settle(self, number: int, *, ends: bool) -> None:
        if not self.in_flight:
            return
        pod, began = self.in_flight.pop(number % len(self.in_flight))
        if ends and self.now < began + 60 * (SETTLED - USABLE):
            self.ended.append(self.now)
            pod.confirm()
        else:
            pod.release()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["begin", "begin", "burst", "end", "end", "all end", "no account", "idle", "close", "kill", "lost answer"]
        ),
        st.integers(0, 2),
        st.sampled_from([0, 0, 0, 20, 50, 70, 600, 1700, 3480]),  # seconds until then
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(limit=st.sampled_from([1, 2, 5, 40]), steps=STEPS)
def test_no_hour_has_more_deactivated_accounts_than_the_limit(limit: int, steps: list[tuple[str, int, int]]) -> None:
    """Whatever the pods do, and whichever of them are killed."""

    async def run() -> list[float]:
        pods = Interleaving(Fleet(limit))
        for step, number, seconds in steps:
            pods.fleet.clock.now += timedelta(seconds=seconds)
            await pods.step(step, number)
        return pods.ended

    ended = asyncio.run(run())
    for first in ended:
        assert sum(first <= other < first + HOUR.total_seconds() for other in ended) <= limit
