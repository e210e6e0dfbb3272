"""Reads one of Synapse's lists page by page, and misses no row although Synapse pages by offset and rows disappear.

The function deletes images while the list of images is walked, which moves each later row to an earlier offset. So each page
begins before the last row that is done, and earlier still if that row is not found there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from function.audit.findings import Cursor, Mark
from function.homeserver.account import Page, Row
from function.outcomes import Reason, Rejected

T = TypeVar("T")

# Synapse counts all rows for each page, which takes seconds with a million accounts; longer pages mean fewer counts. With few
# accounts the count is cheap, and a long page would only delay the first answer.
FIRST_PAGE, LONGEST_PAGE, SHORTEST_PAGE = 1_000, 10_000, 100
SLOW_SECONDS = 0.5  # a page that takes longer is followed by a longer one
OVERLAP = 1  # rows that are read again to recognise the last row; ten times as many each time it is not found

Fetch = Callable[[int, int], Awaitable[Page[T]]]


@dataclass(frozen=True, slots=True)
class Chunk(Generic[T]):
    """The rows that follow a cursor, each with the cursor after it; whether they are the last, and how many rows there are
    in all."""

    rows: Sequence[tuple[Cursor, T | None]]
    last: bool
    total: int


class Pages(Generic[T]):
    """Reads one list.

    Args:
        fetch: returns a page from its offset and the number of its rows.
    """

    def __init__(self, fetch: Fetch[T]) -> None:
        self._fetch = fetch
        self._size, self._longest = FIRST_PAGE, LONGEST_PAGE

    async def after(self, cursor: Cursor, limit: int | None = None) -> Chunk[T]:
        """Returns rows after the cursor, at most `limit`. Raises TryAgain, and Rejected if Synapse fails on this list only."""
        overlap = OVERLAP
        while True:
            start = max(0, cursor.offset - overlap) if cursor.mark else cursor.offset
            page = await self._page(start, cursor.offset - start, limit)
            done = rows_done(page.rows, cursor.mark) if cursor.mark else 0
            if done is not None or start == 0:
                break
            overlap *= 10
        rows = page.rows[done or 0 :]
        first = start + (done or 0) + 1
        following = [
            (Cursor(cursor.listing, offset, Mark.of(row.at, row.id)), row.item)
            for offset, row in enumerate(rows, first)
        ]
        return Chunk(following, page.following is None, page.total)

    async def _page(self, start: int, overlap: int, limit: int | None) -> Page[T]:
        """Reads a page; if Synapse fails on it, or does not return it in time, tries once more with fewer rows."""
        now = asyncio.get_running_loop().time
        began = now()
        size = self._size if limit is None else min(self._size, limit)
        try:
            page = await self._fetch(start, overlap + size)
        except Rejected as failure:
            if failure.reason is not Reason.SYNAPSE_ERROR:
                raise
            self._size = self._longest = max(SHORTEST_PAGE, size // 10)
            return await self._fetch(start, overlap + min(size, self._size))
        if now() - began > SLOW_SECONDS and size == self._size:
            self._size = min(2 * size, self._longest)
        return page


def rows_done(rows: Sequence[Row[T]], mark: Mark) -> int | None:
    """Returns how many of the rows, the oldest first, are done; None if rows between the mark and them may be missing.

    If the marked row has disappeared, those of its time count as not done.
    """
    for number, row in enumerate(rows, 1):
        if row.at == mark.at and Mark.of(row.at, row.id) == mark:
            return number
    return sum(row.at < mark.at for row in rows) or None
