"""Walks Synapse's accounts and uploads, or a list of users, checks each against its record, and repairs drift if asked to.

Holds one page in memory and prints nothing. What the walk reads can be abandoned at any moment; a repair is finished.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from function.accounts.user_store import UserStore
from function.audit.checks import Checker
from function.audit.drift import Kind
from function.audit.findings import AuditSummary, Cursor, Drift, Listing, Options, Verdict
from function.audit.pages import Chunk, Pages
from function.audit.repair import Repairer, Unrepaired
from function.audit.users import UserList
from function.clock import Clock, utc_now
from function.homeserver.account import Account, Media
from function.homeserver.synapse import Synapse
from function.stopping import Stopped, unless_stopped

BLOCK = 1000  # rows that are checked together; their records are one message of daprd (4 MB)

Advance = Callable[[int, int | None], None]
Item = tuple[str, Account] | Media | str
Rows = Sequence[tuple[Cursor, Item | None]]


class Audit:
    """Runs one audit.

    Args:
        synapse: the homeserver.
        admin: Matrix id of the token's owner, whose uploads are the avatars.
        users: the users' states.
        repairer: repairs the drift; None to only report it.
        options: kinds of drift and limits.
        report: called with each drift; what it raises ends the audit.
        cursor: where to start; None for the beginning.
        clock: returns the time in UTC.
        user_list: the users to check, instead of Synapse's lists.
    """

    def __init__(
        self, synapse: Synapse, admin: str, users: UserStore, repairer: Repairer | None, options: Options,
        report: Callable[[Drift], None], cursor: Cursor | None = None, clock: Clock = utc_now,
        user_list: UserList | None = None,
    ) -> None:  # fmt: skip
        self._repairer, self._options, self._report = repairer, options, report
        self._checker = Checker(synapse, users, options, clock)
        self._accounts = Pages(synapse.accounts)
        self._media = Pages(lambda start, limit: synapse.uploads(admin, start, limit))
        self._users = user_list
        self._stop = asyncio.Event()
        self._repairs = 0
        start = options.start if user_list is None else Cursor(Listing.USERS)
        self.cursor: Cursor | None = cursor or start  # after the last row that is done; None at the end
        self.capped = False  # the limit of repairs is reached, and there is more to repair
        self.repairing = False  # a repair is running
        self.summary = AuditSummary()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        limit = self._options.limit
        over = limit is not None and self.summary.rows >= limit
        return self.cursor is None or self.stopped or self.capped or over

    def stop(self) -> None:
        """Ends the walk now, or after the repair that is running; `cursor` is where the next audit continues."""
        self._stop.set()

    async def walk(self, advance: Advance) -> None:
        """Walks the current list to its end. Raises TryAgain, and Rejected if Synapse fails on the list only."""
        listing, start = (self.cursor.listing, self.cursor.offset) if self.cursor else (None, 0)
        try:
            while not self.finished and self.cursor and self.cursor.listing is listing:
                chunk = await unless_stopped(self._stop, self._next(self.cursor))
                for rows in _blocks(chunk.rows):
                    await self._block(self.cursor.listing, rows)
                    if self.stopped or self.capped:
                        return
                    advance(len(rows), chunk.total - start)
                if chunk.last:
                    self.cursor = self._after_end(self.cursor)
        except Stopped:
            return

    async def _next(self, cursor: Cursor) -> Chunk[Any]:
        limit = self._options.limit
        left = None if limit is None else limit - self.summary.rows
        if cursor.listing is Listing.ACCOUNTS:
            return await self._accounts.after(cursor, left)
        if cursor.listing is Listing.MEDIA:
            return await self._media.after(cursor, left)
        users = self._users or UserList(b"")
        ids = users.part(cursor.offset, BLOCK if left is None else min(BLOCK, left))
        rows = [(replace(cursor, offset=offset), user) for offset, user in enumerate(ids, cursor.offset + 1)]
        return Chunk(rows, cursor.offset + len(ids) >= len(users), len(users))

    def _after_end(self, cursor: Cursor) -> Cursor | None:
        media = cursor.listing is Listing.ACCOUNTS and Kind.ORPHANED_MEDIA in self._options.kinds
        return Cursor(Listing.MEDIA) if media else None

    async def _block(self, listing: Listing, rows: Rows) -> None:
        """Checks the rows, and reports and repairs what differs, one after the other."""
        items = [item for _, item in rows if item is not None]
        verdicts = deque(await unless_stopped(self._stop, self._checked(listing, items)))
        for cursor, item in rows:
            if item is not None:
                if verdicts[0].kinds and not await self._may_repair():
                    self.summary.not_attempted = sum(bool(verdict.kinds) for verdict in verdicts)
                    return
                verdict = verdicts.popleft()
                await self._settle(verdict)
                self.summary.count(verdict, listing)
            self.summary.rows += 1
            self.cursor = cursor
            if self.stopped:
                return

    async def _checked(self, listing: Listing, items: Sequence[Any]) -> list[Verdict]:
        """Returns a verdict for each item."""
        if listing is Listing.MEDIA:
            return await self._checker.media(items)
        if listing is Listing.USERS:
            by_user = await self._checker.users(list(dict.fromkeys(items)))
            return [by_user[user] for user in items]
        verdicts = await self._checker.accounts(dict(items))
        return [verdicts[user] for user, _ in items]

    async def _may_repair(self) -> bool:
        """Waits until the rate limit allows another repair; False if the limit of repairs is reached."""
        if self._options.max_repairs is not None and self._repairs >= self._options.max_repairs:
            self.capped = True
            return False
        if self._repairer:
            await unless_stopped(self._stop, self._repairer.wait_for_rate())
        return True

    async def _settle(self, verdict: Verdict) -> None:
        """Repairs the drift of one account or image, if asked to, and reports it."""
        if not verdict.kinds:
            return
        self._repairs += 1
        unrepaired = await self._repaired(self._repairer, verdict) if self._repairer else None
        for kind in dict.fromkeys((*verdict.kinds, *(unrepaired.kinds if unrepaired else ()))):
            detail = verdict.detail if kind in {Kind.IN_ROOMS, Kind.ORPHANED_MEDIA} else ""
            repaired = None if unrepaired is None else kind not in unrepaired.kinds
            self.summary.found[kind] += 1
            self.summary.repaired[kind] += bool(repaired)
            why = None if repaired or unrepaired is None else unrepaired.why
            self._report(Drift(kind, verdict.user_id, detail, repaired, why))

    async def _repaired(self, repairer: Repairer, verdict: Verdict) -> Unrepaired:
        self.repairing = True
        try:
            if Kind.ORPHANED_MEDIA in verdict.kinds:
                return await repairer.image(verdict.detail)
            return await repairer.account(verdict.user_id, frozenset(verdict.kinds))
        finally:
            self.repairing = False


def _blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]
