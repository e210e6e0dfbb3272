"""Marks are looked up block by block, each block once."""

from collections.abc import Collection

import pytest

from function.dead_letters.lookup import BLOCKS, MarkLookup
from function.dead_letters.marks import BLOCK, Mark, Marks, Place
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain
from tests.support.fake_dapr import FakeStateStore

pytestmark = pytest.mark.anyio

TOPIC = "t.matrix.dead"


def record(partition: int, offset: int, time: int = 100) -> KafkaRecord:
    fields = {"__partition": str(partition), "__offset": str(offset), "__timestamp": str(time)}
    return KafkaRecord(b"{}", TOPIC, fields)


class Asked(Marks):
    """Notes which blocks are read."""

    def __init__(self) -> None:
        super().__init__(FakeStateStore(), TOPIC)
        self.blocks: list[tuple[int, int]] = []
        self.down = False

    async def read_blocks(self, blocks: Collection[tuple[int, int]]) -> dict[Place, Mark]:
        if self.down:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "a test")
        self.blocks += sorted(blocks)
        return await super().read_blocks(blocks)


async def test_the_mark_of_a_letter_is_found_and_only_its_block_is_read_and_only_once() -> None:
    marks = Asked()
    await marks.add({(1, BLOCK + 5): Mark(100, 1, 7)})
    lookup = MarkLookup(marks)
    for _ in range(3):
        found = await lookup.find([record(1, BLOCK + 5), record(1, BLOCK + 6)])
        assert found == {(1, BLOCK + 5): Mark(100, 1, 7)}
    assert marks.blocks == [(1, 1)]


async def test_a_mark_of_an_earlier_topic_is_ignored_and_counted() -> None:
    marks = Asked()
    await marks.add({(0, 0): Mark(50, 1, 7)})
    lookup = MarkLookup(marks)
    assert await lookup.find([record(0, 0, time=100)]) == {}
    assert lookup.foreign == 1


async def test_the_number_of_blocks_that_are_kept_is_bounded() -> None:
    marks = Asked()
    lookup = MarkLookup(marks)
    for block in [*range(BLOCKS + 1), 0, BLOCKS]:
        await lookup.find([record(0, block * BLOCK)])
    assert marks.blocks == [(0, block) for block in [*range(BLOCKS + 1), 0]]


async def test_a_block_that_could_not_be_read_is_read_again() -> None:
    """Otherwise its letters would look open."""
    marks = Asked()
    await marks.add({(0, 0): Mark(100, 1, 7)})
    lookup = MarkLookup(marks)
    marks.down = True
    with pytest.raises(TryAgain):
        await lookup.find([record(0, 0)])
    marks.down = False
    assert await lookup.find([record(0, 0)]) == {(0, 0): Mark(100, 1, 7)}
