"""Knows how long the oldest event waits that this process has been given: in processing, or answered RETRY. Pure.

Nothing here identifies an event. daprd delivers a partition's failed events again, and nothing else of that partition,
until they are answered otherwise. So what waits in a partition is what its last batch left there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from function.telemetry.deliveries import DeliveryCount

# daprd sends an event again within a second, but takes turns between the partitions of a component, and each turn can take a
# minute. If nothing of a partition has come for this long, it has moved to another pod.
MOVED_SECONDS = 240.0
# Topics keep events for days or weeks. A timestamp beyond this age is not Kafka's: a producer's header has replaced it.
OLDEST_SECONDS = 30 * 86400.0

_Partition = tuple[str, str]  # topic and number


@dataclass(frozen=True, slots=True)
class Received:
    """One record as it arrived: its topic and partition, and its Kafka timestamp in Unix time, None if unknown."""

    topic: str
    partition: str
    written: float | None


@dataclass(slots=True)
class _Waits:
    """What waits in a partition: since when something does, the time of its oldest event, and of its last batch."""

    since: float
    oldest: float
    last: float


@dataclass(slots=True, eq=False)
class Batch:
    """A batch in processing: the time of each record, and whether it was answered RETRY, which the caller sets."""

    times: Sequence[float]
    retried: Sequence[bool]


class Waiting:
    """Is told of each batch and its answers, and tells the age of the oldest event that waits.

    Args:
        clock: Unix time.

    Attributes:
        deliveries: is told of each batch too.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.deliveries = DeliveryCount()
        self._batches: set[Batch] = set()
        self._partitions: dict[_Partition, _Waits] = {}

    @contextmanager
    def holding(self, records: Sequence[Received]) -> Iterator[Batch]:
        """Counts the records as waiting inside the block, and after it those that the batch says were answered RETRY.

        An exception leaves all of them waiting: daprd gets no answer and delivers them again.
        """
        now = self._clock()
        self._forget_moved(now)
        times = [self._time(record, now) for record in records]
        batch = Batch(times, [True] * len(records))
        self._batches.add(batch)
        self.deliveries.begin({(record.topic, record.partition) for record in records})
        try:
            yield batch
        finally:
            self._batches.remove(batch)
            self._keep(records, batch, now)

    def oldest_seconds(self, *, ready: bool) -> float:
        """Returns the age of the oldest event that waits, in seconds; 0 if none does.

        Args:
            ready: whether daprd delivers. If not, nothing comes of any partition, so none is taken to have moved.
        """
        now = self._clock()
        if not ready:
            for waits in self._partitions.values():
                waits.last = now
        self._forget_moved(now)
        in_processing = [at for batch in self._batches for at in batch.times]
        waiting = [waits.oldest for waits in self._partitions.values()]
        return max(0.0, now - min([*in_processing, *waiting], default=now))

    def _time(self, record: Received, now: float) -> float:
        """Returns the record's timestamp if it can be true, else when its partition began to wait.

        A record was written before it was first seen, so a clock that is ahead, or a forged time, hides no wait.
        """
        waits = self._partitions.get((record.topic, record.partition))
        since = waits.since if waits else now
        if record.written is None or record.written < since - OLDEST_SECONDS:
            return since
        return min(record.written, since)

    def _keep(self, records: Sequence[Received], batch: Batch, arrived: float) -> None:
        now, left = self._clock(), dict[_Partition, list[float]]()
        for record, at, waits in zip(records, batch.times, batch.retried, strict=True):
            left.setdefault((record.topic, record.partition), []).extend([at] if waits else [])
        self.deliveries.end(left, [partition for partition, times in left.items() if times])
        for partition, times in left.items():
            before = self._partitions.pop(partition, None)
            if times:
                self._partitions[partition] = _Waits(before.since if before else arrived, min(times), now)

    def _forget_moved(self, now: float) -> None:
        moved = [place for place, waits in self._partitions.items() if now - waits.last >= MOVED_SECONDS]
        for place in moved:
            del self._partitions[place]
