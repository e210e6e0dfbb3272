"""Counts what daprd delivers of each partition, and what of it is in processing here or was answered RETRY. Pure.

The watchdog reads it: of a partition whose events merely wait, something is here.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

# daprd sends an event that was answered RETRY again within a second. After this time it no longer waits here: the partition
# has moved, or its claim has ended.
RETRIED_SECONDS = 240.0

Partition = tuple[str, str]  # topic and number, as daprd gives them


@dataclass(slots=True)
class Delivered:
    """What came of one partition.

    Attributes:
        arrived: number of batches.
        finished: number of batches that were answered without RETRY.
        running: number of batches in processing.
        retried: whether the last answer was RETRY for some of the batch, and not long ago.
        answered: when the last batch was answered, in monotonic seconds.
    """

    arrived: int = 0
    finished: int = 0
    running: int = 0
    retried: bool = False
    answered: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Deliveries:
    """A copy of all of it at one time.

    Attributes:
        partitions: by topic and number.
        unknown: how many requests were rejected, of which no partition is known.
        unread: for how many seconds the oldest request has been read; 0 if none is.
    """

    partitions: Mapping[Partition, Delivered] = field(default_factory=dict)
    unknown: int = 0
    unread: float = 0.0


class DeliveryCount:
    """Is told of each request and batch.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._partitions: dict[Partition, Delivered] = {}
        self._reading: dict[object, float] = {}
        self._unknown = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Marks the time in which a request is read, and its partitions are unknown."""
        request = object()
        self._reading[request] = self._clock()
        try:
            yield
        finally:
            del self._reading[request]

    def rejected(self) -> None:
        """Counts a request, or an entry of one, that daprd will send again and whose partition is unknown."""
        self._unknown += 1

    def begin(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            delivered = self._partitions.setdefault(partition, Delivered())
            delivered.arrived += 1
            delivered.running += 1

    def end(self, partitions: Collection[Partition], retried: Collection[Partition]) -> None:
        """Takes the answer of a batch; `retried` are the partitions with a RETRY."""
        for partition in partitions:
            delivered = self._partitions[partition]
            delivered.running -= 1
            delivered.retried = partition in retried
            delivered.finished += not delivered.retried
            delivered.answered = self._clock()

    def copy(self) -> Deliveries:
        now = self._clock()
        return Deliveries(
            {
                partition: replace(one, retried=one.retried and now - one.answered < RETRIED_SECONDS)
                for partition, one in self._partitions.items()
            },
            self._unknown,
            now - min(self._reading.values(), default=now),
        )
