"""Removes what an erased user leaves behind, as far as it was asked for: begins redactions, follows them, deletes own media.

Never waits for the end of a redaction: the next look asks for it. All of it can be done although the account is deactivated
and has left its rooms, so that nothing holds the deletion up.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from function.accounts.traces import (
    ROUNDS,
    TIME_LIMIT,
    DeleteOwnMedia,
    FollowRedaction,
    Part,
    Progress,
    RedactMessages,
    Removal,
    RemovalResult,
    Traces,
    removal_steps,
    with_progress,
)
from function.homeserver.own_traces import RedactionStatus
from function.homeserver.synapse import Synapse
from function.outcomes import Rejected, TryAgain

MEDIA_SECONDS = 10.0  # for the media of one user in one look: a claim lasts 30 s
AT_ONCE = 4  # deletions of files


class TracesRemover:
    """Takes the next steps for one erased user.

    Args:
        synapse: begins no write after the claim's end.
        mxid: the user's.
        traces: what is outstanding.

    Attributes:
        traces: what is outstanding now.
        removals: what was done.
    """

    def __init__(self, synapse: Synapse, mxid: str, traces: Traces) -> None:
        self._synapse, self._mxid = synapse, mxid
        self.traces, self.removals = traces, list[Removal]()

    async def run(self, now: datetime) -> None:
        """Takes the next step for each part. Raises TryAgain; what was done before stands in `traces` and `removals`."""
        if self.traces.at > now:  # noted by a clock that was ahead
            self.traces = replace(self.traces, at=now)
        if self.traces.overdue(now):
            for part in (Part.MESSAGES, Part.MEDIA):
                if getattr(self.traces, part) is Progress.OUTSTANDING:
                    self._end(part, Progress.FAILED, detail=f"not ended within {TIME_LIMIT.days} days")
            return
        for step in removal_steps(self.traces):
            match step:
                case RedactMessages():
                    await self._redact()
                case FollowRedaction(redact_id):
                    await self._follow(redact_id)
                case DeleteOwnMedia():
                    await self._delete_media()

    async def _redact(self) -> None:
        try:
            rooms = await self._synapse.rooms_of(self._mxid)
            redact_id = await self._synapse.redact(self._mxid, rooms) if rooms else ""
        except Rejected as rejected:
            self._refused(Part.MESSAGES, rejected)
            return
        if not rooms:
            self._end(Part.MESSAGES, Progress.DONE, detail="no rooms")
            return
        self.traces = replace(self.traces, redact_id=redact_id, redactions=self.traces.redactions + 1)
        self._tell(Part.MESSAGES, RemovalResult.BEGUN, len(rooms), redact_id)

    async def _follow(self, redact_id: str) -> None:
        try:
            found = await self._synapse.redaction(redact_id)
        except Rejected as rejected:
            self._tell(Part.MESSAGES, RemovalResult.WAITS, detail=rejected.detail)
            return
        if found.running:
            return
        detail = f"{found.status.value} {redact_id}"
        if found.status is RedactionStatus.COMPLETE and not self.traces.redactions:  # begun before the last erasure
            self.traces = replace(self.traces, redact_id="")
            await self._redact()
        elif found.status is RedactionStatus.COMPLETE:  # what one redaction can't redact, the next can't either
            self._end(Part.MESSAGES, Progress.FAILED if found.failed else Progress.DONE, found.failed, detail)
        elif self.traces.redactions < ROUNDS:
            self.traces = replace(self.traces, redact_id="")
            self._tell(Part.MESSAGES, RemovalResult.WAITS, detail=detail)
            await self._redact()
        else:
            self._end(Part.MESSAGES, Progress.FAILED, detail=detail)

    async def _delete_media(self) -> None:
        """Deletes one page after the other. What can't be deleted, and what a moderator has quarantined, is passed over."""
        try:
            deleted, left, ended = await self._pass_over_media()
        except Rejected as rejected:
            self._refused(Part.MEDIA, rejected)
            return
        if ended and not left:
            self._end(Part.MEDIA, Progress.DONE, deleted)
            return
        self.traces = replace(self.traces, passes=self.traces.passes + bool(ended))
        detail = f"{left} refused" if left else ""
        if self.traces.passes < ROUNDS:
            self._tell(Part.MEDIA, RemovalResult.WAITS, deleted, detail)
        else:
            self._end(Part.MEDIA, Progress.FAILED, deleted, detail)

    async def _pass_over_media(self) -> tuple[int, int, bool]:
        """Returns how many files were deleted, how many Synapse refused, and whether the end was reached in time."""
        now = asyncio.get_running_loop().time
        until, deleted, refused, start = now() + MEDIA_SECONDS, 0, 0, 0
        while now() < until:
            page = await self._synapse.own_media(self._mxid, start)
            gone = await self._delete(page.items)
            deleted, refused = deleted + gone, refused + len(page.items) - gone
            start += len(page.rows) - gone
            if page.following is None:
                return deleted, refused, True
        return deleted, refused, False

    async def _delete(self, files: Sequence[str]) -> int:
        """Deletes files; returns how many are gone. Raises TryAgain."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def delete(mxc: str) -> bool | TryAgain:
            async with slots:
                try:
                    await self._synapse.delete_media(mxc)
                except Rejected:
                    return False
                except TryAgain as failure:
                    return failure
                return True

        ends = await asyncio.gather(*(delete(mxc) for mxc in files))
        if failure := next((end for end in ends if isinstance(end, TryAgain)), None):
            raise failure
        return sum(end is True for end in ends)

    def _refused(self, part: Part, rejected: Rejected) -> None:
        """Ends a part that this Synapse has no call for; otherwise the next look tries again, such as after another redaction."""
        if "M_UNRECOGNIZED" in rejected.detail:
            self._end(part, Progress.FAILED, detail=rejected.detail)
        else:
            self._tell(part, RemovalResult.WAITS, detail=rejected.detail)

    def _end(self, part: Part, progress: Progress, size: int = 0, detail: str = "") -> None:
        self.traces = with_progress(self.traces, part, progress)
        self._tell(part, RemovalResult.DONE if progress is Progress.DONE else RemovalResult.FAILED, size, detail)

    def _tell(self, part: Part, result: RemovalResult, size: int = 0, detail: str = "") -> None:
        self.removals.append(Removal(part, result, size, detail))
