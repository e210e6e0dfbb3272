"""The composition root: builds the FastAPI application from the settings. Its lifespan opens and closes every part."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from function import __version__
from function.accounts.departures import Departures
from function.accounts.recheck_loop import RecheckLoop
from function.accounts.recheck_queue import RecheckQueue
from function.accounts.reconcile import Reconciler
from function.accounts.updater import Updater
from function.accounts.user_store import UserStore
from function.avatars.fetch import AvatarSource
from function.clock import utc_now
from function.dapr.client import open_client
from function.dapr.pubsub import Publisher
from function.dapr.secret_store import AdminToken
from function.dapr.state_store import StateStore
from function.dead_letters.marks import Marks
from function.dead_letters.open_letters_loop import OpenLettersLoop
from function.dead_letters.publish import DeadLetters
from function.health import PROBE_INTERVAL_FAILING, Health, Probe
from function.homeserver.requests import IN_FLIGHT
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient, SingleTry
from function.kafka.client import client_config
from function.kafka.lag import KafkaGroup
from function.kafka.lag_loop import PACE, LagLoop, Pace, Readiness
from function.kafka.watchdog import LIMITS, Limits, Watchdog
from function.outcomes import Reason, TryAgain
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from function.routes import mount
from function.settings import Settings
from function.telemetry.logs import log, log_failure
from function.telemetry.metrics import TOPICS, Metrics
from function.telemetry.tracing import OFF, Traces, otlp_tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that are opened at the start and closed at the end."""

    processor: BatchProcessor
    state: StateStore
    users: UserStore
    synapse: Synapse
    probes: Sequence[Probe]
    updater: Updater


AGENT = f"matrix-account-sync/{__version__}"  # in Synapse's log

OpenAvatars = Callable[[Settings], AbstractAsyncContextManager[AvatarSource]]
OpenLag = Callable[[Settings, Health, Metrics], LagLoop | None]
OpenParts = Callable[[Settings, Health, Metrics], AbstractAsyncContextManager[Parts]]


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


def open_avatars(settings: Settings) -> AbstractAsyncContextManager[AvatarSource]:
    """Opens a source that fetches from the internet and trusts the certificate authorities of httpx."""
    return AvatarSource(settings.avatar_hosts, httpx.create_ssl_context())


@contextlib.asynccontextmanager
async def open_parts(
    settings: Settings, health: Health, metrics: Metrics, avatars: OpenAvatars = open_avatars, traces: Traces = OFF,
    in_flight: int = IN_FLIGHT,
) -> AsyncIterator[Parts]:  # fmt: skip
    """Opens the parts on the real sidecar and the real Synapse, which gets `in_flight` requests at a time at most. Raises
    TryAgain if the sidecar does not answer."""
    dry_run = settings.matrix_dry_run  # guarded where requests are sent, so that it covers every call
    url = str(settings.matrix_homeserver_url)
    http = HttpClient(SingleTry(), url, AGENT, metrics=metrics, traces=traces, read_only=dry_run)
    async with open_client() as client, http, avatars(settings) as source:
        token = AdminToken(client, settings.secret_store_name, settings.secret_name, metrics)
        synapse = Synapse(http, token, settings.matrix_server_name, in_flight)
        state = StateStore(client, settings.state_store_name, read_only=dry_run)
        users = UserStore(state)
        publisher = Publisher(client, settings.pubsub_name, read_only=dry_run)
        rechecks = RecheckQueue(state, utc_now)
        reconciler = Reconciler(synapse, source, settings.matrix_oidc_provider)
        updater = Updater(users, reconciler, rechecks)
        deletion_limit = DeletionLimit(state, settings.matrix_max_deletions_per_hour, utc_now)
        processor = BatchProcessor(
            updater,
            DeadLetters(publisher, settings.dead_letter_topic),
            health,
            deletion_limit=deletion_limit,
            precreate=settings.matrix_precreate_users,
            traces=traces,
        )
        loop = RecheckLoop(rechecks, processor.recheck, utc_now, Departures(state))
        watching = [asyncio.create_task(deletion_limit.watch())]
        if not dry_run:
            watching.append(asyncio.create_task(loop.watch()))
        if settings.kafka_brokers:
            topic = settings.dead_letter_topic
            letters = OpenLettersLoop(client_config(settings), topic, Marks(state, topic), metrics)
            watching.append(asyncio.create_task(letters.watch()))
        try:
            yield Parts(processor, state, users, synapse, [state.probe, synapse.probe], updater)
        finally:
            for task in watching:
                task.cancel()
                await asyncio.wait([task])
            await deletion_limit.close()
            await asyncio.to_thread(traces.flush)


def open_lag(
    settings: Settings, health: Health, metrics: Metrics, limits: Limits = LIMITS, pace: Pace = PACE
) -> LagLoop | None:
    """Returns what asks Kafka for the lag; None if no broker is known. Raises WrongSettings."""
    if not settings.kafka_brokers or not settings.kafka_consumer_group_id:
        return None
    topics = (settings.kafka_identity_events_topic, settings.replay_topic)
    name = settings.kafka_client_id
    watchdog = Watchdog(name, len(settings.pubsub_names), limits) if name else None
    return LagLoop(
        KafkaGroup(client_config(settings), settings.kafka_consumer_group_id, topics),
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
    """Opens the parts once the sidecar answers. Runs next to the server, which answers health checks from the start."""
    while True:
        try:
            async with parts(settings, health, metrics) as found:
                opened.append(found)
                await health.watch(found.probes)
        except TryAgain as failure:
            health.failure = failure
        except Exception as error:
            log_failure("start_failed", error)
            health.failure = TryAgain(Reason.UNEXPECTED, type(error).__name__)
        finally:
            opened.clear()
        await asyncio.sleep(PROBE_INTERVAL_FAILING)
