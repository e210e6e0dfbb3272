"""One user's events of a batch: what becomes of each, and whether the deletion limit lets them pass."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from function.accounts.job import Job
from function.accounts.steps import CopyAvatar
from function.accounts.user_state import Status
from function.events.types import Decoded, Event, UserDeleted
from function.kafka.record import KafkaRecord
from function.outcomes import EventResult, Outcome, Reason, Rejected, TryAgain
from function.processing.deletion_limit import DeletionLimit
from function.processing.results import event_results, may_have_deactivated
from function.telemetry.logs import log
from function.telemetry.tracing import OFF, Traces

_OVER_LIMIT = Rejected(Reason.DELETION_LIMIT, "more deletions within an hour than MATRIX_MAX_DELETIONS_PER_HOUR")


@dataclass(slots=True, eq=False)
class Item:
    """A record of a batch, what was decoded from it, and its result as soon as there is one."""

    record: KafkaRecord
    event: Decoded
    result: EventResult | None = None


@dataclass(slots=True, eq=False)
class UserJob(Job):
    """A job with the items that its events come from, in the order of their arrival."""

    items: list[Item] = field(default_factory=list)
    traces: Traces = OFF
    permit: bool = False  # of the deletion limit
    on_ended: Callable[[], None] | None = None  # called once, when the user's calls have ended

    @property
    def rank(self) -> int:
        """The order among the users of a batch: deletions, then names, then avatars, whose hosts may be slow."""
        if any(isinstance(event, UserDeleted) for event in self.events):
            return 0
        if self.decision is None:
            return 1
        wanted = self.decision.state.avatar or ""
        copies = any(isinstance(step, CopyAvatar) for step in self.decision.steps)
        return 2 if copies or (self.decision.look and wanted.startswith("https://")) else 1

    def calls_ended(self) -> None:
        """Lets the next user begin."""
        if ended := self.on_ended:
            self.on_ended = None
            ended()

    def traced(self) -> AbstractContextManager[object]:
        """Opens the span around the user's calls, with the results as they are once it ends."""
        return self._span()

    @contextmanager
    def _span(self) -> Iterator[None]:
        types = [type(event).__name__ for event in self.events]
        parents = [item.record.metadata.get("traceparent", "") for item in self.items]
        with self.traces.user(types, parents) as ended:
            yield
            ended(self._results())

    def settle(self) -> None:
        """Sets the result of each item from what became of the job; an item that has one keeps it, unless the user waits."""
        if self.failure:
            for item in self.items:
                item.result = EventResult(Outcome.RETRY, self.failure)
            return
        open_items = [item for item in self.items if item.result is None]
        for item, result in zip(open_items, self._results(), strict=True):
            item.result = result

    def _results(self) -> Sequence[EventResult]:
        if self.rejected:
            return [EventResult(Outcome.DEAD_LETTER, self.rejected)] * len(self.events)
        if self.result is None or self.result.failure:
            failure = self.failure or (self.result and self.result.failure) or TryAgain(Reason.UNEXPECTED)
            return [EventResult(Outcome.RETRY, failure)] * len(self.events)
        return event_results(self.events, self.result)


async def pass_deletion_limit(job: UserJob, limit: DeletionLimit, *, wait: bool) -> bool | None:
    """Asks the deletion limit for a permit if the user is to be deleted. If the limit is reached, each deletion becomes a dead
    letter and is taken out of the job.

    They leave no trace in the user's state: a person may find that they were a mistake and never replay them.

    Returns:
        whether the job is as it was; None if that can't be said before other deletions have ended, unless `wait`.

    Raises:
        TryAgain: the limit can't be read.
    """
    if job.stored.state.status is not Status.ACTIVE or not any(isinstance(e, UserDeleted) for e in job.events):
        return True
    permit = await limit.try_acquire(wait=wait)
    if permit is not False:
        job.permit = bool(permit)
        return permit
    kept: list[Event] = []
    for item, event in zip(job.items, job.events, strict=True):
        if isinstance(event, UserDeleted):
            item.result = EventResult(Outcome.DEAD_LETTER, _OVER_LIMIT)
        else:
            kept.append(event)
    log(logging.ERROR, "deletion_limit", size=len(job.events) - len(kept))
    job.events = kept
    return False


def settle_permit(job: UserJob, limit: DeletionLimit) -> None:
    """Tells the limit whether the user's deletion ended an account, or may when it is delivered again."""
    if not job.permit:
        return
    job.permit = False
    began = job.claimed or job.called  # a claim whose answer was lost may stand: its redelivery asks for no permit
    if began and (job.failure or job.result is None or may_have_deactivated(job.result)):  # None: it was cut off
        limit.confirm()
    else:
        limit.release()
