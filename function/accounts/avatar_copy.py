"""Copies an https avatar into Synapse's media store: fetches it, uploads it if its bytes are new, and sets it as the avatar."""

from collections.abc import Awaitable, Callable

from function.accounts.plan import is_fresh
from function.accounts.user_state import Copy
from function.accounts.work import Work
from function.avatars.fetch import AvatarSource, Image, Validators
from function.clock import Clock
from function.copies import replace

Look = Callable[[Work], Awaitable[None]]


class AvatarCopier:
    """Copies avatars.

    Args:
        avatars: fetches images.
        look: reads the account of a reconciliation.
        clock: gives the time in UTC.
    """

    def __init__(self, avatars: AvatarSource, look: Look, clock: Clock) -> None:
        self._avatars, self._look, self._clock = avatars, look, clock

    async def copy(self, work: Work, source: str) -> bool:
        """Fetches the image, uploads it unless the existing copy has the same bytes, and sets it as the avatar.

        Returns False if that copy is already the avatar.
        """
        copy = work.state.copy
        copy = copy if copy and copy.mxc in (work.account.avatar, *work.state.uploads) else None
        known = Validators(copy.sha256, copy.etag, copy.last_modified) if copy and copy.source == source else None
        found = await self._avatars.fetch(source, known)
        same = copy is not None and copy.sha256 == found.known.sha256
        shown = same and copy is not None and copy.mxc == work.account.avatar
        if not shown and not await self._may_write(work):
            return False
        if same and copy is not None:
            mxc = copy.mxc
        else:
            assert isinstance(found, Image)  # "not modified" implies `same`
            mxc = await work.synapse.upload(found.content, found.content_type, work.user_id)
            work.state = replace(work.state, uploads=(*work.state.uploads, mxc))
        kept = found.known
        at = work.state.avatar_at or self._clock()
        work.state = replace(
            work.state, copy=Copy(source, mxc, at, kept.sha256, kept.etag, kept.last_modified)
        )  # kept if the next request fails: the image is not uploaded again
        if not shown:
            await work.synapse.set_avatar(work.user_id, mxc)
            work.account = replace(work.account, avatar=mxc)
        return not shown

    async def _may_write(self, work: Work) -> bool:
        """Returns whether the account may be written to; reads it if it was not read for ACCOUNT_TTL.

        `decide` leaves this to the copy, since most images turn out to be unchanged.
        """
        if not is_fresh(work.seen_at or work.state.seen_at, self._clock()):
            await self._look(work)
        return work.account.writable
