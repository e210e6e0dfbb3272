"""What `function.dapr.state_store.StateStore` promises, held against every store that is plugged in."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.dapr.state_store import Conflict, StateStore
from function.homeserver.account import Account
from function.outcomes import TryAgain

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
    assert await UserStore(store).read_each([user]) == {user: Versioned(UserState(), "")}


def states(found: Mapping[str, Versioned | TryAgain]) -> dict[str, UserState]:
    return {user_id: stored.state for user_id, stored in found.items() if isinstance(stored, Versioned)}


async def test_what_is_written_is_read_back(store: StateStore, user: str) -> None:
    """Every field, and an etag to write over it."""
    other = str(uuid.uuid4())
    await UserStore(store).write({user: Versioned(FULL), other: Versioned(UserState(Status.ERASED))})
    found = await UserStore(store).read_each([user, other])
    assert states(found) == {user: FULL, other: UserState(Status.ERASED)}
    assert all(isinstance(stored, Versioned) and stored.etag for stored in found.values())


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
    found = await UserStore(store).read_each([user, other])
    assert states(found) == {user: UserState(Status.DEACTIVATED), other: UserState()}


async def test_of_two_first_writers_of_one_user_the_second_conflicts(store: StateStore, user: str) -> None:
    """A new record has no etag yet, and must not be written over unseen all the same."""
    await UserStore(store).write({user: Versioned(UserState(Status.ERASED))})
    with pytest.raises(Conflict):
        await UserStore(store).write({user: Versioned(FULL)})
    assert (await UserStore(store).read(user)).state == UserState(Status.ERASED)


async def test_a_batch_of_many_users_is_one_read_and_one_write(store: StateStore) -> None:
    """As many as a full batch holds."""
    users = [str(uuid.uuid4()) for _ in range(100)]
    await UserStore(store).write({one: Versioned(FULL) for one in users})
    found = await UserStore(store).read_each(users)
    assert states(found) == dict.fromkeys(users, FULL)


async def test_the_probe_passes_on_a_store_that_works(store: StateStore) -> None:
    """Twice, since it writes a key of its own."""
    await store.probe()
    await store.probe()
