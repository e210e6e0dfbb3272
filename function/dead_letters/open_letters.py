"""Remembers which dead letters are open: in the topic, and without a mark. Pure, and small: some 12 bytes a letter.

A letter is known by partition, offset, reason and time, never by its user.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from function.dead_letters.letter import read_letter
from function.dead_letters.marks import BLOCK, Mark, Place, block_of, place_of, time_of
from function.kafka.record import KafkaRecord
from function.telemetry.metrics import UNCOUNTED

LIMIT = 1_000_000  # letters whose place is remembered; further ones are only counted

_BlockId = tuple[int, int]  # partition, block


@dataclass(slots=True)
class _Block:
    """The open letters of one block of offsets, in three columns, and the number of those over the limit."""

    offsets: "array[int]" = field(default_factory=lambda: array("H"))  # from the beginning of the block
    reasons: "array[int]" = field(default_factory=lambda: array("H"))  # positions in the list of reasons
    times: "array[int]" = field(default_factory=lambda: array("q"))  # Kafka timestamps, in milliseconds
    uncounted: int = 0


class OpenLetters:
    """The open letters of one topic.

    Args:
        limit: of letters whose place is remembered.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._blocks: dict[_BlockId, _Block] = {}
        self._next: dict[int, int] = {}
        self._reasons: dict[str, int] = {}
        self._counts: Counter[int] = Counter()
        self._remembered = 0

    def next_offset(self, partition: int) -> int:
        """Returns the first offset of the partition that was not added yet."""
        return self._next.get(partition, 0)

    def clear(self) -> None:
        """Forgets everything, so that the topic is read from its beginning."""
        self.__init__(self._limit)  # type: ignore[misc]

    def add(self, records: Iterable[KafkaRecord]) -> None:
        """Adds letters that were read from the topic; until they are marked, they are open."""
        for record in records:
            place = place_of(record)
            block = self._blocks.setdefault(block_of(place), _Block())
            self._next[place[0]] = place[1] + 1
            if self._remembered >= self._limit:
                block.uncounted += 1
                continue
            number = self._reasons.setdefault(read_letter(record).reason, len(self._reasons))
            block.offsets.append(place[1] % BLOCK)
            block.reasons.append(number)
            block.times.append(time_of(record))
            self._counts[number] += 1
            self._remembered += 1

    def skip_to(self, partition: int, low: int) -> None:
        """Drops the letters below `low`, which Kafka has deleted."""
        for key in [one for one in self._blocks if one[0] == partition and one[1] * BLOCK < low]:
            first = key[1] * BLOCK
            self._keep(key, [first + offset >= low for offset in self._blocks[key].offsets])
            if first + BLOCK <= low:
                del self._blocks[key]
        self._next[partition] = max(low, self.next_offset(partition))

    def blocks(self) -> list[_BlockId]:
        """Returns the blocks that hold open letters, in order."""
        return sorted(key for key, block in self._blocks.items() if block.offsets)

    def close(self, marks: Mapping[Place, Mark]) -> None:
        """Removes the letters that have a mark. A mark with another time is of an earlier topic, and counts for nothing."""
        for key in {block_of(place) for place in marks} & self._blocks.keys():
            block, first = self._blocks[key], key[1] * BLOCK
            found = (marks.get((key[0], first + offset)) for offset in block.offsets)
            kept = [mark is None or mark.time != at for mark, at in zip(found, block.times, strict=True)]
            self._keep(key, kept)
            if not block.offsets and not block.uncounted:
                del self._blocks[key]

    def counts(self) -> dict[str, int]:
        """Returns the number of open letters by reason; those over the limit as UNCOUNTED."""
        counts = {reason: self._counts[number] for reason, number in self._reasons.items() if self._counts[number]}
        uncounted = self._uncounted()
        return counts | ({UNCOUNTED: uncounted} if uncounted else {})

    def has_room_again(self) -> bool:
        """Returns whether letters over the limit could be remembered now, if the topic were read again."""
        return self._remembered <= self._limit // 2 and self._uncounted() > 0

    def oldest(self) -> int | None:
        """Returns the Kafka timestamp of the oldest open letter, in milliseconds."""
        return min((min(block.times) for block in self._blocks.values() if block.times), default=None)

    def _uncounted(self) -> int:
        return sum(block.uncounted for block in self._blocks.values())

    def _keep(self, key: _BlockId, kept: list[bool]) -> None:
        """Keeps those letters of a block whose place in `kept` is true."""
        if all(kept):
            return
        block = self._blocks[key]
        self._counts.subtract(number for number, keep in zip(block.reasons, kept, strict=True) if not keep)
        self._remembered -= kept.count(False)
        for column in ("offsets", "reasons", "times"):
            found: array[int] = getattr(block, column)
            setattr(block, column, array(found.typecode, (one for one, keep in zip(found, kept, strict=True) if keep)))
