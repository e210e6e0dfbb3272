"""Checks that deactivated users have left their rooms.

Synapse answers a deactivation before the user has left the rooms, and a profile written shortly before queues a join for
each room, which may run after the leave. So the rooms of such a user are checked some time later. If the user is still
joined to some, the deactivation is repeated, which removes the user from all of them.

Pending checks are kept in the state store, so that a crash loses none.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from function.accounts.user_state import Status, UserState
from function.clock import Clock, utc_now
from function.dapr.state_store import StateStore
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected, TryAgain
from function.telemetry.logs import log, log_failure

KEY = "departures"
RECENT = timedelta(minutes=5)  # how long after a profile write its joins may still be queued; 21 s were seen
CHECK_AFTER = tuple(
    timedelta(seconds=seconds) for seconds in (5, 20, 60)
)  # after the deactivation; the last must find none
POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PendingCheck:
    """A pending room check: when the user was deactivated, whether erased, and how many checks have run."""

    since: datetime
    erase: bool
    checks: int = 0


class RoomCleanup:
    """Stores pending checks and runs those that are due.

    Args:
        state: the state store, shared with other replicas.
        synapse: the homeserver.
        clock: gives the time in UTC.
    """

    def __init__(self, state: StateStore, synapse: Synapse, clock: Clock = utc_now) -> None:
        self._state, self._synapse, self._clock = state, synapse, clock
        self._changing = asyncio.Lock()  # other replicas cause enough conflicts

    async def add(self, deactivated: Mapping[str, UserState]) -> None:
        """Stores a check for each deactivated user whose joins may still be queued. Raises TryAgain."""
        now = self._clock()
        new = {
            user_id: PendingCheck(now, record.status is Status.ERASED)
            for user_id, record in deactivated.items()
            if record.written_at and now - record.written_at < RECENT
        }
        if new:
            await self._change(lambda known: known | new)

    async def watch(self) -> None:
        """Runs the checks in a loop; a failed check is retried."""
        while True:
            try:
                await self.check_due()
            except TryAgain as failure:
                log(logging.DEBUG, "room_check_retry", reason=failure.reason.value, detail=failure.detail)
            except Exception as error:
                log_failure("room_check_failed", error)
            await asyncio.sleep(POLL_SECONDS)

    async def check_due(self) -> None:
        """Runs every check that is due. Raises TryAgain."""
        known = await self._read()
        seen: dict[str, PendingCheck] = {}
        for user_id, pending in known.items():
            if self._clock() - pending.since >= CHECK_AFTER[min(pending.checks, len(CHECK_AFTER) - 1)]:
                seen[user_id] = await self._check(user_id, pending)
        if not seen:
            return
        gone = {user_id for user_id, pending in seen.items() if pending.checks >= len(CHECK_AFTER)}
        await self._change(lambda now: {u: seen.get(u, pending) for u, pending in now.items() if u not in gone})

    async def _check(self, user_id: str, pending: PendingCheck) -> PendingCheck:
        try:
            rooms = await self._synapse.joined_rooms(user_id)
            if rooms:
                log(logging.WARNING, "still_in_rooms", size=rooms)
                await self._synapse.deactivate(user_id, erase=pending.erase)
        except Rejected as rejected:
            log(logging.WARNING, "room_check_rejected", reason=rejected.reason.value, detail=rejected.detail)
            return replace(pending, checks=pending.checks + 1)
        # The checks start over after a repeated deactivation, which takes time as well.
        return PendingCheck(self._clock(), pending.erase) if rooms else replace(pending, checks=pending.checks + 1)

    async def _change(self, change: Callable[[dict[str, PendingCheck]], dict[str, PendingCheck]]) -> None:
        async with self._changing:
            await self._state.update(KEY, lambda value: _dump(change(_load(value))))

    async def _read(self) -> dict[str, PendingCheck]:
        return _load((await self._state.read_values([KEY]))[KEY][0])


def _load(value: bytes) -> dict[str, PendingCheck]:
    found = json.loads(value) if value else {}
    return {
        user_id: PendingCheck(datetime.fromisoformat(since), erase, checks)
        for user_id, (since, erase, checks) in found.items()
    }


def _dump(pending: Mapping[str, PendingCheck]) -> bytes:
    return json.dumps({u: [one.since.isoformat(), one.erase, one.checks] for u, one in pending.items()}).encode()
