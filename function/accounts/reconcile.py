"""Makes Synapse match a user's state: executes the steps of a decision one after the other and records the result of each."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from function.accounts.avatar_copy import AvatarCopier
from function.accounts.plan import ABSENT, Decision, ReconcileResult, known_account, orphaned_uploads, plan
from function.accounts.removal import TracesRemover
from function.accounts.steps import (
    PROFILE_STEPS,
    CopyAvatar,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    DeleteOwnAvatar,
    EndSessions,
    LinkIdentity,
    SetAvatar,
    SetDisplayName,
    Step,
    apply_step,
)
from function.accounts.traces import Part, opened
from function.accounts.user_state import LATE_EFFECT, Status, UserState, carried_out, doubted, own_avatar
from function.accounts.work import Work
from function.avatars.fetch import AvatarSource
from function.clock import Clock, utc_now
from function.copies import replace
from function.homeserver.account import Account
from function.homeserver.synapse import Synapse
from function.outcomes import Reason, Rejected, TryAgain

_NEVER = datetime.min.replace(tzinfo=UTC)
MEDIA_STEPS = (DeleteMedia, DeleteOwnAvatar)  # they do not change the account
# After a step was rejected so late, the next ones are not tried: each may hang as long, and the user's claim would end first.
LIMITS_SECONDS = 10.0
RECENT = timedelta(minutes=5)  # how long after a profile write its joins may still be queued; 21 s were seen
ROOMS_LIMIT = timedelta(hours=1)  # how long messages and media wait for an erased user to leave the rooms
ROOM_WORK_LOOKS, ROOM_WORK_PAUSE = 10, 0.5  # seconds


class Reconciler:
    """Executes decisions.

    Args:
        synapse: the homeserver.
        avatars: fetches images.
        provider: Synapse's auth provider id of the identity service, such as `oidc-nova`.
        clock: gives the time in UTC.
        removes: what is removed of an erased user beyond the account.
    """

    def __init__(
        self, synapse: Synapse, avatars: AvatarSource, provider: str, clock: Clock = utc_now,
        removes: frozenset[Part] = frozenset(),
    ) -> None:  # fmt: skip
        self._synapse, self._provider, self._clock = synapse, provider, clock
        self.removes = removes
        self._avatars = AvatarCopier(avatars, self._look, clock)

    async def reconcile(
        self, user_id: str, decision: Decision, until: datetime, *, later: bool = False
    ) -> ReconcileResult:
        """Executes a decision.

        Args:
            user_id: the user's UUID.
            decision: what to do.
            until: no request that writes begins at or after this time.
            later: whether this is a later look, which also deactivates a deleted user again who is still joined to rooms, and
                removes what an erased one left behind.

        Returns:
            what was done, refused and learned; `failure` says why the rest has to wait.

        Raises:
            Rejected: not even reading the account succeeds.
        """
        synapse, assumed = self._synapse.before(until, self._clock), _assumed_account(decision.state)
        work = Work(user_id, decision, synapse, decision.state, assumed, assumed)
        try:
            if decision.look:
                await self._look(work)
            await self._execute(work, await self._steps(work, later=later))
            await self._execute(work, orphaned_uploads(work.state, work.account))
            if later:
                await self._remove_traces(work)
        except TryAgain as failure:
            work.failure = failure
        return self._result(work)

    async def _steps(self, work: Work, *, later: bool) -> list[Step]:
        steps = plan(work.state, work.account, work.decision.asked, seen=work.seen_at is not None)
        if steps or work.state.status is Status.ACTIVE:
            return steps
        if later and work.account.exists and await work.synapse.joined_rooms(work.user_id):
            return [Deactivate(erase=work.state.status is Status.ERASED)]
        if work.seen_at is not None:  # the account is as the deletions ask
            if work.decision.asked.deletions and work.account.exists:  # another process may have made the call and died
                self._open_traces(work, work.seen_at)
            work.state = carried_out(work.state, work.decision.asked.deletions)
        return []

    async def _remove_traces(self, work: Work) -> None:
        """Removes what the user left behind, once nothing is left to do about the account: it has left its rooms.

        For rooms that it can't leave it waits no longer than ROOMS_LIMIT, for images that can't be deleted not at all.
        """
        traces, now = work.state.traces, self._clock()
        erased = work.state.status is Status.ERASED
        if not erased or traces is None or not traces.outstanding:
            return
        unsettled = any(not isinstance(step, MEDIA_STEPS) for step in work.tried)
        if unsettled and (not work.account.ended or now - traces.at < ROOMS_LIMIT):
            return
        remover = TracesRemover(work.synapse, work.synapse.mxid(work.user_id), traces)
        try:
            await remover.run(now)
        finally:
            work.state, work.removals = replace(work.state, traces=remover.traces), remover.removals

    async def _execute(self, work: Work, steps: Sequence[Step]) -> None:
        began = asyncio.get_running_loop().time()
        for place, step in enumerate(steps):
            try:
                if await self._call(work, step):
                    work.done.append(step)
                elif isinstance(step, CreateAccount):
                    return  # nothing is written to it
            except TryAgain as failure:
                work.in_doubt |= failure.in_doubt and not isinstance(step, MEDIA_STEPS)
                raise
            except Rejected as rejected:
                work.refused.append((step, rejected))
                work.in_doubt |= rejected.in_doubt and not isinstance(step, MEDIA_STEPS)
                late = asyncio.get_running_loop().time() - began > LIMITS_SECONDS
                if late or (isinstance(step, CreateAccount) and not work.account.exists):
                    work.refused += [(other, rejected) for other in steps[place + 1 :]]
                    return

    async def _look(self, work: Work) -> None:
        asked_at = self._clock()  # what happens to the account while Synapse answers counts as not seen
        # Synapse tells of identities anyway; MAS is asked where one is wanted.
        provider = self._provider if work.synapse.owns_accounts or work.state.username is not None else ""
        work.account = await work.synapse.account(work.user_id, provider) or ABSENT
        work.seen_at = asked_at
        if work.state.status is Status.ERASED and (own := own_avatar(work.state, work.account.avatar)):
            work.state = replace(work.state, last_avatar=own)

    async def _call(self, work: Work, step: Step) -> bool:  # noqa: PLR0911 - one for each kind of step
        """Executes one step. Returns False if it changed nothing."""
        match step:
            case Deactivate(erase):
                return await self._deactivate(work, erase=erase)
            case EndSessions(at):
                return await self._end_sessions(work, at)
            case CreateAccount(name):
                return await self._create(work, name)
            case LinkIdentity():
                exists = await work.synapse.link(work.user_id, self._provider)
                work.account = apply_step(work.account, step) if exists else ABSENT
                return exists
            case CopyAvatar(source):
                return await self._avatars.copy(work, source)
            case DeleteMedia() | DeleteOwnAvatar():
                return await _delete_media(work, step)
            case SetDisplayName() | SetAvatar():
                return await self._write(work, step)

    async def _end_sessions(self, work: Work, at: datetime) -> bool:
        ended = await work.synapse.end_sessions(work.user_id, at)
        work.state = replace(work.state, ended_at=at)
        return ended

    async def _deactivate(self, work: Work, *, erase: bool) -> bool:
        await self._await_room_work(work)
        asked_at = self._clock()
        unused = work.seen_at is not None and work.account.ended and work.account.erased
        exists = await work.synapse.deactivate(work.user_id, erase=erase)
        work.state = replace(work.state, seen_at=asked_at)  # the answer tells as much as a look
        work.state = carried_out(work.state, work.decision.asked.deletions)
        work.account = apply_step(work.account, Deactivate(erase)) if exists else ABSENT
        if exists and not (unused and work.state.traces):
            # whatever the account was used for since an earlier erasure is to be removed as well
            self._open_traces(work, asked_at)
        return exists

    def _open_traces(self, work: Work, at: datetime) -> None:
        """Notes what is to be removed of an erased user."""
        if work.state.status is Status.ERASED:
            work.state = replace(work.state, traces=opened(work.state.traces, self.removes, at))

    async def _await_room_work(self, work: Work) -> None:
        """Waits for the end of what a profile write has queued in Synapse: a join that runs after the leave would stay.

        Only for a few seconds: the user is looked at again afterwards anyway.
        """
        written = work.decision.state.written_at
        if written is None or self._clock() - written >= RECENT:
            return
        for _ in range(ROOM_WORK_LOOKS):
            if not await work.synapse.room_work(work.user_id):
                return
            await asyncio.sleep(ROOM_WORK_PAUSE)  # Synapse tells of its tasks only if it is asked

    async def _write(self, work: Work, step: SetDisplayName | SetAvatar) -> bool:
        match step:
            case SetDisplayName(name):
                await work.synapse.set_display_name(work.user_id, name)
            case SetAvatar(address):
                await work.synapse.set_avatar(work.user_id, address)
        work.account = apply_step(work.account, step)
        return True

    async def _create(self, work: Work, name: str) -> bool:
        """Creates the account; False if it was there and is deactivated.

        There was no session before: a password change ends none of those that begin now.
        """
        asked_at = self._clock()
        try:
            work.account = await work.synapse.create(work.user_id, name, self._provider)
        except Rejected as rejected:
            if rejected.reason is Reason.EXTERNAL_ID_TAKEN:  # the account was created all the same
                work.account = Account(display_name=name, linked=False)
            raise
        work.seen_at = asked_at  # the answer describes the account
        work.state = replace(work.state, ended_at=work.state.sessions_at)
        return work.account.writable

    def _result(self, work: Work) -> ReconcileResult:
        """Returns the result. One `replace` for all that changed: it costs as much as the rest of the method."""
        state, account, now = work.state, work.account, self._clock()
        if work.in_doubt:
            state = doubted(state, now)
        news: dict[str, Any] = {"claim": None}
        if account is not work.assumed and not work.in_doubt:
            news |= {"known": None if account.half_ended else _storable(account), "linked": account.linked}
        if work.seen_at:
            news["seen_at"] = work.seen_at
            if state.doubt_until is not None and state.doubt_until <= work.seen_at:
                news["doubt_until"] = None
        if work.synapse.unfinished:  # a first try that had no answer may overwrite what comes next
            news["doubt_until"] = max(now + LATE_EFFECT, state.doubt_until or _NEVER)
        if not account.exists and not account.mas_active and work.failure is None:
            news["ended_at"] = state.sessions_at  # there was no session
        if state.status is Status.ACTIVE and any(isinstance(step, PROFILE_STEPS) for step in work.tried):
            news["written_at"] = now
        return ReconcileResult(replace(state, **news), account, work.done, work.refused, work.removals, work.failure)


def _storable(account: Account) -> Account:
    """Returns the account as a state holds it: an earlier release takes neither `linked` nor `mas_active` in it."""
    if account.linked is None and account.mas_active is None:
        return account
    return replace(account, linked=None, mas_active=None)


def result_without_calls(decision: Decision) -> ReconcileResult:
    """Returns the result of a decision that needs no call."""
    state = decision.state
    return ReconcileResult(state if state.claim is None else replace(state, claim=None), known_account(state))


async def _delete_media(work: Work, step: DeleteMedia | DeleteOwnAvatar) -> bool:
    """Deletes an image; a user's own avatar only if the user uploaded it, since others may share it."""
    owner = await work.synapse.uploaded_by(step.mxc) if isinstance(step, DeleteOwnAvatar) else None
    deletes = isinstance(step, DeleteMedia) or owner == work.synapse.mxid(work.user_id)
    if deletes:
        await work.synapse.delete_media(step.mxc)
    if isinstance(step, DeleteOwnAvatar):
        work.state = replace(work.state, last_avatar=None)
    else:
        work.state = _without(work.state, step.mxc)
    return deletes


def _assumed_account(state: UserState) -> Account:
    """Returns the account to assume without asking Synapse.

    Before a deactivation it is assumed to exist; the call itself returns 404 if it does not.
    """
    if state.status is Status.ACTIVE:
        return known_account(state)
    return replace(known_account(state), exists=True) if state.known else Account()


def _without(state: UserState, mxc: str) -> UserState:
    """Returns the state without a deleted upload, which can no longer be used as a copy."""
    copy = None if state.copy and state.copy.mxc == mxc else state.copy
    return replace(state, copy=copy, uploads=tuple(upload for upload in state.uploads if upload != mxc))
