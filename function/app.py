"""The composition root: builds the FastAPI application from the settings. Its lifespan opens, runs and closes every part."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from fastapi import FastAPI

from function import __version__
from function.health import PROBE_INTERVAL_FAILING, Health
from function.kafka.client import client_config
from function.kafka.lag import KafkaGroup
from function.kafka.lag_loop import PACE, LagLoop, Pace, Readiness
from function.kafka.watchdog import LIMITS, Limits, Watchdog
from function.outcomes import Reason, TryAgain
from function.parts import Loop, OpenParts, Parts, open_parts
from function.routes import mount
from function.settings import Settings
from function.telemetry.logs import log, log_failure
from function.telemetry.metrics import TOPICS, Metrics
from function.telemetry.tracing import OFF, Traces, otlp_tracing

OpenLag = Callable[[Settings, Health, Metrics], LagLoop | None]

# daprd asks for the readiness as soon as the function listens, and then each second. So the function listens when it has an
# answer; later than this it has none, and Kubernetes wants to know that it lives.
LISTEN_SECONDS = 1.0

TRACES_TO = "OTEL_EXPORTER_OTLP_ENDPOINT"  # the standard's variable; the SDK reads it, and the others of its kind


class MissingExtra(Exception):
    """Tracing is configured, but the extra that it needs is not installed."""


def open_traces(environment: Mapping[str, str] = os.environ) -> Traces:
    """Returns the tracing that the environment configures. Raises MissingExtra."""
    if not environment.get(TRACES_TO) or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return OFF
    try:
        return otlp_tracing()
    except ImportError:
        raise MissingExtra(f"{TRACES_TO}: is set; install matrix-account-sync[traces] as well") from None


def open_lag(
    settings: Settings, health: Health, metrics: Metrics, limits: Limits = LIMITS, pace: Pace = PACE
) -> LagLoop | None:
    """Returns what asks Kafka for the lag; None if no broker is known. Raises WrongSettings."""
    if not settings.kafka_brokers:
        return None
    config = client_config(settings)  # also without a group: the open dead letters are read with it
    if not settings.kafka_consumer_group_id:
        return None
    topics = (settings.kafka_identity_events_topic, settings.replay_topic)
    name = settings.kafka_client_id
    watchdog = Watchdog(name, len(settings.pubsub_names), limits) if name else None
    return LagLoop(
        KafkaGroup(config, settings.kafka_consumer_group_id, topics),
        dict(zip(topics, TOPICS, strict=True)),
        watchdog,
        Readiness(lambda: health.ready_since, health.pausing),
        metrics,
        pace,
    )


def create_app(settings: Settings, parts: OpenParts = open_parts, lag_of: OpenLag = open_lag) -> FastAPI:
    """Returns the ASGI application.

    Args:
        settings: from the environment.
        parts: opens the parts; a seam for tests.
        lag_of: makes what asks Kafka for the lag; a seam for tests.

    Raises:
        WrongSettings: KAFKA_CLIENT_CONFIG can't be read, or is refused.
    """
    health, metrics = Health(), Metrics()
    lag = lag_of(settings, health, metrics)
    opened: list[Parts] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log(logging.INFO, "started", version=__version__, port=settings.app_port)
        if not settings.enabled:
            log(logging.WARNING, "switched_off", detail="KAFKA_ENABLED or MATRIX_ENABLED is false: consuming nothing")
        work = [asyncio.create_task(_keep_open(settings, health, metrics, parts, opened))] if settings.enabled else []
        if lag:
            work.append(asyncio.create_task(lag.watch()))
        _say_what_is_off(settings, lag)
        if settings.enabled:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(health.known(), LISTEN_SECONDS)
        yield
        for task in work:
            task.cancel()
            await asyncio.wait([task])
        log(logging.INFO, "stopped")

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    mount(app, settings, health, metrics, lambda: opened[0].processor if opened else None)
    return app


def _say_what_is_off(settings: Settings, lag: LagLoop | None) -> None:
    if not lag:
        log(logging.WARNING, "lag_unknown", detail="KAFKA_BROKERS or KAFKA_CONSUMER_GROUP_ID is not set")
    elif not settings.kafka_client_id:
        log(logging.WARNING, "watchdog_off", detail="KAFKA_CLIENT_ID is not set")


async def _keep_open(
    settings: Settings, health: Health, metrics: Metrics, parts: OpenParts, opened: list[Parts]
) -> None:
    """Opens the parts once the sidecar answers. Runs next to the server, which answers health checks without them."""
    while True:
        try:
            async with parts(settings, health, metrics) as found, _running(found.loops):
                opened.append(found)
                await health.watch(found.probes)
        except TryAgain as failure:
            health.failure = failure
        except Exception as error:
            log_failure("start_failed", error)
            health.failure = TryAgain(Reason.UNEXPECTED, type(error).__name__)
        finally:
            opened.clear()
        await asyncio.sleep(PROBE_INTERVAL_FAILING)  # what failed gives no sign when it is back


@contextlib.asynccontextmanager
async def _running(loops: Sequence[Loop]) -> AsyncIterator[None]:
    """Runs the loops inside the block."""
    tasks = [asyncio.create_task(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])
