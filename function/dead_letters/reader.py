"""Reads a topic from its first record to the last one that was there at the start, as a Dapr app of its own.

It leaves nothing behind. Its component has a consumer group with a new name for each sidecar, and no retries: a batch
answered RETRY is not committed, and daprd goes on with the next all the same. A group without a member and without a
committed offset is gone.

Kafka's end of a topic can't be asked for through Dapr. So a record written after the start is left out, and when
nothing more has come for a while, that was all.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Request, Response

from function.dapr.bulk_envelope import KafkaRecord, answer, read_batch
from function.dapr.http_server import UVICORN_OPTIONS
from function.dapr.subscription import Subscriptions, mount_bulk
from function.outcomes import Reason, TryAgain
from function.settings import SidecarSettings

ROUTE = "/records"
SIDECAR_SECONDS = 60.0  # daprd may start after us
FIRST_SECONDS = 15.0  # joining a new consumer group takes Kafka some seconds
REPEATS = 3
BATCH_MS = 100  # nobody waits for a single record here, and fuller batches are quicker


@dataclass(frozen=True, slots=True)
class _Page:
    records: list[KafkaRecord]
    done: asyncio.Event


class Reader:
    """Gives a topic's records page by page; daprd has the next page only when this one is dealt with.

    Args:
        quiet: seconds without a new record after which everything has been seen.
        started: milliseconds since 1970; what Kafka has from then on is left out.
        patience: seconds to wait for a sidecar.
    """

    def __init__(self, quiet: float, started: int, patience: float = SIDECAR_SECONDS) -> None:
        self._quiet, self._started, self._patience = quiet, started, patience
        self._pages: asyncio.Queue[_Page] = asyncio.Queue(1)
        self._asked = asyncio.Event()
        self._seen: dict[str, int] = {}
        self._repeats = 0

    def mount(self, app: FastAPI, settings: SidecarSettings, topic: str) -> None:
        """Adds what daprd calls."""

        @app.middleware("http")
        async def mark_subscribed(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
            if request.url.path == "/dapr/subscribe":
                self._asked.set()
            return await go_on(request)

        subscriptions = Subscriptions([settings.dead_letters_pubsub_name], [topic], ROUTE, batch_ms=BATCH_MS)
        mount_bulk(app, subscriptions, settings.app_api_token, self._take)

    async def batches(self) -> AsyncGenerator[list[KafkaRecord], None]:
        """Each page of records, none of them twice. Raises TryAgain when the sidecar or its component is not right."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), self._patience)
        if not self._asked.is_set():
            raise TryAgain(Reason.STARTING, f"no sidecar asked for the subscription within {self._patience:.0f} s")
        pause = max(FIRST_SECONDS, self._quiet)
        while True:
            try:
                page = await asyncio.wait_for(self._pages.get(), pause)
            except TimeoutError:
                if self._repeats >= REPEATS:
                    raise TryAgain(
                        Reason.STARTING,
                        "daprd repeats a batch: the component needs consumeRetryEnabled: false and no resiliency policy",
                    ) from None
                return
            pause = self._quiet
            try:
                yield page.records
            finally:
                page.done.set()

    async def _take(self, batch: str) -> bytes:
        entries = read_batch(batch)
        new = [record for _, record in entries if record and self._is_new(record)]
        if new:
            page = _Page(new, asyncio.Event())
            await self._pages.put(page)
            await page.done.wait()
        return answer(entries, {entry_id for entry_id, _ in entries})

    def _is_new(self, record: KafkaRecord) -> bool:
        """A sidecar that restarts begins at the first record again."""
        partition, offset = record.dapr_metadata("partition"), int(record.dapr_metadata("offset") or 0)
        last = self._seen.get(partition, -1)
        self._repeats = self._repeats + 1 if offset == last else 0
        self._seen[partition] = max(offset, last)
        return offset > last and int(record.dapr_metadata("timestamp") or 0) < self._started


@contextlib.asynccontextmanager
async def read_topic(
    settings: SidecarSettings, topic: str, quiet: float
) -> AsyncIterator[AsyncIterator[list[KafkaRecord]]]:
    """Serves a Reader on APP_HOST:APP_PORT. Raises TryAgain when the port is taken."""
    reader = Reader(quiet, int(time.time() * 1000))
    app = FastAPI(openapi_url=None)
    reader.mount(app, settings, topic)
    try:
        listening = socket.create_server((settings.app_host, settings.app_port))
        # asyncio does this for sockets that it makes itself; without it each answer waits 40 ms for an acknowledgement.
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
