"""Says when users are looked at again, since what is done for them now may have an effect later. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from function.accounts.job import Job
from function.accounts.reconcile import RECENT
from function.accounts.steps import Deactivate
from function.accounts.user_state import Status, UserState

CHECK_AFTER = timedelta(seconds=60)  # Synapse answers a deactivation before the user has left the rooms


def looks_before(
    jobs: Iterable[Job], now: datetime, *, removes: bool, publishes: bool, after: timedelta = CHECK_AFTER
) -> dict[str, datetime]:
    """Returns when to look at which users again, to be remembered before their calls: those that a late request or a queued
    join may change afterwards, and those of whom something is to be removed or told later.

    Args:
        jobs: of which those that need calls count.
        now: in UTC.
        removes: whether anything is removed of an erased user beyond the account.
        publishes: whether what was changed is published.
        after: how long after their calls to look, at the earliest.
    """
    due: dict[str, datetime] = {}
    for job in jobs:
        if job.decision is None or not job.needs_calls:
            continue
        if job.queued and job.stored.state.claim is None:  # it is that later look, and has a number of attempts
            continue
        state = job.decision.state
        times = [state.doubt_until] if state.doubt_until and state.doubt_until > now else []
        recent = state.written_at is not None and now - state.written_at < RECENT
        repairs = publishes and job.recheck and not job.queued  # if its change is not published, no event comes again
        if repairs or (state.status is not Status.ACTIVE and recent) or _leaves_traces(state, removes=removes):
            times.append(now + after)
        if times:
            due[job.user_id] = max(times)
    return due


def looks_after(
    jobs: Iterable[Job], now: datetime, *, publishes: bool, after: timedelta = CHECK_AFTER
) -> dict[str, datetime]:
    """Returns when to look at which users again, once their calls have ended: deletions that Synapse may still be carrying out,
    although they are given up, and changes of any kind if they are published once they come true."""
    given_up = (
        job.user_id
        for job in jobs
        if not job.queued
        and job.result
        and any((publishes or isinstance(step, Deactivate)) and r.in_doubt for step, r in job.result.refused)
    )
    return dict.fromkeys(given_up, now + after)


def _leaves_traces(state: UserState, *, removes: bool) -> bool:
    """Returns whether something is to be removed of an erased user, now or once the account is erased again."""
    outstanding = state.traces is not None and state.traces.outstanding
    return outstanding or (state.status is Status.ERASED and removes)
