"""Processes a batch: Kafka records in, one result for each out.

decode -> group by user -> load the users' states and decide -> claim, call, confirm -> publish dead letters. A failure of
one user makes this user's events wait; a failure of all, such as of the state store, the whole batch.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from function.accounts.job import Job
from function.accounts.plan import ReconcileResult
from function.accounts.recheck_loop import Checked
from function.accounts.steps import Deactivate
from function.accounts.updater import Updater
from function.clock import Clock, utc_now
from function.dead_letters.publish import DeadLetters
from function.events.types import Cause, Event, Ignored, UserCreated
from function.health import Health
from function.kafka.record import KafkaRecord
from function.outcomes import EventResult, Outcome, Reason, Rejected, TryAgain
from function.processing.deletion_limit import DeletionLimit
from function.processing.event_log import log_batch
from function.processing.groups import Groups
from function.processing.incoming import decode_record
from function.processing.letters import publish_letters
from function.processing.removals import OnRemovals, log_removals
from function.processing.user import Item, UserJob
from function.processing.user_locks import UserLocks
from function.slices import map_in_slices
from function.telemetry.logs import log, log_failure
from function.telemetry.tracing import OFF, Traces


class BatchProcessor:
    """Processes batches, concurrently where they share no user.

    Args:
        updater: carries out what is decided.
        dead_letters: takes the records that can never succeed.
        health: told about dependencies that fail; says whether to try at all.
        deletion_limit: says whether a deletion may pass.
        precreate: whether to create accounts ahead of the first login.
        traces: gets a span for each batch and each user.
        on_removals: told what was done to remove what erased users left behind.
        clock: gives the time in UTC.
    """

    def __init__(
        self, updater: Updater, dead_letters: DeadLetters, health: Health, *,
        deletion_limit: DeletionLimit, precreate: bool, traces: Traces = OFF, on_removals: OnRemovals = log_removals,
        clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._updater, self._dead_letters, self._health = updater, dead_letters, health
        self._deletion_limit, self._precreate, self._traces = deletion_limit, precreate, traces
        self._on_removals, self._clock = on_removals, clock
        self._user_locks, self._groups = UserLocks(), Groups(updater, deletion_limit, clock)

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

    async def recheck(self, user_id: str) -> Checked:
        """Reads a user's account and sets right what is not as the state says; goes on with what is removed of an erased user.

        Raises:
            TryAgain: it could not be done now.
        """
        if self._health.failure:
            raise self._health.failure
        job = Job(user_id, (), recheck=True, queued=True)
        async with self._user_locks.acquire({user_id}):
            await self._updater.load([job])
            if job.decision is not None and job.stored.etag:
                await self._updater.update([job])
        if job.result:
            self._on_removals(job.result.removals)
        if job.failure:
            self._health.report(job.failure)
            raise job.failure
        if job.result and job.result.done:
            log(logging.WARNING, "recheck_repaired", size=len(job.result.done))
        return _checked(job)

    async def work_is_left(self, user_id: str) -> bool:
        """Returns whether something is still to be removed of an erased user, or to be published. Raises TryAgain."""
        try:
            state = await self._updater.read(user_id)
        except TryAgain as failure:
            if failure.reason is Reason.STATE_UNREADABLE:  # not by this release, however often it is asked
                return False
            raise
        if state.unpublished and self._updater.publishes:
            return True
        return state.traces is not None and state.traces.outstanding and not state.traces.overdue(self._clock())

    async def _guarded(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        if self._health.failure:
            return [EventResult(Outcome.RETRY, self._health.failure)] * len(records)
        try:
            return await self._process(records)
        except TryAgain as failure:
            return self._retry_all(records, failure)
        except Exception as raised:
            error = raised.exceptions[0] if isinstance(raised, ExceptionGroup) else raised  # the log names the cause
            log_failure("batch_failed", error)
            return self._retry_all(records, TryAgain(Reason.UNEXPECTED, type(error).__name__))

    def _retry_all(self, records: Sequence[KafkaRecord], failure: TryAgain) -> list[EventResult]:
        self._health.report(failure)
        log(logging.WARNING, "batch_retry", reason=failure.reason.value, detail=failure.detail, size=len(records))
        return [EventResult(Outcome.RETRY, failure)] * len(records)

    async def _process(self, records: Sequence[KafkaRecord]) -> list[EventResult]:
        items = await map_in_slices(self._decoded, records, size=lambda record: len(record.value))
        jobs = self._by_user(items)
        busy = self._user_locks.busy(jobs.keys())
        free = {user_id: job for user_id, job in jobs.items() if user_id not in busy}
        late = {user_id: jobs[user_id] for user_id in busy}
        waiting = [item for job in late.values() for item in job.items]
        held = {id(item) for item in waiting}
        others = [item for item in items if id(item) not in held]
        if not waiting:
            await self._process_part(others, free)
        else:  # users whom another batch or a recheck holds make no other user wait
            await asyncio.gather(self._guarded_part(others, free), self._guarded_part(waiting, late))
        log_batch(items)
        return [_result(item) for item in items]

    async def _guarded_part(self, items: Sequence[Item], jobs: Mapping[str, UserJob]) -> None:
        """Processes a part of a batch; if it fails, the other part stays as it is."""
        try:
            await self._process_part(items, jobs)
        except TryAgain as failure:
            retried = self._retry_all([item.record for item in items], failure)
        except Exception as error:
            log_failure("batch_failed", error)
            retried = self._retry_all(
                [item.record for item in items], TryAgain(Reason.UNEXPECTED, type(error).__name__)
            )
        else:
            return
        for item, result in zip(items, retried, strict=True):
            item.result = result

    async def _process_part(self, items: Sequence[Item], jobs: Mapping[str, UserJob]) -> None:
        async with self._user_locks.acquire(jobs.keys()):
            if jobs:
                await self._process_users(list(jobs.values()))
            _hold_back_later_events(jobs.values())
            await publish_letters(items, jobs.values(), self._dead_letters)

    def _decoded(self, record: KafkaRecord) -> Item:
        return Item(record, decode_record(record, self._clock()))

    def _by_user(self, items: Iterable[Item]) -> dict[str, UserJob]:
        """Returns a job for each user; sets the result of the items that concern none."""
        of_users: dict[str, tuple[list[Event], list[Item]]] = {}
        for item in items:
            event = item.event
            if isinstance(event, Ignored):
                item.result = EventResult(Outcome.IGNORED, cause=event.cause)
            elif isinstance(event, UserCreated) and not self._precreate:
                item.result = EventResult(Outcome.IGNORED, cause=Cause.NO_PRECREATION)
            elif isinstance(event, Rejected):
                item.result = EventResult(Outcome.DEAD_LETTER, event)
            else:
                events, own = of_users.setdefault(event.user_id, ([], []))
                events.append(event)
                own.append(item)
        return {
            user_id: UserJob(user_id, events, items=own, traces=self._traces)
            for user_id, (events, own) in of_users.items()
        }

    async def _process_users(self, jobs: Sequence[UserJob]) -> None:
        """Makes Synapse match what the users' events ask for, and sets the results of the users' items."""
        await self._updater.load(jobs)
        decided = [job for job in jobs if job.decision is not None]
        calling = sorted((job for job in decided if job.needs_calls), key=lambda job: job.rank)
        others = [job for job in decided if not job.needs_calls]
        if calling:
            await self._groups.run(calling, others)
        else:
            await self._updater.update(others)
        for job in jobs:
            try:
                job.settle()
            except Exception as error:
                log_failure("user_failed", error)
                job.failure = TryAgain(Reason.UNEXPECTED, type(error).__name__)
                job.settle()
            if job.failure:
                self._health.report(job.failure)


def _hold_back_later_events(jobs: Iterable[UserJob]) -> None:
    """Makes a user's later events wait if an earlier one waits; they are safe to repeat."""
    for job in jobs:
        waiting: EventResult | None = None
        for item in job.items:
            waiting = waiting or (item.result if item.result and item.result.outcome is Outcome.RETRY else None)
            if waiting:
                item.result = waiting


def _checked(job: Job) -> Checked:
    result = job.result
    if job.rejected or (result and (result.done or _may_change(result))):
        return Checked.CHANGED
    traces = result.state.traces if result else None
    return Checked.RUNNING if traces and traces.outstanding else Checked.SETTLED


def _may_change(result: ReconcileResult) -> bool:
    """Returns whether a refused step leaves something to check: its effect is not known, or a deleted user is still there."""
    return any(rejected.in_doubt or isinstance(step, Deactivate) for step, rejected in result.refused)


def _result(item: Item) -> EventResult:
    assert item.result is not None
    return item.result
