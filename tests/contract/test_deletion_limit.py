"""The deletion limit on every store that is plugged in: what pods do to one key at the same time."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from function.dapr.state_store import StateStore
from function.outcomes import Reason, TryAgain
from function.processing.deletion_limit import KEY, DeletionLimit
from tests.support.harness import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clock(store: StateStore) -> Clock:
    """A clock from which no permit of another test is in the window: real stores keep theirs."""
    stored = (await store.read_values([KEY]))[KEY][0]
    clock = Clock()
    if stored:
        last = max(int(minute) for minute in json.loads(stored)["minutes"])
        clock.now = datetime.fromtimestamp(last * 60, UTC) + timedelta(hours=2)
    return clock


async def passed(pod: DeletionLimit, deletions: int) -> int:
    """Deletes one account after the other; returns how many deletions the limit let pass."""
    count = 0
    for _ in range(deletions):
        try:
            if await pod.try_acquire():
                count += 1
                pod.confirm()
        except TryAgain as failure:
            assert failure.reason is Reason.DELETION_LIMIT_PENDING  # noqa: PT017 - the other pods hold the rest
    return count


async def test_pods_at_the_same_time_share_the_limit(store: StateStore, clock: Clock) -> None:
    """To the last permit: what is left when they close, the next pod gets."""
    pods = [DeletionLimit(store, 60, clock) for _ in range(4)]
    together = sum(await asyncio.gather(*(passed(pod, 20) for pod in pods)))
    for pod in pods:
        await pod.close()
    assert 40 <= together <= 60
    assert together + await passed(DeletionLimit(store, 60, clock), 80) == 60


async def test_a_restart_keeps_the_count_and_the_window_moves(store: StateStore, clock: Clock) -> None:
    pod = DeletionLimit(store, 40, clock)
    assert await passed(pod, 30) == 30
    await pod.close()
    pod = DeletionLimit(store, 40, clock)
    assert await passed(pod, 30) == 10
    assert pod.exhausted
    clock.now += timedelta(minutes=64)
    assert not pod.exhausted
    assert await passed(pod, 30) == 30
    await pod.close()
