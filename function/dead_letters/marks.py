"""Remembers in the state store what was done about dead letters: replayed or discarded. The letters stay where they are.

A mark is kept by topic, partition and block of offsets, with the record's Kafka timestamp, so that the marks of an earlier
topic of the same name are told from those of the present one. Stored as JSON:
`{"schema":1,"whys":["","a test"],"marks":{"17":[1762000000000,0,1762000300,1]}}`, by offset the time, the number of
replays, when the last of them or the discard was, and the position of why in `whys`. A letter without a mark is open.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from pydantic.types import Strict

from function.dapr.state_store import StateStore
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain

BLOCK = 1000  # offsets under one key: a value of some 40 KB, which is quickly written again
KEYS_AT_ONCE = 20  # in one call, which stays below daprd's limit of 4 MB for a message
UPDATE_ATTEMPTS = 10  # against other tools that mark letters of the same block

Place = tuple[int, int]  # partition, offset


@dataclass(frozen=True, slots=True)
class Mark:
    """What was done about one letter.

    Attributes:
        time: the record's Kafka timestamp in milliseconds.
        replays: how many times the letter was replayed.
        at: Unix seconds of the last replay or of the discard.
        why: why it was discarded; "" if it was not.
    """

    time: int
    replays: int
    at: int
    why: str = ""

    @property
    def discarded(self) -> bool:
        return bool(self.why)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    whys: list[str]
    marks: dict[NonNegativeInt, tuple[Annotated[int, Strict()], NonNegativeInt, NonNegativeInt, NonNegativeInt]]


_Block = dict[int, Mark]  # by offset


class Marks:
    """The marks of one topic.

    Args:
        state: the state store.
        topic: the topic whose letters are marked.

    Attributes:
        foreign: how many marks of an earlier topic of the same name were met, and ignored.
    """

    def __init__(self, state: StateStore, topic: str) -> None:
        self._state, self._topic = state, topic
        self.foreign = 0

    async def read(self, records: Sequence[KafkaRecord]) -> dict[Place, Mark]:
        """Returns the marks of these records; an open letter has none.

        Raises:
            TryAgain: the state store is unavailable, or a value in it is unreadable.
        """
        times = {place_of(record): time_of(record) for record in records}
        found = await self.read_blocks({block_of(place) for place in times})
        marks = {place: found[place] for place in times if place in found}
        own = {place: mark for place, mark in marks.items() if mark.time == times[place]}
        self.foreign += len(marks) - len(own)
        return own

    async def read_blocks(self, blocks: Collection[tuple[int, int]]) -> dict[Place, Mark]:
        """Returns every mark of these blocks (partition, block), also those of an earlier topic. Raises TryAgain."""
        marks: dict[Place, Mark] = {}
        for some in _chunks(sorted(blocks)):
            keys = {self._key(block): block for block in some}
            for key, (value, _) in (await self._state.read_values(keys)).items():
                partition, _ = keys[key]
                marks |= {(partition, offset): mark for offset, mark in _load(key, value).items()}
        return marks

    async def add(self, marks: Mapping[Place, Mark]) -> None:
        """Adds the marks to those that are stored.

        A replay adds to the number of replays; a discard keeps it. Tools that mark at the same time lose nothing.

        Raises:
            TryAgain: not all of them were stored.
        """
        by_block: dict[tuple[int, int], _Block] = {}
        for place, mark in marks.items():
            by_block.setdefault(block_of(place), {})[place[1]] = mark
        for some in _chunks(sorted(by_block)):
            added = {self._key(block): by_block[block] for block in some}
            await self._state.update_values(list(added), partial(_add, added=added), UPDATE_ATTEMPTS)

    def _key(self, block: tuple[int, int]) -> str:
        return f"dead-letter-marks:{self._topic}:{block[0]}:{block[1]}"


def place_of(record: KafkaRecord) -> Place:
    """Returns partition and offset of a record that Kafka's own client read."""
    return int(record.kafka_field("partition")), int(record.kafka_field("offset"))


def time_of(record: KafkaRecord) -> int:
    """Returns the Kafka timestamp, in milliseconds, of a record that Kafka's own client read."""
    return int(record.kafka_field("timestamp"))


def block_of(place: Place) -> tuple[int, int]:
    """Returns the partition and the block of offsets that hold the place."""
    return place[0], place[1] // BLOCK


def _chunks(blocks: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    left = iter(blocks)
    while some := list(islice(left, KEYS_AT_ONCE)):
        yield some


def _add(values: Mapping[str, bytes], added: Mapping[str, _Block]) -> dict[str, bytes]:
    return {key: _dump(_merged(_load(key, value), added[key])) for key, value in values.items()}


def _merged(stored: _Block, added: _Block) -> _Block:
    """Returns both. If the topic was deleted and created again, the marks of the earlier one go.

    An earlier topic's mark has another time than the record at its place; so has every mark that is not younger than it.
    """
    earlier = max(
        (stored[o].time for o, mark in added.items() if o in stored and stored[o].time != mark.time), default=-2
    )
    kept = {offset: mark for offset, mark in stored.items() if mark.time > earlier}
    return kept | {offset: _both(kept.get(offset), mark) for offset, mark in added.items()}


def _both(stored: Mark | None, added: Mark) -> Mark:
    if stored is None or stored.time != added.time:
        return added
    return Mark(added.time, stored.replays + added.replays, max(stored.at, added.at), added.why or stored.why)


def _load(key: str, value: bytes) -> _Block:
    """Returns the marks under `key`. Raises TryAgain if this version can't read them."""
    if not value:
        return {}
    try:
        stored = _Stored.model_validate_json(value)
        return {
            offset: Mark(time, replays, at, stored.whys[why])
            for offset, (time, replays, at, why) in stored.marks.items()
        }
    except (ValidationError, IndexError):
        raise TryAgain(Reason.MARKS_UNREADABLE, f"key {key}") from None


def _dump(block: _Block) -> bytes:
    whys = {why: number for number, why in enumerate(dict.fromkeys(["", *(mark.why for mark in block.values())]))}
    marks = {offset: (mark.time, mark.replays, mark.at, whys[mark.why]) for offset, mark in sorted(block.items())}
    return _Stored(schema=1, whys=list(whys), marks=marks).model_dump_json(by_alias=True).encode()
