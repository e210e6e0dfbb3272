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

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

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
    seen_at: datetime | None = None  # when `known` was last confirmed by Synapse
    written_at: datetime | None = None  # when name or avatar was last written


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
        return UserState(Status.ERASED, known=known, uploads=state.uploads, written_at=state.written_at)
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


def may_be_redelivered(state: UserState, event: Event) -> bool:
    """Returns whether the state includes this event or a later one.

    Synapse may then differ from the state, because a writer crashed between its call and its save, or overwrote a newer
    value.
    """
    match event:
        case UserDeleted():
            return state.status is Status.ERASED or (state.status is Status.DEACTIVATED and not event.erase)
        case ProfileUpdated():
            return state.status is Status.ERASED or (state.profile_at is not None and event.at <= state.profile_at)
        case UserCreated():
            return state.status is not Status.ACTIVE or state.created_at is not None
    return state.status is not Status.ACTIVE  # a password changed: what ended once is not ended again
