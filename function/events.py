"""Decodes a Kafka record into a typed event, or into the reason why it can't be one. Pure; knows nothing of Synapse.

Four wire shapes reach us: a bare payload typed by Kafka headers, an envelope, an envelope without type, and
CloudEvents 1.0 (structured or binary). Each becomes a CloudEvent first, so that what follows knows CloudEvents only.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from function.failures import Reason, Rejected

MAX_NAME = 256  # characters; Synapse refuses more
MAX_AVATAR = 1000  # characters; likewise
DAPR_WRAPPED = "com.dapr.event.sent"  # the type Dapr gives an event whose publisher named none

_UUID = re.compile(r"(urn:uuid:)?(\{)?([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?(2)\})", re.A | re.I)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.A)
_MXC = re.compile(r"mxc://[A-Za-z0-9.\-:\[\]]+/[A-Za-z0-9_\-]+")


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """The user is gone; `erase` when the deletion was hard."""

    id: str
    user_id: str
    at: datetime
    erase: bool


@dataclass(frozen=True, slots=True)
class ProfileUpdated:
    """The profile as it now is. `avatar` is an mxc:// address, "" for none, or why it can't be shown."""

    id: str
    user_id: str
    at: datetime
    display_name: str
    avatar: str | Rejected


@dataclass(frozen=True, slots=True)
class Ignored:
    """A type that is not for this service, or a tombstone."""

    id: str


type_names = {
    "identity.user.deleted": UserDeleted,
    "UserDeletedEvent": UserDeleted,
    "identity.user.profile_updated": ProfileUpdated,
    "UserProfileUpdatedEvent": ProfileUpdated,
}

Event = UserDeleted | ProfileUpdated
Decoded = Event | Ignored | Rejected


def decode(value: bytes, headers: Mapping[str, str]) -> Decoded:
    """Decodes one record.

    Args:
        value: the record's value, byte for byte; daprd hands a tombstone over as `null`.
        headers: the record's headers by lower-case name; one that was not UTF-8 holds U+FFFD and counts as absent.
    """
    if value == b"null":
        return Ignored("-")
    headers = {name: text for name, text in headers.items() if "\ufffd" not in text}
    try:
        return _typed(_cloudevent(value, headers))
    except Rejected as rejected:
        return rejected


def _cloudevent(value: bytes, headers: Mapping[str, str]) -> BaseCloudEvent:
    """The one form in which the rest of the module sees an event."""
    body = _object(value)
    if any(name.startswith("ce_") for name in headers):
        if not {"ce_id", "ce_specversion"} <= headers.keys():
            raise Rejected(Reason.INVALID_CLOUDEVENT, "ce_id and ce_specversion are required")
        attributes = {n: t.encode() for n, t in headers.items() if n.startswith("ce_") or n == "content-type"}
        event = _fenced(lambda: kafka.from_binary(kafka.KafkaMessage(attributes, None, b""), JSONFormat(), CloudEvent))
        return _cloud_event(event.get_attributes(), body, timed="ce_time" in headers)
    if "specversion" in body or headers.get("content-type", "").startswith("application/cloudevents+json"):
        if not {"id", "specversion"} <= body.keys():
            raise Rejected(Reason.INVALID_CLOUDEVENT, "id and specversion are required")
        event = _fenced(lambda: kafka.from_structured(kafka.KafkaMessage({}, None, value), JSONFormat(), CloudEvent))
        data = _data(event.get_data())
        if event.get_type() == DAPR_WRAPPED:
            return _normalised(data, headers)
        return _cloud_event(event.get_attributes(), data, timed="time" in body)
    return _normalised(body, headers)


def _normalised(body: dict[str, Any], headers: Mapping[str, str]) -> BaseCloudEvent:
    """The shapes of the producer's own: an envelope around `data`, or the bare payload."""
    enveloped = isinstance(body.get("data"), dict) and not body.keys().isdisjoint({"event_id", "timestamp", "source"})
    data = body["data"] if enveloped else body
    kind = headers.get("event_type") or (body.get("event_type") if enveloped else None) or _guess(data)
    if not isinstance(kind, str):
        raise Rejected(Reason.UNKNOWN_SHAPE, "no type in header or envelope, and the fields fit none")
    outer = body if enveloped else {}
    identity = headers.get("event_id") or outer.get("event_id")
    time = headers.get("created_at") or outer.get("timestamp")
    attributes: dict[str, Any] = {
        "id": identity if isinstance(identity, str) and identity else "-",
        "source": "nova.identity",
        "type": kind,
        "specversion": "1.0",
    }
    if time is not None:
        with contextlib.suppress(ValueError):  # only a fallback: the payload's own time decides
            attributes["time"] = parse_time(time)
    return _cloud_event(attributes, data, timed="time" in attributes)


def _guess(data: dict[str, Any]) -> str | None:
    """Older envelopes name no type: the fields tell."""
    if {"deleted_at", "soft_delete"} <= data.keys():
        return "identity.user.deleted"
    if {"username", "updated_at", "display_name"} <= data.keys():
        return "identity.user.profile_updated"
    return None


def _fenced(parse: Callable[[], BaseCloudEvent]) -> BaseCloudEvent:
    """The one fence around the CloudEvents library, which raises four kinds of exception on bad input."""
    try:
        return parse()
    except Exception as error:
        raise Rejected(Reason.INVALID_CLOUDEVENT, type(error).__name__) from None


def _cloud_event(attributes: dict[str, Any], data: dict[str, Any], *, timed: bool) -> BaseCloudEvent:
    """A CloudEvent around the parsed payload; without the time that the library makes up where there was none."""
    event = _fenced(lambda: CloudEvent(attributes, data))
    if not timed:
        del event.get_attributes()["time"]
    return event


def _data(data: object) -> dict[str, Any]:
    if isinstance(data, dict):
        return data
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if isinstance(data, bytes):
        return _object(data)
    raise Rejected(Reason.INVALID_CLOUDEVENT, "data is not an object")


def _object(value: bytes) -> dict[str, Any]:
    """Strict JSON: UTF-8, no duplicate keys, no NaN, no nesting beyond the interpreter's limit."""
    try:
        body = json.loads(value.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise Rejected(Reason.NOT_JSON, "nested too deeply") from None
    except UnicodeDecodeError:
        raise Rejected(Reason.NOT_JSON, "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Rejected(Reason.NOT_JSON, f"not JSON at byte {error.pos}") from None
    except ValueError as error:
        raise Rejected(Reason.NOT_JSON, str(error).partition(":")[0]) from None
    if not isinstance(body, dict):
        raise Rejected(Reason.NOT_JSON, f"not an object but {type(body).__name__}")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_time(value: object) -> datetime:
    """RFC 3339 with a zone, up to 9 fractional digits (cut to microseconds), as UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("expected an RFC 3339 time with a zone")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time within the years 1 to 9999") from None


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
    avatar_url: Any = None  # judged apart: a bad avatar never holds back the name
    updated_at: Time | None = None


def _typed(event: BaseCloudEvent) -> Decoded:
    kind = type_names.get(event.get_type())
    if kind is None:
        return Ignored(event.get_id())
    data: Any = event.get_data()
    try:
        if kind is UserDeleted:
            deleted = _Deleted.model_validate(data)
            at = _own_time(deleted.deleted_at, event, "deleted_at")
            return UserDeleted(event.get_id(), deleted.user_id, at, erase=not deleted.soft_delete)
        profile = _Profile.model_validate(data)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False)]
        raise Rejected(Reason.INVALID_PAYLOAD, "; ".join(problems)) from None
    at = _own_time(profile.updated_at, event, "updated_at")
    name = _display_name(profile.display_name) or _display_name(profile.username)
    return ProfileUpdated(event.get_id(), profile.user_id, at, name, _avatar(profile.avatar_url))


def _own_time(own: datetime | None, event: BaseCloudEvent, field: str) -> datetime:
    time = own or event.get_time()
    if time is None:
        raise Rejected(Reason.INVALID_PAYLOAD, f"{field}: missing")
    return time.astimezone(UTC)


def _storable(text: str, limit: int) -> bool:
    return len(text) <= limit and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


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
    if not isinstance(address, str) or not _storable(address, MAX_AVATAR):
        return Rejected(Reason.AVATAR_INVALID, "not text that Synapse can store")
    if address.startswith("https://"):
        return Rejected(Reason.AVATAR_HOST_NOT_ALLOWED, "no host is allowed")
    if not _MXC.fullmatch(address):
        return Rejected(Reason.AVATAR_INVALID, "neither an mxc:// nor an https:// address")
    return address
