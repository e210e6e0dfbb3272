"""Lets users begin: the oldest batch first, and no more at a time than Synapse serves in a few seconds.

Users that begin end soon. Without a limit every user of every batch would have its first call made before any has its last,
and with a slow Synapse none would end in time.
"""

import asyncio
import heapq
import itertools

LEAST, MOST = 16, 128  # users at a time; the least keeps every connection to Synapse busy
FIRST = 32
SOON, LATE = 2.5, 5.0  # seconds that a user may take: below, more may begin; above, fewer

Priority = tuple[float, ...]  # the lowest begins first


class Admission:
    """Limits the users that are being processed, by how long they take."""

    def __init__(self) -> None:
        self._limit, self._inside = float(FIRST), 0
        self._waiting: list[tuple[Priority, int, int, asyncio.Future[int]]] = []
        self._order = itertools.count()

    @property
    def limit(self) -> int:
        """How many users may be processed at a time."""
        return int(self._limit)

    async def enter(self, wanted: int, priority: Priority) -> int:
        """Waits for its turn and returns how many of the `wanted` users may begin: at least one.

        Each of them ends with `leave`. A large batch gets no less than half of the limit at once: each group costs
        transactions in the state store.
        """
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), wanted, turn))
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._inside -= turn.result()
            self._admit()
            raise

    def leave(self, seconds: float) -> None:
        """Says that one user ended, and how long it took."""
        self._inside -= 1
        if seconds > LATE:
            self._limit = max(LEAST, self._limit * 0.9)
        elif seconds < SOON:
            self._limit = min(MOST, self._limit + 1)
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            _, _, wanted, turn = self._waiting[0]
            free = self.limit - self._inside
            if not turn.done():
                if free < min(wanted, self.limit // 2):
                    return
                turn.set_result(min(wanted, free))
                self._inside += min(wanted, free)
            heapq.heappop(self._waiting)
