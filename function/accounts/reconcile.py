"""Makes Synapse match a user's state: executes the steps of the plan one after the other and records the result of each."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from function.accounts.plan import (
    ABSENT,
    ACCOUNT_TTL,
    PROFILE_STEPS,
    CopyAvatar,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    EndSessions,
    ReconcileResult,
    SetAvatar,
    SetDisplayName,
    Step,
    apply_step,
    needs_lookup,
    orphaned_uploads,
    plan,
)
from function.accounts.user_state import Copy, Status, UserState
from function.avatars.fetch import AvatarSource, Image, Validators
from function.clock import Clock, utc_now
from function.homeserver.account import Account
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected

LAST_UPLOADS = 1000


@dataclass(slots=True)
class _Work:
    """A reconciliation in progress."""

    user_id: str
    state: UserState
    account: Account
    fresh: bool  # the account was read from Synapse in this reconciliation
    done: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, Rejected]] = field(default_factory=list)


class Reconciler:
    """Executes plans.

    Args:
        synapse: the homeserver.
        avatars: fetches images.
        provider: Synapse's auth provider id of the identity service, such as `oidc-nova`.
        clock: gives the time in UTC.
    """

    def __init__(self, synapse: Synapse, avatars: AvatarSource, provider: str, clock: Clock = utc_now) -> None:
        self._synapse, self._avatars, self._provider, self._clock = synapse, avatars, provider, clock
        # Uploads not yet in a saved state, by user: SHA-256 and mxc URI. They are reused if the event is redelivered.
        self._uploads: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def reconcile(self, user_id: str, state: UserState, *, verify: bool) -> ReconcileResult:
        """Executes what `plan` returns.

        Args:
            user_id: the user's UUID.
            state: the state that the events ask for.
            verify: read the account first, since Synapse may differ from what the state says.

        Raises:
            TryAgain: Synapse can't be reached or refuses every request; some steps may have been executed.
        """
        state = self._with_upload(user_id, state)
        if needs_lookup(state, self._clock(), verify=verify):
            work = _Work(user_id, state, await self._look(user_id), fresh=True)
        else:
            work = _Work(user_id, state, _assumed_account(state), fresh=False)
        for step in plan(state, work.account):
            await self._do(work, step)
        for media in orphaned_uploads(work.state, work.account):
            await self._do(work, media)
        return self._outcome(work)

    def without_io(self, user_id: str, state: UserState) -> ReconcileResult | None:
        """Returns the result of `reconcile` if it needs no I/O, otherwise None."""
        state = self._with_upload(user_id, state)
        account = _assumed_account(state)
        if needs_lookup(state, self._clock(), verify=False) or plan(state, account) or orphaned_uploads(state, account):
            return None
        return self._outcome(_Work(user_id, state, account, fresh=False))

    async def _look(self, user_id: str) -> Account:
        return await self._synapse.account(user_id) or ABSENT

    def _outcome(self, work: _Work) -> ReconcileResult:
        news: dict[str, Any] = {} if work.account == work.state.known else {"known": work.account}
        if work.fresh or any(not isinstance(step, DeleteMedia) for step in work.done):
            news["seen_at"] = self._clock()
        if any(isinstance(step, PROFILE_STEPS) for step in work.done):
            news["written_at"] = self._clock()
        if not work.account.exists:
            news["ended_at"] = work.state.sessions_at  # there was no session
        return ReconcileResult(replace(work.state, **news) if news else work.state, work.done, work.refused)

    async def _do(self, work: _Work, step: Step) -> None:
        try:
            took_effect = await self._call(work, step)
        except Rejected as rejected:
            work.refused.append((step, rejected))
            return
        if took_effect:
            work.done.append(step)

    async def _call(self, work: _Work, step: Step) -> bool:
        """Executes one step. Returns False if it changed nothing."""
        user_id = work.user_id
        match step:
            case Deactivate(erase):
                if not await self._synapse.deactivate(user_id, erase=erase):
                    work.account = ABSENT
                    return False
            case EndSessions(at):
                ended = await self._synapse.end_sessions(user_id)
                work.state = replace(work.state, ended_at=at)
                return ended
            case CreateAccount(name):
                await self._synapse.create(user_id, name, self._provider)
            case SetDisplayName(name):
                await self._synapse.set_display_name(user_id, name)
            case SetAvatar(address):
                await self._synapse.set_avatar(user_id, address)
            case CopyAvatar(source):
                return await self._copy(work, source)
            case DeleteMedia(mxc):
                await self._synapse.delete_media(mxc)
                if self._uploads.get(user_id, ("", ""))[1] == mxc:
                    del self._uploads[user_id]
                work.state = _without(work.state, mxc)
        work.account = apply_step(work.account, step)
        return True

    async def _copy(self, work: _Work, source: str) -> bool:
        """Fetches the image, uploads it unless the existing copy has the same bytes, and sets it as the avatar.

        Returns False if that copy is already the avatar.
        """
        state, copy = work.state, work.state.copy
        # A copy that is not the avatar may have been deleted by a delivery that crashed before it saved the state.
        shown = copy if copy and copy.mxc == work.account.avatar else None
        known = Validators(shown.sha256, shown.etag, shown.last_modified) if shown and shown.source == source else None
        found = await self._avatars.fetch(source, known)
        same = shown is not None and shown.sha256 == found.known.sha256
        if not same and not await self._may_write(work):
            return False
        if same and shown is not None:
            mxc = shown.mxc
        else:
            assert isinstance(found, Image)  # "not modified" implies `same`
            mxc = await self._uploaded(work.user_id, found)
            state = work.state = replace(state, uploads=(*(u for u in state.uploads if u != mxc), mxc))
            await self._synapse.set_avatar(work.user_id, mxc)
            work.account = replace(work.account, avatar=mxc)
        kept = found.known
        asked = Copy(source, mxc, state.avatar_at or self._clock(), kept.sha256, kept.etag, kept.last_modified)
        work.state = replace(state, copy=asked)
        return not same

    async def _uploaded(self, user_id: str, image: Image) -> str:
        sha256, mxc = self._uploads.get(user_id, ("", ""))
        if sha256 != image.known.sha256:
            mxc = await self._synapse.upload(image.content, image.content_type, user_id)
            self._uploads[user_id] = (image.known.sha256, mxc)
            if len(self._uploads) > LAST_UPLOADS:
                self._uploads.popitem(last=False)
        return mxc

    def forget_upload(self, user_id: str) -> None:
        """Forgets the user's upload once the state is saved: from then on another replica may delete it."""
        self._uploads.pop(user_id, None)

    def _with_upload(self, user_id: str, state: UserState) -> UserState:
        """Returns the state with an upload that was made before its save failed."""
        _, mxc = self._uploads.get(user_id, ("", ""))
        return state if not mxc or mxc in state.uploads else replace(state, uploads=(*state.uploads, mxc))

    async def _may_write(self, work: _Work) -> bool:
        """Returns whether the account may be written to; reads it if it was not seen for ACCOUNT_TTL.

        `needs_lookup` leaves this check to the copy, since most images turn out to be unchanged.
        """
        seen = work.state.seen_at
        if not work.fresh and (seen is None or self._clock() - seen >= ACCOUNT_TTL):
            work.account, work.fresh = await self._look(work.user_id), True
        return work.account.exists and not work.account.deactivated and not work.account.erased


def _assumed_account(state: UserState) -> Account:
    """Returns the account to assume without asking Synapse.

    Before a deactivation it is assumed to exist; the call itself returns 404 if it does not.
    """
    if state.status is Status.ACTIVE:
        return state.known or ABSENT
    return replace(state.known or Account(), exists=True)


def _without(state: UserState, mxc: str) -> UserState:
    """Returns the state without a deleted upload, which can no longer be used as a copy."""
    copy = None if state.copy and state.copy.mxc == mxc else state.copy
    return replace(state, copy=copy, uploads=tuple(upload for upload in state.uploads if upload != mxc))
