"""The recheck queue: which users have to be checked again, and when."""

import asyncio
import json
import uuid
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function.accounts.recheck_queue import KEYS, LEASE, MAX_ATTEMPTS, MAX_DUE, Recheck, RecheckQueue, key_of
from function.dapr.state_store import Value
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE, BOB, CAROL
from tests.support.fake_dapr import FakeStateStore
from tests.support.harness import Clock

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class SharedStore(FakeStateStore):
    """A state store whose reads take a turn of the event loop, so that pods meet between a read and a write."""

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        found = await super().read_values(wanted)
        await asyncio.sleep(0)
        return found


class Fleet:
    """Two pods on one state store and one clock."""

    def __init__(self) -> None:
        self.state, self.clock = SharedStore(), Clock()
        self.a, self.b = RecheckQueue(self.state, self.clock), RecheckQueue(self.state, self.clock)

    async def add(self, *user_ids: str, after: timedelta = MINUTE) -> None:
        await self.a.add(dict.fromkeys(user_ids, self.clock.now + after))

    async def due(self) -> list[str]:
        return [one.user_id for one in await self.b.due()]

    async def taken(self, user_id: str) -> Recheck:
        """Waits until the user is due, and takes it."""
        self.clock.now += MINUTE
        [one] = [one for one in await self.a.due() if one.user_id == user_id]
        assert await self.a.take(one)
        return one


def same_key_as(user_id: str) -> str:
    """Another user that is stored under the same key."""
    return next(str(other) for n in range(10_000) if key_of(str(other := uuid.UUID(int=n))) == key_of(user_id))


async def test_a_user_is_due_at_its_time() -> None:
    """In every pod."""
    fleet = Fleet()
    await fleet.add(ALICE)
    fleet.clock.now += MINUTE - SECOND
    assert await fleet.due() == []
    fleet.clock.now += SECOND
    assert await fleet.due() == [ALICE]


async def test_users_are_due_in_the_order_of_their_times_and_a_limited_number_at_once() -> None:
    fleet = Fleet()
    users = [str(uuid.UUID(int=n)) for n in range(MAX_DUE + 10)]
    await fleet.a.add({user: fleet.clock.now - n * SECOND for n, user in enumerate(users)})
    assert await fleet.due() == users[:9:-1]


async def test_a_user_that_is_added_again_is_due_at_the_later_time_and_starts_over() -> None:
    fleet = Fleet()
    await fleet.add(ALICE, BOB)
    one = await fleet.taken(ALICE)
    assert await fleet.a.again(one, MINUTE)
    await fleet.add(ALICE, after=2 * MINUTE)
    await fleet.add(BOB, after=-MINUTE)
    fleet.clock.now += MINUTE
    assert await fleet.due() == [BOB]
    fleet.clock.now += MINUTE
    assert {one.user_id: one.attempts for one in await fleet.b.due()} == {ALICE: 0, BOB: 0}


async def test_one_pod_takes_a_user() -> None:
    """At the same time, and later while the first is at it."""
    fleet = Fleet()
    await fleet.add(ALICE)
    fleet.clock.now += MINUTE
    [seen_by_a], [seen_by_b] = await fleet.a.due(), await fleet.b.due()
    assert sorted(await asyncio.gather(fleet.a.take(seen_by_a), fleet.b.take(seen_by_b))) == [False, True]
    assert await fleet.due() == []
    assert not await fleet.b.take(seen_by_b)


async def test_a_user_whose_pod_was_killed_is_due_again_after_the_lease() -> None:
    fleet = Fleet()
    await fleet.add(ALICE)
    await fleet.taken(ALICE)
    fleet.clock.now += LEASE
    [again] = await fleet.b.due()
    assert again.attempts == 0
    assert await fleet.b.take(again)


async def test_a_user_that_is_done_is_gone() -> None:
    fleet = Fleet()
    await fleet.add(ALICE)
    other = same_key_as(ALICE)
    await fleet.add(other)
    await fleet.a.done(await fleet.taken(ALICE))
    assert await fleet.due() == [other]


async def test_a_user_added_during_its_check_is_checked_again() -> None:
    """Whatever the running check finds out was before that; also if the new time is before the old one."""
    fleet = Fleet()
    await fleet.add(ALICE, BOB)
    for user, after in ((ALICE, MINUTE), (BOB, -MINUTE)):
        one = await fleet.taken(user)
        await fleet.b.add({user: fleet.clock.now + after})
        await fleet.a.done(one)
        assert await fleet.a.again(one, MINUTE)
    fleet.clock.now += LEASE
    assert {one.user_id: one.attempts for one in await fleet.b.due()} == {ALICE: 0, BOB: 0}


async def test_a_user_removed_and_added_again_is_not_removed_by_an_old_check() -> None:
    """A check that was away for longer than its lease, while another pod did it."""
    fleet = Fleet()
    await fleet.add(ALICE)
    late = await fleet.taken(ALICE)
    fleet.clock.now += LEASE
    [one] = await fleet.b.due()
    await fleet.b.take(one)
    await fleet.b.done(one)
    await fleet.add(ALICE)
    await fleet.a.done(late)
    fleet.clock.now += MINUTE
    assert await fleet.due() == [ALICE]


async def test_a_user_is_given_up_after_its_last_attempt() -> None:
    fleet = Fleet()
    await fleet.add(ALICE)
    kept = [await fleet.a.again(await fleet.taken(ALICE), MINUTE) for _ in range(MAX_ATTEMPTS)]
    assert kept == [True] * (MAX_ATTEMPTS - 1) + [False]
    fleet.clock.now += LEASE
    assert await fleet.due() == []


async def test_users_added_at_once_are_one_read_and_one_write() -> None:
    """A batch of deletions."""
    fleet = Fleet()
    await fleet.add(*(str(uuid.UUID(int=n)) for n in range(100)))
    assert (fleet.state.reads, fleet.state.writes) == (1, 1)


async def test_pods_that_add_at_the_same_time_lose_no_user() -> None:
    fleet = Fleet()
    users = [str(uuid.UUID(int=n)) for n in range(80)]
    await asyncio.gather(*(pod.add({user: fleet.clock.now}) for pod in (fleet.a, fleet.b) for user in users))
    assert sorted(await fleet.due()) == users
    assert fleet.state.conflicts > 0


async def test_no_user_costs_no_call() -> None:
    fleet = Fleet()
    fleet.state.down = True
    await fleet.a.add({})


async def test_a_user_that_could_not_be_added_is_told() -> None:
    fleet = Fleet()
    fleet.state.down = True
    with pytest.raises(TryAgain):
        await fleet.add(ALICE)


@pytest.mark.parametrize(
    "value",
    [b"{", b"[]", b'{"v":2,"users":{}}', b'{"v":1,"users":{"a":[1,0]}}', b'{"v":1,"users":{"a":[-1,0,0]}}',
     b'{"v":1,"users":{"a":["1",0,0]}}', b'{"v":1,"users":{"a":[999999999999999999,0,0]}}', b'{"v":1,"users":{},"more":1}'],
)  # fmt: skip
async def test_a_value_that_cannot_be_read_stops_only_the_users_in_it(value: bytes) -> None:
    """It is left as it is: a newer version may have written it."""
    fleet = Fleet()
    assert len({key_of(user) for user in (ALICE, BOB, CAROL)}) == 3
    await fleet.state.write_values({key_of(ALICE): (value, "")})
    with pytest.raises(TryAgain) as raised:
        await fleet.add(ALICE, BOB, CAROL)
    assert raised.value.reason is Reason.RECHECK_UNREADABLE
    assert not raised.value.reason.dependency
    fleet.clock.now += MINUTE
    assert sorted(await fleet.due()) == sorted([BOB, CAROL])
    assert fleet.state.stored_bytes(key_of(ALICE)) == value


async def test_a_user_added_by_a_clock_that_is_ahead_is_due_at_once() -> None:
    """It would wait for years."""
    fleet = Fleet()
    await fleet.add(ALICE, after=timedelta(days=400))
    one = await fleet.taken(ALICE)
    assert await fleet.due() == []
    await fleet.a.done(one)
    fleet.clock.now += LEASE
    assert await fleet.due() == []


async def test_the_earliest_due_time_is_known_without_a_read() -> None:
    """The loop reads only then."""
    fleet = Fleet()
    assert fleet.a.next_due is None
    await fleet.add(ALICE, after=2 * MINUTE)
    await fleet.add(BOB, after=MINUTE)
    await fleet.add(CAROL, after=3 * MINUTE)
    assert fleet.a.next_due == fleet.clock.now + MINUTE
    assert await fleet.due() == []
    assert fleet.b.next_due == fleet.clock.now + MINUTE


async def test_the_values_stay_small() -> None:
    """2,000 users are pending after a bulk deletion."""
    fleet = Fleet()
    await fleet.add(*(str(uuid.uuid4()) for _ in range(2_000)))
    sizes = [len(fleet.state.stored_bytes(key)) for key in KEYS]
    assert max(sizes) < 6_000
    assert json.loads(fleet.state.stored_bytes(KEYS[0]))["v"] == 1


class Interleaving:
    """Two pods that check two users."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.held: list[dict[str, Recheck]] = [{}, {}]  # by pod and user
        self.owed: set[str] = set()  # users that were added and not taken since

    async def step(self, step: str, number: int, user: str) -> None:
        pod = (self.fleet.a, self.fleet.b)[number]
        if step == "add":
            await pod.add({user: self.fleet.clock.now})
            self.owed.add(user)
        elif step == "take":
            await self.take(number, user)
        elif step == "kill":
            self.held[number].clear()
        elif one := self.held[number].pop(user, None):
            await (pod.done(one) if step == "done" else pod.again(one, MINUTE))

    async def take(self, number: int, user: str) -> None:
        pod = (self.fleet.a, self.fleet.b)[number]
        for one in await pod.due():
            if one.user_id == user and await pod.take(one):
                self.held[number][user] = one
                self.owed.discard(user)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "done", "again", "kill"]),
        st.integers(0, 1),  # the pod
        st.sampled_from([ALICE, BOB]),
        st.sampled_from([0, 1, 61]),  # seconds until then
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(steps=STEPS)
def test_every_user_that_was_added_is_checked_after_that(steps: list[tuple[str, int, str, int]]) -> None:
    """Whatever two pods do, and whichever of them is killed."""

    async def run() -> set[str]:
        pods = Interleaving()
        for step, number, user, seconds in steps:
            pods.fleet.clock.now += timedelta(seconds=seconds)
            await pods.step(step, number, user)
        pods.fleet.clock.now += 2 * LEASE
        for user in (ALICE, BOB):
            await pods.take(0, user)
        return pods.owed

    assert asyncio.run(run()) == set()
