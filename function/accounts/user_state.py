"""The record of a user, and how events fold into it. Pure and total: no clock, no I/O, no exception.

| the record says | event | the record then says |
|---|---|---|
| anything but erased | profile, newer than the last profile or as old | its name and avatar, its time |
| anything but erased | profile, older | unchanged, but for an avatar newer than the record's |
| erased | profile | unchanged: nothing personal comes back |
| active | created | that an account is wanted, and the username; the newest such event counts |
| active | password changed | that sessions end, as of the newest such event |
| deactivated, erased | created, password changed | unchanged: there is no account to make, and no session left |
| active | deleted, soft | deactivated, whatever the event's time |
| deactivated | deleted, soft | unchanged |
| anything | deleted, hard | erased: name, avatar and times are dropped |

An avatar that can't be shown leaves the one before; so avatars have a time of their own. Any order and any repetition
of the same events ends in the same record, except for two profiles of one microsecond, of which the later arrival wins.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account


class Status(StrEnum):
    """What the events say of the user. It only ever moves down this list."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of an https image in Synapse's media store. `at` is the time of the profile for which the source was
    last asked; `sha256` (hex), `etag` and `last_modified` are what it then gave."""

    source: str
    mxc: str
    at: datetime
    sha256: str
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class UserState:
    """What is remembered of one user. `None` means that no event has said it."""

    status: Status = Status.ACTIVE
    profile_at: datetime | None = None
    display_name: str | None = None
    avatar: str | None = None  # as the event had it: mxc://, https:// or ""
    known: Account | None = None
    avatar_at: datetime | None = None  # of the newest profile whose avatar can be shown
    created_at: datetime | None = None
    username: str | None = None  # of the created event
    sessions_at: datetime | None = None  # what was logged in by then must be logged out
    ended_at: datetime | None = None  # the `sessions_at` up to which that was done
    copy: Copy | None = None
    uploads: tuple[str, ...] = ()  # mxc:// addresses that this service uploaded for the user and has not deleted
    seen_at: datetime | None = None  # when `known` was last known to be true
    written_at: datetime | None = None  # when name or avatar was last written


def fold(state: UserState, event: Event) -> UserState:
    """The record after `event`; see the table above."""
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
    """Whether the record already holds a newer event of this kind."""
    match event:
        case ProfileUpdated():
            return _before(event.at, state.profile_at)
        case UserCreated():
            return _before(event.at, state.created_at)
        case PasswordChanged():
            return _before(event.at, state.sessions_at)
    return False


def may_be_redelivered(state: UserState, event: Event) -> bool:
    """Whether `record` has seen this event or a later one: Synapse may then not be as the record says, because
    a writer died between its call and its record, or wrote over a newer value."""
    match event:
        case UserDeleted():
            return state.status is Status.ERASED or (state.status is Status.DEACTIVATED and not event.erase)
        case ProfileUpdated():
            return state.status is Status.ERASED or (state.profile_at is not None and event.at <= state.profile_at)
        case UserCreated():
            return state.status is not Status.ACTIVE or state.created_at is not None
    return state.status is not Status.ACTIVE  # a password changed: what ended once is not ended again
