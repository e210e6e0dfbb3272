"""Puts dead letters back: the chosen ones to the replay topic, the others to the end of the dead letters, unchanged.

The order is publish, then bookmark. Killed between the two, what was published is published once more by the next
replay: a replayed event twice, which changes nothing, or a letter twice. Nothing is ever only in memory.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import stamina

from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.pubsub import Publisher, headers_of
from function.dead_letters.checkpoint import ReplayCheckpoint
from function.dead_letters.letter import DeadLetter, DeadLetterFilter, read_letter
from function.dead_letters.publish import PARTITION, PREFIX, REPLAYS, origin
from function.outcomes import TryAgain

IN_FLIGHT = 16  # publishes at a time, of different keys: one key's records keep their order
TRIES = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for.

    Args:
        wanted: which letters to replay.
        max_replays: a letter that was replayed so often before stays.
        limit: how many to replay at most.
        rate: how many to replay a second at most; 0 for as fast as can be.
        dry_run: tell and move nothing.
    """

    wanted: DeadLetterFilter = field(default_factory=DeadLetterFilter)
    max_replays: int = 5
    limit: int | None = None
    rate: float = 0.0
    dry_run: bool = False


@dataclass(slots=True)
class Tally:
    """What became of the letters; `stopped` says for each partition why it could not be gone through."""

    replayed: Counter[str] = field(default_factory=Counter)  # by reason
    put_back: int = 0
    stuck: Counter[str] = field(default_factory=Counter)  # by reason
    stopped: dict[str, str] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        return self.replayed.total() + self.put_back + self.stuck.total()


class Replay:
    """Goes through the pages of a topic.

    Args:
        publisher: of a component that may publish to both topics.
        bookmark: leased; None for a topic whose records stay where they are (the main topic).
        dead_topic: where what is not chosen goes.
        replay_topic: where what is chosen goes.
        options: as asked for.
        tell: called with each letter that is (or in a dry run would be) replayed.
    """

    def __init__(
        self, publisher: Publisher, bookmark: ReplayCheckpoint | None, dead_topic: str, replay_topic: str, options: Options,
        tell: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._publisher, self._bookmark, self._options, self._tell = publisher, bookmark, options, tell
        self._dead_topic, self._replay_topic = dead_topic, replay_topic
        self._next_at = 0.0
        self.tally = Tally()

    @property
    def enough(self) -> bool:
        limit = self._options.limit
        return limit is not None and self.tally.replayed.total() >= limit

    async def process(self, page: Sequence[KafkaRecord]) -> None:
        """Deals with one page. Raises Busy when another replay took over, TryAgain when the state store is away."""
        new = [r for r in page if not (self._bookmark and self._bookmark.is_done(r))]
        for partition, records in itertools.groupby(new, lambda record: record.dapr_metadata("partition")):
            if partition not in self.tally.stopped and not self.enough:
                await self._take_partition(partition, list(records))

    async def _take_partition(self, partition: str, records: list[KafkaRecord]) -> None:
        moves = self._moves([read_letter(record) for record in records])
        done = await self._publish(moves)
        if done < len(moves):
            where = f"offset {moves[done].letter.record.dapr_metadata('offset')}"
            self.tally.stopped[partition] = f"{where}: Kafka does not take it; it and what follows stay where they are"
        for move in moves[:done]:
            self._count(move)
        if self._bookmark and done and not self._options.dry_run:
            await self._bookmark.advance(moves[done - 1].letter.record)

    def _moves(self, letters: Sequence[DeadLetter]) -> list["_Move"]:
        """What is to be done with each, up to the limit."""
        moves: list[_Move] = []
        left = self._options.limit
        for letter in letters:
            chosen = self._options.wanted.matches(letter)
            stuck = chosen and letter.replays >= self._options.max_replays
            moves.append(_Move(letter, chosen and not stuck, stuck))
            if left is not None and self.tally.replayed.total() + sum(move.replay for move in moves) >= left:
                break
        return moves

    async def _publish(self, moves: Sequence["_Move"]) -> int:
        """How many of the moves, from the first on, are done."""
        if self._options.dry_run:
            return len(moves)
        by_key: dict[str, list[int]] = {}
        for place, move in enumerate(moves):
            by_key.setdefault(move.letter.record.dapr_metadata("key"), []).append(place)
        in_flight = asyncio.Semaphore(IN_FLIGHT)
        done = [False] * len(moves)

        async def one_key(places: list[int]) -> None:
            async with in_flight:
                for place in places:
                    if not await self._move(moves[place]):
                        return
                    done[place] = True

        await asyncio.gather(*(one_key(places) for places in by_key.values()))
        return done.index(False) if False in done else len(done)

    async def _move(self, move: "_Move") -> bool:
        record = move.letter.record
        headers, topic, partition = headers_of(record), self._dead_topic, record.dapr_metadata("partition")
        if move.replay:
            await self._keep_pace()
            if not self._bookmark:  # of the main topic: it has no origin yet, and what looks like one is a stranger's
                headers = {n: t for n, t in headers.items() if not n.lower().startswith(PREFIX)} | origin(record)
            headers |= {REPLAYS: str(move.letter.replays + 1)}
            topic, partition = self._replay_topic, headers.get(PARTITION, "")
        elif not self._bookmark:
            return True
        try:
            async for attempt in stamina.retry_context(on=TryAgain, attempts=TRIES, timeout=None, wait_max=2.0):
                with attempt:
                    await self._publisher.publish(topic, record, headers, partition)
        except TryAgain:
            return False
        return True

    async def _keep_pace(self) -> None:
        if self._options.rate:
            now = time.monotonic()
            self._next_at = max(now, self._next_at) + 1 / self._options.rate
            await asyncio.sleep(self._next_at - 1 / self._options.rate - now)

    def _count(self, move: "_Move") -> None:
        if move.replay:
            self.tally.replayed[move.letter.reason] += 1
            self._tell(move.letter)
        elif move.stuck:
            self.tally.stuck[move.letter.reason] += 1
        else:
            self.tally.put_back += 1


@dataclass(frozen=True, slots=True)
class _Move:
    """One letter: to be replayed, or to be put back, for `stuck` though it was chosen."""

    letter: DeadLetter
    replay: bool
    stuck: bool
