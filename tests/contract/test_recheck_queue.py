"""The recheck queue on every store that is plugged in: what pods do to its keys at the same time."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from function.accounts.departures import KEY, Departures
from function.accounts.recheck_queue import KEYS, MAX_DUE, Recheck, RecheckQueue, key_of
from function.clock import utc_now
from function.dapr.state_store import StateStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pods(store: StateStore) -> AsyncIterator[tuple[RecheckQueue, RecheckQueue]]:
    """Two pods with an empty queue."""
    yield RecheckQueue(store, utc_now), RecheckQueue(store, utc_now)
    await store.update_values(KEYS, lambda values: dict.fromkeys(values, b'{"v":1,"users":{}}'))


def batched(users: Sequence[str], size: int) -> list[Sequence[str]]:
    return [users[start : start + size] for start in range(0, len(users), size)]


def just_now() -> datetime:
    return utc_now() - timedelta(seconds=1)


def some_users(number: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(number)]


def filled(number: int) -> dict[str, bytes]:
    """Returns the values of a queue with that number of users, all of them due, as it stores them."""
    at = int(just_now().timestamp() * 1000)
    users: dict[str, dict[str, list[int]]] = {key: {} for key in KEYS}
    for user in some_users(number):
        users[key_of(user)][user] = [at, 0, at]
    return {key: json.dumps({"v": 1, "users": of_key}).encode() for key, of_key in users.items()}


async def all_due(pod: RecheckQueue) -> list[Recheck]:
    found = await pod.due()
    assert len(found) < MAX_DUE
    return found


async def test_pods_that_add_at_the_same_time_lose_no_user(pods: tuple[RecheckQueue, RecheckQueue]) -> None:
    users = some_users(60)
    batches = [users[n::6] for n in range(6)]
    await asyncio.gather(*(pods[n % 2].add(dict.fromkeys(batch, just_now())) for n, batch in enumerate(batches)))
    assert sorted(one.user_id for one in await all_due(pods[0])) == sorted(users)


async def test_each_user_is_taken_by_one_pod(pods: tuple[RecheckQueue, RecheckQueue]) -> None:
    """Both see all of them, and ask for them in the same order."""
    users = some_users(20)
    await pods[0].add(dict.fromkeys(users, just_now()))
    seen = await all_due(pods[0])
    taken = await asyncio.gather(*(pod.take(one) for one in seen for pod in pods))
    assert sum(taken) == len(users)
    assert await all_due(pods[1]) == []


async def test_what_became_of_users_is_stored(store: StateStore, pods: tuple[RecheckQueue, RecheckQueue]) -> None:
    gone, later, added = some_users(3)
    await pods[0].add(dict.fromkeys([gone, later, added], just_now()))
    seen = {one.user_id: one for one in await all_due(pods[0])}
    assert all([await pods[0].take(one) for one in seen.values()])
    await pods[1].add({added: just_now()})
    await pods[0].done(seen[gone])
    await pods[0].done(seen[added])
    assert await pods[0].again(seen[later], timedelta(seconds=-1))
    assert [(one.user_id, one.attempts) for one in await all_due(pods[1])] == [(later, 1)]
    stored = b"".join(value for value, _ in (await store.read_values(KEYS)).values()).decode()
    assert [user in stored for user in (gone, later, added)] == [False, True, True]


async def test_a_user_that_is_only_followed_is_due_later_with_no_attempts(
    pods: tuple[RecheckQueue, RecheckQueue],
) -> None:
    """Unless it was added again in the meantime."""
    followed, added = some_users(2)
    await pods[0].add(dict.fromkeys([followed, added], just_now()))
    for one in await all_due(pods[0]):
        assert await pods[0].take(one)
        assert await pods[0].again(one, timedelta(seconds=-1))
    seen = {one.user_id: one for one in await all_due(pods[0])}
    assert all([await pods[0].take(one) for one in seen.values()])
    await pods[1].add({added: utc_now() + timedelta(hours=1)})
    await pods[0].postpone(seen[added], timedelta(seconds=-1))
    await pods[0].postpone(seen[followed], timedelta(seconds=-1))
    assert [(one.user_id, one.attempts) for one in await all_due(pods[1])] == [(followed, 0)]
    assert pods[1].size == 2


async def test_the_previous_releases_checks_are_moved(
    store: StateStore, pods: tuple[RecheckQueue, RecheckQueue]
) -> None:
    [user] = some_users(1)
    before = (utc_now() - timedelta(minutes=2)).isoformat()
    await store.update(KEY, lambda _: f'{{"{user}":["{before}",true,1]}}'.encode())
    await asyncio.gather(*(Departures(store).take_over(pod) for pod in pods))
    assert [one.user_id for one in await all_due(pods[0])] == [user]
    assert (await store.read_values([KEY]))[KEY][0] == b"{}"


async def test_a_queue_larger_than_a_message_of_the_sidecar_is_read_and_added_to(
    store: StateStore, pods: tuple[RecheckQueue, RecheckQueue]
) -> None:
    """As after a purge of inactive users, whose messages take hours to redact. gRPC takes 4 MB at once."""
    many = 70_000
    full = filled(many)
    for keys in batched(KEYS, 16):  # a quarter of it, which the sidecar takes at once
        await store.update_values(keys, lambda before: {key: full[key] for key in before})
    assert len(await pods[0].due()) == MAX_DUE
    assert pods[0].size == many
    added = some_users(100)
    await pods[0].add(dict.fromkeys(added, just_now()))
    assert await RecheckQueue(store, utc_now).due()
    stored = await store.read_values(KEYS)
    assert sum(len(value) for value, _ in stored.values()) > 4 * 2**20
    assert [(await store.read_values([key]))[key] == stored[key] for key in KEYS] == [True] * len(KEYS)
