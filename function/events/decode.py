"""Decodes a Kafka record into a typed event, or into the reason why it can't be decoded. Pure; knows nothing of Synapse.

Strict where it matters: ids, times, and what Synapse could not store. Everything else may be missing, new or mistyped.
A deletion is never ignored: doubts.py decides what is.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from function.avatars.image_url import MAX_URL_BYTES
from function.events.doubts import contradicts, doubt, header_types
from function.events.names import usable_name
from function.events.payloads import (
    MAX_AVATAR,
    PAYLOADS,
    CreatedPayload,
    DeletedPayload,
    PasswordChangedPayload,
    ProfilePayload,
    read_user_id,
)
from function.events.times import parse_time
from function.events.type_names import UNUSED_TYPES, clean_headers, event_type, is_named, names_deletion
from function.events.types import (
    TYPES,
    Cause,
    Decoded,
    EventType,
    Ignored,
    PasswordChanged,
    ProfileUpdated,
    UserCreated,
    UserDeleted,
)
from function.events.wire_formats import Converted, convert
from function.outcomes import Reason, Rejected

FUTURE_BOUND = timedelta(hours=1)  # how far clocks may be apart

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL and surrogates
_MXC = re.compile(r"mxc://[A-Za-z0-9.\-:\[\]]+/[A-Za-z0-9_\-]+")
_TYPE_HEADERS = ("ce_type", "event_type")
_TIMELESS = datetime(1970, 1, 1, tzinfo=UTC)  # of a deletion without any time, which nothing reads


def decode(value: bytes, headers: Mapping[str, str], *, latest: datetime | None = None) -> Decoded:
    """Decodes one record.

    Args:
        value: the record's value, byte for byte; daprd delivers a tombstone as `null`.
        headers: the record's headers by lower-case name; a value that was not UTF-8 has U+FFFD and counts as absent.
        latest: the latest time that an event may have: `FUTURE_BOUND` after the record's Kafka time or now. None: no limit.
    """
    cleaned = clean_headers(headers)
    try:
        if value == b"null":
            return _tombstone(cleaned, headers)
        return _decoded(value, cleaned, headers, latest)
    except Rejected as rejected:
        return rejected


def type_of(value: bytes, headers: Mapping[str, str]) -> str:
    """Returns the record's event type under its current name, known or not; `unknown` if there is none."""
    if (
        (usual := TYPES.get(headers.get("event_type", ""))) and "ce_type" not in headers and b"specversion" not in value
    ):  # most records: the rest would say the same
        return usual
    types = clean_headers({name: headers[name] for name in _TYPE_HEADERS if name in headers})
    kind = _header_type(types)
    if "ce_type" not in types and (not kind or b"specversion" in value):  # a CloudEvent's own type comes first
        with contextlib.suppress(Rejected):
            kind = convert(value, clean_headers(headers)).type
    return event_type(kind) or kind or "unknown"


def user_of(value: bytes, headers: Mapping[str, str]) -> str:
    """Returns the user id in the record's payload; "" if it can't be read."""
    try:
        return read_user_id(convert(value, clean_headers(headers)).data.get("user_id"))
    except (Rejected, ValueError):
        return ""


def _decoded(value: bytes, cleaned: Mapping[str, str], headers: Mapping[str, str], latest: datetime | None) -> Decoded:
    named = _header_type(cleaned)
    try:
        event = convert(value, cleaned)
    except Rejected:
        # The value of a type that is not handled may be anything.
        if not named or event_type(named) or doubt(named, value, headers):
            raise
        return _ignored(cleaned.get("event_id", "-"), named)
    kind = event_type(event.type)
    if kind is None:
        if why := doubt(event.type, value, headers):
            raise Rejected(Reason.UNKNOWN_TYPE, why)
        return _ignored(event.id, event.type)
    if contradicts(kind, [*header_types(headers), event.envelope_type], event.data):
        raise Rejected(Reason.CONTRADICTORY_TYPES, "counts as another type, but may be a deletion")
    return _typed(kind, event, latest)


def _header_type(cleaned: Mapping[str, str]) -> str:
    """Returns the type in the headers: a binary CloudEvent's own comes first."""
    for name in _TYPE_HEADERS:
        if name in cleaned and is_named(cleaned[name]):
            return cleaned[name]
    return ""


def _ignored(event_id: str, kind: str) -> Ignored:
    return Ignored(event_id, Cause.UNUSED_TYPE if kind in UNUSED_TYPES else Cause.OTHER_TYPE)


def _tombstone(cleaned: Mapping[str, str], headers: Mapping[str, str]) -> Ignored:
    """Returns a tombstone as ignored. Raises Rejected if it may stand for a deletion: no value says whether it is hard."""
    if any(event_type(text) is EventType.DELETED for text in header_types(cleaned)):
        raise Rejected(Reason.INVALID_PAYLOAD, "a deletion without a value")
    named = _header_type(cleaned)
    if named and event_type(named) is None and (why := doubt(named, b"null", headers)):
        raise Rejected(Reason.UNKNOWN_TYPE, why)
    if any(names_deletion(text) or "\ufffd" in text for text in header_types(headers)):
        raise Rejected(Reason.UNKNOWN_TYPE, "a header may name a deletion")
    return Ignored(cleaned.get("event_id", "-"), Cause.TOMBSTONE)


def _typed(kind: EventType, event: Converted, latest: datetime | None) -> Decoded:
    try:
        return _READERS[kind](event, PAYLOADS[kind].model_validate(event.data), latest)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False)]
    # Raised here, without a context: pydantic's error holds the validator's, with its frames, where the garbage collector
    # can't see it. What is returned from here would keep the whole batch in memory.
    raise Rejected(Reason.INVALID_PAYLOAD, "; ".join(problems))


def _deleted(event: Converted, body: DeletedPayload, latest: datetime | None) -> UserDeleted:
    try:
        at = parse_time(body.deleted_at)
    except ValueError:
        at = event.time or latest or _TIMELESS
    return UserDeleted(event.id, body.user_id, min(at, latest or at), erase=not body.soft_delete)


def _profile(event: Converted, body: ProfilePayload, latest: datetime | None) -> ProfileUpdated:
    at = _own_time(body.updated_at, event, "updated_at", latest)
    name = usable_name(body.display_name) or _username(body.username)
    return ProfileUpdated(event.id, body.user_id, at, name, _avatar(body.avatar_url))


def _username(username: object) -> str:
    if not isinstance(username, str):
        raise Rejected(Reason.INVALID_PAYLOAD, "username: not text, and there is no display name")
    return usable_name(username)


def _created(event: Converted, body: CreatedPayload, latest: datetime | None) -> UserCreated:
    at = _own_time(body.created_at, event, "created_at", latest)
    return UserCreated(event.id, body.user_id, at, usable_name(body.username))


def _password_changed(
    event: Converted, body: PasswordChangedPayload, latest: datetime | None
) -> PasswordChanged | Ignored:
    if not body.invalidate_all_sessions:
        return Ignored(event.id, Cause.NO_SESSIONS)
    return PasswordChanged(event.id, body.user_id, _own_time(body.changed_at, event, "changed_at", latest))


# The function that makes an event of each type's payload.
_READERS: dict[EventType, Callable[[Converted, Any, datetime | None], Decoded]] = {
    EventType.DELETED: _deleted,
    EventType.PROFILE_UPDATED: _profile,
    EventType.CREATED: _created,
    EventType.PASSWORD_CHANGED: _password_changed,
}


def _own_time(own: datetime | None, event: Converted, field: str, latest: datetime | None) -> datetime:
    time = own or event.time
    if time is None:
        raise Rejected(Reason.INVALID_PAYLOAD, f"{field}: missing")
    if latest is not None and time > latest:
        raise Rejected(Reason.TIME_IN_FUTURE, field if own else f"{field}: missing, and the record's own time")
    return time


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
