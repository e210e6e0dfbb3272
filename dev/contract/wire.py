"""Says what a record of each event is in each wire format: its headers and its value, as JSON schemas."""

from dataclasses import dataclass

from dev.contract.payloads import Json, example_payload, name_of
from function.events.payloads import TIME_SCHEMA
from function.events.types import EventType, Meaning

USER_KEY: Json = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "description": "The user's id in lower case with dashes: keeps the events of a user in one partition, in their order.",
    "examples": ["00000000-0000-4000-8000-000000000001"],
}
_SAYS_SOMETHING = "[!#-~]"  # blanks and quotes on their own count as nothing
_ID: Json = {
    "type": "string",
    "pattern": _SAYS_SOMETHING,
    "description": "The event's id: names it in logs and dead letters.",
}
_EXAMPLE_ID = "7e0f6a52-0f4e-4a57-9c0e-0a2f6a1f5b11"
_EXAMPLE_TIME = "2026-01-01T09:30:00Z"
# Names of headers that daprd writes, or a record of another format has.
_OF_KAFKA, _OF_CLOUDEVENTS = "^__", "^[Cc][Ee]_"


class Format(Meaning):
    """A wire format; `means` is the text for a producer."""

    BARE = "bare", "The value is the payload; Kafka headers have the type and the event's id."
    ENVELOPE = "envelope", "The value is an envelope with the type, the event's id and the time; `data` is the payload."
    CLOUDEVENT = "cloudevent", "The value is a CloudEvent 1.0 in structured mode; `data` is the payload."
    BINARY = (
        "cloudevent-binary",
        "A CloudEvent 1.0 in binary mode: its attributes are Kafka headers, the value is the payload.",
    )
    UNTYPED = "untyped", "An older form without a type, in an envelope or not: the fields of the payload tell the type."


UNTYPED_FIELDS = {  # by these fields the type is told
    EventType.DELETED: ["deleted_at", "soft_delete"],
    EventType.PROFILE_UPDATED: ["username", "updated_at", "display_name"],
}


@dataclass(frozen=True, slots=True)
class Shape:
    """An event in a wire format: schemas of the headers and of the value, and an example of both."""

    kind: EventType
    format: Format
    headers: Json
    value: Json
    example_headers: Json
    example_value: Json

    @property
    def needs_headers(self) -> bool:
        return bool(self.headers.get("required"))


def shapes(payloads: str) -> list[Shape]:
    """Returns every event in every format that it can have. `payloads` is where the payload's schema is: a reference's start."""
    return [
        _shape(kind, format_, {"$ref": payloads + name_of(kind)})
        for kind in EventType
        for format_ in Format
        if format_ is not Format.UNTYPED or kind in UNTYPED_FIELDS
    ]


def _shape(kind: EventType, format_: Format, payload: Json) -> Shape:
    types: Json = {"enum": [kind.value, kind.old]}
    example = example_payload(kind)
    match format_:
        case Format.BARE:
            headers = _headers({"event_type": types, "event_id": _ID, "created_at": TIME_SCHEMA})
            headers["required"] = ["event_type", "event_id"]
            return Shape(kind, format_, headers, payload, {"event_type": kind.value, "event_id": _EXAMPLE_ID}, example)
        case Format.ENVELOPE:
            outer = {
                "event_id": _EXAMPLE_ID,
                "event_type": kind.value,
                "timestamp": _EXAMPLE_TIME,
                "source": "identity",
            }
            headers = _headers({"event_type": types, "event_id": _ID})
            return Shape(kind, format_, headers, _envelope(payload, types), {}, outer | {"data": example})
        case Format.CLOUDEVENT:
            headers = _headers({"event_type": types}, content_type=r"^application/(cloudevents\+)?json")
            value = _attributes(types, "") | {"data": payload}
            example = _example_attributes(kind, "") | {"data": example}
            return Shape(
                kind, format_, headers, _object(value, ["specversion", "id", "source", "type", "data"]), {}, example
            )
        case Format.BINARY:
            headers = _headers({"event_type": types} | _attributes(types, "ce_"), reserved=_OF_KAFKA)
            headers["required"] = ["ce_specversion", "ce_id", "ce_source", "ce_type"]
            return Shape(kind, format_, headers, payload, _example_attributes(kind, "ce_"), example)
        case Format.UNTYPED:
            told = {"allOf": [payload], "required": UNTYPED_FIELDS[kind]}
            if kind is not EventType.DELETED:
                told["not"] = {"required": UNTYPED_FIELDS[EventType.DELETED]}
            return Shape(kind, format_, _no_type(_headers({})), {"anyOf": [told, _envelope(told)]}, {}, example)


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def _headers(
    properties: Json, *, reserved: str = f"{_OF_KAFKA}|{_OF_CLOUDEVENTS}", content_type: str = "^application/json"
) -> Json:
    """Returns the schema of headers that may have more than `properties`, but none of a `reserved` name."""
    content = {"content-type": {"type": "string", "pattern": content_type}}
    return {
        "type": "object", "properties": properties | content, "propertyNames": {"not": {"pattern": reserved}},
    }  # fmt: skip


def _envelope(data: Json, types: Json | None = None) -> Json:
    outer: Json = {"event_id": _ID}
    if types:
        outer["event_type"] = types
    outer |= {"timestamp": TIME_SCHEMA, "source": {"type": "string"}, "data": data}
    schema = _object(outer, ["event_id", "data"] if types is None else ["event_id", "event_type", "data"])
    return _no_type(schema) if types is None else schema | {"not": {"required": ["specversion"]}}


def _no_type(schema: Json) -> Json:
    return schema | {"not": {"anyOf": [{"required": ["event_type"]}, {"required": ["specversion"]}]}}


def _attributes(types: Json, prefix: str) -> Json:
    """Returns the attributes of a CloudEvent; `prefix` is in front of their names in Kafka headers."""
    return {
        f"{prefix}specversion": {"const": "1.0"}, f"{prefix}id": _ID, f"{prefix}source": {"type": "string", "pattern": _SAYS_SOMETHING},
        f"{prefix}type": types, f"{prefix}time": TIME_SCHEMA,
    }  # fmt: skip


def _example_attributes(kind: EventType, prefix: str) -> Json:
    values = {"specversion": "1.0", "id": _EXAMPLE_ID, "source": "/identity", "type": kind.value, "time": _EXAMPLE_TIME}
    return {prefix + name: value for name, value in values.items()}
