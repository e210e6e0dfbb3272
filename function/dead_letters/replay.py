"""Replays letters: publishes them to the replay topic, and then marks them. The letters stay where they are.

Killed between the two, a letter is replayed twice, which changes nothing. Also republishes records of the main topic, which
are not marked. Does not know how to read a topic or to print.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from function.clock import Clock, utc_now
from function.dapr.pubsub import Publisher, headers_of
from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.marks import Mark, Marks, Place, place_of, time_of
from function.dead_letters.positions import Positions
from function.dead_letters.publish import PREFIX, REPLAYS, origin
from function.dead_letters.republish import Outgoing, Republisher, Sent
from function.dead_letters.selection import Selection
from function.kafka.record import KafkaRecord
from function.outcomes import Reason

AT_ONCE = 100  # letters that are published before they are marked with one write
SECONDS_AT_ONCE = 5  # with a rate: few letters, so that a kill repeats little
PLACES = 20  # of letters that failed, which are named


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a replay.

    Args:
        max_replays: letters replayed this many times before are stuck; not those that the deletion limit held back.
        limit: maximum number of letters to replay.
        rate: maximum replays per second; 0 for no limit.
        dry_run: reports the letters and publishes none.
    """

    max_replays: int = 5
    limit: int | None = None
    rate: float = 0.0
    dry_run: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of letters.

    `closed`: they match, and were replayed or discarded before. `failed` and `held_back` are still open. `unmarked`: they
    were replayed, but the state store did not take their marks, so that they look open.
    """

    read: int = 0
    replayed: Counter[str] = field(default_factory=Counter)  # by reason
    stuck: Counter[str] = field(default_factory=Counter)  # by reason
    closed: int = 0
    failed: int = 0
    failed_places: list[str] = field(default_factory=list)  # the first ones
    held_back: int = 0
    unmarked: int = 0
    found: set[Place] = field(default_factory=set)  # of the places that were asked for


class Replay:
    """Processes the batches of a topic.

    Args:
        publisher: publishes through a component that may publish to the replay topic.
        marks: of the topic; None for the main topic, whose records have none.
        topic: the replay topic.
        selection: which letters.
        options: limits.
        positions: where to go on.
        stop: once it is set, no letter is begun.
        report: called with each letter that is (in a dry run: would be) replayed.
        clock: gives the time in UTC.
    """

    def __init__(
        self, publisher: Publisher, marks: Marks | None, topic: str, selection: Selection, options: Options,
        positions: Positions, stop: asyncio.Event, report: Callable[[DeadLetter], None] = lambda _: None,
        clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._marks, self._selection, self._options, self._clock = marks, selection, options, clock
        self._positions, self._stop, self._report = positions, stop, report
        self._out = Republisher(publisher, topic, options.rate, stop)
        self._at_once = min(AT_ONCE, max(1, int(options.rate * SECONDS_AT_ONCE))) if options.rate else AT_ONCE
        self.tally = Tally()

    @property
    def limit_reached(self) -> bool:
        limit = self._options.limit
        return limit is not None and self.tally.replayed.total() >= limit

    async def process(self, batch: Sequence[KafkaRecord]) -> None:
        """Replays one batch, up to the limit.

        Raises:
            TryAgain: the state store is unavailable, or twenty publishes failed in a row, so that sidecar or Kafka are broken.
        """
        chosen = await self._chosen([read_letter(record) for record in batch])
        waiting = {place_of(letter.record) for letter, _ in chosen}
        try:
            while chosen and not self._ended:
                size = self._at_once
                if self._options.limit is not None:
                    size = min(size, self._options.limit - self.tally.replayed.total())
                some, chosen = chosen[:size], chosen[size:]
                waiting -= await self._replay(some)
        finally:
            self._keep_positions(batch, waiting)
        self.tally.read += len(batch)
        if self._out.broken:
            raise self._out.broken

    @property
    def _ended(self) -> bool:
        return self.limit_reached or self._stop.is_set() or self._out.broken is not None

    async def _chosen(self, letters: Sequence[DeadLetter]) -> list[tuple[DeadLetter, int]]:
        """Returns the letters to replay, each with the number of replays before; counts those that are closed or stuck."""
        matching = [letter for letter in letters if self._selection.matches(letter)]
        marks = await self._marks.read([letter.record for letter in matching]) if self._marks and matching else {}
        if self._selection.places:
            self.tally.found |= {place_of(letter.record) for letter in matching}
        chosen = []
        for letter in matching:
            mark = marks.get(place_of(letter.record))
            before = letter.replays + (mark.replays if mark else 0)
            if not self._selection.is_open(mark):
                self.tally.closed += 1
            elif before >= self._options.max_replays and letter.reason != Reason.DELETION_LIMIT:
                self.tally.stuck[letter.reason] += 1
            else:
                chosen.append((letter, before))
        return chosen

    async def _replay(self, some: Sequence[tuple[DeadLetter, int]]) -> set[Place]:
        """Publishes and marks letters; returns the places of those that were published."""
        if self._options.dry_run:
            results = [Sent.DONE] * len(some)
        else:
            results = await self._out.publish([self._outgoing(letter, before) for letter, before in some])
        done = [letter for (letter, _), sent in zip(some, results, strict=True) if sent is Sent.DONE]
        for (letter, _), sent in zip(some, results, strict=True):
            self._count(letter, sent)
        if self._marks and done and not self._options.dry_run:
            self.tally.unmarked += len(done)
            await self._marks.add(self._marks_of(done))
            self.tally.unmarked -= len(done)
        return {place_of(letter.record) for letter in done}

    def _marks_of(self, letters: Sequence[DeadLetter]) -> Mapping[Place, Mark]:
        now = int(self._clock().timestamp())
        return {place_of(letter.record): Mark(time_of(letter.record), 1, now) for letter in letters}

    def _outgoing(self, letter: DeadLetter, before: int) -> Outgoing:
        headers = headers_of(letter.record)
        if not letter.own:  # of the main topic, or written by daprd: such headers come from the producer
            kept = {name: text for name, text in headers.items() if not name.lower().startswith(PREFIX)}
            headers = kept | origin(letter.record) | {PREFIX + name: text for name, text in letter.daprd.items()}
        return Outgoing(letter.record, headers | {REPLAYS: str(before + 1)})

    def _count(self, letter: DeadLetter, sent: Sent) -> None:
        if sent is Sent.DONE:
            self.tally.replayed[letter.reason or "event"] += 1  # records of the main topic have no reason
            self._report(letter)
        elif sent is Sent.HELD_BACK:
            self.tally.held_back += 1
        elif sent is Sent.FAILED:
            self.tally.failed += 1
            if len(self.tally.failed_places) < PLACES:
                self.tally.failed_places.append(letter.place)

    def _keep_positions(self, batch: Sequence[KafkaRecord], waiting: set[Place]) -> None:
        for record in batch:
            place = place_of(record)
            if place in waiting:
                self._positions.not_done(place)
            else:
                self._positions.done(place)
