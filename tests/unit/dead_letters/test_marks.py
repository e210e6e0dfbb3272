"""What was done about dead letters is remembered, by every tool at once, and never for another topic's letters."""

import json

import anyio
import pytest

from function.dead_letters.marks import BLOCK, KEYS_AT_ONCE, Mark, Marks, place_of
from function.kafka.record import KafkaRecord, record_from
from function.outcomes import Reason, TryAgain
from tests.support.fake_dapr import FakeStateStore

pytestmark = pytest.mark.anyio

DEAD = "events.matrix.dead"
REPLAYED = Mark(time=1_000, replays=1, at=50)


def record(offset: int, partition: int = 0, time: int = 1_000) -> KafkaRecord:
    return record_from(DEAD, partition, offset, time, b"key", b"{}", [])


async def test_a_letter_without_a_mark_is_open() -> None:
    marks = Marks(FakeStateStore(), DEAD)
    await marks.add({(0, 1): REPLAYED})
    assert await marks.read([record(0), record(1)]) == {(0, 1): REPLAYED}


async def test_a_second_replay_adds_to_the_count_and_a_discard_keeps_it() -> None:
    marks = Marks(FakeStateStore(), DEAD)
    await marks.add({(0, 1): REPLAYED})
    await marks.add({(0, 1): Mark(1_000, 1, 70)})
    await marks.add({(0, 1): Mark(1_000, 0, 90, "a test")})
    [found] = (await marks.read([record(1)])).values()
    assert found == Mark(1_000, 2, 90, "a test")
    assert found.discarded


async def test_marks_are_spread_over_blocks_and_read_in_bounded_calls() -> None:
    state = FakeStateStore()
    marks = Marks(state, DEAD)
    places = [(partition, block * BLOCK) for partition in range(5) for block in range(9)]
    await marks.add(dict.fromkeys(places, REPLAYED))
    before = state.reads
    found = await marks.read([record(offset, partition) for partition, offset in places])
    assert found.keys() == set(places)
    assert state.reads - before == -(-len(places) // KEYS_AT_ONCE)


async def test_a_full_block_stays_small_also_when_it_was_discarded_with_a_long_reason() -> None:
    """daprd takes messages up to 4 MB, and a call carries several blocks."""
    state = FakeStateStore()
    marks = Marks(state, DEAD)
    time = 1_762_000_000_000
    await marks.add({(0, offset): Mark(time, 3, 1_762_000_000, "w" * 200) for offset in range(BLOCK)})
    [key] = state._values
    assert len(state.stored_bytes(key)) * KEYS_AT_ONCE < 1_000_000


async def test_marks_of_an_earlier_topic_of_the_same_name_are_counted_and_ignored() -> None:
    marks = Marks(FakeStateStore(), DEAD)
    await marks.add({(0, 0): REPLAYED, (0, 1): REPLAYED})
    assert await marks.read([record(0, time=2_000), record(1, time=1_000)]) == {(0, 1): REPLAYED}
    assert marks.foreign == 1


async def test_a_mark_of_the_present_topic_replaces_those_of_an_earlier_one() -> None:
    """Of the whole block: else they would stay until that many letters have come again."""
    marks = Marks(FakeStateStore(), DEAD)
    await marks.add({(0, offset): Mark(1_000 + offset, 4, 60, "old") for offset in range(3)})
    await marks.add({(0, 2): Mark(9_000, 1, 80)})
    assert await marks.read_blocks({(0, 0)}) == {(0, 2): Mark(9_000, 1, 80)}


async def test_tools_that_mark_at_the_same_time_lose_nothing() -> None:
    state = FakeStateStore()

    async def mark(offset: int) -> None:
        await Marks(state, DEAD).add({(0, offset): REPLAYED, (0, 99): REPLAYED})

    async with anyio.create_task_group() as tasks:
        for offset in range(5):
            tasks.start_soon(mark, offset)
    found = await Marks(state, DEAD).read_blocks({(0, 0)})
    assert {offset: mark.replays for (_, offset), mark in found.items()} == dict.fromkeys(range(5), 1) | {99: 5}


async def test_each_topic_has_marks_of_its_own() -> None:
    state = FakeStateStore()
    await Marks(state, "other.matrix.dead").add({(0, 0): REPLAYED})
    assert await Marks(state, DEAD).read([record(0)]) == {}


@pytest.mark.parametrize(
    "value", [b"{", b'{"schema":2,"whys":[""],"marks":{}}', b'{"schema":1,"whys":[],"marks":{"1":[1,1,1,0]}}', b"[]"]
)
async def test_an_unreadable_value_is_an_error_that_names_its_key_and_is_left_alone(value: bytes) -> None:
    """Of a newer version, for example: taken for empty it would be lost, and every letter in it replayed again."""
    state = FakeStateStore()
    marks = Marks(state, DEAD)
    await marks.add({(0, 0): REPLAYED})
    [key] = state._values
    state._put({key: value})
    for attempt in (marks.read([record(0)]), marks.add({(0, 0): REPLAYED})):
        with pytest.raises(TryAgain) as raised:
            await attempt
        assert raised.value.reason is Reason.MARKS_UNREADABLE
        assert key in raised.value.detail
    assert state.stored_bytes(key) == value


async def test_the_stored_form_stays_as_it_is() -> None:
    """Other versions read it."""
    state = FakeStateStore()
    await Marks(state, DEAD).add({(3, 2_017): REPLAYED, (3, 2_018): Mark(1_001, 0, 60, "a test")})
    [key] = state._values
    assert key == f"dead-letter-marks:{DEAD}:3:2"
    assert json.loads(state.stored_bytes(key)) == {
        "schema": 1, "whys": ["", "a test"], "marks": {"2017": [1_000, 1, 50, 0], "2018": [1_001, 0, 60, 1]},
    }  # fmt: skip
    assert place_of(record(2_017, 3)) == (3, 2_017)
