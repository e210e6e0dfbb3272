"""Reads a topic from its first record to the last record written before the start, as a Dapr app with its own app id.

It commits nothing. Its component has a consumer group with a new name for each sidecar, and no retries: a batch
answered RETRY is not committed, and daprd still delivers the next one. Kafka deletes a group that has no members and no
committed offsets.

Dapr can't tell the end of a topic. So records written after the start are left out, and the topic counts as read when no
record has arrived for a while.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Request, Response

from function.dapr.bulk_envelope import Body, KafkaRecord, answer, read_batch
from function.dapr.http_server import UVICORN_OPTIONS
from function.dapr.subscription import Subscriptions, mount_bulk
from function.outcomes import Reason, TryAgain
from function.settings import SidecarSettings

ROUTE = "/records"
SIDECAR_SECONDS = 60.0  # daprd may start after this process
FIRST_SECONDS = 15.0  # joining a new consumer group takes Kafka some seconds
REPEATS = 3
BATCH_MS = 100  # latency does not matter here, and larger batches are faster


@dataclass(frozen=True, slots=True)
class _Batch:
    records: list[KafkaRecord]
    done: asyncio.Event


class Reader:
    """Yields a topic's records in batches; daprd gets its answer, and sends the next batch, once this one is processed.

    Args:
        quiet: seconds without a new record after which the topic counts as read.
        started: milliseconds since 1970; records written from then on are left out.
        sidecar_timeout: seconds to wait for a sidecar.
    """

    def __init__(self, quiet: float, started: int, sidecar_timeout: float = SIDECAR_SECONDS) -> None:
        self._quiet, self._started, self._sidecar_timeout = quiet, started, sidecar_timeout
        self._batches: asyncio.Queue[_Batch] = asyncio.Queue(1)
        self._subscribed = asyncio.Event()
        self._seen: dict[str, int] = {}
        self._repeats = 0

    def mount(self, app: FastAPI, settings: SidecarSettings, topic: str) -> None:
        """Adds the routes that daprd calls."""

        @app.middleware("http")
        async def mark_subscribed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            if request.url.path == "/dapr/subscribe":
                self._subscribed.set()
            return await call_next(request)

        subscriptions = Subscriptions([settings.dead_letters_pubsub_name], [topic], ROUTE, batch_ms=BATCH_MS)
        mount_bulk(app, subscriptions, settings.app_api_token, self._take)

    async def batches(self) -> AsyncGenerator[list[KafkaRecord], None]:
        """Yields batches of records, each record once. Raises TryAgain if the sidecar is missing or its component misconfigured."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), self._sidecar_timeout)
        if not self._subscribed.is_set():
            raise TryAgain(
                Reason.STARTING, f"no sidecar asked for the subscription within {self._sidecar_timeout:.0f} s"
            )
        pause = max(FIRST_SECONDS, self._quiet)
        while True:
            try:
                batch = await asyncio.wait_for(self._batches.get(), pause)
            except TimeoutError:
                if self._repeats >= REPEATS:
                    raise TryAgain(
                        Reason.STARTING,
                        "daprd repeats a batch: the component needs consumeRetryEnabled: false and no resiliency policy",
                    ) from None
                return
            pause = self._quiet
            try:
                yield batch.records
            finally:
                batch.done.set()

    async def _take(self, body: Body) -> bytes:
        entries = read_batch(body)
        new = [record for _, record in entries if record and self._is_new(record)]
        if new:
            batch = _Batch(new, asyncio.Event())
            await self._batches.put(batch)
            await batch.done.wait()
        return answer(entries, {entry_id for entry_id, _ in entries})

    def _is_new(self, record: KafkaRecord) -> bool:
        """Returns whether the record is unread. After a restart the sidecar delivers from the first record again."""
        partition, offset = record.dapr_metadata("partition"), int(record.dapr_metadata("offset") or 0)
        last = self._seen.get(partition, -1)
        self._repeats = self._repeats + 1 if offset == last else 0
        self._seen[partition] = max(offset, last)
        return offset > last and int(record.dapr_metadata("timestamp") or 0) < self._started


@contextlib.asynccontextmanager
async def read_topic(
    settings: SidecarSettings, topic: str, quiet: float
) -> AsyncIterator[AsyncIterator[list[KafkaRecord]]]:
    """Serves a Reader on APP_HOST:APP_PORT. Raises TryAgain if the port can't be used."""
    reader = Reader(quiet, int(time.time() * 1000))
    app = FastAPI(openapi_url=None)
    reader.mount(app, settings, topic)
    try:
        listening = socket.create_server((settings.app_host, settings.app_port))
        # asyncio sets this on sockets that it creates itself; without it each answer waits 40 ms for an ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise TryAgain(Reason.STARTING, f"APP_PORT {settings.app_port} can't be used: {error.strerror}") from None
    server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **UVICORN_OPTIONS))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with contextlib.aclosing(reader.batches()) as batches:
            yield batches
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
