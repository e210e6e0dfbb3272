"""Makes Synapse what a user's record says: does the steps of the plan, one after the other, and notes what came of each."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from function.accounts.plan import (
    ABSENT,
    KNOWN_FOR,
    PROFILE_STEPS,
    CopyAvatar,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    EndSessions,
    SetAvatar,
    SetDisplayName,
    Step,
    after,
    leftovers,
    must_look,
    plan,
)
from function.accounts.user_state import Account, Copy, Record, Status
from function.avatars.fetch import AvatarSource, Image, Known
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected

LAST_UPLOADS = 1000

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reconciliation: the record with what is now known, the steps that Synapse took and refused."""

    record: Record
    done: Sequence[Step] = ()
    refused: Sequence[tuple[Step, Rejected]] = ()

    @property
    def account(self) -> Account:
        return self.record.known or ABSENT


@dataclass(slots=True)
class _Work:
    """One reconciliation under way."""

    user_id: str
    record: Record
    account: Account
    fresh: bool  # Synapse was asked in this reconciliation
    done: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, Rejected]] = field(default_factory=list)


class Reconciler:
    """Does steps.

    Args:
        synapse: the homeserver.
        avatars: fetches images.
        provider: under which Synapse knows the identity service, such as `oidc-nova`.
        clock: gives the time in UTC.
    """

    def __init__(
        self, synapse: Synapse, avatars: AvatarSource, provider: str, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        self._synapse, self._avatars, self._provider, self._clock = synapse, avatars, provider, clock
        # Uploads of which no saved record tells yet, by user: sha256 and address. What could not be shown or saved is not
        # uploaded once more when the event comes again.
        self._uploads: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def reconcile(self, user_id: str, record: Record, *, doubtful: bool) -> Outcome:
        """Does what `plan` says.

        Args:
            user_id: the user's UUID.
            record: as it should be.
            doubtful: Synapse may not be as the record says: look first.

        Raises:
            TryAgain: Synapse can't be reached or refuses everybody; some steps may have been done.
        """
        record = self._with_upload(user_id, record)
        if must_look(record, self._clock(), doubtful=doubtful):
            work = _Work(user_id, record, await self._look(user_id), fresh=True)
        else:
            work = _Work(user_id, record, _presumed(record), fresh=False)
        for step in plan(record, work.account):
            await self._do(work, step)
        for media in leftovers(work.record, work.account):
            await self._do(work, media)
        return self._outcome(work)

    def at_once(self, user_id: str, record: Record) -> Outcome | None:
        """What `reconcile` comes to where nothing is doubtful and there is nothing to ask and nothing to do; else None."""
        record = self._with_upload(user_id, record)
        account = _presumed(record)
        if must_look(record, self._clock(), doubtful=False) or plan(record, account) or leftovers(record, account):
            return None
        return self._outcome(_Work(user_id, record, account, fresh=False))

    async def _look(self, user_id: str) -> Account:
        return await self._synapse.account(user_id) or ABSENT

    def _outcome(self, work: _Work) -> Outcome:
        news: dict[str, Any] = {} if work.account == work.record.known else {"known": work.account}
        if work.fresh or any(not isinstance(step, DeleteMedia) for step in work.done):
            news["seen_at"] = self._clock()
        if any(isinstance(step, PROFILE_STEPS) for step in work.done):
            news["written_at"] = self._clock()
        if not work.account.exists:
            news["ended_at"] = work.record.sessions_at  # nobody was logged in
        return Outcome(replace(work.record, **news) if news else work.record, work.done, work.refused)

    async def _do(self, work: _Work, step: Step) -> None:
        try:
            took_effect = await self._call(work, step)
        except Rejected as rejected:
            work.refused.append((step, rejected))
            return
        if took_effect:
            work.done.append(step)

    async def _call(self, work: _Work, step: Step) -> bool:
        """One step; False when it changed nothing."""
        user_id = work.user_id
        match step:
            case Deactivate(erase):
                if not await self._synapse.deactivate(user_id, erase=erase):
                    work.account = ABSENT
                    return False
            case EndSessions(at):
                ended = await self._synapse.end_sessions(user_id)
                work.record = replace(work.record, ended_at=at)
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
                work.record = _without(work.record, mxc)
        work.account = after(work.account, step)
        return True

    async def _copy(self, work: _Work, source: str) -> bool:
        """Fetches the image, uploads it unless the copy that is there has its bytes, shows it. False when the copy that
        is there is shown already."""
        record, copy = work.record, work.record.copy
        # A copy that is not shown may be deleted already, by a delivery that died before the record was saved.
        shown = copy if copy and copy.mxc == work.account.avatar else None
        known = Known(shown.sha256, shown.etag, shown.last_modified) if shown and shown.source == source else None
        found = await self._avatars.fetch(source, known)
        same = shown is not None and shown.sha256 == found.known.sha256
        if not same and not await self._may_write(work):
            return False
        if same and shown is not None:
            mxc = shown.mxc
        else:
            assert isinstance(found, Image)  # not modified is what it was
            mxc = await self._uploaded(work.user_id, found)
            record = work.record = replace(record, uploads=(*(u for u in record.uploads if u != mxc), mxc))
            await self._synapse.set_avatar(work.user_id, mxc)
            work.account = replace(work.account, avatar=mxc)
        kept = found.known
        asked = Copy(source, mxc, record.avatar_at or self._clock(), kept.sha256, kept.etag, kept.last_modified)
        work.record = replace(record, copy=asked)
        return not same

    async def _uploaded(self, user_id: str, image: Image) -> str:
        sha256, mxc = self._uploads.get(user_id, ("", ""))
        if sha256 != image.known.sha256:
            mxc = await self._synapse.upload(image.content, image.content_type, user_id)
            self._uploads[user_id] = (image.known.sha256, mxc)
            if len(self._uploads) > LAST_UPLOADS:
                self._uploads.popitem(last=False)
        return mxc

    def saved(self, user_id: str) -> None:
        """The user's record is saved: from now on another replica may delete what was uploaded."""
        self._uploads.pop(user_id, None)

    def _with_upload(self, user_id: str, record: Record) -> Record:
        """The record knows of an upload that was made before its save failed."""
        _, mxc = self._uploads.get(user_id, ("", ""))
        return record if not mxc or mxc in record.uploads else replace(record, uploads=(*record.uploads, mxc))

    async def _may_write(self, work: _Work) -> bool:
        """Whether the account is still one to write to; asks where it was not seen for long. `must_look` leaves this to
        us, since most images turn out to be the same."""
        seen = work.record.seen_at
        if not work.fresh and (seen is None or self._clock() - seen >= KNOWN_FOR):
            work.account, work.fresh = await self._look(work.user_id), True
        return work.account.exists and not work.account.deactivated and not work.account.erased


def _presumed(record: Record) -> Account:
    """The account, where Synapse need not be asked. Of one that is to be ended, the ending tells whether it exists."""
    if record.status is Status.ACTIVE:
        return record.known or ABSENT
    return replace(record.known or Account(), exists=True)


def _without(record: Record, mxc: str) -> Record:
    """The record once the upload is deleted: it is no copy to be shown again."""
    copy = None if record.copy and record.copy.mxc == mxc else record.copy
    return replace(record, copy=copy, uploads=tuple(upload for upload in record.uploads if upload != mxc))
