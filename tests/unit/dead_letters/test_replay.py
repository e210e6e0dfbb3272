"""What a replay moves, and that nothing is lost wherever it ends."""

import json
from collections.abc import Mapping

import pytest

from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Value
from function.dead_letters.checkpoint import KEY, Busy, ReplayCheckpoint
from function.dead_letters.letter import DeadLetter, DeadLetterFilter
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
    bookmark = ReplayCheckpoint(state, run)
    await bookmark.acquire_lease()
    return bookmark


async def replay(
    topics: FakeTopics, state: FakeStateStore, options: Options | None = None, page: int = 100, run: str = "one"
) -> Replay:
    """Reads everything that is there now, in pages."""
    bookmark = await leased(state, run)
    work = Replay(topics, bookmark, DEAD, AGAIN, options or Options(SYNAPSE))
    there = list(topics.records.get(DEAD, []))
    for first in range(0, len(there), page):
        await work.process(there[first : first + page])
    await bookmark.release()
    return work


async def expire(state: FakeStateStore) -> None:
    """The lease runs out."""
    [(value, etag)] = (await state.read_values([KEY])).values()
    if value:
        await state.write_values({KEY: (json.dumps(json.loads(value) | {"run": ""}).encode(), etag)})


async def live(topics: FakeTopics, state: FakeStateStore) -> list[str]:
    """What a look shows."""
    bookmark = ReplayCheckpoint(state, "look")
    await bookmark.read()
    return [r.headers["event_id"] for r in topics.records.get(DEAD, []) if not bookmark.is_done(r)]


async def test_the_chosen_go_to_the_replay_topic_and_the_rest_stay_in_their_order() -> None:
    """By reason, as a person does once the cause is mended."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(4):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    work = await replay(topics, state)
    assert topics.ids(AGAIN) == ["e-1", "e-3"]
    assert await live(topics, state) == ["e-0", "e-2"]
    assert (work.tally.replayed.total(), work.tally.put_back, work.tally.looked_at) == (2, 2, 4)


async def test_a_replayed_letter_counts_one_more_and_goes_to_its_origins_partition() -> None:
    """There the member that owns the user's main records takes it."""
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


async def test_what_is_put_back_is_unchanged() -> None:
    """Its count too: it was not replayed."""
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


async def test_a_second_replay_begins_where_the_first_ended() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    await replay(topics, state)
    put(topics, "e-2")
    await replay(topics, state, run="two")
    assert topics.ids(AGAIN) == ["e-1", "e-2"]


async def test_a_letter_that_was_replayed_too_often_stays_as_stuck() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1", replays="5")
    put(topics, "e-2", replays="4")
    work = await replay(topics, state)
    assert topics.ids(AGAIN) == ["e-2"]
    assert await live(topics, state) == ["e-1"]
    assert work.tally.stuck == {"synapse_error": 1}


async def test_at_the_limit_what_follows_is_left_where_it_is() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(6):
        put(topics, f"e-{number}")
    work = await replay(topics, state, Options(SYNAPSE, limit=3), page=2)
    assert work.enough
    assert topics.ids(AGAIN) == ["e-0", "e-1", "e-2"]
    assert await live(topics, state) == ["e-3", "e-4", "e-5"]
    assert len(topics.records[DEAD]) == 6


async def test_a_dry_run_tells_each_letter_and_moves_none() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    put(topics, "e-2", "not_json")
    told: list[DeadLetter] = []
    bookmark = ReplayCheckpoint(state, "dry")
    work = Replay(topics, bookmark, DEAD, AGAIN, Options(SYNAPSE, dry_run=True), told.append)
    await work.process(topics.records[DEAD])
    assert [letter.event_id for letter in told] == ["e-1"]
    assert (work.tally.replayed.total(), work.tally.put_back) == (1, 1)
    assert topics.ids(AGAIN) == []
    assert await live(topics, state) == ["e-1", "e-2"]


@pytest.mark.parametrize("full", [AGAIN, DEAD])
async def test_what_kafka_does_not_take_stops_its_partition_and_is_still_there(full: str) -> None:
    """The others go on; the exit code tells."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1", "synapse_error" if full == AGAIN else "not_json")
    put(topics, "e-2", "not_json" if full == AGAIN else "synapse_error", key=BOB)
    topics.full.add(full)
    work = await replay(topics, state)
    assert list(work.tally.stopped) == ["0"]
    assert work.tally.looked_at == 0
    assert (await live(topics, state))[:2] == ["e-1", "e-2"]


async def test_a_user_s_letters_keep_their_order() -> None:
    """Different users' are published side by side."""
    topics = FakeTopics()
    for number in range(50):
        put(topics, f"{number % 5}-{number:02}", key=f"user-{number % 5}")
    await replay(topics, FakeStateStore())
    for user in range(5):
        mine = [one for one in topics.ids(AGAIN) if one.startswith(f"{user}-")]
        assert mine == sorted(mine)
        assert len(mine) == 10


async def test_records_of_the_main_topic_stay_there_and_tell_their_origin() -> None:
    """Whatever a stranger wrote into their headers."""
    topics = FakeTopics()
    record = topics.put(MAIN, b"{}", {"event_id": "e-1", "__key": ALICE, REPLAYS: "9", PARTITION: "1"}, "4")
    work = Replay(topics, None, DEAD, AGAIN, Options())
    await work.process([record])
    [again] = topics.records[AGAIN]
    assert (again.headers[REPLAYS], again.headers[TOPIC], again.headers[PARTITION]) == ("1", MAIN, "4")
    assert (len(topics.records[MAIN]), topics.ids(DEAD)) == (1, [])


# --- ended at any moment


class Killed(BaseException):
    """Not an Exception: nothing of ours may catch it."""


class Mortal:
    """Counts the calls to the outside; dies before or after the one that is `fatal`."""

    def __init__(self, fatal: float) -> None:
        self.calls, self.fatal = 0.0, fatal

    def step(self) -> None:
        self.calls += 0.5
        if self.calls == self.fatal:
            raise Killed


class MortalTopics(FakeTopics):
    """Published, or not any more."""

    mortal: Mortal

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        self.mortal.step()
        await super().publish(topic, record, headers, partition)
        self.mortal.step()


class MortalStore(FakeStateStore):
    """Written, or not any more."""

    mortal: Mortal

    async def write_values(self, values: Mapping[str, Value]) -> None:
        self.mortal.step()
        await super().write_values(values)
        self.mortal.step()


STEPS = 24  # two for each of: lease, six publishes in pages of two, three bookmarks, release; and some beyond the end


@pytest.mark.parametrize("fatal", [step / 2 for step in range(1, STEPS + 1)])
async def test_killed_before_or_after_any_call_nothing_is_lost(fatal: float) -> None:
    """At worst something is there twice. The next replay waits for the lease of the dead one to run out."""
    topics, state = MortalTopics(), MortalStore()
    topics.mortal = state.mortal = Mortal(0)
    for number in range(6):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    topics.mortal = state.mortal = Mortal(fatal)
    died = False
    try:
        await replay(topics, state, page=2)
    except (Killed, BaseExceptionGroup):
        died = True
    topics.mortal = state.mortal = Mortal(0)
    await expire(state)
    await replay(topics, state, run="two")
    assert died == (fatal <= 11)
    assert set(topics.ids(AGAIN)) == {"e-1", "e-3", "e-5"}
    assert len(topics.ids(AGAIN)) <= 4
    left = await live(topics, state)
    assert set(left) == {"e-0", "e-2", "e-4"}
    assert len(left) <= 4


async def test_a_replay_that_lost_its_lease_moves_the_bookmark_no_more() -> None:
    """It had stalled for longer than its lease; the other one is at work now."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    bookmark = await leased(state)
    await expire(state)
    await leased(state, "two")
    with pytest.raises(Busy):
        await Replay(topics, bookmark, DEAD, AGAIN, Options()).process(topics.records[DEAD])


async def test_a_state_store_that_is_away_ends_the_replay() -> None:
    """Without a bookmark nobody would know what was dealt with."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    bookmark = await leased(state)
    state.down = True
    with pytest.raises(TryAgain) as caught:
        await Replay(topics, bookmark, DEAD, AGAIN, Options()).process(topics.records[DEAD])
    assert caught.value.reason is Reason.STATE_UNAVAILABLE
