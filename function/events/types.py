"""Defines the events of the identity service that this service handles, and their names. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from function.outcomes import Rejected


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """The user was deleted; `erase` if the deletion was hard."""

    id: str
    user_id: str
    at: datetime
    erase: bool


@dataclass(frozen=True, slots=True)
class ProfileUpdated:
    """The user's current profile. `avatar` is an mxc:// or https:// URL, "" for none, or why it can't be used."""

    id: str
    user_id: str
    at: datetime
    display_name: str
    avatar: str | Rejected


@dataclass(frozen=True, slots=True)
class UserCreated:
    """The user was created and may log in soon; `username` is the display name until a profile event has a better one."""

    id: str
    user_id: str
    at: datetime
    username: str


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The password was changed: every session that exists now must end."""

    id: str
    user_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event of another type, a tombstone, or a password change that ends no session."""

    id: str


Event = UserDeleted | ProfileUpdated | UserCreated | PasswordChanged
Decoded = Event | Ignored | Rejected


class EventType(StrEnum):
    """An event type as the producer names it today; `old` is the name that earlier producers used."""

    event: type[Event]
    old: str

    def __new__(cls, value: str, event: type[Event], old: str) -> Self:
        """Makes a member from its name, the class that it decodes to, and its old name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.event, member.old = event, old
        return member

    CREATED = "identity.user.created", UserCreated, "UserCreatedEvent"
    DELETED = "identity.user.deleted", UserDeleted, "UserDeletedEvent"
    PASSWORD_CHANGED = "identity.user.password_changed", PasswordChanged, "PasswordChangedEvent"
    PROFILE_UPDATED = "identity.user.profile_updated", ProfileUpdated, "UserProfileUpdatedEvent"


# Both names of each type.
TYPES: dict[str, EventType] = {name: kind for kind in EventType for name in (kind.value, kind.old)}
