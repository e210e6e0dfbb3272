"""Defines the events of the identity service that this service handles, and their names. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from function.outcomes import Rejected


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """The user was deleted; `erase` if the deletion was hard. `at` decides nothing: a deletion of any time counts."""

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


class Meaning(StrEnum):
    """The base of a closed list of words; `means` is each one's text for a person."""

    means: str

    def __new__(cls, value: str, means: str) -> Self:
        """Makes a member that carries its text."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.means = means
        return member


class Cause(Meaning):
    """Why a record is ignored; the value is fit for a metric label."""

    TOMBSTONE = "tombstone", "a tombstone: no value, and no header that says it is a deletion"
    UNUSED_TYPE = "unused_type", "a type of the identity service that this service has no use for"
    OTHER_TYPE = "other_type", "a type that this service has never heard of"
    NO_SESSIONS = "no_sessions", "a password change that ends no session"
    NO_PRECREATION = "no_precreation", "a user that was created while `MATRIX_PRECREATE_USERS` is off"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that certainly changes nothing in Matrix."""

    id: str
    cause: Cause


Event = UserDeleted | ProfileUpdated | UserCreated | PasswordChanged
Decoded = Event | Ignored | Rejected


class EventType(StrEnum):
    """An event type as the producer names it today.

    Attributes:
        event: the class that it decodes to.
        old: the name that earlier producers used.
        effects: what happens in Synapse, by case ("" if there is only one case).
    """

    event: type[Event]
    old: str
    effects: Mapping[str, str]

    def __new__(cls, value: str, event: type[Event], old: str, effects: Mapping[str, str]) -> Self:
        """Makes a member from its name, the class that it decodes to, its old name and its effects."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.event, member.old, member.effects = event, old, effects
        return member

    DELETED = "identity.user.deleted", UserDeleted, "UserDeletedEvent", {
        "soft": "the account is deactivated",
        "hard": "the account is deactivated and erased: name and avatar go too, messages and files if settings say so",
    }  # fmt: skip
    PROFILE_UPDATED = "identity.user.profile_updated", ProfileUpdated, "UserProfileUpdatedEvent", {
        "": "the display name is set (`username` if it is empty); an `mxc://` avatar is set, an `https://` avatar is copied "
        "from an allowed host, an empty avatar is removed",
    }  # fmt: skip
    CREATED = "identity.user.created", UserCreated, "UserCreatedEvent", {
        "": "with `MATRIX_PRECREATE_USERS=true`, the account is created before the first login",
    }  # fmt: skip
    PASSWORD_CHANGED = "identity.user.password_changed", PasswordChanged, "PasswordChangedEvent", {
        "": "with `invalidate_all_sessions`, every session is ended; under MAS, those that began before",
    }  # fmt: skip


# Both names of each type.
TYPES: dict[str, EventType] = {name: kind for kind in EventType for name in (kind.value, kind.old)}
