"""Declares a bulk subscription to daprd and adds the route that takes the batches. Knows no rules about events.

Every batch is answered 200 with a status for each entry: daprd 1.18 drops records on 404 and may dead-letter the wrong
ones on DROP. An unreadable batch is answered without statuses, which daprd treats as RETRY for all.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dapr.ext.fastapi import DaprApp
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.requests import ClientDisconnect

from function.dapr.bulk_envelope import Body
from function.telemetry.logs import log
from function.telemetry.metrics import CountRefusal, uncounted

BATCH_SIZE = 100  # records at most; daprd collects for BATCH_MS
# An event alone in its partition waits up to as long. Shorter, and a backlog falls apart into batches of one or two records, since a
# partition that waited for the others of its component delivers what it has: docs/performance.md.
BATCH_MS = 50
RECORD_BYTES = 2 * 1024 * 1024  # largest record: max.message.bytes of the topics, maxMessageBytes of the component
HEADERS_BYTES = 64 * 1024  # for a record's headers and daprd's metadata
# A refused batch is redelivered without end and blocks its partitions. So the limit is above the largest batch that Kafka
# lets through, as base64 (4 bytes for 3), and guards against a caller that has the token and sends an endless body.
BODY_BYTES = BATCH_SIZE * (RECORD_BYTES * 4 // 3 + HEADERS_BYTES)

# Batches larger than this, or without a Content-Length, are read one at a time, so that memory is bounded by one large
# batch instead of one per component. A batch that waits longer than the request timeout of http_server.py is dropped and
# redelivered.
LARGE_BYTES = 4 * 1024 * 1024

Take = Callable[[Body], Awaitable[bytes]]  # a batch's envelope in, the answer to daprd out
Reading = Callable[[], contextlib.AbstractContextManager[None]]  # entered while a request is read


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Subscribes to the same topics through each of the pub/sub components, all on one route.

    All partitions of one component share a lock in daprd, which is held while the app processes a batch. So each component
    has one batch in flight.
    """

    pubsubs: Sequence[str]
    topics: Sequence[str]
    route: str
    dead_letter_topic: str | None = None


class _BulkDaprApp(DaprApp):
    """Adds bulk settings to the declaration of DaprApp, whose `subscribe` has no argument for them."""

    def declare_bulk(self) -> None:
        for subscription in self._subscriptions:
            subscription["bulkSubscribe"] = {
                "enabled": True, "maxMessagesCount": BATCH_SIZE, "maxAwaitDurationMs": BATCH_MS,
            }  # fmt: skip


def mount_bulk(
    app: FastAPI, subscriptions: Subscriptions, token: SecretStr, take: Take, refused: CountRefusal = uncounted,
    reading: Reading = contextlib.nullcontext,
) -> None:  # fmt: skip
    """Declares the subscriptions and adds their route.

    Args:
        app: gets the route.
        subscriptions: without topics, nothing is declared; the route exists, since a late batch must not meet a 404.
        token: the dapr-api-token that daprd must send.
        take: called with each batch.
        refused: counts each batch that is refused unread; `take` counts what it can't read itself.
        reading: is entered while a request is read.
    """
    large = asyncio.Lock()

    async def receive(request: Request) -> Response:
        shown = request.headers.get("dapr-api-token", "")
        if not secrets.compare_digest(shown.encode(), token.get_secret_value().encode()):
            log(logging.WARNING, "caller_refused", detail="dapr-api-token is wrong or missing")
            refused("token")
            return _refused("dapr-api-token is wrong or missing", 401)
        try:
            async with contextlib.AsyncExitStack() as held:
                with reading():
                    if _length(request, BODY_BYTES) > LARGE_BYTES:
                        await held.enter_async_context(large)
                    body = await read_body(request)
                return Response(await take(body), media_type="application/json")
        except TooLarge as error:
            log(logging.ERROR, "batch_refused", detail=f"over {BODY_BYTES} bytes", size=error.size)
            refused("too_large")
            return _refused("too large", 413)
        except ClientDisconnect:
            return _refused("incomplete", 400)  # the caller is gone

    dapr_app = _BulkDaprApp(app)
    for pubsub, topic in itertools.product(subscriptions.pubsubs, subscriptions.topics):
        dapr_app.subscribe(
            pubsub=pubsub,
            topic=topic,
            route=subscriptions.route,
            metadata={"rawPayload": "true"},
            dead_letter_topic=subscriptions.dead_letter_topic,
        )(receive)
    if not subscriptions.topics:
        app.add_api_route(subscriptions.route, receive, methods=["POST"])
    dapr_app.declare_bulk()


class TooLarge(Exception):
    """A body over the limit; `size` is its Content-Length, or the bytes received so far."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


async def read_body(request: Request, limit: int = BODY_BYTES) -> Body:
    """Returns the body and enforces the limit as it arrives.

    Raises:
        TooLarge: as soon as the size is known; the rest is not read.
        ClientDisconnect: the caller went away.
    """
    if (said := _length(request, 0)) > limit:
        raise TooLarge(said)
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(size)
        chunks.append(chunk)
    return Body(chunks)


def _length(request: Request, unsaid: int) -> int:
    """Returns the Content-Length of the request; `unsaid` if it has none."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 20 else unsaid  # a longer number is not a length


def _refused(why: str, status: int) -> Response:
    """Returns an answer that daprd treats as RETRY for all; closes the connection without reading the rest."""
    return JSONResponse({"error": why}, status_code=status, headers={"connection": "close"})
