"""Follows a topic: hands on its new records until it is told to stop, also through a restart of Kafka."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from function.cli.output import say
from function.dead_letters.marks import place_of
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, NoPartition
from function.kafka.stream import TopicStream
from function.outcomes import TryAgain
from function.stopping import unless_stopped

SECONDS = 1.0  # between two looks at the topic's end

Process = Callable[[list[KafkaRecord]], Awaitable[None]]


async def follow(
    stream: TopicStream, positions: dict[int, int], process: Process, stop: asyncio.Event, *, whole: bool = True
) -> None:
    """Hands new records to `process`. Says once when Kafka, or what `process` needs, does not answer, and when it does again.

    Args:
        stream: the topic.
        positions: the offset from which each partition is read.
        process: takes the records of one batch.
        stop: raises Stopped once it is set.
        whole: whether partitions that are added later are read too.
    """
    failed = False
    while True:
        try:
            await unless_stopped(stop, _look(stream, positions, process, whole=whole))
            if failed:
                say("following again")
            failed = False
        except (TryAgain, CutShort, NoPartition) as failure:
            why = f"{failure.reason}: {failure.detail}" if isinstance(failure, TryAgain) else str(failure)
            if not failed:
                say(f"{why}; trying again")
            failed = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SECONDS)


async def _look(stream: TopicStream, positions: dict[int, int], process: Process, *, whole: bool) -> None:
    """Reads up to the present end, and moves the positions. Raises TryAgain, CutShort, NoPartition."""
    spans = await stream.spans(offsets=positions, only=None if whole else positions)
    if any(span.end < positions.get(span.partition, 0) for span in spans):
        say("the topic was created again, or lost records; following from its beginning")
        positions |= dict.fromkeys(positions, 0)
        return
    async for batch in stream.batches(spans):
        await process(batch)
        for record in batch:
            partition, offset = place_of(record)
            positions[partition] = offset + 1
    for span in spans:
        positions[span.partition] = span.end
