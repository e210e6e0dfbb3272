"""Repairs one account or one image the way events are processed: claim the user, read the account, set it right, confirm.

The function may process the same user at the same time: the second to claim waits or starts over.
"""

from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from function.accounts.job import Job
from function.accounts.plan import ReconcileResult
from function.accounts.steps import CopyAvatar
from function.accounts.traces import RemovalResult
from function.accounts.updater import Updater
from function.audit.drift import REMOVED, Kind, drift_of
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected

ONE_USER = frozenset({Reason.CLAIMED, Reason.CONFLICT, Reason.STATE_UNREADABLE})  # the others can be repaired


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """The drift that remains after a repair, and why; no kinds if everything was repaired."""

    kinds: frozenset[Kind] = frozenset()
    why: Reason | None = None


class Repairer:
    """Repairs accounts and images, one at a time.

    Args:
        synapse: the homeserver.
        updater: brings Synapse in line with a state, under a claim.
        rate: maximum repairs per second; 0 for no limit.
    """

    def __init__(self, synapse: Synapse, updater: Updater, rate: float) -> None:
        self._synapse, self._updater = synapse, updater
        self._limiter = AsyncLimiter(1, 1 / rate) if rate else None

    async def account(self, user_id: str, kinds: frozenset[Kind]) -> Unrepaired:
        """Repairs an account with drift of these kinds. Raises TryAgain."""
        removes = frozenset(REMOVED[kind] for kind in kinds if kind in REMOVED)
        job = Job(user_id, (), recheck=True, renew_avatar=Kind.AVATAR_GONE in kinds, removes=removes)
        await self._updater.load([job])
        if job.decision is not None:
            if not job.stored.etag:  # no event has said what the account should be
                return Unrepaired(kinds, Reason.CONFLICT)
            await self._updater.update([job])
        if job.failure and job.failure.reason not in ONE_USER:
            raise job.failure
        if job.failure or job.rejected or job.result is None:
            failure = job.failure or job.rejected
            return Unrepaired(kinds, failure.reason if failure else None)
        left = frozenset(drift_of(job.result.state, job.result.account))
        if job.renew_avatar and not any(isinstance(step, CopyAvatar) for step in job.result.done):
            left |= {Kind.AVATAR_GONE}
        if Kind.AVATAR_GONE in left and not job.result.refused:
            return Unrepaired(left, Reason.AVATAR_NOT_FOUND)
        left |= _not_removed(job.result, kinds)
        if job.result.refused:
            return Unrepaired(left or kinds, job.result.refused[0][1].reason)
        return Unrepaired(left, Reason.SYNAPSE_REFUSED if left & REMOVED.keys() else None)

    async def image(self, mxc: str) -> Unrepaired:
        """Deletes an orphaned image. Raises TryAgain."""
        try:
            await self._synapse.delete_media(mxc)
        except Rejected as rejected:
            return Unrepaired(frozenset({Kind.ORPHANED_MEDIA}), rejected.reason)
        return Unrepaired()

    async def wait_for_rate(self) -> None:
        """Waits until the rate limit allows the next repair."""
        if self._limiter:
            await self._limiter.acquire()


def _not_removed(result: ReconcileResult, kinds: frozenset[Kind]) -> frozenset[Kind]:
    """Returns the kinds of what an erased user left behind whose removal has failed, or could not be begun."""
    not_begun = {one.part for one in result.removals if one.result in {RemovalResult.WAITS, RemovalResult.FAILED}}
    return frozenset(kind for kind, part in REMOVED.items() if kind in kinds and part in not_begun)
