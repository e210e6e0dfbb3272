"""The brake on deletions: a wrong bulk job upstream must not empty the homeserver. Decides nothing about single users."""

import time
from collections import deque
from collections.abc import Callable

HOUR = 3600.0


class DeletionLimit:
    """Lets so many deletions pass within any hour, and no more.

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

    def try_acquire(self) -> bool:
        """Lets one deletion pass; False when it may not."""
        if self.exhausted:
            return False
        self._passed.append(self._clock())
        return True

    def release(self) -> None:
        """The deletion that was let pass had nothing to do."""
        if self._passed:
            self._passed.pop()
