"""Brings one account back in step with its record, by the road that events take. Finds nothing by itself.

The function may be at work on the same user. Both look at Synapse, write to it, and then save the record over the etag that
they read; who comes second finds a conflict and starts over from the newer record with another look at Synapse, since
its own calls may have gone over the newer ones. So neither may stop at a conflict, and the last look is the right one.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from function.accounts.plan import Deactivate, ReconcileResult
from function.accounts.reconcile import Reconciler
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.drift import Kind, drift_of
from function.dapr.state_store import Conflict
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected

TRIES = 3


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """What a repair could not mend, and why; no kinds where all is well."""

    kinds: frozenset[Kind] = frozenset()
    why: Reason | None = None


class Repairer:
    """Repairs one account or image after the other.

    Args:
        synapse: the homeserver.
        users: the users' states.
        reconciler: makes Synapse what they say.
        departures: told who was deactivated.
        rate: how many to repair a second at most; 0 for as fast as can be.
        clock: seconds that only go forward.
    """

    def __init__(
        self, synapse: Synapse, users: UserStore, reconciler: Reconciler, room_cleanup: RoomCleanup, rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._synapse, self._users, self._reconciler, self._room_cleanup = synapse, users, reconciler, room_cleanup
        self._rate, self._clock, self._next_at = rate, clock, 0.0

    async def account(self, user_id: str, kinds: frozenset[Kind]) -> Unrepaired:
        """Mends an account that has drift of these kinds. Raises TryAgain."""
        for _ in range(TRIES):
            stored = (await self._users.read([user_id]))[user_id]
            if not stored.etag:  # nobody has said what this account should be
                return Unrepaired(kinds, Reason.CONFLICT)
            try:
                outcome = await self._repair(user_id, stored.state, in_rooms=Kind.IN_ROOMS in kinds)
            except Rejected as rejected:
                return Unrepaired(kinds, rejected.reason)
            try:
                if outcome.done:
                    await self._users.write({user_id: Versioned(outcome.state, stored.etag)})
                    self._reconciler.forget_upload(user_id)
            except Conflict:
                continue
            why = outcome.refused[0][1].reason if outcome.refused else None
            return Unrepaired(frozenset(drift_of(outcome.state, outcome.account)), why)
        return Unrepaired(kinds, Reason.CONFLICT)

    async def _repair(self, user_id: str, state: UserState, *, in_rooms: bool) -> ReconcileResult:
        outcome = await self._reconciler.reconcile(user_id, state, verify=True)
        if any(isinstance(step, Deactivate) for step in outcome.done):
            await self._room_cleanup.add({user_id: outcome.state})
        elif in_rooms and state.status is not Status.ACTIVE and outcome.account.deactivated:
            await self._synapse.deactivate(user_id, erase=state.status is Status.ERASED)
        return outcome

    async def image(self, mxc: str) -> Unrepaired:
        """Deletes an image that is nobody's. Raises TryAgain."""
        try:
            await self._synapse.delete_media(mxc)
        except Rejected as rejected:
            return Unrepaired(frozenset({Kind.ORPHANED_MEDIA}), rejected.reason)
        return Unrepaired()

    async def wait_for_rate(self, stop: asyncio.Event) -> None:
        """Waits until the next repair may begin, or `stop` is set."""
        if self._rate:
            now = self._clock()
            pause, self._next_at = self._next_at - now, max(now, self._next_at) + 1 / self._rate
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0, pause))
