"""Serves the HTTP routes: subscriptions and event batches for daprd, health checks, and /metrics."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from function.dapr.bulk_envelope import Body, answer, reading
from function.dapr.subscription import Subscriptions, mount_bulk
from function.events.decode import type_of
from function.health import Health
from function.kafka.record import KafkaRecord
from function.outcomes import EventResult, Outcome, Reason, TryAgain
from function.processing.batch import BatchProcessor
from function.settings import Settings
from function.slices import map_in_slices, run_in_slices
from function.telemetry.metrics import CONTENT_TYPE, Counted, Metrics
from function.telemetry.waiting import Received

EVENTS_ROUTE = "/events/identity"
LIVE_ROUTE, READY_ROUTE, METRICS_ROUTE = "/health/live", "/health/ready", "/metrics"

CurrentProcessor = Callable[[], BatchProcessor | None]


def mount(app: FastAPI, settings: Settings, health: Health, metrics: Metrics, processor: CurrentProcessor) -> None:
    """Adds the routes to `app`. `processor` returns None while the function is starting."""

    async def take(batch: Body) -> bytes:
        return await _answer(batch, processor(), metrics)

    async def ready() -> Response:
        failure = health.failure if settings.enabled else None
        body: dict[str, Any] = {"ready": failure is None, "consuming": settings.enabled}
        if failure:
            body |= {"reason": failure.reason.value, "detail": failure.detail}
        elif not settings.enabled:
            body["detail"] = "switched off by KAFKA_ENABLED or MATRIX_ENABLED"
        if (current := processor()) and current.deletions_exhausted:
            body["deletion_limit"] = "reached: deletions go to the dead letters as deletion_limit"
        return JSONResponse(body, status_code=503 if failure else 200)

    async def live() -> Response:
        return JSONResponse({"live": True})

    async def measured() -> Response:
        failure = health.failure if settings.enabled else None
        current = processor()
        metrics.deletion_limit(reached=current is not None and current.deletions_exhausted)
        metrics.readiness(failure.reason if failure else None, consuming=settings.enabled)
        return Response(metrics.exposed(), media_type=CONTENT_TYPE)

    app.add_api_route(READY_ROUTE, ready, methods=["GET"])
    app.add_api_route(LIVE_ROUTE, live, methods=["GET"])
    app.add_api_route(METRICS_ROUTE, measured, methods=["GET"])
    topics = [settings.kafka_identity_events_topic, settings.replay_topic] if settings.enabled else []
    subscriptions = Subscriptions(settings.pubsub_names, topics, EVENTS_ROUTE, settings.dead_letter_topic)
    mount_bulk(app, subscriptions, settings.app_api_token, take, metrics.rejected, metrics.waiting.deliveries.reading)


async def _answer(body: Body, processor: BatchProcessor | None, metrics: Metrics) -> bytes:
    began = time.monotonic()
    with metrics.waiting.deliveries.reading():
        entries = await run_in_slices(reading(body, metrics.rejected))
    records = [record for _, record in entries if record]
    with metrics.waiting.holding([_received(record) for record in records]) as batch:
        if processor is None:
            results = [EventResult(Outcome.RETRY, TryAgain(Reason.STARTING))] * len(records)
        else:
            results = await processor.process(records)
        batch.retried = [result.outcome is Outcome.RETRY for result in results]
    await _measure(metrics, records, results)
    metrics.batch(len(entries), time.monotonic() - began)
    fates = iter(results)
    waiting = {entry_id for entry_id, record in entries if record is None or next(fates).outcome is Outcome.RETRY}
    return answer(entries, waiting)


async def _measure(metrics: Metrics, records: Sequence[KafkaRecord], results: Sequence[EventResult]) -> None:
    delivered, written = Counter[Counted](), list[float]()
    types = await map_in_slices(_type, records, size=lambda record: record.size)
    for record, result, kind in zip(records, results, types, strict=True):
        reason = result.failure.reason if result.failure else None
        delivered[kind, result.outcome, reason] += 1
        if result.outcome is not Outcome.RETRY and (at := _written(record)) is not None:
            written.append(at)
    metrics.events(delivered, written)
    metrics.ignored(result.cause for result in results if result.cause)


def _type(record: KafkaRecord) -> str:
    return type_of(record.value, record.headers)


def _received(record: KafkaRecord) -> Received:
    return Received(record.topic, record.kafka_field("partition"), _written(record))


def _written(record: KafkaRecord) -> float | None:
    """Returns the record's timestamp in Unix time; None if daprd gave none."""
    milliseconds = record.kafka_field("timestamp")
    return int(milliseconds) / 1000 if milliseconds.isdecimal() and len(milliseconds) < 15 else None
