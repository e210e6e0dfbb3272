"""Discards letters: marks them with why nothing will be done about them. They stay in Kafka until their retention ends."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from function.clock import Clock, utc_now
from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.marks import Mark, Marks, Place, place_of, time_of
from function.dead_letters.selection import Selection
from function.kafka.record import KafkaRecord


@dataclass(slots=True)
class DiscardTally:
    """Counts of letters; `closed`: they match, and were replayed or discarded before."""

    read: int = 0
    discarded: Counter[str] = field(default_factory=Counter)  # by reason
    closed: int = 0
    found: set[Place] = field(default_factory=set)  # of the places that were asked for


class Discard:
    """Processes the batches of the dead-letter topic.

    Args:
        marks: of the topic.
        selection: which letters.
        why: the reason that is kept.
        dry_run: report the letters and mark none.
        report: called with each letter that is (in a dry run: would be) discarded.
        clock: gives the time in UTC.
    """

    def __init__(
        self, marks: Marks, selection: Selection, why: str, *, dry_run: bool = False,
        report: Callable[[DeadLetter], None] = lambda _: None, clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._marks, self._selection, self._why, self._dry_run = marks, selection, why, dry_run
        self._report, self._clock = report, clock
        self.tally = DiscardTally()

    async def process(self, batch: Sequence[KafkaRecord]) -> None:
        """Discards the letters of one batch. Raises TryAgain if the state store is unavailable."""
        matching = [letter for record in batch if self._selection.matches(letter := read_letter(record))]
        marks = await self._marks.read([letter.record for letter in matching]) if matching else {}
        if self._selection.places:
            self.tally.found |= {place_of(letter.record) for letter in matching}
        chosen = []
        for letter in matching:
            mark = marks.get(place_of(letter.record))
            if self._selection.is_open(mark) and not (mark and mark.discarded):
                chosen.append(letter)
        if chosen and not self._dry_run:
            now = int(self._clock().timestamp())
            await self._marks.add(
                {place_of(letter.record): Mark(time_of(letter.record), 0, now, self._why) for letter in chosen}
            )
        for letter in chosen:
            self.tally.discarded[letter.reason] += 1
            self._report(letter)
        self.tally.closed += len(matching) - len(chosen)
        self.tally.read += len(batch)
