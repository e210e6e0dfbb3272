"""Measures the cost of each stage of a noise event in one process, without servers: `python -m benchmarks.studies.stages`.
Takes the best of many rounds, so that other load hardly shows. Excludes the cost of sidecar and network."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from dapr.proto import api_v1, common_v1

from benchmarks.report import tables
from benchmarks.workloads import Event, Maker
from function.accounts.job import Job
from function.accounts.plan import ReconcileResult, decide
from function.accounts.reconcile import Reconciler
from function.accounts.updater import Updater
from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, dump, load
from function.clock import utc_now
from function.dapr.bulk_envelope import Body, answer, read_batch
from function.dapr.state_store import FIRST_WRITE, StateStore, Value
from function.events.decode import decode
from function.events.types import ProfileUpdated
from function.health import Health
from function.homeserver.account import Account
from function.outcomes import EventResult, Outcome
from function.processing.batch import BatchProcessor
from function.processing.deletion_limit import DeletionLimit
from function.processing.event_log import log_batch
from function.processing.results import event_results
from function.processing.user import Item

BATCH, ROUNDS = 100, 200

Work = Callable[[], object]


class Store(StateStore):
    """A state store that answers immediately, so that only the function is measured."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = {key: (value, "1") for key, value in values.items()}
        self.read_only = False

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        return {key: self._values[key] for key in wanted}

    async def write_values(self, values: Mapping[str, Value]) -> None:
        """Accepts every write, and keeps none."""


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
        self._body = envelope(events)
        self._entries = read_batch(Body([self._body]))
        self._records = [record for _, record in self._entries if record]
        self._events = [e for r in self._records if isinstance(e := decode(r.value, r.headers), ProfileUpdated)]
        self._items = [Item(record, event) for record, event in zip(self._records, self._events, strict=True)]
        self._bodies = {user: dump(record) for user, record in self._before.items()}
        self._store = UserStore(Store(self._bodies))
        unused: Any = None  # neither Synapse, nor images, nor dead letters are needed: nothing changes
        self._updater = Updater(self._store, Reconciler(unused, unused, "oidc-nova"), unused)
        health = Health()
        health.failure = None
        limit = DeletionLimit(Store({}), 0, utc_now)
        self._processor = BatchProcessor(self._updater, unused, health, deletion_limit=limit, precreate=False)

    def all(self) -> dict[str, Work]:
        for item in self._items:
            item.result = EventResult(Outcome.UNCHANGED)
        return {
            "read_batch: JSON, base64": lambda: read_batch(Body([self._body])),
            "decode": lambda: [decode(r.value, r.headers) for r in self._records],
            "load the states": lambda: [load(body) for body in self._bodies.values()],
            "decide: fold, plan": self._decide,
            "results": self._results,
            "load, decide and save, with a store that is there at once": lambda: self._run(self._update()),
            "dump the states": lambda: [dump(record) for record in self._before.values()],
            "the transaction's request": self._request,
            "log lines, level INFO": lambda: log_batch(self._items),
            "answer": lambda: answer(self._entries, set()),
            "process, all of it, with a store that is there at once": lambda: self._run(
                self._processor.process(self._records)
            ),
        }

    def _run(self, work: Coroutine[Any, Any, object]) -> object:
        return self._loop.run_until_complete(work)

    def _decide(self) -> None:
        now = utc_now()
        for event in self._events:
            decide(self._before[event.user_id], [event], now)

    def _results(self) -> None:
        for event in self._events:
            event_results([event], ReconcileResult(self._before[event.user_id]))

    async def _update(self) -> None:
        jobs = [Job(event.user_id, [event]) for event in self._events]
        await self._updater.load(jobs)
        await self._updater.update(jobs)

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
