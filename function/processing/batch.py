"""The one road: a batch of records in, SUCCESS or RETRY out for each of them.

decode -> load the users' records -> fold -> reconcile -> save -> publish dead letters -> answer. Every failure ends in
the ladder of `_settle_user` or `deliver`; only what is recognised as hopeless becomes a dead letter.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from function.accounts.plan import coalesces_a_write
from function.accounts.reconcile import Reconciler, ReconcileResult
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_state import Status, UserState, fold, may_be_redelivered
from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Conflict, StateStore, Versioned
from function.dead_letters.publish import DeadLetters
from function.events.decode import Event, Ignored, UserCreated, UserDeleted, decode
from function.health import Health
from function.outcomes import Reason, Rejected, TryAgain
from function.processing.deletion_limit import DeletionLimit
from function.processing.event_log import event_id_of, log_batch
from function.processing.results import EventResult, Outcome, deactivates, event_results
from function.processing.user_locks import UserLocks
from function.telemetry.logs import log, log_failure
from function.telemetry.traces import OFF, Traces

BATCH_SECONDS = 30.0  # no user's reconciliation may hold a batch longer: it holds every partition of this pod
CONFLICT_TRIES = 3
TASK_START_CHUNK = 10  # users that begin at once


@dataclass(slots=True)
class _User:
    """One user's events of a batch, oldest arrival first, with their places in it."""

    user_id: str
    places: list[int]
    events: list[Event]
    traceparents: list[str] = field(default_factory=list)
    results: dict[int, EventResult] = field(default_factory=dict)
    reconciled: ReconcileResult | None = None
    may_delete: bool | None = None  # what the brake said

    @property
    def types(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class BatchProcessor:
    """Takes batches, several at a time where they share no user.

    Args:
        state: the users' records.
        reconciler: makes Synapse what they say.
        dead_letters: where hopeless records go.
        health: told when the world breaks; says whether to try at all.
        brake: says how many deletions may pass.
        departures: told who was deactivated.
        precreate: whether accounts are made ahead of the first login.
        traces: told of each batch and of each user in it.
    """

    def __init__(
        self, state: StateStore, reconciler: Reconciler, dead_letters: DeadLetters, health: Health, *,
        deletion_limit: DeletionLimit, room_cleanup: RoomCleanup, precreate: bool, traces: Traces = OFF,
    ) -> None:  # fmt: skip
        self._state, self._reconciler, self._dead_letters, self._health = state, reconciler, dead_letters, health
        self._deletion_limit, self._room_cleanup, self._precreate = deletion_limit, room_cleanup, precreate
        self._traces = traces
        self._user_locks = UserLocks()

    @property
    def deletions_exhausted(self) -> bool:
        """Whether deletions go to the dead letters now."""
        return self._deletion_limit.exhausted

    async def process(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        """The verdict on each record, in their order. Never raises."""
        with self._traces.batch(len(records)) as ended:
            results = await self._answered(records)
            ended(results)
            return results

    async def _answered(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        if self._health.failure:
            return [EventResult(Outcome.RETRY, self._health.failure)] * len(records)
        try:
            return await self._process(records)
        except TryAgain as failure:
            return self._retry_all(records, failure)
        except TimeoutError:
            return self._retry_all(records, TryAgain(Reason.TOO_SLOW, f"over {2 * BATCH_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("batch_failed", error)
            return self._retry_all(records, TryAgain(Reason.UNEXPECTED, type(error).__name__))

    def _retry_all(self, records: Sequence[KafkaRecord], failure: TryAgain) -> list[EventResult]:
        self._health.report(failure)
        log(logging.WARNING, "batch_waits", reason=failure.reason.value, detail=failure.detail, size=len(records))
        return [EventResult(Outcome.RETRY, failure)] * len(records)

    async def _process(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        decoded = [decode(record.value, record.headers) for record in records]
        results: dict[int, EventResult] = {}
        users: dict[str, _User] = {}
        for place, event in enumerate(decoded):
            if isinstance(event, Ignored) or (isinstance(event, UserCreated) and not self._precreate):
                results[place] = EventResult(Outcome.IGNORED)
            elif isinstance(event, Rejected):
                results[place] = EventResult(Outcome.DEAD_LETTER, event)
            else:
                user = users.setdefault(event.user_id, _User(event.user_id, [], []))
                user.places.append(place)
                user.events.append(event)
                user.traceparents.append(records[place].metadata.get("traceparent", ""))
        # The calls to the sidecar have no bound of their own.
        async with self._user_locks.acquire(users.keys()), asyncio.timeout(2 * BATCH_SECONDS):
            if users:
                await self._process_users(list(users.values()))
            for user in users.values():
                results |= user.results
            await self._publish_dead_letters(records, decoded, results)
        _hold_back_later_events(users.values(), results)
        ordered = [results[place] for place in range(len(records))]
        log_batch(records, decoded, ordered)
        return ordered

    async def _process_users(self, users: Sequence[_User]) -> None:
        """Brings Synapse and the records in step with the users' events."""
        stored = await self._state.read([user.user_id for user in users])
        busy = [user for user in users if not self._processed_without_io(user, stored[user.user_id])]
        await self._process_concurrently(busy, stored)
        changed = {
            user.user_id: Versioned(user.reconciled.state, stored[user.user_id].etag)
            for user in users
            if user.reconciled and user.reconciled.state != stored[user.user_id].state
        }
        await self._room_cleanup.add(_deactivated(users))
        try:
            if changed:
                await self._state.write(changed)
                self._saved(changed)
        except Conflict:
            for user in users:
                if user.user_id in changed:
                    await self._save_alone(user, changed[user.user_id])

    def _saved(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            self._reconciler.forget_upload(user_id)

    def _processed_without_io(self, user: _User, stored: Versioned) -> bool:
        """Whether there is nothing to ask and nothing to do, as for most events: they need no task of their own."""
        if any(isinstance(event, UserDeleted) for event in user.events):
            return False  # the brake has to be asked
        try:
            record, verify = _folded(stored.state, user.events)
            user.reconciled = None if verify else self._reconciler.without_io(user.user_id, record)
        except Exception:
            return False  # the long way says what is wrong, and has this user alone wait
        if user.reconciled is None:
            return False
        with self._traces.user(user.types, user.traceparents) as ended:
            user.results = dict(zip(user.places, event_results(user.events, user.reconciled), strict=True))
            ended(user.results.values())
        return True

    async def _process_concurrently(self, users: Sequence[_User], stored: Mapping[str, Versioned]) -> None:
        try:
            async with asyncio.TaskGroup() as group:  # where one fails, nobody goes on writing once the turn is over
                for number, user in enumerate(users, start=1):
                    group.create_task(self._process_traced(user, stored[user.user_id]))
                    if number % TASK_START_CHUNK == 0:
                        await asyncio.sleep(0)  # else Synapse's answers to other batches wait until all have begun
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the log is to name it, not the group

    async def _process_traced(self, user: _User, stored: Versioned) -> None:
        with self._traces.user(user.types, user.traceparents) as ended:
            user.results = await self._process_user(user, stored)
            ended(user.results.values())

    async def _process_user(self, user: _User, stored: Versioned, *, verify: bool = False) -> dict[int, EventResult]:
        """One user's verdicts; `user.outcome` stays None where nothing may be saved."""
        over_limit = self._over_deletion_limit(user, stored)
        places = [place for place in user.places if place not in over_limit]
        events = [event for place, event in zip(user.places, user.events, strict=True) if place not in over_limit]
        user.reconciled = None
        if not events:
            return over_limit
        record = stored.state
        try:
            record, unsure = _folded(stored.state, events)
            async with asyncio.timeout(BATCH_SECONDS):
                user.reconciled = await self._reconciler.reconcile(user.user_id, record, verify=verify or unsure)
        except Rejected as rejected:
            # Not even a look at this account succeeds; what the events say is remembered all the same.
            user.reconciled = ReconcileResult(record)
            return over_limit | dict.fromkeys(places, EventResult(Outcome.DEAD_LETTER, rejected))
        except TryAgain as failure:
            return self._wait(user, failure)
        except TimeoutError:
            return self._wait(user, TryAgain(Reason.TOO_SLOW, f"over {BATCH_SECONDS:.0f} s"))
        except Exception as error:
            log_failure("user_failed", error)
            return self._wait(user, TryAgain(Reason.UNEXPECTED, type(error).__name__))
        finally:
            if user.may_delete and not (user.reconciled and deactivates(user.reconciled)):
                self._deletion_limit.release()
                user.may_delete = None
        return over_limit | dict(zip(places, event_results(events, user.reconciled), strict=True))

    def _over_deletion_limit(self, user: _User, stored: Versioned) -> dict[int, EventResult]:
        """The user's deletions, where the brake holds them back. They must leave no trace in the record: a person may
        find that they were a mistake, and never replay them."""
        if stored.state.status is not Status.ACTIVE:
            return {}
        deletions = [p for p, event in zip(user.places, user.events, strict=True) if isinstance(event, UserDeleted)]
        if deletions and user.may_delete is None:
            user.may_delete = self._deletion_limit.try_acquire()
        if not deletions or user.may_delete:
            return {}
        log(logging.ERROR, "deletion_brake", size=len(deletions))
        rejected = Rejected(Reason.DELETION_BRAKE, "more deletions within an hour than MATRIX_MAX_DELETIONS_PER_HOUR")
        return dict.fromkeys(deletions, EventResult(Outcome.DEAD_LETTER, rejected))

    def _wait(self, user: _User, failure: TryAgain) -> dict[int, EventResult]:
        self._health.report(failure)
        return dict.fromkeys(user.places, EventResult(Outcome.RETRY, failure))

    async def _save_alone(self, user: _User, changed: Versioned) -> None:
        """Saves one user's record; where another writer was there, starts over from what that one left, and asks
        Synapse again, since our calls may have gone over the newer ones."""
        for _ in range(CONFLICT_TRIES):
            try:
                await self._state.write({user.user_id: changed})
                self._saved([user.user_id])
                return
            except Conflict:
                stored = (await self._state.read([user.user_id]))[user.user_id]
                user.results = await self._process_user(user, stored, verify=True)
                if user.reconciled is None:
                    return
                await self._room_cleanup.add(_deactivated([user]))
                changed = Versioned(user.reconciled.state, stored.etag)
        user.results = self._wait(user, TryAgain(Reason.CONFLICT, f"{CONFLICT_TRIES} times"))

    async def _publish_dead_letters(
        self,
        records: Sequence[KafkaRecord],
        decoded: Sequence[Event | Ignored | Rejected],
        results: dict[int, EventResult],
    ) -> None:
        """Publishes the dead letters; one that can't be published waits."""
        for place, result in sorted(results.items()):
            if not isinstance(result.failure, Rejected):
                continue
            try:
                await self._dead_letters.publish(
                    records[place], result.failure, event_id_of(decoded[place], records[place])
                )
            except TryAgain as failure:
                log(logging.WARNING, "dead_letter_waits", reason=failure.reason.value, detail=failure.detail)
                results[place] = EventResult(Outcome.RETRY, failure)


def _folded(before: UserState, events: Sequence[Event]) -> tuple[UserState, bool]:
    """The record after the events, and whether Synapse may not be as it says."""
    folded = list(accumulate(events, fold, initial=before))
    return folded[-1], coalesces_a_write(folded) or any(may_be_redelivered(before, event) for event in events)


def _deactivated(users: Iterable[_User]) -> dict[str, UserState]:
    return {u.user_id: u.reconciled.state for u in users if u.reconciled and deactivates(u.reconciled)}


def _hold_back_later_events(users: Iterable[_User], results: dict[int, EventResult]) -> None:
    """An event that waits takes the user's later ones with it; they are harmless to repeat."""
    for user in users:
        waiting: EventResult | None = None
        for place in user.places:
            waiting = waiting or (results[place] if results[place].outcome is Outcome.RETRY else None)
            if waiting:
                results[place] = waiting
