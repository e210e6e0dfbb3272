"""Publishes evidence from the users' own states, so that nothing is lost between a change and its publication.

The confirmation of a change writes it into the user's state, too. Then it is published, and then it is removed. A process that
reads a state with changes that may not be published publishes them first: before any other change, so that a user's changes are
published in their order. After a crash a change is published again, under the same id.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from function.accounts.attribution import announced, told
from function.accounts.job import Job, unexpected
from function.accounts.plan import Decision
from function.accounts.user_state import UserState
from function.accounts.user_store import UserStore, Versioned
from function.changes import Change
from function.copies import replace
from function.dapr.state_store import Conflict
from function.events.types import Event
from function.evidence.topic import Topic
from function.outcomes import Reason, TryAgain

SECONDS = 10.0  # for all users that are confirmed together; what is not published by then waits
AT_A_TIME = 16


class Outbox:
    """Publishes the changes in users' states.

    Args:
        topic: where they are published.
        users: the users' states.
    """

    def __init__(self, topic: Topic, users: UserStore) -> None:
        self._topic, self._users = topic, users

    def claimed(self, decision: Decision, events: Sequence[Event]) -> UserState:
        """Returns the state of a decision with what its calls may change."""
        return replace(decision.state, announced=announced(decision, events) or None)

    def confirmed(self, job: Job, now: datetime) -> UserState:
        """Returns the state of a job's result with what was changed."""
        assert job.decision is not None
        assert job.result is not None
        if job.rejected:  # not even looking at the account succeeded: no call was made
            return job.result.state
        evidence = told(job.decision, job.events, job.result, now)
        unpublished = (*(job.result.state.unpublished or ()), *evidence.changes)
        return replace(job.result.state, announced=evidence.announced or None, unpublished=unpublished or None)

    async def publish_before(self, jobs: Sequence[Job]) -> list[Job]:
        """Publishes what is unpublished in the states that the jobs rest on; returns the jobs that can go on."""
        states = {job.user_id: job.decision.state for job in jobs if job.decision}
        old = {user_id: state.unpublished for user_id, state in states.items() if state.unpublished}
        if not old or self._users.read_only:
            return list(jobs)
        failed = await self._publish(old)
        for job in jobs:
            if failure := failed.get(job.user_id):
                job.result, job.failure = None, failure
            elif job.user_id in old and job.decision is not None:
                job.decision = replace(job.decision, state=replace(job.decision.state, unpublished=None))
        return [job for job in jobs if job.user_id not in failed]

    async def publish_confirmed(self, jobs: Sequence[Job], states: Mapping[str, UserState]) -> None:
        """Publishes what was just confirmed and removes it from the states. A job whose changes are not published waits."""
        new = {user_id: state.unpublished for user_id, state in states.items() if state.unpublished}
        if not new:
            return
        failed = await self._publish(new)
        done = {user_id: changes for user_id, changes in new.items() if user_id not in failed}
        if done and not self._users.read_only:
            failed |= await self._remove(done)
        for job in jobs:
            job.failure = job.failure or failed.get(job.user_id)

    async def _publish(self, changes: Mapping[str, Sequence[Change]]) -> dict[str, TryAgain]:
        """Publishes users' changes, each user's in their order; returns why those of some are not. Begins no more after a failure."""
        failed = dict.fromkeys(changes, TryAgain(Reason.PUBLISH_FAILED, f"over {SECONDS:.0f} s"))
        free, first = asyncio.Semaphore(AT_A_TIME), list[TryAgain]()

        async def of(user_id: str) -> None:
            async with free:
                try:
                    for change in changes[user_id]:
                        if first:
                            raise first[0]
                        await self._topic.publish(user_id, change)
                    del failed[user_id]
                except TryAgain as failure:
                    first.append(failure)
                    failed[user_id] = failure
                except Exception as error:  # of this user only: its changes can't be written
                    failed[user_id] = unexpected(error)

        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*(of(user_id) for user_id in changes))
        except TimeoutError:
            pass
        return failed

    async def _remove(self, published: Mapping[str, Sequence[Change]]) -> dict[str, TryAgain]:
        """Removes what was published from the states; returns why that of some can't be.

        A state that another writer has changed stays as it is: that writer publishes what it read, or has.
        """
        try:
            found = await self._users.read_each(published)
            rests = {
                user_id: replace(one, state=replace(one.state, unpublished=None))
                for user_id, one in found.items()
                if isinstance(one, Versioned)
                and one.state.claim is None
                and one.state.unpublished == published[user_id]
            }
            if rests:
                await self._write(rests)
        except TryAgain as failure:
            return dict.fromkeys(published, failure)
        return {}

    async def _write(self, states: Mapping[str, Versioned]) -> None:
        try:
            await self._users.write(states)
        except Conflict:
            if len(states) > 1:
                for user_id, one in states.items():
                    await self._write({user_id: one})
