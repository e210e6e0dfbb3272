"""Builds, opens and closes the parts of the function, on the real sidecar and the real Synapse. Runs nothing by itself."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from function.accounts.departures import Departures
from function.accounts.later_looks import CHECK_AFTER
from function.accounts.outbox import Outbox
from function.accounts.recheck_loop import RecheckLoop
from function.accounts.recheck_queue import RecheckQueue
from function.accounts.reconcile import Reconciler
from function.accounts.traces import Part
from function.accounts.updater import Updater
from function.accounts.user_store import UserStore
from function.avatars.fetch import AvatarSource
from function.clock import utc_now
from function.dapr.client import open_client
from function.dapr.pubsub import Publisher
from function.dapr.sidecar import Sidecar, report_version
from function.dapr.state_store import StateStore
from function.dead_letters.marks import Marks
from function.dead_letters.open_letters_loop import OpenLettersLoop
from function.dead_letters.publish import DeadLetters
from function.evidence.topic import ResultsTopic
from function.health import Health, Probe
from function.homeserver.requests import IN_FLIGHT
from function.homeserver.synapse import Synapse
from function.homeserver_access import open_homeserver
from function.kafka.client import client_config
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from function.processing.removals import told_removals
from function.settings import Settings
from function.telemetry.metrics import Metrics
from function.telemetry.tracing import OFF, Traces

Loop = Callable[[], Coroutine[Any, Any, None]]  # runs until it ends or is cancelled


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that are opened at the start and closed at the end.

    `loops` are for the function to run, while it serves; a command that opens the parts runs none of them.
    """

    processor: BatchProcessor
    users: UserStore
    synapse: Synapse
    probes: Sequence[Probe]
    updater: Updater
    loops: Sequence[Loop] = ()


OpenAvatars = Callable[[Settings, ssl.SSLContext], AbstractAsyncContextManager[AvatarSource]]
OpenParts = Callable[[Settings, Health, Metrics], AbstractAsyncContextManager[Parts]]


def open_avatars(settings: Settings, trust: ssl.SSLContext) -> AbstractAsyncContextManager[AvatarSource]:
    """Opens a source that fetches from the internet."""
    return AvatarSource(settings.avatar_hosts, trust)


def removed_parts(settings: Settings) -> frozenset[Part]:
    """Returns what is removed of an erased user beyond the account."""
    wanted = {Part.MESSAGES: settings.matrix_erase_messages, Part.MEDIA: settings.matrix_erase_media}
    return frozenset(part for part, on in wanted.items() if on)


@contextlib.asynccontextmanager
async def open_parts(
    settings: Settings, health: Health, metrics: Metrics, avatars: OpenAvatars = open_avatars, traces: Traces = OFF,
    in_flight: int = IN_FLIGHT, look_after: timedelta = CHECK_AFTER,
) -> AsyncIterator[Parts]:  # fmt: skip
    """Opens the parts on the real sidecar and the real Synapse, which gets `in_flight` requests at a time at most. What
    Synapse still does after its answer is looked at `look_after` later. Raises TryAgain if the sidecar does not answer."""
    dry_run = settings.matrix_dry_run  # guarded where requests are sent, so that it covers every call
    async with (
        open_client() as client,
        # The authorities that httpx trusts are read once, which takes 50 ms, and only when the sidecar is there.
        open_homeserver(settings, client, metrics, traces, in_flight, trust := httpx.create_ssl_context()) as synapse,
        avatars(settings, trust) as source,
    ):
        state = StateStore(client, settings.state_store_name, read_only=dry_run)
        users = UserStore(state)
        publisher = Publisher(client, settings.pubsub_name, read_only=dry_run)
        rechecks = RecheckQueue(state, utc_now)
        reconciler = Reconciler(synapse, source, settings.provider, removes=removed_parts(settings))
        results = settings.matrix_results_topic
        outbox = Outbox(ResultsTopic(publisher, results, synapse.mxid, metrics.published), users) if results else None
        updater = Updater(users, reconciler, rechecks, outbox=outbox, look_after=look_after)
        deletion_limit = DeletionLimit(state, settings.matrix_max_deletions_per_hour, utc_now)
        processor = BatchProcessor(
            updater,
            DeadLetters(publisher, settings.dead_letter_topic),
            health,
            deletion_limit=deletion_limit,
            precreate=settings.matrix_precreate_users,
            traces=traces,
            on_removals=told_removals(metrics),
        )
        loops: list[Loop] = [functools.partial(report_version, Sidecar(client)), deletion_limit.watch]
        if not dry_run:
            departures = Departures(state)
            check, runs, told = processor.recheck, processor.work_is_left, metrics.rechecks
            loops.append(RecheckLoop(rechecks, check, runs, utc_now, departures, told).watch)
        if settings.kafka_brokers:
            topic = settings.dead_letter_topic
            loops.append(OpenLettersLoop(client_config(settings), topic, Marks(state, topic), metrics).watch)
        try:
            yield Parts(processor, users, synapse, [state.probe, synapse.probe], updater, loops)
        finally:
            await deletion_limit.close()
            await asyncio.to_thread(traces.flush)
