"""Repairs one account or one image the way events are processed: ask Synapse, reconcile, save the record.

The function may process the same user at the same time. Both read Synapse, write to it, and then save the record with
the ETag that they read; the second one gets a conflict and starts over from the newer record with a new lookup, since
its own calls may have overwritten the newer ones. So neither may stop at a conflict: the last lookup is the correct one.
"""

import asyncio
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from function.accounts.plan import Deactivate, ReconcileResult
from function.accounts.reconcile import Reconciler
from function.accounts.room_cleanup import RoomCleanup
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.drift import Kind, drift_of
from function.dapr.state_store import Conflict
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected

CONFLICT_TRIES = 3


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """The drift that remains after a repair, and why; no kinds if everything was repaired."""

    kinds: frozenset[Kind] = frozenset()
    why: Reason | None = None


class Repairer:
    """Repairs accounts and images, one at a time.

    Args:
        synapse: the homeserver.
        users: the users' states.
        reconciler: brings Synapse in line with a record.
        room_cleanup: checks the rooms of users that a repair deactivated.
        rate: maximum repairs per second; 0 for no limit.
    """

    def __init__(
        self, synapse: Synapse, users: UserStore, reconciler: Reconciler, room_cleanup: RoomCleanup, rate: float,
    ) -> None:  # fmt: skip
        self._synapse, self._users, self._reconciler, self._room_cleanup = synapse, users, reconciler, room_cleanup
        self._limiter = AsyncLimiter(1, 1 / rate) if rate else None

    async def account(self, user_id: str, kinds: frozenset[Kind]) -> Unrepaired:
        """Repairs an account with drift of these kinds. Raises TryAgain."""
        for _ in range(CONFLICT_TRIES):
            stored = (await self._users.read([user_id]))[user_id]
            if not stored.etag:  # no record: no event has said what the account should be
                return Unrepaired(kinds, Reason.CONFLICT)
            try:
                result = await self._repair(user_id, stored.state, in_rooms=Kind.IN_ROOMS in kinds)
            except Rejected as rejected:
                return Unrepaired(kinds, rejected.reason)
            try:
                if result.done:
                    await self._users.write({user_id: Versioned(result.state, stored.etag)})
                    self._reconciler.forget_upload(user_id)
            except Conflict:
                continue
            why = result.refused[0][1].reason if result.refused else None
            return Unrepaired(frozenset(drift_of(result.state, result.account)), why)
        return Unrepaired(kinds, Reason.CONFLICT)

    async def _repair(self, user_id: str, state: UserState, *, in_rooms: bool) -> ReconcileResult:
        result = await self._reconciler.reconcile(user_id, state, verify=True)
        if any(isinstance(step, Deactivate) for step in result.done):
            await self._room_cleanup.add({user_id: result.state})
        elif in_rooms and state.status is not Status.ACTIVE and result.account.deactivated:
            await self._synapse.deactivate(user_id, erase=state.status is Status.ERASED)
        return result

    async def image(self, mxc: str) -> Unrepaired:
        """Deletes an orphaned image. Raises TryAgain."""
        try:
            await self._synapse.delete_media(mxc)
        except Rejected as rejected:
            return Unrepaired(frozenset({Kind.ORPHANED_MEDIA}), rejected.reason)
        return Unrepaired()

    async def wait_for_rate(self, stop: asyncio.Event) -> None:
        """Waits until the rate limit allows the next repair, or until `stop` is set."""
        if not self._limiter:
            return
        waits = [asyncio.create_task(self._limiter.acquire()), asyncio.create_task(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
