"""Counts the open dead letters in a loop, and shows by reason how many there are and when the oldest may be deleted.

Reads each letter once, by Kafka's own client, and each minute the marks of the blocks that hold open letters. What can't be
read is unknown; nothing waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from function.dead_letters.marks import KEYS_AT_ONCE, Marks
from function.dead_letters.open_letters import OpenLetters
from function.kafka.client import ClientConfig
from function.kafka.retention import retention_milliseconds
from function.kafka.spans import CutShort, Span
from function.kafka.stream import TopicStream, open_topic
from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log, log_failure
from function.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ReadingPace:
    """The seconds between two rounds, and the letters a second at most, so that a start with many leaves events their time.

    `blocks` is how many blocks a round reads the marks of; with more, each round reads the next ones.
    """

    rounds: float = 60.0
    letters: float = 5_000.0
    blocks: int = 200


class OpenLettersLoop:
    """Watches one topic of dead letters.

    Args:
        config: from `client_config`.
        topic: the topic.
        marks: of its letters.
        metrics: show what is open.
        pace: of the loop.
        clock: Unix time.
    """

    def __init__(
        self, config: ClientConfig, topic: str, marks: Marks, metrics: Metrics, pace: ReadingPace = ReadingPace(),
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._config, self._topic, self._marks, self._metrics = config, topic, marks, metrics
        self._pace, self._clock = pace, clock
        self._letters = OpenLetters()
        self._blocks_done = 0
        self._all_read = False  # the marks of all letters
        self._said = ""

    async def watch(self) -> None:
        """Counts in a loop, until it is cancelled. Never raises."""
        while True:
            await self.count()
            await asyncio.sleep(self._pace.rounds)

    async def count(self) -> None:
        """Counts once. Never raises."""
        try:
            await self._count()
        except Exception as error:
            self._unknown(error)

    async def _count(self) -> None:
        async with open_topic(self._config, self._topic) as stream:
            await self._read(stream, await self._spans(stream))
        blocks = self._letters.blocks()
        # Until each mark has been read once, letters that were dealt with long ago would count as open.
        await self._close_marked(self._in_turn(blocks) if self._all_read else blocks)
        self._all_read = True
        retention = await asyncio.to_thread(retention_milliseconds, self._config, self._topic)
        oldest = self._letters.oldest()
        ends = (oldest + retention) / 1000 - self._clock() if oldest is not None and retention is not None else None
        self._said = ""
        self._metrics.open_letters(self._letters.counts(), ends)
        if self._letters.has_room_again():
            self._forget()

    async def _spans(self, stream: TopicStream) -> list[Span]:
        """Returns what was not read yet. Forgets what Kafka has deleted, and everything if the topic was created again."""
        spans = await stream.spans()
        if any(span.end < self._letters.next_offset(span.partition) for span in spans):
            self._forget()
        for span in spans:
            self._letters.skip_to(span.partition, span.start)
        return [Span(one.partition, self._letters.next_offset(one.partition), one.end) for one in spans]

    def _forget(self) -> None:
        self._letters.clear()
        self._all_read = False

    async def _read(self, stream: TopicStream, spans: Sequence[Span]) -> None:
        async for batch in stream.batches(spans):
            self._letters.add(batch)
            await asyncio.sleep(len(batch) / self._pace.letters)

    def _in_turn(self, blocks: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Returns those blocks whose marks are read in this round."""
        begin = self._blocks_done if self._blocks_done < len(blocks) else 0
        some = blocks[begin : begin + self._pace.blocks]
        self._blocks_done = begin + len(some)
        return some

    async def _close_marked(self, blocks: Sequence[tuple[int, int]]) -> None:
        for first in range(0, len(blocks), KEYS_AT_ONCE):
            self._letters.close(await self._marks.read_blocks(blocks[first : first + KEYS_AT_ONCE]))

    def _unknown(self, error: Exception) -> None:
        self._metrics.open_letters(None, None)
        if isinstance(error, CutShort):
            error = TryAgain(Reason.KAFKA_UNAVAILABLE, error.why)
        if not isinstance(error, TryAgain):
            log_failure("lag_failed", error)
        elif (said := f"{error.reason} {error.detail}") != self._said:
            log(logging.WARNING, "open_letters_unknown", reason=error.reason.value, detail=error.detail)
            self._said = said
