"""What `function.dapr.state_store.StateStore` promises, held against every store that is plugged in."""

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.dapr.state_store import Conflict, StateStore, Value
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain
from tests.support.fake_dapr import FakeStateStore

pytestmark = pytest.mark.anyio

FULL = UserState(
    status=Status.ACTIVE,
    profile_at=datetime(2025, 11, 1, 12, 0, 0, 123456, UTC),
    display_name="Ünïcödé 🦊",
    avatar="mxc://test.example/abcdef",
    known=Account(display_name="Ünïcödé 🦊"),
)


async def test_a_user_not_seen_before_has_an_empty_record(store: StateStore, user: str) -> None:
    """The fold starts from it."""
    assert await UserStore(store).read(user) == Versioned(UserState(), "")


async def test_what_is_written_is_read_back(store: StateStore, user: str) -> None:
    """Every field, and an etag to write over it."""
    other = str(uuid.uuid4())
    await UserStore(store).write({user: Versioned(FULL), other: Versioned(UserState(Status.ERASED))})
    found = {one: await UserStore(store).read(one) for one in (user, other)}
    assert (found[user].state, found[other].state) == (FULL, UserState(Status.ERASED))
    assert found[user].etag
    assert found[other].etag


async def test_a_record_is_written_over_with_the_etag_it_was_read_with(store: StateStore, user: str) -> None:
    """Each write gives a new etag."""
    await UserStore(store).write({user: Versioned(FULL)})
    first = await UserStore(store).read(user)
    await UserStore(store).write({user: Versioned(UserState(Status.ERASED), first.etag)})
    second = await UserStore(store).read(user)
    assert second.state == UserState(Status.ERASED)
    assert second.etag != first.etag


async def test_a_stale_etag_fails_the_whole_batch(store: StateStore, user: str) -> None:
    """All or nothing: the caller then saves user by user."""
    other = str(uuid.uuid4())
    await UserStore(store).write({user: Versioned(FULL)})
    stale = (await UserStore(store).read(user)).etag
    await UserStore(store).write({user: Versioned(UserState(Status.DEACTIVATED), stale)})
    with pytest.raises(Conflict):
        await UserStore(store).write({other: Versioned(FULL), user: Versioned(FULL, stale)})
    found = {one: await UserStore(store).read(one) for one in (user, other)}
    assert found[user].state == UserState(Status.DEACTIVATED)
    assert found[other] == Versioned(UserState(), "")


async def test_of_two_first_writers_of_one_user_the_second_conflicts(store: StateStore, user: str) -> None:
    """A new record has no etag yet, and must not be written over unseen all the same."""
    await UserStore(store).write({user: Versioned(UserState(Status.ERASED))})
    with pytest.raises(Conflict):
        await UserStore(store).write({user: Versioned(FULL)})
    assert (await UserStore(store).read(user)).state == UserState(Status.ERASED)


async def test_writers_of_the_same_users_in_opposite_orders_only_conflict(store: StateStore) -> None:
    """As two pods after a rebalance. Rows that are locked in two orders end in a deadlock, which PostgreSQL breaks by an error."""
    users = [str(uuid.uuid4()) for _ in range(30)]
    for _ in range(10):
        etags = {one: (await UserStore(store).read(one)).etag for one in users}
        orders = (users, users[::-1]) * 4
        states = [{one: Versioned(FULL, etags[one]) for one in order} for order in orders]
        found = await asyncio.gather(*(UserStore(store).write(each) for each in states), return_exceptions=True)
        assert [one for one in found if not isinstance(one, Conflict | None)] == []
        assert None in found


async def test_a_batch_of_many_users_is_one_read_and_one_write(store: StateStore) -> None:
    """As many as a full batch holds."""
    users = [str(uuid.uuid4()) for _ in range(100)]
    await UserStore(store).write({one: Versioned(FULL) for one in users})
    found = await UserStore(store).read_each(users)
    assert [stored.state for stored in found.values() if isinstance(stored, Versioned)] == [FULL] * 100


async def test_the_probe_passes_on_a_store_that_works(store: StateStore) -> None:
    """Twice, since it writes a key of its own."""
    await store.probe()
    await store.probe()


async def test_an_update_starts_over_from_what_another_writer_wrote(store: StateStore, user: str) -> None:
    """Several values, all or none of them; an unchanged one is not written."""
    other, unchanged = str(uuid.uuid4()), str(uuid.uuid4())
    await store.update(unchanged, lambda _: b'"same"')
    [(_, etag)] = (await store.read_values([unchanged])).values()

    async def add(number: int) -> None:
        def change(values: dict[str, bytes]) -> dict[str, bytes]:
            more = {key: b"%d" % (int(values[key] or b"0") + number) for key in (user, other)}
            return more | {unchanged: values[unchanged]}

        await store.update_values([user, other, unchanged], change, attempts=20)

    await asyncio.gather(*(add(number) for number in (1, 10, 100)))
    found = await store.read_values([user, other, unchanged])
    assert [found[key][0] for key in (user, other)] == [b"111", b"111"]
    assert found[unchanged] == (b'"same"', etag)


async def test_an_update_gives_up_after_its_attempts(store: StateStore, user: str) -> None:
    """Another writer is there each time."""
    rivals = 0

    class Busy(FakeStateStore):
        async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
            nonlocal rivals
            found = await store.read_values(wanted)
            rivals += 1
            await store.write_values({user: (b"%d" % rivals, found[user][1])})
            return found

        async def write_values(self, values: Mapping[str, Value]) -> None:
            await store.write_values(values)

    with pytest.raises(TryAgain) as raised:
        await Busy().update(user, lambda _: b'"ours"', attempts=2)
    assert raised.value.reason is Reason.CONFLICT
    assert (await store.read_values([user]))[user][0] == b"2"
