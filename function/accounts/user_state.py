"""Defines the state of a user, and how events fold into it. Pure and total: no clock, no I/O, no exception.

| state before | event | state after |
|---|---|---|
| any but erased | profile, not older than the last profile | its name, avatar and time |
| any but erased | profile, older | unchanged, except for an avatar that is newer than the stored one |
| erased | profile | unchanged: no personal data comes back |
| active | created | an account is wanted, with this username; the newest such event counts |
| active | password changed | sessions must end, as of the newest such event |
| deactivated, erased | created, password changed | unchanged: no account is created, and no session is left |
| active | deleted, soft | deactivated, whatever the event's time |
| deactivated | deleted, soft | unchanged |
| any | deleted, hard | erased: name, avatar and times are dropped |

An unusable avatar keeps the previous one, so avatars have a time of their own. The same events end in the same state in any
order and with any repetition, except for two profiles of one microsecond: then the later arrival wins.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any

from function.accounts.traces import Traces
from function.changes import Announced, Change
from function.copies import replace
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account


class Status(StrEnum):
    """The lifecycle status of a user according to the events. It only moves down this list."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of an https image in Synapse's media store.

    `at` is the time of the profile for which the source was last fetched; `sha256` (hex), `etag` and `last_modified`
    are from that fetch.
    """

    source: str
    mxc: str
    at: datetime
    sha256: str
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Announces that the process `by` may be calling Synapse for the user; it begins no call at or after `until`."""

    by: str
    until: datetime


@dataclass(frozen=True)
class UserState:
    """The stored state of one user. `None` means that no event has set the field."""

    status: Status = Status.ACTIVE
    profile_at: datetime | None = None
    display_name: str | None = None
    avatar: str | None = None  # as the event had it: mxc://, https:// or ""
    known: Account | None = None
    avatar_at: datetime | None = None  # of the newest profile with a usable avatar
    created_at: datetime | None = None
    username: str | None = None  # of the created event
    sessions_at: datetime | None = None  # sessions that began by then must end
    ended_at: datetime | None = None  # the `sessions_at` up to which that was done
    copy: Copy | None = None
    uploads: tuple[str, ...] = ()  # mxc URIs that this service uploaded for the user and has not deleted
    seen_at: datetime | None = None  # when the account was last read from Synapse
    written_at: datetime | None = None  # when a write of name or avatar was last claimed
    claim: Claim | None = None
    doubt_until: datetime | None = None  # by then, what Synapse may still be carrying out has had its effect
    linked: bool | None = None  # whether the account has the user's identity; None: not known
    deleted_by: tuple[str, ...] = ()  # digests of the deletion events that were carried out, the newest last
    last_avatar: str | None = None  # mxc URI that was shown before the erasure: deleted if the user uploaded it
    traces: Traces | None = None  # what is removed of an erased user beyond the account
    announced: tuple[Announced, ...] | None = None  # events whose calls may have been made unseen
    unpublished: tuple[Change, ...] | None = None  # evidence that may not have been published

    @property
    def in_doubt(self) -> bool:
        """Whether the account may have changed since it was read, by a request whose end was not seen."""
        return self.doubt_until is not None and (self.seen_at is None or self.seen_at < self.doubt_until)


LATE_EFFECT = timedelta(minutes=5)  # how long after its caller gave up a request may still be carried out
FUTURE = timedelta(hours=1)  # a time so far ahead is a wrong one: no newer event would ever count
_LAST_DELETIONS = 4
_TIMES = ("profile_at", "avatar_at", "created_at", "sessions_at", "seen_at", "written_at", "doubt_until")
_times = attrgetter(*_TIMES)
_UNIDENTIFIED = "-"  # the id of an event that has none


def doubted(state: UserState, since: datetime) -> UserState:
    """Returns the state with nothing known of the account, since a request that was sent by `since` may change it."""
    until = max(since + LATE_EFFECT, state.doubt_until or since)
    return replace(state, known=None, linked=None, doubt_until=until, claim=None)


def taken_over(state: UserState, now: datetime) -> UserState:
    """Returns the state without the claim of a process that did not confirm: whatever it planned may have happened."""
    if state.claim is None:
        return state
    copy = state.copy if state.known and state.copy and state.copy.mxc == state.known.avatar else None
    if copy and copy.source != state.avatar:  # it was to be deleted
        copy = None
    return doubted(replace(state, copy=copy), max(now, min(state.claim.until, now + LATE_EFFECT)))


def digest(event: UserDeleted) -> str:
    """Returns a short form of the event's id, by which its redelivery is recognised; "" if it has none."""
    return (
        "" if event.id == _UNIDENTIFIED else hashlib.sha256(event.id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    )


def carried_out(state: UserState, deletions: tuple[str, ...]) -> UserState:
    """Returns the state after its deletion was carried out for the events with these digests."""
    known = [one for one in state.deleted_by if one not in deletions]
    return replace(state, deleted_by=tuple([*known, *filter(None, deletions)][-_LAST_DELETIONS:]))


def without_future(state: UserState, now: datetime) -> UserState:
    """Returns the state without times that are over FUTURE ahead, which earlier releases stored; they count as unset."""
    bound = now + FUTURE
    times = _times(state)
    if all(at is None or at <= bound for at in times):
        return state
    wrong: dict[str, Any] = {
        name: None for name, at in zip(_TIMES, times, strict=True) if at is not None and at > bound
    }
    return replace(state, **wrong)


def fold(state: UserState, event: Event) -> UserState:
    """Returns the state after `event`; see the table above."""
    match event:
        case UserDeleted():
            return _deleted(state, event)
        case ProfileUpdated():
            return state if state.status is Status.ERASED else _profile(state, event)
        case UserCreated() if state.status is Status.ACTIVE and not _before(event.at, state.created_at):
            return replace(state, created_at=event.at, username=event.username)
        case PasswordChanged() if state.status is Status.ACTIVE and not _before(event.at, state.sessions_at):
            return replace(state, sessions_at=event.at)
    return state


def _deleted(state: UserState, event: UserDeleted) -> UserState:
    if event.erase:
        known = state.known and replace(state.known, display_name="", avatar="")
        return UserState(
            Status.ERASED,
            known=known,
            uploads=state.uploads,
            seen_at=state.seen_at,
            written_at=state.written_at,
            claim=state.claim,
            doubt_until=state.doubt_until,
            deleted_by=state.deleted_by,
            traces=state.traces,
            announced=state.announced,
            unpublished=state.unpublished,
            last_avatar=state.last_avatar or (own_avatar(state, state.known.avatar) if state.known else None),
        )
    if state.status is not Status.ACTIVE:
        return state
    return replace(state, status=Status.DEACTIVATED, sessions_at=None, created_at=None, username=None)


def _profile(state: UserState, event: ProfileUpdated) -> UserState:
    news: dict[str, Any] = {}
    if isinstance(event.avatar, str) and not _before(event.at, state.avatar_at):
        news |= {"avatar": event.avatar, "avatar_at": event.at}
    if not is_late(state, event):
        news |= {"display_name": event.display_name, "profile_at": event.at}
    return replace(state, **news) if news else state


def _before(at: datetime, known: datetime | None) -> bool:
    return known is not None and at < known


def is_late(state: UserState, event: Event) -> bool:
    """Returns whether the state already includes a newer event of this kind."""
    match event:
        case ProfileUpdated():
            return _before(event.at, state.profile_at)
        case UserCreated():
            return _before(event.at, state.created_at)
        case PasswordChanged():
            return _before(event.at, state.sessions_at)
    return False


def own_avatar(state: UserState, avatar: str | None) -> str | None:
    """Returns the avatar if it is media that this service did not upload: the user may have."""
    return avatar if avatar and avatar.startswith("mxc://") and avatar not in state.uploads else None
