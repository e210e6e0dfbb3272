"""Walks Synapse's accounts and uploads, compares them with the users' records, and repairs drift if asked to.

Holds one page in memory and prints nothing. The function keeps running during an audit, so apparent drift is checked
again until account and record have been read with no write to the record in between.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.drift import Kind, drift_of, shows_expected_avatar
from function.audit.findings import AuditSummary, Cursor, Drift, Listing, Options
from function.audit.repair import Repairer, Unrepaired
from function.clock import Clock, utc_now
from function.homeserver.account import Account, Media
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain

# Accounts per request. Synapse takes as long for a short page as for a long one; the records of a page are one message of
# daprd (4 MB).
PAGE = 1000
CHECKS = 3

Advance = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class _Suspect:
    stored: Versioned
    kinds: Sequence[Kind]
    rooms: int


class Audit:
    """Runs one audit.

    Args:
        synapse: the homeserver.
        admin: Matrix id of the token's owner, whose uploads are the avatars.
        users: the users' states.
        repairer: repairs the drift; None to only report it.
        options: kinds of drift and limits.
        report: called with each drift.
        cursor: where to start; None for the beginning.
        clock: returns the time in UTC.
    """

    def __init__(
        self, synapse: Synapse, admin: str, users: UserStore, repairer: Repairer | None, options: Options,
        report: Callable[[Drift], None], cursor: Cursor | None = None, clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._synapse, self._admin, self._users, self._repairer = synapse, admin, users, repairer
        self._options, self._report, self._clock = options, report, clock
        self._stop = asyncio.Event()
        self.cursor: Cursor | None = cursor or options.start  # first unchecked row; None at the end
        self.summary = AuditSummary()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        limit = self._options.limit
        return self.cursor is None or self.stopped or (limit is not None and self.summary.rows >= limit)

    def stop(self) -> None:
        """Ends the walk after the current repair; `cursor` is where the next audit continues."""
        self._stop.set()

    async def walk(self, advance: Advance) -> None:
        """Walks the current list to its end. Raises TryAgain."""
        listing, start = (self.cursor.listing, self.cursor.offset) if self.cursor else (None, 0)
        step = self._accounts if listing is Listing.ACCOUNTS else self._media
        while not self.finished and self.cursor and self.cursor.listing is listing:
            limit = self._options.limit
            size = PAGE if limit is None else min(PAGE, limit - self.summary.rows)
            self.cursor, rows, total = await step(self.cursor, size)
            self.summary.rows += rows
            advance(rows, total - start)

    async def _accounts(self, cursor: Cursor, size: int) -> tuple[Cursor | None, int, int]:
        page = await self._synapse.accounts(cursor.offset, size)
        accounts = dict(page.items)
        states = await self._load_states(accounts)
        known = {user_id: stored for user_id, stored in states.items() if stored.etag}
        self.summary.accounts += len(accounts)
        self.summary.no_record += len(states) - len(known)
        self.summary.deactivated_elsewhere += sum(
            accounts[user_id].deactivated and stored.state.status is Status.ACTIVE for user_id, stored in known.items()
        )
        for user_id, seen in (await self._confirmed(known, accounts)).items():
            if await self._wait_or_stop():
                return cursor, 0, page.total
            unrepaired = await self._repairer.account(user_id, frozenset(seen.kinds)) if self._repairer else None
            for kind in dict.fromkeys((*seen.kinds, *(unrepaired.kinds if unrepaired else ()))):
                self._add(kind, user_id, f"{seen.rooms} rooms" if kind is Kind.IN_ROOMS else "", unrepaired)
        if page.following is not None:
            return replace(cursor, offset=page.following), page.rows, page.total
        return Cursor(Listing.MEDIA) if Kind.ORPHANED_MEDIA in self._options.kinds else None, page.rows, page.total

    async def _confirmed(self, known: Mapping[str, Versioned], accounts: Mapping[str, Account]) -> dict[str, _Suspect]:
        """Returns the users whose account differed in two checks, with no write to their record in between."""
        suspects = await self._check_all(known, accounts)
        confirmed: dict[str, _Suspect] = {}
        for _ in range(CHECKS):
            if not suspects:
                break
            again = await self._check_all({user_id: seen.stored for user_id, seen in suspects.items()}, {})
            now = await self._load_states(again)
            confirmed |= {u: seen for u, seen in again.items() if u in now and now[u].etag == seen.stored.etag}
            suspects = {u: replace(again[u], stored=now[u]) for u in now.keys() - confirmed.keys()}
        return confirmed

    async def _check_all(self, known: Mapping[str, Versioned], accounts: Mapping[str, Account]) -> dict[str, _Suspect]:
        """Returns those of the users who seem to differ; fetches accounts that are not passed in."""
        found = await asyncio.gather(
            *(self._check(user_id, known[user_id], accounts.get(user_id)) for user_id in known)
        )
        return {user_id: seen for user_id, seen in zip(known, found, strict=True) if seen}

    async def _check(self, user_id: str, stored: Versioned, account: Account | None) -> _Suspect | None:
        rooms, image_exists = 0, True
        try:
            account = account or await self._synapse.account(user_id)
            if account is None:
                return None
            deactivated = account.deactivated and stored.state.status is not Status.ACTIVE
            if deactivated and Kind.IN_ROOMS in self._options.kinds:
                rooms = await self._synapse.joined_rooms(user_id)
            if Kind.AVATAR_GONE in self._options.kinds and shows_expected_avatar(stored.state, account):
                image_exists = await self._synapse.media_exists(account.avatar)
        except Rejected as rejected:
            self.summary.unchecked[rejected.reason] += 1
            return None
        found = drift_of(stored.state, account, rooms, image_exists=image_exists)
        kinds = [kind for kind in found if kind in self._options.kinds]
        return _Suspect(stored, kinds, rooms) if kinds else None

    async def _load_states(self, user_ids: Collection[str]) -> dict[str, Versioned]:
        """Returns the users' states, with an empty ETag if there is none; leaves out unreadable states."""
        found = await self._users.read_each(user_ids) if user_ids else {}
        states: dict[str, Versioned] = {}
        for user_id, stored in found.items():
            if isinstance(stored, TryAgain):
                self.summary.unchecked[stored.reason] += 1
            elif stored.state.claim and stored.state.claim.until > self._clock():
                self.summary.unchecked[Reason.CLAIMED] += 1  # its account is about to change
            else:
                states[user_id] = stored
        return states

    async def _media(self, cursor: Cursor, size: int) -> tuple[Cursor | None, int, int]:
        page = await self._synapse.uploads(self._admin, cursor.offset, size)
        old = [media for media in page.items if self._clock() - media.at >= self._options.media_age]
        states = await self._load_states({media.user_id for media in old})
        listed = {mxc for stored in states.values() for mxc in _images_of(stored.state)}
        suspects = [media for media in old if media.user_id in states and media.mxc not in listed]
        orphaned = await asyncio.gather(*(self._is_orphaned(media) for media in suspects))
        self.summary.media += len(page.items)
        deleted = 0
        for media in (media for media, is_orphaned in zip(suspects, orphaned, strict=True) if is_orphaned):
            if await self._wait_or_stop():
                return cursor, 0, page.total
            unrepaired = await self._repairer.image(media.mxc) if self._repairer else None
            deleted += bool(unrepaired and not unrepaired.kinds)
            self._add(Kind.ORPHANED_MEDIA, media.user_id, media.mxc, unrepaired)
        following = None if page.following is None else replace(cursor, offset=page.following - deleted)
        return following, page.rows, page.total

    async def _is_orphaned(self, media: Media) -> bool:
        try:
            account = await self._synapse.account(media.user_id)
        except Rejected as rejected:
            self.summary.unchecked[rejected.reason] += 1
            return False
        return account is None or account.avatar != media.mxc

    async def _wait_or_stop(self) -> bool:
        if self._repairer:
            await self._repairer.wait_for_rate(self._stop)
        return self.stopped

    def _add(self, kind: Kind, user_id: str, detail: str, unrepaired: Unrepaired | None) -> None:
        repaired = None if unrepaired is None else kind not in unrepaired.kinds
        self.summary.found[kind] += 1
        self.summary.repaired[kind] += bool(repaired)
        self._report(Drift(kind, user_id, detail, repaired, None if repaired or unrepaired is None else unrepaired.why))


def _images_of(state: UserState) -> tuple[str, ...]:
    return (*state.uploads, state.copy.mxc) if state.copy else state.uploads
