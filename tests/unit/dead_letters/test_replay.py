"""Which letters a replay publishes and marks, and that none is lost wherever it is killed."""

import asyncio
from collections.abc import Mapping

import anyio
import anyio.lowlevel
import pytest

from function.dapr.state_store import Value
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter
from function.dead_letters.marks import Mark, Marks
from function.dead_letters.positions import Positions
from function.dead_letters.publish import OFFSET, PARTITION, REASON, REPLAYS, TOPIC
from function.dead_letters.replay import Options, Replay
from function.dead_letters.republish import BROKEN_AFTER
from function.dead_letters.selection import Selection
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE, BOB
from tests.support.fake_dapr import FakeStateStore
from tests.support.fake_kafka import FakeTopics

pytestmark = pytest.mark.anyio

MAIN, DEAD, AGAIN = "events", "events.matrix.dead", "events.matrix.replay"
SYNAPSE = Selection(DeadLetterFilter(reasons=frozenset({"synapse_error"})))


def put(topics: FakeTopics, event_id: str, reason: str = "synapse_error", key: str = ALICE, **more: str) -> KafkaRecord:
    headers = {"event_id": event_id, "__key": key, REASON: reason, TOPIC: MAIN, PARTITION: "7", OFFSET: "3"}
    return topics.put(DEAD, b"{}", headers | {REPLAYS: "0"} | {f"x-dead-letter-{n}": t for n, t in more.items()})


class Run:
    """One run of the tool over all letters that are there."""

    def __init__(
        self, topics: FakeTopics, state: FakeStateStore, selection: Selection = SYNAPSE, options: Options | None = None,
        topic: str = DEAD, batch: int = 100,
    ) -> None:  # fmt: skip
        self.stop = asyncio.Event()
        self.reported: list[DeadLetter] = []
        self._topics, self._selection, self._options = topics, selection, options or Options()
        self._stream = topics.stream(topic, batch)
        self.marks = Marks(state, DEAD) if topic == DEAD else None

    async def go(self) -> "Run":
        spans = await self._selection.spans(self._stream)
        self.positions = Positions(spans)
        self.replay = Replay(
            self._topics,
            self.marks,
            AGAIN,
            self._selection,
            self._options,
            self.positions,
            self.stop,
            self.reported.append,
        )
        self.tally = self.replay.tally
        async for batch in self._stream.batches(spans):
            await self.replay.process(batch)
            if self.replay.limit_reached or self.stop.is_set():
                return self
        self.positions.complete()
        return self


async def live(topics: FakeTopics, state: FakeStateStore) -> list[str]:
    """Returns the ids of the open letters."""
    letters = topics.records.get(DEAD, [])
    marks = await Marks(state, DEAD).read(letters)
    return [r.headers["event_id"] for r in letters if (0, int(r.kafka_field("offset"))) not in marks]


async def test_matching_letters_go_to_the_replay_topic_and_nothing_is_moved() -> None:
    """By reason, as an operator does once the cause is fixed."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(4):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    before = list(topics.records[DEAD])
    run = await Run(topics, state).go()
    assert topics.ids(AGAIN) == ["e-1", "e-3"]
    assert topics.records[DEAD] == before
    assert await live(topics, state) == ["e-0", "e-2"]
    assert (run.tally.replayed, run.tally.read) == ({"synapse_error": 2}, 4)


async def test_a_replayed_letter_has_a_higher_count_and_goes_to_its_origins_partition() -> None:
    """The consumer that owns the partition of the user's main records reads it there."""
    topics = FakeTopics()
    put(topics, "e-1", replays="2")
    await Run(topics, FakeStateStore()).go()
    [record] = topics.records[AGAIN]
    assert (record.headers[REPLAYS], record.kafka_field("partition"), record.kafka_field("key")) == ("3", "7", ALICE)
    assert (record.value, record.headers[TOPIC], record.headers[OFFSET]) == (b"{}", MAIN, "3")


async def test_a_letter_of_daprd_goes_to_its_origins_partition_without_headers_that_only_look_like_ours() -> None:
    """daprd copies a producer's headers, and writes the origin into headers of its own."""
    topics = FakeTopics()
    by_daprd = {"___topic": MAIN, "___partition": "9", "___offset": "4"}
    forged = {PARTITION: "1", REPLAYS: "8", "x-dead-letter-note": "Ada"}
    topics.put(DEAD, b"{}", {"event_id": "a", "__key": ALICE} | by_daprd | forged)
    await Run(topics, FakeStateStore(), Selection()).go()
    [record] = topics.records[AGAIN]
    assert record.kafka_field("partition") == "9"
    ours = {name: text for name, text in record.headers.items() if name.startswith("x-dead-letter-")}
    assert ours.items() >= {TOPIC: MAIN, PARTITION: "9", OFFSET: "4", REPLAYS: "1"}.items()
    assert "x-dead-letter-note" not in ours


async def test_a_second_replay_publishes_only_what_is_open() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    await Run(topics, state).go()
    put(topics, "e-2")
    second = await Run(topics, state).go()
    assert topics.ids(AGAIN) == ["e-1", "e-2"]
    assert second.tally.closed == 1


async def test_again_takes_letters_that_were_replayed_and_none_that_were_discarded() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    replayed, discarded = put(topics, "e-1"), put(topics, "e-2")
    await Run(topics, state, Selection(places=frozenset({(0, 0)}))).go()
    await Marks(state, DEAD).add({(0, 1): Mark(int(discarded.kafka_field("timestamp")), 0, 9, "a test")})
    await Run(topics, state, Selection(again=True)).go()
    assert topics.ids(AGAIN) == ["e-1", "e-1"]
    assert [record.headers[REPLAYS] for record in topics.records[AGAIN]] == ["1", "2"]
    [mark] = (await Marks(state, DEAD).read([replayed])).values()
    assert mark.replays == 2


async def test_a_letter_that_is_named_is_replayed_whatever_was_done_before() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    discarded = put(topics, "e-1")
    put(topics, "e-2")
    await Marks(state, DEAD).add({(0, 0): Mark(int(discarded.kafka_field("timestamp")), 0, 9, "a test")})
    run = await Run(topics, state, Selection(places=frozenset({(0, 0), (0, 44)}))).go()
    assert topics.ids(AGAIN) == ["e-1"]
    assert run.tally.found == {(0, 0)}


async def test_a_letter_that_was_replayed_too_often_is_stuck() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1", replays="5")
    put(topics, "e-2", replays="4")
    run = await Run(topics, state).go()
    assert topics.ids(AGAIN) == ["e-2"]
    assert await live(topics, state) == ["e-1"]
    assert run.tally.stuck == {"synapse_error": 1}


async def test_a_deletion_that_the_limit_held_back_is_never_stuck() -> None:
    """Nothing failed: it came too soon."""
    topics = FakeTopics()
    put(topics, "e-1", "deletion_limit", replays="5")
    run = await Run(topics, FakeStateStore(), Selection()).go()
    assert topics.ids(AGAIN) == ["e-1"]
    assert not run.tally.stuck


async def test_letters_after_the_limit_stay_open() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(6):
        put(topics, f"e-{number}")
    run = await Run(topics, state, options=Options(limit=3), batch=2).go()
    assert run.replay.limit_reached
    assert topics.ids(AGAIN) == ["e-0", "e-1", "e-2"]
    assert await live(topics, state) == ["e-3", "e-4", "e-5"]


async def test_a_dry_run_reports_each_letter_and_changes_nothing() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    put(topics, "e-2", "not_json")
    run = await Run(topics, state, options=Options(dry_run=True)).go()
    assert [letter.event_id for letter in run.reported] == ["e-1"]
    assert run.tally.replayed.total() == 1
    assert topics.ids(AGAIN) == []
    assert await live(topics, state) == ["e-1", "e-2"]


async def test_a_refused_letter_holds_back_only_later_ones_of_its_user() -> None:
    """They stay open; the others are replayed and marked."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(3):
        put(topics, f"a-{number}", key=ALICE)
        put(topics, f"b-{number}", key=BOB)
    topics.refused.add(ALICE)
    run = await Run(topics, state, batch=2).go()
    assert topics.ids(AGAIN) == ["b-0", "b-1", "b-2"]
    assert await live(topics, state) == ["a-0", "a-1", "a-2"]
    assert (run.tally.failed, run.tally.failed_places, run.tally.held_back) == (1, ["0:0"], 2)
    topics.refused.clear()
    await Run(topics, state).go()
    assert topics.ids(AGAIN)[3:] == ["a-0", "a-1", "a-2"]


async def test_many_failures_in_a_row_end_the_replay() -> None:
    """Then it is not the letters: every one would cost its tries."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(BROKEN_AFTER * 3):
        put(topics, f"e-{number}", key=f"user-{number}")
    topics.full.add(AGAIN)
    run = Run(topics, state)
    with pytest.raises(TryAgain) as raised:
        await run.go()
    assert raised.value.reason is Reason.PUBLISH_FAILED
    assert BROKEN_AFTER <= run.tally.failed < BROKEN_AFTER * 2
    assert len(await live(topics, state)) == BROKEN_AFTER * 3


async def test_a_user_s_letters_keep_their_order() -> None:
    """Letters of different users are published concurrently."""
    topics = FakeTopics()
    for number in range(50):
        put(topics, f"{number % 5}-{number:02}", key=f"user-{number % 5}")
    await Run(topics, FakeStateStore()).go()
    for user in range(5):
        mine = [one for one in topics.ids(AGAIN) if one.startswith(f"{user}-")]
        assert mine == sorted(mine)
        assert len(mine) == 10


async def test_a_rate_limits_the_replays() -> None:
    """Ten per second: the third is published after a fifth of a second."""
    topics = FakeTopics()
    for number in range(3):
        put(topics, f"e-{number}", key=f"user-{number}")
    start = anyio.current_time()
    await Run(topics, FakeStateStore(), options=Options(rate=10)).go()
    assert anyio.current_time() - start >= 0.19
    assert len(topics.ids(AGAIN)) == 3


async def test_a_stop_begins_no_letter_and_marks_those_that_were_published() -> None:
    """Also while it waits for the rate."""
    topics, state = FakeTopics(), FakeStateStore()
    for number in range(5):
        put(topics, f"e-{number}", key=f"user-{number}")
    run = Run(topics, state, options=Options(rate=0.01))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.go)
        with anyio.fail_after(5):
            while not topics.ids(AGAIN):
                await anyio.lowlevel.checkpoint()
            run.stop.set()
    assert run.tally.replayed.total() == 1
    assert len(await live(topics, state)) == 4


async def test_letters_of_a_topic_that_was_made_anew_are_open_whatever_the_earlier_ones_were() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "old")
    await Run(topics, state).go()
    topics.records[DEAD].clear()
    put(topics, "new")
    run = await Run(topics, state).go()
    assert topics.ids(AGAIN) == ["old", "new"]
    assert run.marks is not None
    assert run.marks.foreign == 1


async def test_an_unavailable_state_store_ends_the_replay_before_anything_is_published() -> None:
    """It is not known which letters are open."""
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    state.down = True
    with pytest.raises(TryAgain) as raised:
        await Run(topics, state).go()
    assert raised.value.reason is Reason.STATE_UNAVAILABLE
    assert topics.ids(AGAIN) == []


async def test_letters_whose_marks_are_not_stored_are_counted() -> None:
    topics, state = FakeTopics(), FakeStateStore()
    put(topics, "e-1")
    state.losing = 1
    run = Run(topics, state)
    with pytest.raises(TryAgain):
        await run.go()
    assert (run.tally.replayed.total(), run.tally.unmarked) == (1, 1)


# --- the main topic


def send(topics: FakeTopics, event_id: str, partition: str = "0", key: str = ALICE) -> KafkaRecord:
    return topics.put(MAIN, b"{}", {"event_id": event_id, "__key": key}, partition)


async def test_records_of_the_main_topic_get_their_origin_and_no_mark() -> None:
    """Headers from the producer do not change it."""
    topics, state = FakeTopics(), FakeStateStore()
    topics.put(MAIN, b"{}", {"event_id": "e-1", "__key": ALICE, REPLAYS: "9", PARTITION: "1"}, "4")
    await Run(topics, state, Selection(), topic=MAIN).go()
    [again] = topics.records[AGAIN]
    assert (again.headers[REPLAYS], again.headers[TOPIC], again.headers[PARTITION]) == ("1", MAIN, "4")
    assert (len(topics.records[MAIN]), state.writes) == (1, 0)


async def test_a_run_that_stops_at_its_limit_says_where_to_go_on() -> None:
    """Each partition: going on there publishes every record, and none twice."""
    topics = FakeTopics()
    for number in range(10):
        send(topics, f"e-{number}", str(number % 2))
    selection = Selection()
    for _ in range(4):
        run = await Run(topics, FakeStateStore(), selection, Options(limit=3), topic=MAIN, batch=4).go()
        offsets = dict(place.split(":") for place in str(run.positions).split(","))
        selection = Selection(offsets={int(number): int(offset) for number, offset in offsets.items()})
    assert sorted(topics.ids(AGAIN)) == [f"e-{number}" for number in range(10)]
    assert run.positions.at_end


async def test_a_record_that_failed_holds_the_place_to_go_on_from() -> None:
    topics = FakeTopics()
    for number in range(6):
        send(topics, f"e-{number}", str(number % 2), key=BOB if number == 2 else ALICE)
    topics.refused.add(BOB)
    run = await Run(topics, FakeStateStore(), Selection(), topic=MAIN, batch=3).go()
    assert str(run.positions) == "0:1,1:3"
    assert not run.positions.at_end


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


@pytest.mark.parametrize("fatal", [step / 2 for step in range(1, 15)])
async def test_a_kill_before_or_after_any_call_loses_no_letter(fatal: float) -> None:
    """Three publishes and three marks are six calls. At worst a letter is replayed twice."""
    topics, state = KillingTopics(), KillingStore()
    topics.killer = state.killer = Killer(0)
    for number in range(6):
        put(topics, f"e-{number}", "synapse_error" if number % 2 else "not_json")
    topics.killer = state.killer = Killer(fatal)
    died = False
    try:
        await Run(topics, state, batch=2).go()
    except (Killed, BaseExceptionGroup):
        died = True
    topics.killer = state.killer = Killer(0)
    await Run(topics, state).go()
    assert died == (fatal <= 6)
    assert set(topics.ids(AGAIN)) == {"e-1", "e-3", "e-5"}
    assert len(topics.ids(AGAIN)) <= 4
    assert await live(topics, state) == ["e-0", "e-2", "e-4"]
