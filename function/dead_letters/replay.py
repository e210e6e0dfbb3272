"""Moves dead letters: those that match to the replay topic, the others to the end of the dead letters, unchanged.

Publishes first, then advances the checkpoint. After a kill between the two the next replay publishes the same batch
again: an event is replayed twice, which changes nothing, or a letter is there twice. No letter is ever only in memory.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import stamina
from aiolimiter import AsyncLimiter

from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.pubsub import Publisher, headers_of
from function.dead_letters.checkpoint import ReplayCheckpoint
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.publish import PARTITION, PREFIX, REPLAYS, origin
from function.outcomes import TryAgain

IN_FLIGHT = 16  # concurrent publishes, of different keys: records of one key keep their order
PUBLISH_TRIES = 5


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a replay.

    Args:
        wanted: which letters to replay.
        max_replays: letters replayed this many times before are stuck: they are put back.
        limit: maximum number of letters to replay.
        rate: maximum replays per second; 0 for no limit.
        dry_run: reports the letters and moves none.
    """

    wanted: DeadLetterFilter = field(default_factory=DeadLetterFilter)
    max_replays: int = 5
    limit: int | None = None
    rate: float = 0.0
    dry_run: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of letters by result; `stopped` has the error of each partition that was not read to its end."""

    replayed: Counter[str] = field(default_factory=Counter)  # by reason
    put_back: int = 0
    stuck: Counter[str] = field(default_factory=Counter)  # by reason
    stopped: dict[str, str] = field(default_factory=dict)

    @property
    def processed(self) -> int:
        return self.replayed.total() + self.put_back + self.stuck.total()


class Replay:
    """Processes the batches of a topic.

    Args:
        publisher: publishes through a component that may publish to both topics.
        checkpoint: with the lease held; None for the main topic, whose records stay where they are.
        dead_topic: topic for the letters that do not match.
        replay_topic: topic for the letters that match.
        options: filter and limits.
        report: called with each letter that is (in a dry run: would be) replayed.
    """

    def __init__(
        self, publisher: Publisher, checkpoint: ReplayCheckpoint | None, dead_topic: str, replay_topic: str, options: Options,
        report: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._publisher, self._checkpoint, self._options, self._report = publisher, checkpoint, options, report
        self._dead_topic, self._replay_topic = dead_topic, replay_topic
        self._limiter = AsyncLimiter(1, 1 / options.rate) if options.rate else None
        self.tally = Tally()

    @property
    def limit_reached(self) -> bool:
        limit = self._options.limit
        return limit is not None and self.tally.replayed.total() >= limit

    async def process(self, batch: Sequence[KafkaRecord]) -> None:
        """Moves one batch. Raises Busy if another replay took the lease, TryAgain if the state store is unavailable."""
        new = [r for r in batch if not (self._checkpoint and self._checkpoint.is_done(r))]
        for partition, records in itertools.groupby(new, lambda record: record.dapr_metadata("partition")):
            if partition not in self.tally.stopped and not self.limit_reached:
                await self._process_partition(partition, list(records))

    async def _process_partition(self, partition: str, records: list[KafkaRecord]) -> None:
        moves = self._moves([read_letter(record) for record in records])
        done = await self._publish(moves)
        if done < len(moves):
            where = f"offset {moves[done].letter.record.dapr_metadata('offset')}"
            self.tally.stopped[partition] = (
                f"{where}: publishing to Kafka failed; this letter and those after it stay where they are"
            )
        for move in moves[:done]:
            self._count(move)
        if self._checkpoint and done and not self._options.dry_run:
            await self._checkpoint.advance(moves[done - 1].letter.record)

    def _moves(self, letters: Sequence[DeadLetter]) -> list["_Move"]:
        """Decides for each letter, up to the limit."""
        moves: list[_Move] = []
        limit = self._options.limit
        for letter in letters:
            chosen = self._options.wanted.matches(letter)
            stuck = chosen and letter.replays >= self._options.max_replays
            moves.append(_Move(letter, chosen and not stuck, stuck))
            if limit is not None and self.tally.replayed.total() + sum(move.replay for move in moves) >= limit:
                break
        return moves

    async def _publish(self, moves: Sequence["_Move"]) -> int:
        """Publishes the moves; returns how many are done without a gap, counted from the first."""
        if self._options.dry_run:
            return len(moves)
        by_key: dict[str, list[int]] = {}
        for index, move in enumerate(moves):
            by_key.setdefault(move.letter.record.dapr_metadata("key"), []).append(index)
        in_flight = asyncio.Semaphore(IN_FLIGHT)
        done = [False] * len(moves)

        async def one_key(indexes: list[int]) -> None:
            async with in_flight:
                for index in indexes:
                    if not await self._move(moves[index]):
                        return
                    done[index] = True

        await asyncio.gather(*(one_key(indexes) for indexes in by_key.values()))
        return done.index(False) if False in done else len(done)

    async def _move(self, move: "_Move") -> bool:
        record = move.letter.record
        headers, topic, partition = headers_of(record), self._dead_topic, record.dapr_metadata("partition")
        if move.replay:
            if self._limiter:
                await self._limiter.acquire()
            if not self._checkpoint:  # main topic: it has no origin yet; such headers come from the producer
                headers = {n: t for n, t in headers.items() if not n.lower().startswith(PREFIX)} | origin(record)
            headers |= {REPLAYS: str(move.letter.replays + 1)}
            topic, partition = self._replay_topic, headers.get(PARTITION, "")
        elif not self._checkpoint:
            return True
        try:
            async for attempt in stamina.retry_context(on=TryAgain, attempts=PUBLISH_TRIES, timeout=None, wait_max=2.0):
                with attempt:
                    await self._publisher.publish(topic, record, headers, partition)
        except TryAgain:
            return False
        return True

    def _count(self, move: "_Move") -> None:
        if move.replay:
            self.tally.replayed[move.letter.reason] += 1
            self._report(move.letter)
        elif move.stuck:
            self.tally.stuck[move.letter.reason] += 1
        else:
            self.tally.put_back += 1


@dataclass(frozen=True, slots=True)
class _Move:
    """What to do with one letter: replay it or put it back. `stuck` if it matched but was replayed too often."""

    letter: DeadLetter
    replay: bool
    stuck: bool
