"""One user's work: events, the decision that rests on them, and what became of it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from function.accounts.plan import Decision, ReconcileResult
from function.accounts.traces import Part
from function.accounts.user_state import UserState
from function.accounts.user_store import Versioned
from function.events.types import Event
from function.outcomes import Reason, Rejected, TryAgain
from function.telemetry.logs import log_failure


class Decide(Protocol):
    """Says what to do for a user's events; `plan.decide` is used."""

    def __call__(self, before: UserState, events: Sequence[Event], now: datetime, *, look: bool) -> Decision: ...


class Rechecks(Protocol):
    """Remembers users that have to be looked at later."""

    async def add(self, users: Mapping[str, datetime]) -> None: ...


_NOT_READ = Versioned(UserState())


@dataclass(slots=True, eq=False)
class Job:
    """One user's events, and what became of them.

    Attributes:
        user_id: a lower-case UUID.
        events: in the order of their arrival; none for a recheck.
        recheck: whether the account is read whatever is known, with its rooms and what is outstanding after a deletion.
        renew_avatar: whether a copied avatar is uploaded again: its image is gone.
        removes: what is removed (again) of an erased user: an audit has found it.
        stored: the state that `decision` rests on.
        decision: what to do.
        result: what was done and saved; None if nothing could be.
        rejected: why nothing of it can succeed: not even reading the account does.
        failure: why the events have to wait.
    """

    user_id: str
    events: Sequence[Event]
    recheck: bool = False
    renew_avatar: bool = False
    removes: frozenset[Part] = frozenset()
    stored: Versioned = _NOT_READ
    decision: Decision | None = None
    result: ReconcileResult | None = None
    rejected: Rejected | None = None
    failure: TryAgain | None = None
    attempts: int = 0
    queued: bool = False  # a recheck of the queue, which repeats it if anything was wrong
    claimed: bool = False  # the claim may have been saved: the store did not say that it was not
    called: bool = False  # a call may have been made

    def traced(self) -> AbstractContextManager[object]:
        """Opens the span around the user's calls."""
        return nullcontext()

    def calls_ended(self) -> None:
        """Told when the user's calls have ended; more may follow after a conflict."""

    @property
    def needs_calls(self) -> bool:
        return self.decision is not None and self.decision.needs_calls


def fail(jobs: Iterable[Job], failure: TryAgain) -> None:
    """Makes the jobs wait."""
    for job in jobs:
        job.result, job.failure = None, failure


def unexpected(error: Exception) -> TryAgain:
    """Logs a fault of the code, or of a server, that was not foreseen; returns it as a reason to wait."""
    log_failure("user_failed", error)
    return TryAgain(Reason.UNEXPECTED, type(error).__name__)


async def remembered(rechecks: Rechecks, jobs: Sequence[Job], due: Mapping[str, datetime]) -> Sequence[Job]:
    """Remembers rechecks; returns the jobs without those whose recheck can't be: they wait."""
    if not due:
        return jobs
    try:
        await rechecks.add(due)
    except TryAgain as failure:
        if len(due) > 1 and not failure.reason.dependency:
            for user_id, at in due.items():
                jobs = await remembered(rechecks, jobs, {user_id: at})
            return jobs
        fail((job for job in jobs if job.user_id in due), failure)
        return [job for job in jobs if job.user_id not in due]
    return jobs
