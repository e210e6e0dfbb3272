"""A Dapr app's side of a bulk subscription: what it declares to daprd, and the route that takes the batches. Knows no
rules.

Every batch is answered 200 with a status for each entry: daprd 1.18 drops records on 404 and may dead-letter the wrong
ones on DROP. What can't be read is answered without statuses, which daprd takes for RETRY of all.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dapr.ext.fastapi import DaprApp
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from function.logs import log

BATCH_SIZE = 100  # records; daprd takes what has come within BATCH_MS, at most this many
BATCH_MS = 10

Take = Callable[[bytes], Awaitable[bytes]]  # a batch's envelope in, the answer to daprd out


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """What is subscribed to: topics of one pub/sub component, all on one route."""

    pubsub: str
    topics: Sequence[str]
    route: str
    dead_letter_topic: str | None = None
    batch_ms: int = BATCH_MS


class _BulkDaprApp(DaprApp):
    """DaprApp, whose `subscribe` has no bulk argument: daprd reads it from the same declaration."""

    def declare_bulk(self, batch_ms: int) -> None:
        for subscription in self._subscriptions:
            subscription["bulkSubscribe"] = {
                "enabled": True, "maxMessagesCount": BATCH_SIZE, "maxAwaitDurationMs": batch_ms,
            }  # fmt: skip


def mount_bulk(app: FastAPI, subscriptions: Subscriptions, token: SecretStr, take: Take) -> None:
    """Declares the subscriptions and adds their route.

    Args:
        app: where to.
        subscriptions: no topics: nothing is declared, but the route is there, since a late batch must not meet a 404.
        token: what daprd has to show as dapr-api-token.
        take: called with each batch.
    """

    async def receive(request: Request) -> Response:
        shown = request.headers.get("dapr-api-token", "")
        if not secrets.compare_digest(shown.encode(), token.get_secret_value().encode()):
            log(logging.WARNING, "caller_refused", detail="dapr-api-token is wrong or missing")
            return JSONResponse({"error": "dapr-api-token is wrong or missing"}, status_code=401)
        return Response(await take(await request.body()), media_type="application/json")

    dapr_app = _BulkDaprApp(app)
    for topic in subscriptions.topics:
        dapr_app.subscribe(
            pubsub=subscriptions.pubsub,
            topic=topic,
            route=subscriptions.route,
            metadata={"rawPayload": "true"},
            dead_letter_topic=subscriptions.dead_letter_topic,
        )(receive)
    if not subscriptions.topics:
        app.add_api_route(subscriptions.route, receive, methods=["POST"])
    dapr_app.declare_bulk(subscriptions.batch_ms)
