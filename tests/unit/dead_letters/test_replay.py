"""Which letters a replay moves, and that none is lost wherever it is killed."""

import json
from collections.abc import Mapping

import anyio
import pytest

from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Value
from function.dead_letters.checkpoint import KEY, Busy, ReplayCheckpoint
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter
from function.dead_letters.publish import OFFSET, PARTITION, REASON, REPLAYS, TOPIC
from function.dead_letters.replay import Options, Replay
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE, BOB
from tests.support.fake_dapr import FakeStateStore
from tests.support.fake_kafka import FakeTopics

pytestmark = pytest.mark.anyio

MAIN, DEAD, AGAIN = "events", "events.matrix.dead", "events.matrix.replay"
SYNAPSE = DeadLetterFilter(reasons=frozenset({"synapse_error"}))


def put(topics: FakeTopics, event_id: str, reason: str = "synapse_error", key: str = ALICE, **more: str) -> KafkaRecord:
    headers = {"event_id": event_id, "__key": key, REASON: reason, TOPIC: MAIN, PARTITION: "7", OFFSET: "3"}
    return topics.put(DEAD, b"{}", headers | {REPLAYS: "0"} | {f"x-dead-letter-{n}": t for n, t in more.items()})


async def leased(state: FakeStateStore, run: str = "one") -> ReplayCheckpoint:
    checkpoint = ReplayCheckpoint(state, run)
    await checkpoint.acquire_lease()
    return checkpoint


async def replay(
    topics: FakeTopics, state: FakeStateStore, options: Options | None = None, batch: int = 100, run: str = "one"
) -> Replay:
    """Replays all current letters, in batches."""
    checkpoint = await leased(state, run)
    work = Replay(topics, checkpoint, DEAD, AGAIN, options or Options(SYNAPSE))
    there = list(topics.records.get(DEAD, []))
    for first in range(0, len(there), batch):
        await work.process(there[first : first + batch])
    await checkpoint.release()
    return work


async def expire(state: FakeStateStore) -> None:
    """Lets the lease expire."""
    [(value, etag)] = (await state.read_values([KEY])).values()
    if value:
        await state.write_values({KEY: (json.dumps(json.loads(value) | {"run": ""}).encode(), etag)})


async def live(topics: FakeTopics, state: FakeStateStore) -> list[str]:
    """Returns the ids of the letters that `dead-letters` shows."""
    checkpoint = ReplayCheckpoint(state, "show")
    await checkpoint.read()
    return [r.headers["event_id"] for r in topics.records.get(DEAD, []) if not checkpoint.is_done(r)]


async def test_matching_letters_go_to_the_replay_topic_and_the_others_keep_their_order() -> None:
    """By reason, as an operator does once the cause is fixed."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(4):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    work = await replay(topics, state)
    assert topics.ids(AGAIN) == ["e-1", "e-3"]
    assert await live(topics, state) == ["e-0", "e-2"]
    assert (work.tally.replayed.total(), work.tally.put_back, work.tally.processed) == (2, 2, 4)


async def test_a_replayed_letter_has_a_higher_count_and_goes_to_its_origins_partition() -> None:
    """The consumer that owns the partition of the user's main records reads it there."""
    topics = FakeTopics()
    put(topics, "e-1", replays="2")
    await replay(topics, FakeStateStore())
    [record] = topics.records[AGAIN]
    assert (record.headers[REPLAYS], record.dapr_metadata("partition"), record.dapr_metadata("key")) == (
        "3",
        "7",
        ALICE,
    )
    assert (record.value, record.headers[TOPIC], record.headers[OFFSET]) == (b"{}", MAIN, "3")


async def test_a_letter_that_is_put_back_is_unchanged() -> None:
    """Including its replay count."""
    topics = FakeTopics()
    before = put(topics, "e-1", "not_json", replays="2")
    await replay(topics, FakeStateStore())
    after = topics.records[DEAD][-1]
    assert after is not before
    assert (after.value, after.headers, after.dapr_metadata("key")) == (
        before.value,
        before.headers,
        before.dapr_metadata("key"),
    )


async def test_a_second_replay_starts_where_the_first_ended() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    await replay(topics, state)
    put(topics, "e-2")
    await replay(topics, state, run="two")
    assert topics.ids(AGAIN) == ["e-1", "e-2"]


async def test_a_letter_that_was_replayed_too_often_is_stuck() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1", replays="5")
    put(topics, "e-2", replays="4")
    work = await replay(topics, state)
    assert topics.ids(AGAIN) == ["e-2"]
    assert await live(topics, state) == ["e-1"]
    assert work.tally.stuck == {"synapse_error": 1}


async def test_letters_after_the_limit_stay_where_they_are() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(6):
        put(topics, f"e-{number}")
    work = await replay(topics, state, Options(SYNAPSE, limit=3), batch=2)
    assert work.limit_reached
    assert topics.ids(AGAIN) == ["e-0", "e-1", "e-2"]
    assert await live(topics, state) == ["e-3", "e-4", "e-5"]
    assert len(topics.records[DEAD]) == 6


async def test_a_dry_run_reports_each_letter_and_moves_none() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    put(topics, "e-2", "not_json")
    reported: list[DeadLetter] = []
    checkpoint = ReplayCheckpoint(state, "dry")
    work = Replay(topics, checkpoint, DEAD, AGAIN, Options(SYNAPSE, dry_run=True), reported.append)
    await work.process(topics.records[DEAD])
    assert [letter.event_id for letter in reported] == ["e-1"]
    assert (work.tally.replayed.total(), work.tally.put_back) == (1, 1)
    assert topics.ids(AGAIN) == []
    assert await live(topics, state) == ["e-1", "e-2"]


@pytest.mark.parametrize("full", [AGAIN, DEAD])
async def test_a_failed_publish_stops_its_partition_and_loses_no_letter(full: str) -> None:
    """Other partitions continue; the exit code is 1."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1", "synapse_error" if full == AGAIN else "not_json")
    put(topics, "e-2", "not_json" if full == AGAIN else "synapse_error", key=BOB)
    topics.full.add(full)
    work = await replay(topics, state)
    assert list(work.tally.stopped) == ["0"]
    assert work.tally.processed == 0
    assert (await live(topics, state))[:2] == ["e-1", "e-2"]


async def test_a_user_s_letters_keep_their_order() -> None:
    """Letters of different users are published concurrently."""
    topics = FakeTopics()
    for number in range(50):
        put(topics, f"{number % 5}-{number:02}", key=f"user-{number % 5}")
    await replay(topics, FakeStateStore())
    for user in range(5):
        mine = [one for one in topics.ids(AGAIN) if one.startswith(f"{user}-")]
        assert mine == sorted(mine)
        assert len(mine) == 10


async def test_replayed_records_of_the_main_topic_stay_there_and_get_their_origin() -> None:
    """Headers from the producer do not change it."""
    topics = FakeTopics()
    record = topics.put(MAIN, b"{}", {"event_id": "e-1", "__key": ALICE, REPLAYS: "9", PARTITION: "1"}, "4")
    work = Replay(topics, None, DEAD, AGAIN, Options())
    await work.process([record])
    [again] = topics.records[AGAIN]
    assert (again.headers[REPLAYS], again.headers[TOPIC], again.headers[PARTITION]) == ("1", MAIN, "4")
    assert (len(topics.records[MAIN]), topics.ids(DEAD)) == (1, [])


async def test_a_rate_limits_the_replays() -> None:
    """Ten per second: the third is published after a fifth of a second."""
    topics = FakeTopics()
    for number in range(3):
        put(topics, f"e-{number}", key=f"user-{number}")
    start = anyio.current_time()
    await replay(topics, FakeStateStore(), Options(SYNAPSE, rate=10))
    assert anyio.current_time() - start >= 0.19
    assert len(topics.ids(AGAIN)) == 3


# --- killed at any step


class Killed(BaseException):
    """Not an Exception, so that no code of the function catches it."""


class Killer:
    """Counts half steps of external calls; raises Killed at the `fatal` one: x.5 is before a call, x after it."""

    def __init__(self, fatal: float) -> None:
        self.calls, self.fatal = 0.0, fatal

    def step(self) -> None:
        self.calls += 0.5
        if self.calls == self.fatal:
            raise Killed


class KillingTopics(FakeTopics):
    """Is killed before or after a publish."""

    killer: Killer

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        self.killer.step()
        await super().publish(topic, record, headers, partition)
        self.killer.step()


class KillingStore(FakeStateStore):
    """Is killed before or after a write."""

    killer: Killer

    async def write_values(self, values: Mapping[str, Value]) -> None:
        self.killer.step()
        await super().write_values(values)
        self.killer.step()


STEPS = 24  # two for each of: lease, six publishes in batches of two, three writes of the checkpoint, release; and some beyond the end


@pytest.mark.parametrize("fatal", [step / 2 for step in range(1, STEPS + 1)])
async def test_a_kill_before_or_after_any_call_loses_no_letter(fatal: float) -> None:
    """At worst a letter is there twice. The next replay waits until the lease of the killed one has expired."""
    topics, state = KillingTopics(), KillingStore()
    topics.killer = state.killer = Killer(0)
    for number in range(6):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    topics.killer = state.killer = Killer(fatal)
    died = False
    try:
        await replay(topics, state, batch=2)
    except (Killed, BaseExceptionGroup):
        died = True
    topics.killer = state.killer = Killer(0)
    await expire(state)
    await replay(topics, state, run="two")
    assert died == (fatal <= 11)
    assert set(topics.ids(AGAIN)) == {"e-1", "e-3", "e-5"}
    assert len(topics.ids(AGAIN)) <= 4
    left = await live(topics, state)
    assert set(left) == {"e-0", "e-2", "e-4"}
    assert len(left) <= 4


async def test_a_replay_that_lost_its_lease_cannot_advance_the_checkpoint() -> None:
    """It stalled for longer than its lease; another replay is running now."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    checkpoint = await leased(state)
    await expire(state)
    await leased(state, "two")
    with pytest.raises(Busy):
        await Replay(topics, checkpoint, DEAD, AGAIN, Options()).process(topics.records[DEAD])


async def test_an_unavailable_state_store_ends_the_replay() -> None:
    """Without a checkpoint it is unknown which letters are done."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    checkpoint = await leased(state)
    state.down = True
    with pytest.raises(TryAgain) as caught:
        await Replay(topics, checkpoint, DEAD, AGAIN, Options()).process(topics.records[DEAD])
    assert caught.value.reason is Reason.STATE_UNAVAILABLE
