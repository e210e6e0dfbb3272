"""Processes a batch: Kafka records in, one result for each out.

decode -> group by user -> load the users' states -> fold -> reconcile -> save -> publish dead letters. A failure that
concerns one user is handled in user.py, any other one here: it makes the whole batch wait.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from function.accounts.reconcile import Reconciler
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_store import UserStore, Versioned
from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Conflict
from function.dead_letters.publish import DeadLetters
from function.events.decode import decode
from function.events.types import Event, Ignored, UserCreated
from function.health import Health
from function.outcomes import EventResult, Outcome, Reason, Rejected, TryAgain
from function.processing.deletion_limit import DeletionLimit
from function.processing.event_log import event_id_of, log_batch
from function.processing.user import UserEvents, UserProcessor, deactivated
from function.processing.user_locks import UserLocks
from function.telemetry.logs import log, log_failure
from function.telemetry.tracing import OFF, Traces

BATCH_SECONDS = 60.0  # for a whole batch: calls to the sidecar have no deadline of their own
TASK_START_CHUNK = 10  # users that are started before other tasks run


class BatchProcessor:
    """Processes batches, concurrently where they share no user.

    Args:
        users: the users' states.
        reconciler: makes Synapse match a user's state.
        dead_letters: takes the records that can never succeed.
        health: told about dependencies that fail; says whether to try at all.
        deletion_limit: says whether a deletion may pass.
        room_cleanup: told which users were deactivated.
        precreate: whether to create accounts ahead of the first login.
        traces: gets a span for each batch and each user.
    """

    def __init__(
        self, users: UserStore, reconciler: Reconciler, dead_letters: DeadLetters, health: Health, *,
        deletion_limit: DeletionLimit, room_cleanup: RoomCleanup, precreate: bool, traces: Traces = OFF,
    ) -> None:  # fmt: skip
        self._users, self._reconciler, self._dead_letters, self._health = users, reconciler, dead_letters, health
        self._deletion_limit, self._room_cleanup, self._precreate = deletion_limit, room_cleanup, precreate
        self._traces = traces
        self._user = UserProcessor(users, reconciler, health, deletion_limit, room_cleanup, traces)
        self._user_locks = UserLocks()

    @property
    def deletions_exhausted(self) -> bool:
        """Whether deletions currently go to the dead letters."""
        return self._deletion_limit.exhausted

    async def process(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        """Returns the result of each record, in their order. Never raises."""
        with self._traces.batch(len(records)) as ended:
            results = await self._guarded(records)
            ended(results)
            return results

    async def _guarded(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        if self._health.failure:
            return [EventResult(Outcome.RETRY, self._health.failure)] * len(records)
        try:
            return await self._process(records)
        except TryAgain as failure:
            return self._retry_all(records, failure)
        except TimeoutError:
            return self._retry_all(records, TryAgain(Reason.TOO_SLOW, f"over {BATCH_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("batch_failed", error)
            return self._retry_all(records, TryAgain(Reason.UNEXPECTED, type(error).__name__))

    def _retry_all(self, records: Sequence[KafkaRecord], failure: TryAgain) -> list[EventResult]:
        self._health.report(failure)
        log(logging.WARNING, "batch_retry", reason=failure.reason.value, detail=failure.detail, size=len(records))
        return [EventResult(Outcome.RETRY, failure)] * len(records)

    async def _process(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        decoded = [decode(record.value, record.headers) for record in records]
        results: dict[int, EventResult] = {}
        users: dict[str, UserEvents] = {}
        for place, event in enumerate(decoded):
            if isinstance(event, Ignored) or (isinstance(event, UserCreated) and not self._precreate):
                results[place] = EventResult(Outcome.IGNORED)
            elif isinstance(event, Rejected):
                results[place] = EventResult(Outcome.DEAD_LETTER, event)
            else:
                user = users.setdefault(event.user_id, UserEvents(event.user_id, [], []))
                user.places.append(place)
                user.events.append(event)
                user.traceparents.append(records[place].metadata.get("traceparent", ""))
        async with self._user_locks.acquire(users.keys()), asyncio.timeout(BATCH_SECONDS):
            if users:
                await self._process_users(list(users.values()))
            for user in users.values():
                results |= user.results
            await self._publish_dead_letters(records, decoded, results)
        _hold_back_later_events(users.values(), results)
        ordered = [results[place] for place in range(len(records))]
        log_batch(records, decoded, ordered)
        return ordered

    async def _process_users(self, users: Sequence[UserEvents]) -> None:
        """Makes Synapse match what the users' events ask for, and saves the users' states."""
        stored = await self._users.read([user.user_id for user in users])
        busy = [user for user in users if not self._user.process_without_io(user, stored[user.user_id])]
        await self._process_concurrently(busy, stored)
        changed = {
            user.user_id: Versioned(user.reconciled.state, stored[user.user_id].etag)
            for user in users
            if user.reconciled and user.reconciled.state != stored[user.user_id].state
        }
        await self._room_cleanup.add(deactivated(users))
        try:
            if changed:
                await self._user.save(changed)
        except Conflict:
            for user in users:
                if user.user_id in changed:
                    await self._user.save_alone(user, changed[user.user_id])

    async def _process_concurrently(self, users: Sequence[UserEvents], stored: Mapping[str, Versioned]) -> None:
        try:
            async with asyncio.TaskGroup() as group:  # if one fails, none goes on writing after the locks are released
                for number, user in enumerate(users, start=1):
                    group.create_task(self._user.process(user, stored[user.user_id]))
                    if number % TASK_START_CHUNK == 0:
                        await asyncio.sleep(0)  # lets other batches' answers from Synapse in between
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the log names the cause, not the group

    async def _publish_dead_letters(
        self,
        records: Sequence[KafkaRecord],
        decoded: Sequence[Event | Ignored | Rejected],
        results: dict[int, EventResult],
    ) -> None:
        """Publishes the dead letters; an event whose letter can't be published waits."""
        for place, result in sorted(results.items()):
            if not isinstance(result.failure, Rejected):
                continue
            try:
                await self._dead_letters.publish(
                    records[place], result.failure, event_id_of(decoded[place], records[place])
                )
            except TryAgain as failure:
                log(logging.WARNING, "dead_letter_retry", reason=failure.reason.value, detail=failure.detail)
                results[place] = EventResult(Outcome.RETRY, failure)


def _hold_back_later_events(users: Iterable[UserEvents], results: dict[int, EventResult]) -> None:
    """Makes a user's later events wait if an earlier one waits; they are safe to repeat."""
    for user in users:
        waiting: EventResult | None = None
        for place in user.places:
            waiting = waiting or (results[place] if results[place].outcome is Outcome.RETRY else None)
            if waiting:
                results[place] = waiting
