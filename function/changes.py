"""Defines a change of an account as evidence tells it: ids, words and a time, never a name or an address. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Done(StrEnum):
    """What was done to an account."""

    ACCOUNT_CREATED = "account_created"
    IDENTITY_LINKED = "identity_linked"
    DISPLAY_NAME_SET = "display_name_set"
    AVATAR_SET = "avatar_set"
    AVATAR_REMOVED = "avatar_removed"
    SESSIONS_ENDED = "sessions_ended"
    DEACTIVATED = "deactivated"
    ERASED = "erased"
    MEDIA_DELETED = "media_deleted"
    MESSAGES_REDACTED = "messages_redacted"
    FILES_DELETED = "files_deleted"


class ChangeType(StrEnum):
    """The type of a message, which is that of its weightiest word: the order of this list."""

    ERASED = "matrix.account.erased"
    DEACTIVATED = "matrix.account.deactivated"
    CREATED = "matrix.account.created"
    LINKED = "matrix.account.linked"
    SESSIONS_ENDED = "matrix.account.sessions_ended"
    PROFILE_UPDATED = "matrix.account.profile_updated"
    MEDIA_DELETED = "matrix.account.media_deleted"
    TRACES_REMOVED = "matrix.account.traces_removed"


_TYPES = {
    Done.ERASED: ChangeType.ERASED,
    Done.DEACTIVATED: ChangeType.DEACTIVATED,
    Done.ACCOUNT_CREATED: ChangeType.CREATED,
    Done.IDENTITY_LINKED: ChangeType.LINKED,
    Done.SESSIONS_ENDED: ChangeType.SESSIONS_ENDED,
    Done.DISPLAY_NAME_SET: ChangeType.PROFILE_UPDATED,
    Done.AVATAR_SET: ChangeType.PROFILE_UPDATED,
    Done.AVATAR_REMOVED: ChangeType.PROFILE_UPDATED,
    Done.MEDIA_DELETED: ChangeType.MEDIA_DELETED,
    Done.MESSAGES_REDACTED: ChangeType.TRACES_REMOVED,
    Done.FILES_DELETED: ChangeType.TRACES_REMOVED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one account.

    Its words are text here, so that a record with a word of a later release can be read.

    Attributes:
        done: what was done, as `Done` has it.
        at: when it was confirmed, in UTC.
        event_id: of the identity event that asked for it; None for a repair, or an event without an id.
        event_type: of that event, as `EventType` has it; None for a repair.
        found: whether the call's answer was not seen, and the account was found as the event asks.
    """

    done: tuple[str, ...]
    at: datetime
    event_id: str | None = None
    event_type: str | None = None
    found: bool | None = None


@dataclass(frozen=True, slots=True)
class Announced:
    """An event, or a repair, for which a process may be calling: if it dies, the next one finds out what became of it.

    Attributes:
        may: what may have been done for it, as `Done` has it.
        event_type: as `EventType` has it; None for a repair.
        at: the event's own time; None for a repair.
        event_id: None for a repair, or an event without an id.
    """

    may: tuple[str, ...] = ()
    event_type: str | None = None
    at: datetime | None = None
    event_id: str | None = None


def type_of(done: Iterable[str]) -> ChangeType:
    """Returns the type of a message about what was done; `done` has at least one word of this release."""
    found = {_TYPES[Done(word)] for word in done if word in _TYPES}
    return next(kind for kind in ChangeType if kind in found)


def id_of(user_id: str, change: Change) -> str:
    """Returns the message's id. It is the same whenever the same change is published again, and differs for any other change:
    the event's id is not enough, since what an event asks for can be done in two steps, or twice if it is replayed."""
    words = (user_id, change.event_type or "", change.event_id or "", change.at.isoformat(), *change.done)
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]
