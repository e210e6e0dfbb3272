"""Checks the users of the recheck queue when they are due.

What a check is, the caller says. A check that fails concerns its user only. While Synapse or the state store is unavailable for
every user, the checks pause and no attempt counts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from function.accounts.departures import Departures
from function.accounts.recheck_queue import MAX_ATTEMPTS, Recheck, RecheckQueue
from function.clock import Clock
from function.outcomes import Reason, Rejected, TryAgain
from function.telemetry.logs import log, log_failure

POLL_SECONDS = 2.0  # costs nothing while this process knows of no user that is due
IDLE = timedelta(seconds=30)  # between reads all the same: other pods add users, and may be killed
TAKE_OVER = timedelta(seconds=60)
CONCURRENCY = 4
CHECK_SECONDS = 50.0  # less than the lease of a user
FIRST_DELAY = timedelta(seconds=60)  # doubled after each attempt
OTHERS = timedelta(minutes=2)  # a check of another user that succeeded so recently says that there is no outage
OUTAGE = timedelta(days=7)  # longer ones are taken for a failure of the user's own

# The shortest and the longest pause before long work is looked at again.
FOLLOW = timedelta(seconds=5), timedelta(minutes=10)
A_LOOK = timedelta(milliseconds=200)  # assumed, with the other looks at its side; generous, so that time is left
LONGEST = timedelta(hours=6)


class Checked(Enum):
    """What a check found."""

    SETTLED = auto()  # nothing is left to do
    CHANGED = auto()  # something was changed, or the user could not be judged: another look is needed
    RUNNING = auto()  # long work runs, whose end is to be seen


Check = Callable[[str], Awaitable[Checked]]
Runs = Callable[[str], Awaitable[bool]]


class RecheckLoop:
    """Runs the checks that are due.

    Args:
        queue: the users, shared with other processes.
        check: checks one user id.
        runs: whether work is left for a user id that no event brings back: then the user is not dropped, however many checks
            have failed.
        clock: gives the time in UTC.
        departures: the queue of the previous release.
        on_read: told how many users are in the queue.
    """

    def __init__(
        self, queue: RecheckQueue, check: Check, runs: Runs, clock: Clock, departures: Departures,
        on_read: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._queue, self._check, self._runs, self._clock, self._departures = queue, check, runs, clock, departures
        self._on_read = on_read
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._read_at: datetime | None = None
        self._taken_over_at: datetime | None = None
        self._paused_until: datetime | None = None
        self._worked_at: datetime | None = None

    async def watch(self) -> None:
        """Runs the checks in a loop, until it is cancelled. What a cancelled check held is due again after its lease."""
        while True:
            await self.run_due()
            await asyncio.sleep(POLL_SECONDS)  # the store does not tell of a check that another pod put into it

    async def run_due(self) -> None:
        """Runs one round: every check that is due, a few at a time. Never raises."""
        try:
            if self._since(self._taken_over_at, TAKE_OVER):
                self._taken_over_at = self._clock()
                await self._departures.take_over(self._queue)
        except Exception as error:
            _log_retry(error)
        try:
            if self._wants_to_read():
                self._read_at = self._clock()
                found = await self._queue.due()
                self._on_read(self._queue.size)
                await self._run(found)
        except Exception as error:
            _log_retry(error)

    async def _run(self, found: list[Recheck]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in found:
                group.create_task(self._run_one(one))

    async def _run_one(self, one: Recheck) -> None:
        async with self._slots:
            try:
                if not self._paused() and await self._queue.take(one):
                    await self._settle(one)
            except Exception as error:  # after its lease the user is due again
                _log_retry(error)
                self._pause(error)

    async def _settle(self, one: Recheck) -> None:
        found = await self._judge(one)
        if found is Checked.SETTLED:
            await self._queue.done(one)
        elif found is Checked.RUNNING:
            await self._queue.postpone(one, self._pause_of(one))
        elif one.attempts + 1 >= MAX_ATTEMPTS and await self._runs(one.user_id):
            await self._queue.postpone(one, FOLLOW[1])
        elif not await self._queue.again(one, FIRST_DELAY * 2**one.attempts):
            log(logging.ERROR, "recheck_dropped", size=MAX_ATTEMPTS)

    def _pause_of(self, one: Recheck) -> timedelta:
        """Returns the pause before long work is looked at again: a quarter of the time that it has taken. In a long queue it is
        longer, so that looks at what runs leave time for the others."""
        shortest, longest = FOLLOW
        round_of_all = min(self._queue.size * A_LOOK, LONGEST)
        return max(min(max(shortest, (self._clock() - _added(one)) / 4), longest), round_of_all)

    async def _judge(self, one: Recheck) -> Checked:
        """Returns what the check returns; CHANGED if it fails. Raises TryAgain if a dependency is unavailable."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                found = await self._check(one.user_id)
            self._worked_at = self._clock()
        except TimeoutError:
            _log_retry(TryAgain(Reason.TOO_SLOW, f"a recheck took over {CHECK_SECONDS:.0f} s"))
        except Exception as error:
            if _is_outage(error) and not self._concerns_only(one):
                raise
            _log_retry(error)
        else:
            return found
        return Checked.CHANGED

    def _concerns_only(self, one: Recheck) -> bool:
        """Whether checks of other users succeed, or an outage of this length is not believed."""
        return not self._since(self._worked_at, OTHERS) or self._clock() - _added(one) > OUTAGE

    def _wants_to_read(self) -> bool:
        due = self._queue.next_due
        return not self._paused() and (self._since(self._read_at, IDLE) or (due is not None and due <= self._clock()))

    def _since(self, last: datetime | None, pause: timedelta) -> bool:
        """Whether `pause` has passed since `last`, or the clock was set back."""
        return last is None or not timedelta() <= self._clock() - last < pause

    def _pause(self, error: Exception) -> None:
        if _is_outage(error):
            self._paused_until = self._clock() + IDLE

    def _paused(self) -> bool:
        return self._paused_until is not None and timedelta() < self._paused_until - self._clock() <= IDLE


def _added(one: Recheck) -> datetime:
    return datetime.fromtimestamp(one.added / 1000, UTC)


def _is_outage(error: Exception) -> bool:
    return isinstance(error, TryAgain) and (
        error.reason.dependency is not None or error.reason is Reason.PUBLISH_FAILED
    )


def _log_retry(error: Exception) -> None:
    if isinstance(error, TryAgain | Rejected):
        log(logging.DEBUG, "recheck_retry", reason=error.reason.value, detail=error.detail)
    else:
        log_failure("recheck_failed", error)
