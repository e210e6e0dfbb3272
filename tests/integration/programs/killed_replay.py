"""Runs `replay` and kills it at one step: `python -m tests.integration.programs.killed_replay STEP SINCE`.

A step is `before` or `after`, a kind of call, and its number: `after replayed 3`. The kinds are spans and batch (questions to
Kafka), state (reads of the state store), replayed (publishes) and mark (writes to the state store). SINCE is in Unix seconds.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any

from function.cli.replay import run
from function.cli.replay_report import Job, Source
from function.dapr.client import open_client
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.replay import Options
from function.dead_letters.selection import Selection
from function.environment import load
from function.kafka.client import ClientConfig
from function.kafka.record import KafkaRecord
from function.kafka.spans import Span
from function.kafka.stream import TopicStream, open_topic
from function.settings import ToolSettings


class Death:
    """Kills the process at the step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._counts: Counter[str] = Counter()

    async def at(self, kind: str, call: Awaitable[Any]) -> Any:
        self._counts[kind] += 1
        which = f"{kind} {self._counts[kind]}"
        self._die(f"before {which}")
        answer = await call
        self._die(f"after {which}")
        return answer

    def _die(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingClient:
    """Wraps the sidecar's client."""

    def __init__(self, client: Any, death: Death) -> None:
        self._client, self._death = client, death
        self._stub = self  # the state store calls the client's stub

    async def publish_event(self, *arguments: Any, **more: Any) -> Any:
        return await self._death.at("replayed", self._client.publish_event(*arguments, **more))

    async def get_bulk_state(self, *arguments: Any, **more: Any) -> Any:
        return await self._death.at("state", self._client.get_bulk_state(*arguments, **more))

    async def get_state(self, *arguments: Any, **more: Any) -> Any:
        return await self._client.get_state(*arguments, **more)

    async def ExecuteStateTransaction(self, request: Any) -> Any:  # noqa: N802 - the stub's name
        return await self._death.at("mark", self._client._stub.ExecuteStateTransaction(request))


class DyingStream(TopicStream):
    """Wraps the topic; everything that it holds is one batch, so that the steps are the same in each run."""

    def __init__(self, stream: TopicStream, death: Death) -> None:
        self._stream, self._death = stream, death

    @property
    def gone(self) -> int:
        return self._stream.gone

    async def spans(self, *arguments: Any, **more: Any) -> list[Span]:
        found: list[Span] = await self._death.at("spans", self._stream.spans(*arguments, **more))
        return found

    async def batches(self, spans: Sequence[Span]) -> AsyncIterator[list[KafkaRecord]]:
        yield await self._death.at("batch", self._everything(spans))

    async def _everything(self, spans: Sequence[Span]) -> list[KafkaRecord]:
        return [record async for batch in self._stream.batches(spans) for record in batch]


def main(step: str, since: float) -> None:
    death = Death(step)

    @contextlib.asynccontextmanager
    async def opened(timeout: float) -> AsyncIterator[Any]:
        async with open_client(timeout) as client:
            yield DyingClient(client, death)

    @contextlib.asynccontextmanager
    async def topic(config: ClientConfig, name: str) -> AsyncIterator[DyingStream]:
        async with open_topic(config, name) as stream:
            yield DyingStream(stream, death)

    selection = Selection(DeadLetterFilter(frozenset({"synapse_error"})), since=datetime.fromtimestamp(since, UTC))
    report = asyncio.run(run(load(ToolSettings), Job(Source.DEAD, selection, Options()), opened, topic))
    sys.exit(report.ending.ended.code)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
