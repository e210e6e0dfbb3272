"""Measures the cost of each stage of a noise event in one process, without servers: `python -m benchmarks.studies.stages`.
Takes the best of many rounds, so that other load hardly shows. Excludes the cost of sidecar and network."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx
from dapr.proto import api_v1, common_v1

from benchmarks.report import tables
from benchmarks.workloads import Event, Maker
from function.accounts.plan import coalesces_a_write
from function.accounts.reconcile import Reconciler
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_state import UserState, fold, may_be_redelivered
from function.accounts.user_store import Versioned, dump, load
from function.dapr.bulk_envelope import answer, read_batch
from function.dapr.state_store import FIRST_WRITE
from function.events.decode import decode
from function.events.types import ProfileUpdated
from function.health import Health
from function.homeserver.account import Account
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from function.outcomes import EventResult, Outcome
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from function.processing.event_log import log_batch
from function.processing.results import event_results
from function.processing.user import UserEvents

BATCH, ROUNDS = 100, 200

Work = Callable[[], object]


class Store:
    """A state store that answers immediately, so that only the function is measured."""

    def __init__(self, stored: dict[str, Versioned]) -> None:
        self._stored = stored

    async def read(self, users: Sequence[str]) -> dict[str, Versioned]:
        return {user: self._stored[user] for user in users}

    async def write(self, records: dict[str, Versioned]) -> None:
        """Accepts every write."""


def noise(maker: Maker) -> tuple[list[Event], dict[str, UserState]]:
    """Returns a profile event for each of a hundred users, and their stored states, which the events do not change."""
    events, records = [], dict[str, UserState]()
    for _ in range(BATCH):
        user, state = maker.uuid(), maker.account()
        older = decode(*_wire(maker.profile(user, state)))
        assert isinstance(older, ProfileUpdated)
        known = Account(display_name=state.name, avatar=state.avatar)
        records[user] = UserState(
            profile_at=older.at, display_name=state.name, avatar=state.avatar, known=known, avatar_at=older.at
        )
        events.append(maker.profile(user, state))
    return events, records


def _wire(event: Event) -> tuple[bytes, dict[str, str]]:
    return event.value, {name: text.decode() for name, text in event.headers.items()}


def envelope(events: Sequence[Event]) -> bytes:
    """Returns a batch as daprd sends it."""
    entries = []
    for number, event in enumerate(events):
        value, headers = _wire(event)
        place = {"__key": event.user_id, "__topic": "nova.identity.events", "__partition": "3"}
        place |= {"__offset": str(number), "__timestamp": "1767225600000"}
        encoded = base64.b64encode(value).decode()
        entries.append({"entryId": str(number), "event": encoded, "metadata": headers | place, "contentType": ""})
    return json.dumps({"id": "x", "entries": entries, "topic": "nova.identity.events", "pubsubname": "pubsub"}).encode()


def best(work: Work) -> float:
    """Returns microseconds an event."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return 1e6 * min(found) / BATCH


class Stages:
    """The stages of one batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        events, self._before = noise(Maker(1))
        self._body = envelope(events).decode()
        self._entries = read_batch(self._body)
        self._records = [record for _, record in self._entries if record]
        self._events = [e for r in self._records if isinstance(e := decode(r.value, r.headers), ProfileUpdated)]
        self._stored = {user: Versioned(record, "1") for user, record in self._before.items()}
        self._bodies = {user: dump(record) for user, record in self._before.items()}
        health, client = Health(), HttpClient(httpx.AsyncBaseTransport(), "", "")
        health.failure = None
        tokens: Any = None
        synapse = Synapse(client, tokens, "staging.nova.app")  # never called: nothing changes
        images: Any = None
        self._reconciler = Reconciler(synapse, images, "oidc-nova")
        store: Any = Store(self._stored)
        letters: Any = None
        room_cleanup = RoomCleanup(store, synapse)
        self._delivery = BatchProcessor(
            store,
            self._reconciler,
            letters,
            health,
            deletion_limit=DeletionLimit(0),
            room_cleanup=room_cleanup,
            precreate=False,
        )

    def all(self) -> dict[str, Work]:
        verdicts = [EventResult(Outcome.UNCHANGED)] * BATCH
        return {
            "read_batch: JSON, base64": lambda: read_batch(self._body),
            "decode": lambda: [decode(r.value, r.headers) for r in self._records],
            "load the records": lambda: [load(body) for body in self._bodies.values()],
            "fold, hides_a_step, may_have_run": self._fold,
            "reconcile, verdicts": lambda: self._run(self._reconcile()),
            "settle: a task and a timeout a user, and the two lines above": lambda: self._run(self._process_users()),
            "dump the records": lambda: [dump(record) for record in self._before.values()],
            "the transaction's request": self._request,
            "log lines, level INFO": lambda: log_batch(self._records, self._events, verdicts),
            "answer": lambda: answer(self._entries, set()),
            "deliver, all of it, with a store that is there at once": lambda: self._run(
                self._delivery.process(self._records)
            ),
        }

    def _run(self, work: Coroutine[Any, Any, object]) -> object:
        return self._loop.run_until_complete(work)

    def _fold(self) -> None:
        for event in self._events:
            before = self._before[event.user_id]
            coalesces_a_write([before, fold(before, event)])
            may_be_redelivered(before, event)

    async def _reconcile(self) -> None:
        for event in self._events:
            outcome = await self._reconciler.reconcile(event.user_id, self._before[event.user_id], verify=False)
            event_results([event], outcome)

    async def _process_users(self) -> None:
        users = [UserEvents(event.user_id, [0], [event]) for event in self._events]
        await asyncio.gather(*(self._delivery._user.process(user, self._stored[user.user_id]) for user in users))  # noqa: SLF001

    def _request(self) -> object:
        etag = common_v1.Etag(value="1")
        items = [common_v1.StateItem(key=k, value=v, etag=etag, options=FIRST_WRITE) for k, v in self._bodies.items()]
        operations = [api_v1.TransactionalStateOperation(operationType="upsert", request=item) for item in items]
        return api_v1.ExecuteStateTransactionRequest(storeName="s", operations=operations).SerializeToString()


def main() -> None:
    """Print the table."""
    logging.getLogger("function").setLevel("INFO")
    loop = asyncio.new_event_loop()
    rows = [(name, f"{best(work):.1f}") for name, work in Stages(loop).all().items()]
    print(tables.table(("stage", "µs an event"), rows))
    loop.close()


if __name__ == "__main__":
    main()
