"""One writer per user, in this process: batches that share a user take turns, all others run side by side."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager


class UserLocks:
    """Whose turn it is. Batches rarely share a user: daprd hands a partition's batches over one after the other, and a
    user's main and replayed records come through the same member of the group. They do after a rebalance."""

    def __init__(self) -> None:
        self._busy = set[str]()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def acquire(self, user_ids: AbstractSet[str]) -> AsyncIterator[None]:
        """Waits until nobody else works on any of the users; they are the caller's until the end."""
        while not self._busy.isdisjoint(user_ids):
            await self._freed.wait()
        self._busy |= user_ids
        try:
            yield
        finally:
            self._busy -= user_ids
            self._freed.set()
            self._freed = asyncio.Event()
