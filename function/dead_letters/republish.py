"""Publishes letters to the replay topic: different keys at the same time, one key in order, within a rate."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import stamina
from aiolimiter import AsyncLimiter

from function.dapr.pubsub import Publisher
from function.dead_letters.publish import PARTITION
from function.kafka.record import KafkaRecord
from function.outcomes import TryAgain
from function.stopping import Stopped, unless_stopped

IN_FLIGHT = 16
TRIES = 3
BROKEN_AFTER = 20  # failures in a row, of different keys: then it is not the letters


class Sent(Enum):
    """What became of one letter."""

    DONE = 1
    FAILED = 2  # after TRIES; it may have been published if the sidecar did not answer
    HELD_BACK = 3  # an earlier letter of its key failed
    NOT_BEGUN = 4  # the tool was stopped, or sidecar or Kafka are broken


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record with the headers that it gets."""

    record: KafkaRecord
    headers: Mapping[str, str]


class Republisher:
    """Publishes to one topic.

    Args:
        publisher: publishes through a component that may publish to the topic.
        topic: the replay topic.
        rate: letters per second; 0 for no limit.
        stop: once it is set, no letter is begun.

    Attributes:
        broken: the last failure, once BROKEN_AFTER followed each other; no letter is begun any more.
    """

    def __init__(self, publisher: Publisher, topic: str, rate: float, stop: asyncio.Event) -> None:
        self._publisher, self._topic, self._stop = publisher, topic, stop
        self._limiter = AsyncLimiter(1, 1 / rate) if rate else None
        self._free = asyncio.Semaphore(IN_FLIGHT)
        self._failed_keys: set[str] = set()
        self._in_a_row = 0
        self.broken: TryAgain | None = None

    async def publish(self, letters: Sequence[Outgoing]) -> list[Sent]:
        """Returns what became of each letter. A failure concerns only later letters of the same key."""
        by_key: dict[str, list[int]] = {}
        for index, letter in enumerate(letters):
            by_key.setdefault(_key(letter.record), []).append(index)
        results = [Sent.NOT_BEGUN] * len(letters)

        async def one_key(key: str, indexes: Sequence[int]) -> None:
            for index in indexes:
                async with self._free:
                    results[index] = await self._send(key, letters[index])

        await asyncio.gather(*(one_key(key, indexes) for key, indexes in by_key.items()))
        return results

    async def _send(self, key: str, letter: Outgoing) -> Sent:
        if key in self._failed_keys:
            return Sent.HELD_BACK
        try:
            if self._limiter:
                await unless_stopped(self._stop, self._limiter.acquire())
        except Stopped:
            return Sent.NOT_BEGUN
        if self._stop.is_set() or self.broken:
            return Sent.NOT_BEGUN
        try:
            await self._try(letter)
        except TryAgain as failure:
            self._failed_keys.add(key)
            self._in_a_row += 1
            if self._in_a_row >= BROKEN_AFTER:
                self.broken = failure
            return Sent.FAILED
        self._in_a_row = 0
        return Sent.DONE

    async def _try(self, letter: Outgoing) -> None:
        def again(error: Exception) -> bool:
            return isinstance(error, TryAgain) and not self._stop.is_set()

        async for attempt in stamina.retry_context(on=again, attempts=TRIES, timeout=None, wait_max=1.0):
            with attempt:
                partition = letter.headers.get(PARTITION, "")
                await self._publisher.publish(self._topic, letter.record, letter.headers, partition)


def _key(record: KafkaRecord) -> str:
    """Returns the record's key; a record without one has no order to keep with any other."""
    place = f"{record.kafka_field('partition')}:{record.kafka_field('offset')}"
    return record.kafka_field("key") or f"no key {place}"
