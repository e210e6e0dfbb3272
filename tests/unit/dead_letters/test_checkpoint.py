"""The replay checkpoint: progress and lease."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from function.dapr.bulk_envelope import KafkaRecord
from function.dead_letters.checkpoint import KEY, Busy, ReplayCheckpoint
from function.outcomes import Reason, TryAgain
from tests.support.fake_dapr import FakeStateStore

pytestmark = pytest.mark.anyio


class Clock:
    """Advances by a second each time it is read."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def record(offset: int, time: int, partition: str = "0") -> KafkaRecord:
    place = {"__partition": partition, "__offset": str(offset), "__timestamp": str(time)}
    return KafkaRecord(b"", "dead", place)


async def opened(state: FakeStateStore, run: str = "one", clock: Clock | None = None) -> ReplayCheckpoint:
    made = ReplayCheckpoint(state, run, clock=clock or Clock(), poll=0)
    await made.acquire_lease()
    return made


async def test_no_record_is_done_at_first() -> None:
    assert not (await opened(FakeStateStore())).is_done(record(0, 0))


async def test_records_before_the_checkpoint_are_done_and_those_after_it_are_not() -> None:
    """Per partition."""
    checkpoint = await opened(FakeStateStore())
    await checkpoint.advance(record(4, 1000))
    assert checkpoint.is_done(record(4, 1000))
    assert checkpoint.is_done(record(0, 900))
    assert not checkpoint.is_done(record(5, 1001))
    assert not checkpoint.is_done(record(0, 900, "1"))


async def test_another_command_sees_the_same_checkpoint() -> None:
    """`dead-letters` reads what `replay` wrote."""
    state = FakeStateStore()
    await (await opened(state)).advance(record(4, 1000))
    reader = ReplayCheckpoint(state, "look")
    await reader.read()
    assert reader.is_done(record(4, 1000))


async def test_a_topic_that_was_created_again_is_not_taken_for_the_old_one() -> None:
    """Its offsets start at 0 again; its records are newer."""
    checkpoint = await opened(FakeStateStore())
    await checkpoint.advance(record(4, 1000))
    assert not checkpoint.is_done(record(0, 2000))


async def test_a_second_replay_is_refused_while_the_lease_is_renewed() -> None:
    """Two replays would send every letter twice."""
    state = FakeStateStore()
    first = await opened(state)
    second = asyncio.create_task(opened(state, "two"))
    while not second.done():
        await asyncio.sleep(0)
        await first.renew()
    with pytest.raises(Busy):
        await second


async def test_a_lease_that_is_not_renewed_expires() -> None:
    """A killed replay does not renew it."""
    state, clock = FakeStateStore(), Clock()
    await opened(state, clock=clock)
    second = await opened(state, "two", clock)
    await second.renew()


async def test_a_released_lease_is_free_at_once() -> None:
    state, clock = FakeStateStore(), Clock()
    await (await opened(state, clock=clock)).release()
    before = clock.now
    await opened(state, "two", clock)
    assert clock.now - before < timedelta(seconds=5)


async def test_a_record_of_a_later_schema_version_is_not_read() -> None:
    """Reading it could give wrong offsets."""
    state = FakeStateStore()
    await state.write_values({KEY: (json.dumps({"schema": 99}).encode(), "")})
    with pytest.raises(TryAgain) as caught:
        await opened(state)
    assert caught.value.reason is Reason.STATE_UNAVAILABLE
