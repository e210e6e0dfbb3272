"""Runs `replay` and kills it at one step: `python -m tests.integration.programs.killed_replay STEP`.

A step is `before` or `after`, a kind of call, and its number: `after replayed 3`. The kinds are lease, bookmark and release
(writes to the state store), and replayed and put-back (publishes).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from function.cli.options import ReadOptions
from function.cli.replay import run
from function.dapr.client import open_client
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.replay import Options
from function.settings import REPLAY_SUFFIX, SidecarSettings


class DyingClient:
    """Wraps the sidecar's client and kills the process at the step."""

    def __init__(self, client: Any, step: str) -> None:
        self._client, self._step = client, step
        self._counts: Counter[str] = Counter()
        self._stub = self  # the state store calls the client's stub

    async def publish_event(self, pubsub: str, topic: str, value: bytes, **more: Any) -> Any:
        kind = "replayed" if topic.endswith(REPLAY_SUFFIX) else "put-back"
        return await self._at(kind, self._client.publish_event(pubsub, topic, value, **more))

    async def get_bulk_state(self, *arguments: Any, **more: Any) -> Any:
        return await self._client.get_bulk_state(*arguments, **more)

    async def ExecuteStateTransaction(self, request: Any) -> Any:  # noqa: N802 - the stub's name
        kind = "bookmark" if self._counts else "lease"
        if b'"run": ""' in request.operations[0].request.value:
            kind = "release"
        return await self._at(kind, self._client._stub.ExecuteStateTransaction(request))

    async def _at(self, kind: str, call: Any) -> Any:
        self._counts[kind] += 1
        which = f"{kind} {self._counts[kind]}"
        self._die(f"before {which}")
        answer = await call
        self._die(f"after {which}")
        return answer

    def _die(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(step: str) -> None:
    @contextlib.asynccontextmanager
    async def opened(timeout: float) -> AsyncIterator[Any]:
        async with open_client(timeout) as client:
            yield DyingClient(client, step)

    options = Options(DeadLetterFilter(reasons=frozenset({"synapse_error"})))
    settings = SidecarSettings()  # type: ignore[call-arg]  # the environment fills it
    job = run(
        settings, options, from_events=False, read_options=ReadOptions(5.0, end_sidecar=False),
        opened=opened, lease=timedelta(seconds=1),
    )  # fmt: skip
    sys.exit(0 if asyncio.run(job) else 1)


if __name__ == "__main__":
    main(sys.argv[1])
