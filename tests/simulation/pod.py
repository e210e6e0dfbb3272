"""Builds one pod of the real code. The only file of the simulation that knows how the code is put together."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx

from function.accounts.departures import Departures
from function.accounts.outbox import Outbox
from function.accounts.recheck_loop import RecheckLoop
from function.accounts.recheck_queue import KEYS, RecheckQueue
from function.accounts.reconcile import Reconciler
from function.accounts.traces import Part
from function.accounts.updater import Updater
from function.accounts.user_store import UserStore
from function.health import PROBE_INTERVAL_FAILING, Health
from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from function.kafka.record import KafkaRecord
from function.outcomes import EventResult, TryAgain
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from tests.simulation.events import FACES
from tests.simulation.evidence import PodResults, Results
from tests.simulation.letters import PodLetters, Topic
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import CALL
from tests.simulation.scenario import Scenario
from tests.simulation.store import PodStore, Values
from tests.support.events import EPOCH
from tests.support.fake_avatars import FakeAvatars
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN
from tests.support.mas_world import URL, FakeSecret

T = TypeVar("T")

SERVER_NAME = "test.example"
ROUND_SECONDS = 5.0  # between two rounds of the rechecks; the real pause is shorter, which changes nothing here


@dataclass(frozen=True, slots=True)
class MasWay:
    """A pod's way to MAS, and the id of the upstream provider."""

    transport: httpx.AsyncBaseTransport
    provider: str


@dataclass(frozen=True, slots=True)
class Ways:
    """A pod's ways to the servers; `mas` is None if Synapse owns the accounts."""

    synapse: httpx.AsyncBaseTransport
    mas: MasWay | None


class Pod:
    """One process of the function."""

    def __init__(
        self, scenario: Scenario, loop: VirtualLoop, process: Process, ways: Ways, values: Values, topic: Topic, results: Results
    ) -> None:  # fmt: skip
        self.process, self._loop, self._values = process, loop, values
        self._ahead = scenario.skew * process.slot
        self._context = process.context()
        self._context.run(self._open, scenario, ways, topic, results)
        self._spawn(self._watch_health())
        self._spawn(self._watch_rechecks())
        if scenario.limit:
            self._spawn(self._limit.watch())

    def _open(self, scenario: Scenario, ways: Ways, topic: Topic, results: Results) -> None:
        clock = self._clock
        self._synapse = _synapse(ways, self._loop.time)
        self._store = PodStore(self._values, self.process)
        self.health = _LazyHealth()
        avatars = FakeAvatars()
        avatars.images = FACES
        rechecks = RecheckQueue(self._store, clock)
        removes = frozenset(Part if scenario.removes else ())
        provider = ways.mas.provider if ways.mas else "oidc-nova"
        reconciler = Reconciler(self._synapse, avatars, provider, clock, removes)
        users = UserStore(self._store)
        outbox = Outbox(PodResults(results, self.process), users) if scenario.evidence else None
        updater = Updater(users, reconciler, rechecks, clock, f"process-{self.process.number}", outbox=outbox)
        self._limit = DeletionLimit(self._store, scenario.limit, clock)
        self._processor = BatchProcessor(
            updater, PodLetters(topic, self.process), self.health, deletion_limit=self._limit, precreate=True, clock=clock
        )  # fmt: skip
        self._rechecks = RecheckLoop(
            rechecks, self._processor.recheck, self._processor.work_is_left, clock, Departures(self._store)
        )

    def _clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() + self._ahead)

    def deliver(self, call: int, records: Sequence[KafkaRecord]) -> "asyncio.Task[list[EventResult]]":
        """Hands a batch over; the task's result are the results of its records."""
        return self._spawn(self._process(call, records))

    async def _process(self, call: int, records: Sequence[KafkaRecord]) -> list[EventResult]:
        CALL.set(call)
        return await self._processor.process(records)

    def _spawn(self, coro: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self._loop.create_task(coro, context=self._context.copy())

    async def _watch_health(self) -> None:
        """Probes only after a failure: a probe of a healthy pod changes nothing here."""
        while True:
            await self.health.failed.wait()
            await asyncio.sleep(PROBE_INTERVAL_FAILING)
            try:
                await self._store.probe()
                await self._synapse.probe()
            except TryAgain as failure:
                self.health.failure = failure
            else:
                self.health.pass_again()

    async def _watch_rechecks(self) -> None:
        """Runs the rechecks when one is due; spares the rounds of the real loop that find nothing."""
        news = self._values.chores()
        while True:
            news.clear()
            due = min(_due_times(self._values), default=None)
            if due is not None and due <= self._loop.time():
                await self._rechecks.run_due()
                await asyncio.sleep(ROUND_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), None if due is None else due - self._loop.time() + 0.001)


def _synapse(ways: Ways, clock: Callable[[], float]) -> Synapse:
    http, tokens = HttpClient(ways.synapse, f"https://{SERVER_NAME}", "simulation"), FakeTokens(ADMIN_TOKEN)
    if ways.mas is None:
        return Synapse(http, tokens, SERVER_NAME)
    mas_http = HttpClient(ways.mas.transport, URL, "simulation")
    return Delegated(http, tokens, SERVER_NAME, mas_http, ClientCredentials(mas_http, FakeSecret(), clock))


class _LazyHealth(Health):
    """Readiness without the probes of a healthy pod."""

    def __init__(self) -> None:
        super().__init__()
        self.failure = None
        self.failed = asyncio.Event()

    def report(self, failure: TryAgain) -> None:
        super().report(failure)
        if self.failure:
            self.failed.set()

    def pass_again(self) -> None:
        self.failure = None
        self.failed.clear()


def chores_left(values: Values) -> bool:
    """Returns whether users are still to be rechecked."""
    return any(True for _ in _due_times(values))


def _due_times(values: Values) -> Iterator[float]:
    """Yields when each user is to be rechecked, in seconds since the start."""
    for key in KEYS:
        if (value := values.held.get(key)) and not value[0].endswith(b'"users":{}}'):
            yield from (due / 1000 - EPOCH.timestamp() for due, *_ in json.loads(value[0])["users"].values())
