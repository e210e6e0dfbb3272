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

from function.events.decode import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted


class Status(StrEnum):
    """What the events say of the user. It only ever moves down this list."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Account:
    """A Synapse account as last seen or written. Name and avatar are "" when unset."""

    exists: bool = True
    deactivated: bool = False
    erased: bool = False
    display_name: str = ""
    avatar: str = ""


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
class Record:
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


def fold(record: Record, event: Event) -> Record:
    """The record after `event`; see the table above."""
    match event:
        case UserDeleted():
            return _deleted(record, event)
        case ProfileUpdated():
            return record if record.status is Status.ERASED else _profile(record, event)
        case UserCreated() if record.status is Status.ACTIVE and not _before(event.at, record.created_at):
            return replace(record, created_at=event.at, username=event.username)
        case PasswordChanged() if record.status is Status.ACTIVE and not _before(event.at, record.sessions_at):
            return replace(record, sessions_at=event.at)
    return record


def _deleted(record: Record, event: UserDeleted) -> Record:
    if event.erase:
        known = record.known and replace(record.known, display_name="", avatar="")
        return Record(Status.ERASED, known=known, uploads=record.uploads, written_at=record.written_at)
    if record.status is not Status.ACTIVE:
        return record
    return replace(record, status=Status.DEACTIVATED, sessions_at=None, created_at=None, username=None)


def _profile(record: Record, event: ProfileUpdated) -> Record:
    news: dict[str, Any] = {}
    if isinstance(event.avatar, str) and not _before(event.at, record.avatar_at):
        news |= {"avatar": event.avatar, "avatar_at": event.at}
    if not is_late(record, event):
        news |= {"display_name": event.display_name, "profile_at": event.at}
    return replace(record, **news) if news else record


def _before(at: datetime, known: datetime | None) -> bool:
    return known is not None and at < known


def is_late(record: Record, event: Event) -> bool:
    """Whether the record already holds a newer event of this kind."""
    match event:
        case ProfileUpdated():
            return _before(event.at, record.profile_at)
        case UserCreated():
            return _before(event.at, record.created_at)
        case PasswordChanged():
            return _before(event.at, record.sessions_at)
    return False


def may_have_run(record: Record, event: Event) -> bool:
    """Whether `record` has seen this event or a later one: Synapse may then not be as the record says, because
    a writer died between its call and its record, or wrote over a newer value."""
    match event:
        case UserDeleted():
            return record.status is Status.ERASED or (record.status is Status.DEACTIVATED and not event.erase)
        case ProfileUpdated():
            return record.status is Status.ERASED or (record.profile_at is not None and event.at <= record.profile_at)
        case UserCreated():
            return record.status is not Status.ACTIVE or record.created_at is not None
    return record.status is not Status.ACTIVE  # a password changed: what ended once is not ended again
