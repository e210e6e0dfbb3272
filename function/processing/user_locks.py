"""Keeps one writer per user in this process: batches that share a user run one after the other, all others concurrently."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager


class UserLocks:
    """Locks by user id. Batches rarely share a user, since daprd delivers a partition's batches one after the other, and a
    user's main and replayed records come through the same group member. They do after a rebalance."""

    def __init__(self) -> None:
        self._busy = set[str]()
        self._freed = asyncio.Event()

    def busy(self, user_ids: AbstractSet[str]) -> set[str]:
        """Returns those of the users that are locked now."""
        return self._busy & user_ids

    @asynccontextmanager
    async def acquire(self, user_ids: AbstractSet[str]) -> AsyncIterator[None]:
        """Waits until none of the users is locked, and locks them until the end of the block."""
        while not self._busy.isdisjoint(user_ids):
            await self._freed.wait()
        self._busy |= user_ids
        try:
            yield
        finally:
            self._busy -= user_ids
            self._freed.set()
            self._freed = asyncio.Event()
