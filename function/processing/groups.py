"""Lets the users of a batch begin in groups as their turn comes, past the deletion limit, and updates each group together."""

import asyncio
from collections.abc import Sequence

from function.accounts.updater import Updater
from function.clock import Clock
from function.outcomes import Reason, TryAgain
from function.processing.admission import Admission, Priority
from function.processing.deletion_limit import DeletionLimit
from function.processing.incoming import written_at
from function.processing.user import UserJob, pass_deletion_limit, settle_permit

BEGIN_SECONDS = 30.0  # a batch's users that did not begin by then wait for its next delivery


class Groups:
    """Runs groups of users; the process has one, so that all batches share the places.

    Args:
        updater: carries out what is decided.
        deletion_limit: says whether a deletion may pass.
        clock: gives the time in UTC.
    """

    def __init__(self, updater: Updater, deletion_limit: DeletionLimit, clock: Clock) -> None:
        self._updater, self._deletion_limit, self._clock = updater, deletion_limit, clock
        self._admission = Admission()

    async def run(self, jobs: list[UserJob], others: Sequence[UserJob]) -> None:
        """Lets the users begin in groups, as their turn comes. The others are saved with the first group."""
        oldest = min((written_at(item.record) for job in jobs for item in job.items), default=0.0)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            try:
                async with asyncio.timeout_at(loop.time() + BEGIN_SECONDS):
                    while jobs:
                        priority: Priority = (float(jobs[0].rank > 0), oldest)
                        begun = await self._admission.enter(len(jobs), priority)
                        group.create_task(self._run(jobs[:begun], others))
                        jobs, others = jobs[begun:], []
            except TimeoutError:
                for job in jobs:
                    job.failure = TryAgain(Reason.TOO_SLOW, f"not begun within {BEGIN_SECONDS:.0f} s")
        if others:
            await self._updater.update(others)

    async def _run(self, jobs: Sequence[UserJob], others: Sequence[UserJob]) -> None:
        """Updates users that begin together. Deletions that the limit can't decide yet follow when the first have ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for job in jobs:
            job.on_ended = lambda: self._admission.leave(loop.time() - began)
        try:
            undecided = await self._update(jobs, others)
            while undecided:
                left = await self._update(undecided)
                if len(left) == len(undecided):  # those of other groups hold the rest of the limit
                    left = left[1:]
                    await self._update(undecided[:1], wait=True)
                undecided = left
        finally:
            for job in jobs:  # those that made no call
                job.calls_ended()

    async def _update(
        self, jobs: Sequence[UserJob], others: Sequence[UserJob] = (), *, wait: bool = False
    ) -> list[UserJob]:
        """Updates the users whom the deletion limit lets pass; returns those about whom it can't decide."""
        verdicts: list[tuple[UserJob, bool | None]] = []
        for job in jobs:
            verdicts.append((job, await self._passes_limit(job, wait=wait)))
            if job.failure and job.failure.reason.dependency:  # asking for each of the others takes its time each
                for other in jobs[len(verdicts) :]:
                    other.failure = job.failure
                break
        passed = [job for job, passes in verdicts if passes]
        try:
            if passed or others:
                await self._updater.update([*passed, *others])
        finally:
            for job in passed:
                settle_permit(job, self._deletion_limit)
        return [job for job, passes in verdicts if passes is None]

    async def _passes_limit(self, job: UserJob, *, wait: bool) -> bool | None:
        """Returns whether anything is left to do of a job; None if the deletion limit can't decide yet."""
        try:
            passes = await pass_deletion_limit(job, self._deletion_limit, wait=wait)
        except TryAgain as failure:
            job.failure = failure
            return False
        if passes is False:
            self._updater.decide(job, job.stored, self._clock())
            return bool(job.events) and job.decision is not None
        return passes
