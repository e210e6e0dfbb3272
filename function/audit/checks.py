"""Checks accounts and images against the users' records. Reads only.

The function keeps running during an audit, so apparent drift is checked again until account and record have been read with
no write to the record in between.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from function.accounts.plan import ABSENT
from function.accounts.traces import Progress
from function.accounts.user_state import Status, UserState
from function.accounts.user_store import UserStore, Versioned
from function.audit.drift import Kind, drift_of, left_messages, shows_expected_avatar
from function.audit.findings import Options, Verdict
from function.clock import Clock
from function.homeserver.account import Account, Media
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain

CHECKS = 3  # of an account that differs while its record changes

States = Mapping[str, Versioned | Reason]


class Checker:
    """Checks accounts and images.

    Args:
        synapse: the homeserver; limits the calls in flight.
        users: the users' states.
        options: kinds of drift, and the age of an orphaned image.
        clock: returns the time in UTC.
    """

    def __init__(self, synapse: Synapse, users: UserStore, options: Options, clock: Clock) -> None:
        self._synapse, self._users, self._options, self._clock = synapse, users, options, clock

    async def accounts(self, listed: Mapping[str, Account]) -> dict[str, Verdict]:
        """Checks accounts as Synapse listed them. Raises TryAgain."""
        return await self._checked(await self._states(listed), listed)

    async def users(self, user_ids: Sequence[str]) -> dict[str, Verdict]:
        """Checks users, with one call to Synapse for each that has a record. Raises TryAgain."""
        return await self._checked(await self._states(user_ids), {})

    async def media(self, uploads: Sequence[Media]) -> list[Verdict]:
        """Returns a verdict for each upload. Raises TryAgain."""
        old = {media.user_id for media in uploads if self._clock() - media.at >= self._options.media_age}
        states = await self._states(old)
        return await asyncio.gather(*(self._orphaned(media, states.get(media.user_id)) for media in uploads))

    async def _checked(self, states: States, listed: Mapping[str, Account]) -> dict[str, Verdict]:
        known = {user: stored for user, stored in states.items() if isinstance(stored, Versioned) and stored.etag}
        first = dict(zip(known, await self._check_each(known, listed), strict=True))
        again = await self._confirmed({user: known[user] for user, verdict in first.items() if verdict.kinds})
        return {user: again.get(user) or first.get(user) or _unread(user, stored) for user, stored in states.items()}

    async def _confirmed(self, suspects: Mapping[str, Versioned]) -> dict[str, Verdict]:
        """Returns a verdict for each user: drift only if account and record were read with no write to the record in
        between."""
        verdicts: dict[str, Verdict] = {user: Verdict(user) for user in suspects}
        for _ in range(CHECKS):
            if not suspects:
                break
            found = await self._check_each(suspects, {})
            now = await self._states(suspects)
            changed: dict[str, Versioned] = {}
            for verdict in found:
                user, stored = verdict.user_id, now[verdict.user_id]
                if isinstance(stored, Reason):
                    verdicts[user] = Verdict(user, unchecked=stored)
                elif stored.etag == suspects[user].etag or not verdict.kinds:
                    verdicts[user] = verdict
                else:
                    changed[user] = stored
            suspects = changed
        return verdicts

    async def _check_each(self, known: Mapping[str, Versioned], listed: Mapping[str, Account]) -> list[Verdict]:
        """Returns the verdicts in the order of `known`; reads the accounts that are not in `listed`."""
        return await asyncio.gather(*(self._check(user, stored, listed.get(user)) for user, stored in known.items()))

    async def _check(self, user_id: str, stored: Versioned, account: Account | None) -> Verdict:
        rooms, image_exists, state = 0, True, stored.state
        try:
            account = await self._account(user_id, state, account)
            if Kind.IN_ROOMS in self._options.kinds and account.deactivated and state.status is not Status.ACTIVE:
                rooms = await self._synapse.joined_rooms(user_id)
            if Kind.AVATAR_GONE in self._options.kinds and shows_expected_avatar(state, account):
                image_exists = await self._synapse.media_exists(account.avatar)
            traces = await self._traces(user_id, state, account)
        except Rejected as rejected:
            return Verdict(user_id, unchecked=rejected.reason)
        found = (*drift_of(state, account, rooms, image_exists=image_exists), *traces)
        kinds = [kind for kind in found if kind in self._options.kinds]
        elsewhere = account.exists and not account.writable and state.status is Status.ACTIVE
        return Verdict(user_id, kinds, f"{rooms} rooms" if rooms else "", deactivated_elsewhere=elsewhere)

    async def _traces(self, user_id: str, state: UserState, account: Account) -> list[Kind]:
        """Returns what an erased user has left behind, as far as the options ask; one call for own media."""
        if state.status is not Status.ERASED or not account.exists:
            return []
        kinds = [Kind.OWN_MESSAGES] if left_messages(state, self._clock()) else []
        running = (
            state.traces and state.traces.media is Progress.OUTSTANDING and not state.traces.overdue(self._clock())
        )
        if Kind.OWN_MEDIA in self._options.kinds and not running and await self._has_media(user_id):
            kinds.append(Kind.OWN_MEDIA)
        return kinds

    async def _has_media(self, user_id: str) -> bool:
        mxid, start = self._synapse.mxid(user_id), 0
        while True:
            page = await self._synapse.own_media(mxid, start)
            if page.items or page.following is None:
                return bool(page.items)
            start = page.following  # what a moderator has quarantined

    async def _account(self, user_id: str, state: UserState, listed: Account | None) -> Account:
        """Returns the account as listed, unless MAS may say otherwise: that is asked for a deleted user."""
        elsewhere = not self._synapse.owns_accounts and Kind.ACTIVE_IN_MAS in self._options.kinds
        if listed is not None and (state.status is Status.ACTIVE or not elsewhere):
            return listed
        return await self._synapse.account(user_id) or ABSENT

    async def _states(self, user_ids: Collection[str]) -> States:
        """Returns each user's state, with an empty ETag if there is none, or why it can't be judged by."""
        found = await self._users.read_each(user_ids) if user_ids else {}
        return {user: self._state(stored) for user, stored in ((user, found[user]) for user in user_ids)}

    def _state(self, stored: Versioned | TryAgain) -> Versioned | Reason:
        if isinstance(stored, TryAgain):
            return stored.reason
        claim = stored.state.claim
        return Reason.CLAIMED if claim and claim.until > self._clock() else stored  # its account is about to change

    async def _orphaned(self, media: Media, stored: Versioned | Reason | None) -> Verdict:
        verdict = Verdict(media.user_id, detail=media.mxc)
        if stored is None:  # a new image
            return verdict
        if isinstance(stored, Reason):
            return replace(verdict, unchecked=stored)
        if media.mxc in _images_of(stored.state):
            return verdict
        try:
            account = await self._synapse.account(media.user_id)
        except Rejected as rejected:
            return replace(verdict, unchecked=rejected.reason)
        orphaned = account is None or account.avatar != media.mxc
        return replace(verdict, kinds=[Kind.ORPHANED_MEDIA]) if orphaned else verdict


def _unread(user_id: str, stored: Versioned | Reason) -> Verdict:
    if isinstance(stored, Reason):
        return Verdict(user_id, unchecked=stored)
    return Verdict(user_id, no_record=True)


def _images_of(state: UserState) -> tuple[str, ...]:
    return (*state.uploads, state.copy.mxc) if state.copy else state.uploads
