"""Looks up the marks of letters while a topic is read: each block of marks is read once, as long as letters of it come."""

from collections import OrderedDict
from collections.abc import Sequence

from function.dead_letters.marks import Mark, Marks, Place, block_of, place_of, time_of
from function.kafka.record import KafkaRecord

BLOCKS = 100  # that are kept: a batch has letters of all partitions, and goes on in the same blocks as the one before

_Block = tuple[int, int]


class MarkLookup:
    """Looks up marks and keeps the latest blocks.

    Args:
        marks: of the topic that is read.

    Attributes:
        foreign: how many marks of an earlier topic of the same name were met, and ignored.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._kept: OrderedDict[_Block, dict[Place, Mark]] = OrderedDict()
        self.foreign = 0

    async def find(self, records: Sequence[KafkaRecord]) -> dict[Place, Mark]:
        """Returns the marks of these records; an open letter has none. Raises TryAgain."""
        places = {place_of(record): time_of(record) for record in records}
        await self._keep({block_of(place) for place in places})
        found = {}
        for place, time in places.items():
            mark = self._kept[block_of(place)].get(place)
            if mark and mark.time == time:
                found[place] = mark
            self.foreign += mark is not None and mark.time != time
        return found

    async def _keep(self, wanted: set[_Block]) -> None:
        if missing := wanted - self._kept.keys():
            self._kept |= {block: {} for block in missing}
            try:
                for place, mark in (await self._marks.read_blocks(missing)).items():
                    self._kept[block_of(place)][place] = mark
            except BaseException:
                for block in missing:
                    del self._kept[block]
                raise
        for block in wanted:
            self._kept.move_to_end(block)
        while len(self._kept) > max(BLOCKS, len(wanted)):
            self._kept.popitem(last=False)
