"""Walks Synapse's accounts, compares each with its user's record, and has repaired what differs. Prints nothing.

A page at a time is in memory. The function goes on working meanwhile, so what looks like drift is looked at once more,
until account and record were seen with nothing saved in between.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.drift import Kind, drift_of
from function.audit.findings import AuditSummary, Cursor, Drift, Listing, Options
from function.audit.repair import Repairer, Unrepaired
from function.clock import Clock, utc_now
from function.homeserver.account import Account, Media
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected, TryAgain

PAGE = 1000  # Synapse takes as long for a short page as for a long one; the records of a page are one message of daprd (4 MB)
CHECKS = 3

Advance = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class _Seen:
    stored: Versioned
    kinds: Sequence[Kind]
    rooms: int


class Audit:
    """One walk.

    Args:
        synapse: the homeserver.
        admin: the Matrix id of the token's owner, who uploads the avatars.
        users: the users' states.
        repairs: repairs what is found; None to leave it.
        options: as asked for.
        tell: called with each drift.
        place: where to begin.
        clock: gives the time in UTC.
    """

    def __init__(
        self, synapse: Synapse, admin: str, users: UserStore, repairs: Repairer | None, options: Options,
        tell: Callable[[Drift], None], cursor: Cursor | None = None, clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._synapse, self._admin, self._users, self._repairs = synapse, admin, users, repairs
        self._options, self._tell, self._clock = options, tell, clock
        self._stop = asyncio.Event()
        self.cursor: Cursor | None = cursor or options.start  # what was not looked at begins here; None at the end
        self.summary = AuditSummary()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def over(self) -> bool:
        limit = self._options.limit
        return self.cursor is None or self.stopped or (limit is not None and self.summary.rows >= limit)

    def stop(self) -> None:
        """Ends the walk after what is in hand; `place` says where to go on."""
        self._stop.set()

    async def walk(self, advance: Advance) -> None:
        """Goes through the list that it is at. Raises TryAgain."""
        listing, begun = (self.cursor.listing, self.cursor.offset) if self.cursor else (None, 0)
        step = self._accounts if listing is Listing.ACCOUNTS else self._media
        while not self.over and self.cursor and self.cursor.listing is listing:
            limit = self._options.limit
            size = PAGE if limit is None else min(PAGE, limit - self.summary.rows)
            self.cursor, rows, total = await step(self.cursor, size)
            self.summary.rows += rows
            advance(rows, total - begun)

    async def _accounts(self, cursor: Cursor, size: int) -> tuple[Cursor | None, int, int]:
        page = await self._synapse.accounts(cursor.offset, size)
        accounts = dict(page.items)
        states = await self._records(accounts)
        known = {user_id: stored for user_id, stored in states.items() if stored.etag}
        self.summary.accounts += len(accounts)
        self.summary.no_record += len(states) - len(known)
        self.summary.deactivated_elsewhere += sum(
            accounts[user_id].deactivated and stored.state.status is Status.ACTIVE for user_id, stored in known.items()
        )
        for user_id, seen in (await self._drifting(known, accounts)).items():
            if await self._may_not_go_on():
                return cursor, 0, page.total
            left = await self._repairs.account(user_id, frozenset(seen.kinds)) if self._repairs else None
            for kind in dict.fromkeys((*seen.kinds, *(left.kinds if left else ()))):
                self._found(kind, user_id, f"{seen.rooms} rooms" if kind is Kind.IN_ROOMS else "", left)
        if page.following is not None:
            return replace(cursor, offset=page.following), page.rows, page.total
        return Cursor(Listing.MEDIA) if Kind.ORPHANED_MEDIA in self._options.kinds else None, page.rows, page.total

    async def _drifting(self, known: Mapping[str, Versioned], accounts: Mapping[str, Account]) -> dict[str, _Seen]:
        """The users whose account differs, by two looks between which nothing was saved."""
        suspects = await self._looked(known, accounts)
        steady: dict[str, _Seen] = {}
        for _ in range(CHECKS):
            if not suspects:
                break
            again = await self._looked({user_id: seen.stored for user_id, seen in suspects.items()}, {})
            now = await self._records(again)
            steady |= {u: seen for u, seen in again.items() if u in now and now[u].etag == seen.stored.etag}
            suspects = {u: replace(again[u], stored=now[u]) for u in now.keys() - steady.keys()}
        return steady

    async def _looked(self, known: Mapping[str, Versioned], accounts: Mapping[str, Account]) -> dict[str, _Seen]:
        """Of these users, those that seem to differ; asks for accounts that are not given."""
        found = await asyncio.gather(*(self._look(user_id, known[user_id], accounts.get(user_id)) for user_id in known))
        return {user_id: seen for user_id, seen in zip(known, found, strict=True) if seen}

    async def _look(self, user_id: str, stored: Versioned, account: Account | None) -> _Seen | None:
        rooms = 0
        try:
            account = account or await self._synapse.account(user_id)
            if account is None:
                return None
            ended = account.deactivated and stored.state.status is not Status.ACTIVE
            if ended and Kind.IN_ROOMS in self._options.kinds:
                rooms = await self._synapse.joined_rooms(user_id)
        except Rejected as rejected:
            self.summary.unchecked[rejected.reason] += 1
            return None
        kinds = [kind for kind in drift_of(stored.state, account, rooms) if kind in self._options.kinds]
        return _Seen(stored, kinds, rooms) if kinds else None

    async def _records(self, user_ids: Collection[str]) -> dict[str, Versioned]:
        """The users' records, with an empty etag where there is none; without those that can't be read."""
        found = await self._users.read_each(user_ids) if user_ids else {}
        for failure in found.values():
            if isinstance(failure, TryAgain):
                self.summary.unchecked[failure.reason] += 1
        return {user_id: state for user_id, state in found.items() if isinstance(state, Versioned)}

    async def _media(self, cursor: Cursor, size: int) -> tuple[Cursor | None, int, int]:
        page = await self._synapse.uploads(self._admin, cursor.offset, size)
        old = [media for media in page.items if self._clock() - media.at >= self._options.media_age]
        states = await self._records({media.user_id for media in old})
        listed = {mxc for stored in states.values() for mxc in _images_of(stored.state)}
        suspects = [media for media in old if media.user_id in states and media.mxc not in listed]
        orphaned = await asyncio.gather(*(self._is_orphaned(media) for media in suspects))
        self.summary.media += len(page.items)
        gone = 0
        for media in (media for media, is_one in zip(suspects, orphaned, strict=True) if is_one):
            if await self._may_not_go_on():
                return cursor, 0, page.total
            left = await self._repairs.image(media.mxc) if self._repairs else None
            gone += bool(left and not left.kinds)
            self._found(Kind.ORPHANED_MEDIA, media.user_id, media.mxc, left)
        following = None if page.following is None else replace(cursor, offset=page.following - gone)
        return following, page.rows, page.total

    async def _is_orphaned(self, media: Media) -> bool:
        try:
            account = await self._synapse.account(media.user_id)
        except Rejected as rejected:
            self.summary.unchecked[rejected.reason] += 1
            return False
        return account is None or account.avatar != media.mxc

    async def _may_not_go_on(self) -> bool:
        if self._repairs:
            await self._repairs.wait_for_rate(self._stop)
        return self.stopped

    def _found(self, kind: Kind, user_id: str, detail: str, left: Unrepaired | None) -> None:
        repaired = None if left is None else kind not in left.kinds
        self.summary.found[kind] += 1
        self.summary.repaired[kind] += bool(repaired)
        self._tell(Drift(kind, user_id, detail, repaired, None if repaired or left is None else left.why))


def _images_of(state: UserState) -> tuple[str, ...]:
    return (*state.uploads, state.copy.mxc) if state.copy else state.uploads
