"""What others see of the function over HTTP: daprd its subscriptions and the app health check, Prometheus its metrics."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from function.dapr.bulk_envelope import Delivered, answer, read_batch
from function.dapr.subscription import Subscriptions, mount_bulk
from function.events.decode import type_of
from function.health import Health
from function.outcomes import Reason, TryAgain
from function.processing.batch import Delivery
from function.processing.results import Fate, Verdict
from function.settings import Settings
from function.telemetry.metrics import CONTENT_TYPE, Counted, Metrics

EVENTS_ROUTE = "/events/identity"
LIVE_ROUTE, READY_ROUTE, METRICS_ROUTE = "/health/live", "/health/ready", "/metrics"

CurrentDelivery = Callable[[], Delivery | None]


def mount(app: FastAPI, settings: Settings, health: Health, metrics: Metrics, delivery: CurrentDelivery) -> None:
    """Adds the routes to `app`. `delivery` gives None while the function is still starting."""

    async def take(batch: str) -> bytes:
        return await _answer(batch, delivery(), metrics)

    async def ready() -> Response:
        sick = health.sick if settings.enabled else None
        body: dict[str, Any] = {"ready": sick is None, "consuming": settings.enabled}
        if sick:
            body |= {"reason": sick.reason.value, "detail": sick.detail}
        elif not settings.enabled:
            body["detail"] = "switched off by KAFKA_ENABLED or MATRIX_ENABLED"
        if (current := delivery()) and current.braking:
            body["brake"] = "on: deletions go to the dead letters as deletion_brake"
        return JSONResponse(body, status_code=503 if sick else 200)

    async def live() -> Response:
        return JSONResponse({"live": True})

    async def measured() -> Response:
        sick = health.sick if settings.enabled else None
        current = delivery()
        metrics.brake(current is not None and current.braking)
        metrics.world(sick.reason if sick else None, consuming=settings.enabled)
        return Response(metrics.exposed(), media_type=CONTENT_TYPE)

    app.add_api_route(READY_ROUTE, ready, methods=["GET"])
    app.add_api_route(LIVE_ROUTE, live, methods=["GET"])
    app.add_api_route(METRICS_ROUTE, measured, methods=["GET"])
    topics = [settings.kafka_identity_events_topic, settings.replay_topic] if settings.enabled else []
    subscriptions = Subscriptions(settings.pubsub_names, topics, EVENTS_ROUTE, settings.dead_letter_topic)
    mount_bulk(app, subscriptions, settings.app_api_token, take, metrics.refused)


async def _answer(body: str, delivery: Delivery | None, metrics: Metrics) -> bytes:
    began = time.monotonic()
    entries = read_batch(body, metrics.refused)
    records = [record for _, record in entries if record]
    if delivery is None:
        verdicts = [Verdict(Fate.RETRY, TryAgain(Reason.STARTING))] * len(records)
    else:
        verdicts = await delivery.deliver(records)
    _measure(metrics, records, verdicts)
    metrics.batch(len(entries), time.monotonic() - began)
    fates = iter(verdicts)
    waiting = {entry_id for entry_id, record in entries if record is None or next(fates).fate is Fate.RETRY}
    return answer(entries, waiting)


def _measure(metrics: Metrics, records: Sequence[Delivered], verdicts: Sequence[Verdict]) -> None:
    delivered, written = Counter[Counted](), list[float]()
    for record, verdict in zip(records, verdicts, strict=True):
        reason = verdict.failure.reason if verdict.failure else None
        delivered[type_of(record.value, record.headers), verdict.fate, reason] += 1
        if verdict.fate is not Fate.RETRY and (at := _written(record)) is not None:
            written.append(at)
    metrics.events(delivered, written)


def _written(record: Delivered) -> float | None:
    """The record's timestamp in Unix time; None where it is not one that daprd gives."""
    milliseconds = record.about("timestamp")
    return int(milliseconds) / 1000 if milliseconds.isdecimal() and len(milliseconds) < 15 else None
