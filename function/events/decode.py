"""Decodes a Kafka record into a typed event, or into the reason why it can't be decoded. Pure; knows nothing of Synapse.

Strict where it matters: ids, times, and what Synapse could not store. Everything else may be missing, new or mistyped.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from cloudevents.core.base import BaseCloudEvent
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from function.avatars.image_url import MAX_URL_BYTES
from function.events.types import (
    TYPES,
    Decoded,
    EventType,
    Ignored,
    PasswordChanged,
    ProfileUpdated,
    UserCreated,
    UserDeleted,
)
from function.events.wire_formats import cloud_event, parse_time
from function.outcomes import Reason, Rejected

MAX_NAME = 256  # characters; Synapse refuses more
MAX_AVATAR = 1000  # characters of an mxc:// URL; likewise. Synapse never sees an https:// URL

_UUID = re.compile(
    r"(urn:uuid:)?(\{)?([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?(2)\})", re.ASCII | re.IGNORECASE
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL and surrogates
_MXC = re.compile(r"mxc://[A-Za-z0-9.\-:\[\]]+/[A-Za-z0-9_\-]+")


def decode(value: bytes, headers: Mapping[str, str]) -> Decoded:
    """Decodes one record.

    Args:
        value: the record's value, byte for byte; daprd delivers a tombstone as `null`.
        headers: the record's headers by lower-case name; a value that was not UTF-8 has U+FFFD and counts as absent.
    """
    if value == b"null":
        return Ignored("-")
    headers = _legible(headers)
    if (kind := headers.get("event_type")) and kind not in TYPES:
        return Ignored(headers.get("event_id", "-"))  # whatever its body is
    try:
        return _typed(cloud_event(value, headers))
    except Rejected as rejected:
        return rejected


def type_of(value: bytes, headers: Mapping[str, str]) -> str:
    """Returns the record's event type under its current name, known or not; `unknown` if there is none."""
    headers = _legible(headers)
    kind = headers.get("event_type") or headers.get("ce_type")
    if not kind:
        try:
            kind = cloud_event(value, headers).get_type()
        except Rejected:
            return "unknown"
    return TYPES.get(kind, kind)


def user_of(value: bytes, headers: Mapping[str, str]) -> str:
    """Returns the user id in the record's payload; "" if it can't be read."""
    try:
        data: Any = cloud_event(value, _legible(headers)).get_data()
        return _user_id(data.get("user_id"))
    except (Rejected, ValueError, AttributeError):
        return ""


def _legible(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in headers.items() if "\ufffd" not in text}


def _user_id(value: object) -> str:
    if not isinstance(value, str) or not (match := _UUID.fullmatch(value)):
        raise ValueError("expected a UUID")
    return str(UUID(match[3]))


Time = Annotated[datetime, BeforeValidator(parse_time)]
UserId = Annotated[str, BeforeValidator(_user_id)]


class _Deleted(BaseModel):
    model_config = ConfigDict(strict=True)
    user_id: UserId
    deleted_at: Time | None = None
    soft_delete: bool


class _Profile(BaseModel):
    model_config = ConfigDict(strict=True)
    user_id: UserId
    username: str
    display_name: str | None = None
    avatar_url: Any = None  # checked separately: a bad avatar never blocks the name
    updated_at: Time | None = None


class _Created(BaseModel):
    model_config = ConfigDict(strict=True)
    user_id: UserId
    username: str
    created_at: Time | None = None


class _PasswordChanged(BaseModel):
    model_config = ConfigDict(strict=True)
    user_id: UserId
    changed_at: Time | None = None
    invalidate_all_sessions: bool


def _typed(event: BaseCloudEvent) -> Decoded:
    kind = TYPES.get(event.get_type())
    if kind is None:
        return Ignored(event.get_id())
    payload, read = PAYLOADS[kind]
    try:
        return read(event, payload.model_validate(event.get_data()))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False)]
        raise Rejected(Reason.INVALID_PAYLOAD, "; ".join(problems)) from None


def _deleted(event: BaseCloudEvent, body: _Deleted) -> UserDeleted:
    at = _own_time(body.deleted_at, event, "deleted_at")
    return UserDeleted(event.get_id(), body.user_id, at, erase=not body.soft_delete)


def _profile(event: BaseCloudEvent, body: _Profile) -> ProfileUpdated:
    at = _own_time(body.updated_at, event, "updated_at")
    name = _display_name(body.display_name) or _display_name(body.username)
    return ProfileUpdated(event.get_id(), body.user_id, at, name, _avatar(body.avatar_url))


def _created(event: BaseCloudEvent, body: _Created) -> UserCreated:
    at = _own_time(body.created_at, event, "created_at")
    return UserCreated(event.get_id(), body.user_id, at, _display_name(body.username))


def _password_changed(event: BaseCloudEvent, body: _PasswordChanged) -> PasswordChanged | Ignored:
    at = _own_time(body.changed_at, event, "changed_at")
    return (
        PasswordChanged(event.get_id(), body.user_id, at) if body.invalidate_all_sessions else Ignored(event.get_id())
    )


# The fields that are read of each type's payload, and the function that makes an event of them.
PAYLOADS: dict[EventType, tuple[type[BaseModel], Callable[[BaseCloudEvent, Any], Decoded]]] = {
    EventType.DELETED: (_Deleted, _deleted),
    EventType.PROFILE_UPDATED: (_Profile, _profile),
    EventType.CREATED: (_Created, _created),
    EventType.PASSWORD_CHANGED: (_PasswordChanged, _password_changed),
}


def _own_time(own: datetime | None, event: BaseCloudEvent, field: str) -> datetime:
    time = own or event.get_time()
    if time is None:
        raise Rejected(Reason.INVALID_PAYLOAD, f"{field}: missing")
    try:
        return time.astimezone(UTC)
    except OverflowError:  # an envelope's time, as the CloudEvents library parsed it
        raise Rejected(Reason.INVALID_PAYLOAD, "time: not within the years 1 to 9999") from None


def _storable(text: str, limit: int) -> bool:
    return len(text) <= limit and not _UNSTORABLE.search(text)


def _display_name(name: str | None) -> str:
    """The name as Synapse would store it: stripped."""
    name = (name or "").strip()
    if not _storable(name, MAX_NAME):
        raise Rejected(
            Reason.INVALID_DISPLAY_NAME, f"{len(name)} characters" if len(name) > MAX_NAME else "NUL or surrogate"
        )
    return name


def _avatar(address: object) -> str | Rejected:
    if address is None or address == "":
        return ""
    if not isinstance(address, str) or _UNSTORABLE.search(address):
        return Rejected(Reason.AVATAR_INVALID, "not text that Synapse can store")
    if address.startswith("https://"):
        too_long = len(address.encode()) > MAX_URL_BYTES
        return Rejected(Reason.AVATAR_INVALID, f"over {MAX_URL_BYTES} bytes") if too_long else address
    if len(address) > MAX_AVATAR:
        return Rejected(Reason.AVATAR_INVALID, f"over {MAX_AVATAR} characters")
    if not _MXC.fullmatch(address):
        return Rejected(Reason.AVATAR_INVALID, "neither an mxc:// nor an https:// address")
    return address
