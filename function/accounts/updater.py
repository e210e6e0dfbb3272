"""Claims users, calls Synapse, and confirms: the only way in which this service changes an account.

Synapse has no compare-and-swap, the state store has. So no call is made that the user's state does not announce:

1. Claim: the state after the events is saved with a claim, under the ETag that it was read with. After a conflict no call was
   made, and the user starts over.
2. Call: the steps. None begins after the claim's end.
3. Confirm: what is now known is saved without the claim, under the ETag of the claim. A conflict means that another process
   took over: the account is read and set right.

An unclaimed state is trusted. A claim of another process makes the user's events wait until it ends; then it is taken over.
"""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from function.accounts.job import Decide, Job, Rechecks, fail, remembered, unexpected
from function.accounts.later_looks import CHECK_AFTER, looks_after, looks_before
from function.accounts.outbox import Outbox
from function.accounts.plan import Decision, ReconcileResult, decide
from function.accounts.reconcile import Reconciler, result_without_calls
from function.accounts.traces import opened
from function.accounts.user_state import Claim, Status, UserState, doubted, taken_over
from function.accounts.user_store import UserStore, Versioned
from function.clock import Clock, utc_now
from function.copies import replace
from function.dapr.state_store import Conflict
from function.events.types import Event
from function.outcomes import Reason, Rejected, TryAgain

Claims = Mapping[str, tuple[Claim | None, str]]  # claim and ETag by user id
CLAIM = timedelta(seconds=30)  # as long a user waits for a process that died
SKEW = timedelta(minutes=1)  # between replicas' clocks; a claim that lasts longer is not believed
CONFIRM_SECONDS = 3.0  # those that have ended wait no longer for the others that began with them
ATTEMPTS = 3  # against other writers of the same user


class Updater:
    """Carries out decisions under claims.

    Args:
        users: the users' states.
        reconciler: makes Synapse match a state.
        rechecks: remembers users to look at later.
        clock: gives the time in UTC.
        process: identifies this process among the replicas.
        decide: says what to do for a user's events.
        outbox: publishes what was changed; None: nothing is published.
        look_after: how long after calls to look at what Synapse still does.
    """

    def __init__(
        self, users: UserStore, reconciler: Reconciler, rechecks: Rechecks, clock: Clock = utc_now, process: str = "",
        decide: Decide = decide, outbox: Outbox | None = None, look_after: timedelta = CHECK_AFTER,
    ) -> None:  # fmt: skip
        self._decide, self._outbox, self._look_after = decide, outbox, look_after
        self._users, self._reconciler, self._rechecks, self._clock = users, reconciler, rechecks, clock
        self._process = process or uuid.uuid4().hex[:12]

    @property
    def publishes(self) -> bool:
        """Whether what was changed is published."""
        return self._outbox is not None

    async def read(self, user_id: str) -> UserState:
        """Returns a user's stored state. Raises TryAgain."""
        return (await self._users.read(user_id)).state

    async def load(self, jobs: Sequence[Job]) -> None:
        """Reads the users' states and decides. Raises TryAgain if the state store is unavailable."""
        found = await self._users.read_each([job.user_id for job in jobs])
        now = self._clock()
        for job in jobs:
            self.decide(job, found[job.user_id], now)

    def decide(self, job: Job, stored: Versioned | TryAgain, now: datetime, *, look: bool = False) -> None:
        """Sets the job's decision, or its failure if its state can't be read or is claimed by another process."""
        job.decision = job.result = None
        if isinstance(stored, TryAgain):
            job.failure = stored
            return
        state, claim = stored.state, stored.state.claim
        if claim is not None:
            if claim.by != self._process and now < claim.until < now + CLAIM + SKEW:
                job.failure = TryAgain(Reason.CLAIMED, "by another process")
                return
            state = taken_over(state, now)
        if job.renew_avatar:
            state = replace(state, copy=None)
        if state.status is Status.ERASED and job.removes:
            state = replace(state, traces=opened(state.traces, job.removes, now))
        job.stored = stored
        try:
            job.decision = self._decide(state, job.events, now, look=look or job.recheck)
        except Exception as error:
            job.failure = unexpected(error)

    async def update(self, jobs: Sequence[Job]) -> None:
        """Carries out the jobs' decisions; those that need no call are saved together with the claims of the others.

        Sets each job's `result` once it is saved, else its `failure`; never raises for them.
        """
        if self._outbox:
            jobs = await self._outbox.publish_before(jobs)
        due = looks_before(
            jobs,
            self._clock(),
            removes=bool(self._reconciler.removes),
            publishes=self.publishes,
            after=self._look_after,
        )
        jobs = await remembered(self._rechecks, jobs, due)
        calling = [job for job in jobs if job.needs_calls]
        until = self._clock() + CLAIM
        try:
            await self._claim(jobs, until)
        except Conflict:
            await self._after_conflict(jobs)
            return
        except ValueError as error:  # one of the states can't be written
            await self._one_by_one(jobs) if len(jobs) > 1 else fail(jobs, unexpected(error))
            return
        except TryAgain as failure:
            fail(jobs, failure)
            return
        if calling:
            await self._carry_out(calling, until)

    async def _claim(self, jobs: Sequence[Job], until: datetime) -> None:
        changed: dict[str, Versioned] = {}
        for job in jobs:
            assert job.decision is not None
            if job.needs_calls:
                claimed = self._claimed(job.decision, job.events, until)
                changed[job.user_id] = Versioned(claimed, job.stored.etag, job.stored.unknown)
                continue
            job.result = result_without_calls(job.decision)
            if job.result.state != job.stored.state:
                changed[job.user_id] = Versioned(job.result.state, job.stored.etag, job.stored.unknown)
        if not changed:
            return
        for job in jobs:
            job.claimed = job.needs_calls
        try:
            await self._users.write(changed)
        except (Conflict, ValueError):
            for job in jobs:
                job.claimed = False
            raise

    def _claimed(self, decision: Decision, events: Sequence[Event], until: datetime) -> UserState:
        state = self._outbox.claimed(decision, events) if self._outbox else decision.state
        written = until - CLAIM if state.status is Status.ACTIVE else state.written_at
        return replace(state, claim=Claim(self._process, until), written_at=written)

    async def _call(self, job: Job, until: datetime) -> None:
        assert job.decision is not None
        job.called = True
        try:
            with job.traced():
                later = job.recheck
                job.result = await self._reconciler.reconcile(job.user_id, job.decision, until, later=later)
        except Rejected as rejected:
            job.rejected = rejected
            job.result = ReconcileResult(replace(job.decision.state, claim=None))
        except Exception as error:
            job.result = ReconcileResult(doubted(job.decision.state, self._clock()), failure=unexpected(error))
        finally:
            job.calls_ended()

    async def _claims(self, jobs: Iterable[Job]) -> Claims:
        """Returns the claims and their ETags, which a transaction does not return; {} if they can't be read."""
        try:
            return await self._users.read_claims([job.user_id for job in jobs])
        except TryAgain:
            return {}

    async def _confirm(self, jobs: Sequence[Job], until: datetime, found: Claims) -> None:
        claim = Claim(self._process, until)
        own: list[tuple[Job, str]] = []
        lost: list[Job] = []
        for job in jobs:
            if self._users.read_only:  # nothing was claimed
                own.append((job, job.stored.etag))
                continue
            stored = found.get(job.user_id) or (await self._claims([job])).get(job.user_id)
            if stored is None:
                fail([job], TryAgain(Reason.STATE_UNAVAILABLE, "not confirmed"))
            elif stored[0] != claim:
                lost.append(job)
            else:
                own.append((job, stored[1]))
        try:
            await self._write_confirmed(own)
        except TryAgain as failure:
            fail([job for job, _ in own], failure)
        except (Conflict, ValueError) as error:  # a ValueError: what Synapse said of one of them can't be written
            if len(own) > 1:
                await asyncio.gather(*(self._confirm([job], until, {}) for job, _ in own))
            elif isinstance(error, Conflict):
                lost.append(own[0][0])
            else:
                fail([own[0][0]], unexpected(error))
        await asyncio.gather(*(self._taken_over(job) for job in lost))  # the others don't wait for their calls

    async def _write_confirmed(self, own: Sequence[tuple[Job, str]]) -> None:
        now = self._clock()
        due = looks_after((job for job, _ in own), now, publishes=self.publishes, after=self._look_after)
        kept = await remembered(self._rechecks, [job for job, _ in own], due)
        states = {
            job.user_id: Versioned(self._confirmed(job, job.result, now), etag, job.stored.unknown)
            for job, etag in own
            if job.result and job in kept
        }
        if states:
            await self._users.write(states)
        for job in kept:
            job.failure = job.result.failure if job.result else job.failure
        if self._outbox:
            await self._outbox.publish_confirmed(kept, {user_id: one.state for user_id, one in states.items()})

    def _confirmed(self, job: Job, result: ReconcileResult, now: datetime) -> UserState:
        return self._outbox.confirmed(job, now) if self._outbox else result.state

    async def _taken_over(self, job: Job) -> None:
        """Starts over from another writer's state, and reads the account, since our calls may have overwritten newer ones."""
        uploads = job.result.state.uploads if job.result else ()
        await self._start_over(job, look=True, uploads=uploads)

    async def _carry_out(self, jobs: Sequence[Job], until: datetime) -> None:
        """Calls Synapse for the users and confirms those that have ended, every few seconds while others go on."""
        etags = asyncio.ensure_future(self._claims(jobs))
        calls: dict[asyncio.Future[None], Job] = {asyncio.ensure_future(self._call(job, until)): job for job in jobs}
        try:
            while calls:
                ended, _ = await asyncio.wait(calls, timeout=CONFIRM_SECONDS)
                if ended:
                    await self._confirm([calls.pop(call) for call in ended], until, await etags)
        finally:
            etags.cancel()
            for call in calls:
                call.cancel()
            await asyncio.gather(etags, *calls, return_exceptions=True)

    async def _after_conflict(self, jobs: Sequence[Job]) -> None:
        """Updates together the users whom no other writer changed; at the same time each of the others starts over."""
        try:
            found = await self._users.read_each([job.user_id for job in jobs])
        except TryAgain as failure:
            fail(jobs, failure)
            return
        same = [job for job in jobs if _etag(found[job.user_id]) == job.stored.etag]
        if len(same) == len(jobs):  # it was no conflict of etags, or its user can't be told
            await self._one_by_one(jobs)
            return
        rest = (self._start_over(job) for job in jobs if job not in same)
        await asyncio.gather(*rest, *([self.update(same)] if same else []))

    async def _one_by_one(self, jobs: Sequence[Job]) -> None:
        """Updates each user alone after a conflict on any of them; the conflicting one starts over."""
        for job in jobs:
            if len(jobs) == 1:
                await self._start_over(job)
            else:
                await self.update([job])

    async def _start_over(self, job: Job, *, look: bool = False, uploads: Sequence[str] = ()) -> None:
        job.result = job.rejected = None
        job.attempts += 1
        if job.attempts >= ATTEMPTS:
            job.failure = TryAgain(Reason.CONFLICT, f"{ATTEMPTS} times")
            return
        try:
            stored: Versioned | TryAgain = await self._users.read(job.user_id)
        except TryAgain as failure:
            stored = failure
        if isinstance(stored, Versioned):
            lost = tuple(mxc for mxc in uploads if mxc not in stored.state.uploads)  # no other process knows of them
            stored = replace(stored, state=replace(stored.state, uploads=stored.state.uploads + lost))
        self.decide(job, stored, self._clock(), look=look)
        if job.decision is not None:
            await self.update([job])


def _etag(found: Versioned | TryAgain) -> str | None:
    return found.etag if isinstance(found, Versioned) else None
