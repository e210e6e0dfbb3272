"""What each stage of a noise event costs the function, in one process and without any server: the best of many rounds, so
that a busy machine hardly shows. `python -m benchmarks.stages`. What the sidecar and the network cost is not in it."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from dapr.proto import api_v1, common_v1

from benchmarks import report
from benchmarks.workloads import Event, make
from function.delivery import Delivery, _tell, _User
from function.desired import Account, Record, dump, fold, load, may_have_run
from function.events import ProfileUpdated, decode
from function.health import Health
from function.reconcile import hides_a_step, reconcile
from function.records import answer, read_batch
from function.state import FIRST_WRITE, Stored
from function.synapse import Synapse
from function.verdicts import Fate, Verdict, verdicts_of

BATCH, ROUNDS = 100, 200


class Store:
    """A state store that is there at once: what is measured is the function around it."""

    def __init__(self, records: dict[str, Stored]) -> None:
        self.records = records

    async def read(self, users: list[str]) -> dict[str, Stored]:
        return {user: self.records[user] for user in users}

    async def write(self, records: dict[str, Stored]) -> None:
        pass


def envelope(events: list[Event]) -> bytes:
    """A batch as daprd sends it."""
    entries = [
        {
            "entryId": str(number), "event": base64.b64encode(event.value).decode(),
            "metadata": {name: text.decode() for name, text in event.headers.items()} | {
                "__key": event.user_id, "__topic": "nova.identity.events", "__partition": "3",
                "__offset": str(number), "__timestamp": "1767225600000",
            },
            "contentType": "application/octet-stream",
        }
        for number, event in enumerate(events)
    ]  # fmt: skip
    return json.dumps({"id": "x", "entries": entries, "topic": "nova.identity.events", "pubsubname": "pubsub"}).encode()


def best(work: Callable[[], Any]) -> float:
    """Microseconds an event."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return 1e6 * min(found) / BATCH


def main() -> None:
    """Print the table."""
    logging.getLogger("function").setLevel("INFO")
    workload = make("noise known", 10 * BATCH, 1)
    events = list(workload.events[:BATCH])
    body = envelope(events)
    entries = read_batch(body)
    records = [record for _, record in entries if record]
    decoded = [one for r in records if isinstance(one := decode(r.value, r.headers), ProfileUpdated)]
    known = {user: Account(display_name=s.name, avatar=s.avatar) for user, s in workload.accounts.items()}
    # The profile before, so that every event is newer and changes nothing.
    old = datetime_before(decoded)
    before = {
        e.user_id: Record(profile_at=old, display_name=e.display_name, avatar=e.avatar, avatar_at=old,
                          known=Account(display_name=e.display_name, avatar=e.avatar))
        for e in decoded
    }  # fmt: skip
    assert len(known) >= len(before)
    stored = {user: Stored(record, "1") for user, record in before.items()}
    bodies = {user: dump(record) for user, record in before.items()}
    loop = asyncio.new_event_loop()
    synapse: Any = Synapse.__new__(Synapse)
    health = Health()
    health.sick = None
    state, letters = Any, Any
    state = Store(stored)
    delivery = Delivery(state, synapse, letters, health)
    verdicts = [Verdict(Fate.UNCHANGED)] * len(records)

    async def settle() -> None:
        await asyncio.gather(*(
            delivery._settle_user(_User(e.user_id, [0], [e]), stored[e.user_id]) for e in decoded  # noqa: SLF001
        ))  # fmt: skip

    def pure() -> None:
        for e in decoded:
            record = fold(before[e.user_id], e)
            hides_a_step([before[e.user_id], record])
            may_have_run(before[e.user_id], e)

    async def reconciled() -> None:
        for e in decoded:
            outcome = await reconcile(synapse, e.user_id, before[e.user_id], doubtful=False)
            verdicts_of([e], outcome)

    def request() -> Any:
        operations = [
            api_v1.TransactionalStateOperation(
                operationType="upsert",
                request=common_v1.StateItem(key=k, value=v, etag=common_v1.Etag(value="1"), options=FIRST_WRITE),
            )
            for k, v in bodies.items()
        ]
        return api_v1.ExecuteStateTransactionRequest(storeName="s", operations=operations).SerializeToString()

    stages: dict[str, Callable[[], Any]] = {
        "read_batch (JSON, base64)": lambda: read_batch(body),
        "decode": lambda: [decode(r.value, r.headers) for r in records],
        "load records": lambda: [load(b) for b in bodies.values()],
        "fold, hides_a_step, may_have_run": pure,
        "reconcile, verdicts": lambda: loop.run_until_complete(reconciled()),
        "settle users (tasks, timeouts, fold, reconcile)": lambda: loop.run_until_complete(settle()),
        "dump records": lambda: [dump(r) for r in before.values()],
        "transaction request": request,
        "log lines (_tell, level INFO)": lambda: _tell(records, decoded, verdicts),
        "answer": lambda: answer(entries, set()),
        "deliver, all of it with a store that is there at once": lambda: loop.run_until_complete(
            delivery.deliver(records)
        ),
    }
    print(report.table(("stage", "µs an event"), [(name, f"{best(work):.1f}") for name, work in stages.items()]))


def datetime_before(decoded: list[ProfileUpdated]) -> Any:
    return min(e.at for e in decoded).replace(year=2025)


if __name__ == "__main__":
    main()
