"""Finds the dead letters that are to be shown: reads, filters, and asks what was done about them. Prints nothing itself."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from function.cli.dead_letters_report import Report, Style
from function.dead_letters.letter import read_letter
from function.dead_letters.lookup import MarkLookup
from function.dead_letters.marks import place_of
from function.dead_letters.selection import Selection
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort


@dataclass(frozen=True, slots=True)
class Asked:
    """What to show: which letters, those that were dealt with too, those that come later too, and how."""

    selection: Selection = field(default_factory=Selection)
    all: bool = False
    watch: bool = False
    style: Style = field(default_factory=Style)


class Listing:
    """Filters letters, asks what was done about them, and hands on what is to be shown.

    Args:
        asked: what to show.
        marks: what was done about the letters.
        report: takes what is to be shown.
    """

    def __init__(self, asked: Asked, marks: MarkLookup, report: Report) -> None:
        self._asked, self._marks, self._report = asked, marks, report
        self.found: set[tuple[int, int]] = set()  # of the letters that were named

    async def noting(self, batches: AsyncIterator[list[KafkaRecord]]) -> AsyncIterator[list[KafkaRecord]]:
        """Yields the batches; notes where they are cut short."""
        try:
            async for batch in batches:
                yield batch
        except CutShort as cut:
            self._report.cut = cut
            raise

    async def process(self, batch: list[KafkaRecord]) -> None:
        """Counts and shows the letters of one batch. Raises TryAgain."""
        await self._process(batch, new=False)

    async def process_new(self, batch: list[KafkaRecord]) -> None:
        """Shows letters that came after the first read. Raises TryAgain."""
        await self._process(batch, new=True)

    async def _process(self, batch: list[KafkaRecord], *, new: bool) -> None:
        letters = [letter for record in batch if self._asked.selection.matches(letter := read_letter(record))]
        marks = await self._marks.find([letter.record for letter in letters])
        for letter in letters:
            place = place_of(letter.record)
            mark = marks.get(place)
            self._report.summary.count(mark)
            if self._asked.selection.places:
                self.found.add(place)
            if self._asked.all or mark is None:
                self._report.show(letter, mark, new=new)
        self._report.summary.read += len(batch)
