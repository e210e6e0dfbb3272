"""Builds a BatchProcessor with fakes for all its dependencies."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from function.accounts.job import Decide
from function.accounts.outbox import Outbox
from function.accounts.plan import decide
from function.accounts.reconcile import Reconciler
from function.accounts.traces import Part, Removal
from function.accounts.updater import Updater
from function.accounts.user_store import UserStore
from function.health import Health
from function.homeserver.synapse import Synapse
from function.kafka.record import KafkaRecord
from function.outcomes import Outcome
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from function.telemetry.tracing import OFF, Traces
from tests.support.events import ALICE, EPOCH
from tests.support.fake_avatars import FakeAvatars
from tests.support.fake_dapr import FakeDeadLetters, FakeResults, FakeStateStore, FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse


class FakeRechecks:
    """Remembers who has to be looked at again, and when."""

    def __init__(self) -> None:
        self.due: dict[str, datetime] = {}

    async def add(self, users: Mapping[str, datetime]) -> None:
        self.due.update(users)


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Harness:
    """A BatchProcessor and its dependencies."""

    homeserver: FakeSynapse
    client: Synapse
    reconciler: Reconciler
    state: FakeStateStore
    letters: FakeDeadLetters
    health: Health
    avatars: FakeAvatars
    rechecks: FakeRechecks
    clock: Clock
    tokens: FakeTokens = field(default_factory=lambda: FakeTokens(ADMIN_TOKEN))
    deletions: int = 0
    precreate: bool = True
    traces: Traces = OFF
    removes: frozenset[Part] = frozenset()
    removals: list[Removal] = field(default_factory=list)
    decide: Decide = decide
    provider: str = "oidc-nova"
    results: FakeResults | None = None  # where changes are published; takes effect with `restart`
    updater: Updater = field(init=False)
    processor: BatchProcessor = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def users(self) -> UserStore:
        return UserStore(self.state)

    def account(self, user_id: str = ALICE) -> dict[str, object]:
        return self.homeserver.accounts[self.homeserver.mxid(user_id)]

    def login(self, *user_ids: str) -> None:
        """Creates the accounts, as a first login does."""
        for user_id in user_ids:
            self.homeserver.add(self.homeserver.mxid(user_id))

    def restart(self) -> None:
        """Loses all state in memory, as in a restart or in another replica."""
        reconciler = Reconciler(self.client, self.avatars, self.provider, self.clock, self.removes)
        outbox = Outbox(self.results, self.users) if self.results else None
        self.updater = Updater(self.users, reconciler, self.rechecks, self.clock, decide=self.decide, outbox=outbox)
        self.processor = BatchProcessor(
            self.updater, self.letters, self.health, deletion_limit=DeletionLimit(self.state, self.deletions, self.clock),
            precreate=self.precreate, traces=self.traces, on_removals=self.removals.extend, clock=self.clock,
        )  # fmt: skip

    async def process(self, *records: KafkaRecord) -> list[Outcome]:
        return [verdict.outcome for verdict in await self.processor.process(records)]

    async def one_by_one(self, records: Sequence[KafkaRecord]) -> list[Outcome]:
        return [outcome for record in records for outcome in await self.process(record)]


@asynccontextmanager
async def world(
    *logged_in: str,
    deletions: int = 0,
    precreate: bool = True,
    traces: Traces = OFF,
    removes: frozenset[Part] = frozenset(),
) -> AsyncIterator[Harness]:
    """Yields a healthy harness in which the given users have accounts."""
    homeserver, state, letters, health = FakeSynapse(), FakeStateStore(), FakeDeadLetters(), Health()
    health.failure = None
    tokens, avatars, clock = FakeTokens(ADMIN_TOKEN), FakeAvatars(), Clock()
    async with homeserver.client(traces) as http:
        synapse = Synapse(http, tokens, homeserver.server_name)
        reconciler = Reconciler(synapse, avatars, "oidc-nova", clock)
        parts = (homeserver, synapse, reconciler, state, letters, health, avatars, FakeRechecks(), clock, tokens)
        made = Harness(*parts, deletions=deletions, precreate=precreate, traces=traces, removes=removes)
        made.login(*logged_in)
        yield made
