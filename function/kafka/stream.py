"""Reads a topic from asynchronous code: the reader blocks in a thread of its own, and a cancelled task ends it at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from function.kafka.client import ClientConfig
from function.kafka.reader import TopicReader
from function.kafka.record import KafkaRecord
from function.kafka.spans import Span

_Answer = TypeVar("_Answer")


class TopicStream:
    """A TopicReader for asynchronous code; see there for what its methods do and raise."""

    def __init__(self, reader: TopicReader, thread: ThreadPoolExecutor) -> None:
        self._reader, self._thread = reader, thread

    @property
    def gone(self) -> int:
        return self._reader.gone

    async def spans(
        self, since: datetime | None = None, offsets: Mapping[int, int] | None = None, only: Collection[int] | None = None
    ) -> list[Span]:  # fmt: skip
        return await self._in_thread(lambda: self._reader.spans(since, offsets, only))

    async def batches(self, spans: Sequence[Span]) -> AsyncIterator[list[KafkaRecord]]:
        batches = self._reader.batches(spans)
        while (batch := await self._in_thread(lambda: next(batches, None))) is not None:
            yield batch

    async def _in_thread(self, call: Callable[[], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


@contextlib.asynccontextmanager
async def open_topic(config: ClientConfig, topic: str) -> AsyncIterator[TopicStream]:
    """Yields the topic, to be read. Raises WrongSettings."""
    reader = TopicReader(config, topic)
    thread = ThreadPoolExecutor(1, "kafka")
    try:
        yield TopicStream(reader, thread)
    finally:
        reader.stop()
        thread.submit(reader.__exit__)  # after the call that is running: the client is not safe to close under it
        thread.shutdown(wait=False)
