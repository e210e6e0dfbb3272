"""The record of a user, and how events fold into it. Pure and total: no clock, no I/O, no exception.

| the record says | event | the record then says |
|---|---|---|
| anything but erased | profile, newer than the last profile or as old | its name and avatar, its time |
| anything but erased | profile, older | unchanged, but for an avatar newer than the record's |
| erased | profile | unchanged: nothing personal comes back |
| active | deleted, soft | deactivated, whatever the event's time |
| deactivated | deleted, soft | unchanged |
| anything | deleted, hard | erased: name, avatar and times are dropped |

An avatar that can't be shown leaves the one before; so avatars have a time of their own. Any order and any repetition
of the same events ends in the same record, except for two profiles of one microsecond, of which the later arrival wins.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from function.events import Event, ProfileUpdated, UserDeleted
from function.failures import Reason, TryAgain

SCHEMA = 1


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
class Record:
    """What is remembered of one user. `None` means that no event has said it."""

    status: Status = Status.ACTIVE
    profile_at: datetime | None = None
    display_name: str | None = None
    avatar: str | None = None
    known: Account | None = None
    avatar_at: datetime | None = None  # of the newest profile whose avatar can be shown


def fold(record: Record, event: Event) -> Record:
    """The record after `event`; see the table above."""
    if isinstance(event, UserDeleted):
        if event.erase:
            known = record.known and replace(record.known, display_name="", avatar="")
            return Record(Status.ERASED, known=known)
        return record if record.status is Status.ERASED else replace(record, status=Status.DEACTIVATED)
    if record.status is Status.ERASED:
        return record
    if isinstance(event.avatar, str) and (record.avatar_at is None or event.at >= record.avatar_at):
        record = replace(record, avatar=event.avatar, avatar_at=event.at)
    return record if is_late(record, event) else replace(record, profile_at=event.at, display_name=event.display_name)


def is_late(record: Record, event: ProfileUpdated) -> bool:
    """Whether the record already holds a newer profile."""
    return record.profile_at is not None and event.at < record.profile_at


def may_have_run(record: Record, event: Event) -> bool:
    """Whether `record` has seen this event or a later one: Synapse may then not be as the record says, because
    a writer died between its call and its record, or wrote over a newer value."""
    if isinstance(event, UserDeleted):
        return record.status is Status.ERASED or (record.status is Status.DEACTIVATED and not event.erase)
    return record.status is Status.ERASED or (record.profile_at is not None and event.at <= record.profile_at)


def dump(record: Record) -> bytes:
    """The record as the state store keeps it: JSON with a schema version."""
    body: dict[str, object] = {"v": SCHEMA, "status": record.status}
    body |= {name: at.isoformat() for name in ("profile_at", "avatar_at") if (at := getattr(record, name))}
    body |= {name: value for name in ("display_name", "avatar") if (value := getattr(record, name)) is not None}
    if record.known:
        known = record.known
        body["known"] = {name: value for name in Account.__slots__ if (value := getattr(known, name)) != ""}
    return json.dumps(body, separators=(",", ":")).encode()


def load(value: bytes | str) -> Record:
    """The record of the bytes that `dump` wrote.

    Raises:
        TryAgain: another version of the function wrote a record that this one can't read.
    """
    try:
        body = json.loads(value)
        if body["v"] != SCHEMA:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "a record has another schema version")
        profile_at, avatar_at = body.get("profile_at"), body.get("avatar_at")
        known = body.get("known")
        return Record(
            status=Status(body["status"]),
            profile_at=datetime.fromisoformat(profile_at) if profile_at else None,
            display_name=body.get("display_name"),
            avatar=body.get("avatar"),
            known=Account(**known) if known else None,
            avatar_at=datetime.fromisoformat(avatar_at) if avatar_at else None,
        )
    except (ValueError, KeyError, TypeError):
        raise TryAgain(Reason.STATE_UNAVAILABLE, "a record can't be read") from None
