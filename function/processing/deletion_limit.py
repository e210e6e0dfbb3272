"""Limits deletions per hour: a faulty bulk job upstream must not empty the homeserver."""

import time
from collections import deque
from collections.abc import Callable

HOUR = 3600.0


class DeletionLimit:
    """A moving window over the deletions of the last hour.

    Args:
        limit: deletions an hour; 0 for no limit.
        clock: seconds that only go forward.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._passed: deque[float] = deque()

    @property
    def exhausted(self) -> bool:
        """Whether the next deletion would be refused."""
        while self._passed and self._passed[0] <= self._clock() - HOUR:
            self._passed.popleft()
        return bool(self._limit) and len(self._passed) >= self._limit

    async def try_acquire(self) -> bool:
        """Counts one deletion and returns True, or returns False if the limit is reached."""
        if self.exhausted:
            return False
        self._passed.append(self._clock())
        return True

    def release(self) -> None:
        """Takes back the last count, for a deletion that ended no account."""
        if self._passed:
            self._passed.pop()
