"""What daprd sees over HTTP: the subscriptions, the route for bulk batches, the app health check. Knows Dapr's wire
format and no rules.

Every batch is answered 200 with a status for each entry: daprd 1.18 drops records on 404 and may dead-letter the wrong
ones on DROP. What can't be read is answered without statuses, which daprd takes for RETRY of all.
"""

import base64
import binascii
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

from dapr.ext.fastapi import DaprApp
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from function.deadletters import Delivered
from function.delivery import Delivery
from function.failures import Reason, TryAgain
from function.health import Health
from function.logs import log
from function.settings import Settings
from function.verdicts import Fate, Verdict

EVENTS_ROUTE = "/events/identity"
LIVE_ROUTE, READY_ROUTE = "/health/live", "/health/ready"
BATCH_SIZE = 100  # records; daprd takes what has come within BATCH_MS, at most this many
BATCH_MS = 10

CurrentDelivery = Callable[[], Delivery | None]


class BulkDaprApp(DaprApp):
    """DaprApp, whose `subscribe` has no bulk argument: daprd reads it from the same declaration."""

    def declare_bulk(self) -> None:
        """Makes every subscription so far a bulk one."""
        for subscription in self._subscriptions:
            subscription["bulkSubscribe"] = {
                "enabled": True, "maxMessagesCount": BATCH_SIZE, "maxAwaitDurationMs": BATCH_MS,
            }  # fmt: skip


def mount(app: FastAPI, settings: Settings, health: Health, delivery: CurrentDelivery) -> None:
    """Adds the routes to `app`. `delivery` gives None while the function is still starting."""

    async def receive(request: Request) -> Response:
        token = request.headers.get("dapr-api-token", "")
        if not secrets.compare_digest(token.encode(), settings.app_api_token.get_secret_value().encode()):
            log(logging.WARNING, "caller_refused", detail="dapr-api-token is wrong or missing")
            return JSONResponse({"error": "dapr-api-token is wrong or missing"}, status_code=401)
        # Not JSONResponse: it can't write every string that JSON can hold, and an error would be a 500 for the batch.
        return Response(json.dumps(await _answer(await request.body(), delivery())), media_type="application/json")

    async def ready() -> Response:
        sick = health.sick if settings.enabled else None
        body: dict[str, Any] = {"ready": sick is None, "consuming": settings.enabled}
        if sick:
            body |= {"reason": sick.reason.value, "detail": sick.detail}
        elif not settings.enabled:
            body["detail"] = "switched off by KAFKA_ENABLED or MATRIX_ENABLED"
        return JSONResponse(body, status_code=503 if sick else 200)

    async def live() -> Response:
        return JSONResponse({"live": True})

    app.add_api_route(READY_ROUTE, ready, methods=["GET"])
    app.add_api_route(LIVE_ROUTE, live, methods=["GET"])
    dapr_app = BulkDaprApp(app)
    if settings.enabled:
        for topic in (settings.kafka_identity_events_topic, settings.replay_topic):
            dapr_app.subscribe(
                pubsub=settings.pubsub_name,
                topic=topic,
                route=EVENTS_ROUTE,
                metadata={"rawPayload": "true"},
                dead_letter_topic=settings.dead_letter_topic,
            )(receive)
    else:
        app.add_api_route(EVENTS_ROUTE, receive, methods=["POST"])  # a late batch must never meet a 404
    dapr_app.declare_bulk()


async def _answer(body: bytes, delivery: Delivery | None) -> dict[str, Any]:
    entries = [(entry["entryId"], read_entry(entry)) for entry in _entries(body)]
    records = [record for _, record in entries if record]
    if delivery is None:
        verdicts = [Verdict(Fate.RETRY, TryAgain(Reason.STARTING))] * len(records)
    else:
        verdicts = await delivery.deliver(records)
    fates = iter(verdicts)
    waiting = {entry_id for entry_id, record in entries if record is None or next(fates).fate is Fate.RETRY}
    statuses = {entry_id: "RETRY" if entry_id in waiting else "SUCCESS" for entry_id, _ in entries}
    return {"statuses": [{"entryId": entry_id, "status": status} for entry_id, status in statuses.items()]}


def _entries(body: bytes) -> list[dict[str, Any]]:
    """The batch's entries, each with the topic; none where the body is not a bulk envelope."""
    try:
        envelope = json.loads(body)
        topic = str(envelope.get("topic", ""))
        return [entry | {"topic": topic} for entry in envelope["entries"] if isinstance(entry["entryId"], str)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log(logging.ERROR, "envelope_unreadable", detail=type(error).__name__, size=len(body))
        return []


def read_entry(entry: dict[str, Any]) -> Delivered | None:
    """The Kafka record in an entry; None where daprd did not send it as rawPayload does."""
    metadata = entry.get("metadata") or {}
    try:
        value = base64.b64decode(entry["event"], validate=True)
        return Delivered(value, entry["topic"], {str(name): str(text) for name, text in metadata.items()})
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        log(logging.ERROR, "entry_unreadable", detail="not base64: is rawPayload on?", topic=entry["topic"])
        return None
