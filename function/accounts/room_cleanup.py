"""Sees to it that a deactivated person leaves every room.

Synapse answers a deactivation before the rooms are left, and a profile that was written shortly before queues a join for
each room, which may run after the leave. So the rooms of such a person are looked at some time after, and the
deactivation is repeated where some are left: that removes the person from all of them.

Who is still to be looked at is kept in the state store, so that a crash forgets nobody.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from function.accounts.user_state import Status, UserState
from function.dapr.state_store import Conflict, StateStore
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain
from function.telemetry.logs import log, log_failure

KEY = "departures"
RECENT = timedelta(minutes=5)  # how long after a profile write its joins may still be queued; 21 s were seen
CHECK_AFTER = tuple(
    timedelta(seconds=seconds) for seconds in (5, 20, 60)
)  # after the deactivation; the last must find none
WRITE_ATTEMPTS = 5
POLL_SECONDS = 2.0

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class PendingCheck:
    """Deactivated at `since` (as erased?), and looked at so many times."""

    since: datetime
    erase: bool
    checks: int = 0


class RoomCleanup:
    """Remembers who is leaving, and looks after them.

    Args:
        state: where they are kept, shared with other replicas.
        synapse: the homeserver.
        clock: gives the time in UTC.
    """

    def __init__(self, state: StateStore, synapse: Synapse, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._state, self._synapse, self._clock = state, synapse, clock
        self._changing = asyncio.Lock()  # other replicas make conflicts enough

    async def add(self, deactivated: Mapping[str, UserState]) -> None:
        """Remembers those of the users, with their records, whose joins may still be queued. Raises TryAgain."""
        now = self._clock()
        new = {
            user_id: PendingCheck(now, record.status is Status.ERASED)
            for user_id, record in deactivated.items()
            if record.written_at and now - record.written_at < RECENT
        }
        if new:
            await self._change(lambda known: known | new)

    async def watch(self) -> None:
        """Looks for ever; what fails is looked at again."""
        while True:
            try:
                await self.check_due()
            except TryAgain as failure:
                log(logging.DEBUG, "departures_wait", reason=failure.reason.value, detail=failure.detail)
            except Exception as error:
                log_failure("departures_failed", error)
            await asyncio.sleep(POLL_SECONDS)

    async def check_due(self) -> None:
        """Looks once at everybody whose time has come. Raises TryAgain."""
        known, _ = await self._read()
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
                log(logging.WARNING, "rooms_left", size=rooms)
                await self._synapse.deactivate(user_id, erase=pending.erase)
        except Rejected as rejected:
            log(logging.WARNING, "rooms_unknown", reason=rejected.reason.value, detail=rejected.detail)
            return replace(pending, checks=pending.checks + 1)
        # With rooms left, the looks begin anew: the repeated deactivation takes its time too.
        return PendingCheck(self._clock(), pending.erase) if rooms else replace(pending, checks=pending.checks + 1)

    async def _change(self, change: Callable[[dict[str, PendingCheck]], dict[str, PendingCheck]]) -> None:
        async with self._changing:
            for attempt in range(WRITE_ATTEMPTS):
                known, etag = await self._read()
                body = {u: [one.since.isoformat(), one.erase, one.checks] for u, one in change(known).items()}
                try:
                    await self._state.write_values({KEY: (json.dumps(body).encode(), etag)})
                except Conflict:
                    if attempt == WRITE_ATTEMPTS - 1:
                        raise TryAgain(Reason.CONFLICT, KEY) from None
                else:
                    return

    async def _read(self) -> tuple[dict[str, PendingCheck], str]:
        value, etag = (await self._state.read_values([KEY]))[KEY]
        found = json.loads(value) if value else {}
        known = {
            u: PendingCheck(datetime.fromisoformat(since), erase, checks) for u, (since, erase, checks) in found.items()
        }
        return known, etag
