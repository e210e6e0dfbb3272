"""Converts a Kafka record in any of the four wire formats to what a CloudEvent says. Pure; checks the format, not the payload.

The formats: a bare payload typed by Kafka headers, an envelope, an envelope (or payload) without a type, and CloudEvents
1.0, structured or binary, which the CloudEvents library reads.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from function.events.strict_json import parse_object
from function.events.times import parse_time
from function.events.type_names import event_type, is_named
from function.events.types import EventType
from function.outcomes import Reason, Rejected

_REQUIRED = ("id", "source", "type", "specversion")
_EXTENSION = re.compile(r"[a-z0-9]+")  # what the specification allows as a name


class Converted(NamedTuple):
    """A record as a CloudEvent has it, whatever its format: id ("-" for none), type, time (None for none) and payload.

    `envelope_type` is the type that its envelope names, which need not be the type that counts.
    """

    id: str
    type: str
    time: datetime | None
    data: dict[str, Any]
    envelope_type: object = None


def convert(value: bytes, headers: Mapping[str, str]) -> Converted:
    """Converts a record. `headers` are cleaned, by lower-case name. Raises Rejected.

    The type is a CloudEvent's own; else that of the header `event_type`, of the envelope, or of the payload's shape.
    """
    body = parse_object(value)
    if not headers.keys().isdisjoint({"ce_id", "ce_specversion", "ce_type"}):
        return _binary(body, headers)
    if "specversion" in body or headers.get("content-type", "").lower().startswith("application/cloudevents+json"):
        return _structured(body, headers)
    return _normalised(body, headers)


def _binary(body: dict[str, Any], headers: Mapping[str, str]) -> Converted:
    if not {"ce_id", "ce_specversion"} <= headers.keys():
        raise Rejected(Reason.INVALID_CLOUDEVENT, "ce_id and ce_specversion are required")
    attributes = _usable({name[3:]: text for name, text in headers.items() if name.startswith("ce_")})
    event = _fenced(lambda: kafka.from_binary(_message(attributes), JSONFormat(), CloudEvent))
    if not is_named(event.get_type()):
        return _normalised(body, headers)
    return _converted(event, attributes, body)


def _message(attributes: Mapping[str, str]) -> kafka.KafkaMessage:
    return kafka.KafkaMessage({f"ce_{name}": text.encode() for name, text in attributes.items()}, None, b"")


def _structured(body: dict[str, Any], headers: Mapping[str, str]) -> Converted:
    if not {"id", "specversion"} <= body.keys():
        raise Rejected(Reason.INVALID_CLOUDEVENT, "id and specversion are required")
    attributes, data = _usable(body), body.get("data")
    encoded = {"data_base64": body.get("data_base64")} if data is None else {}
    message = kafka.KafkaMessage({}, None, json.dumps(attributes | encoded).encode())
    event = _fenced(lambda: kafka.from_structured(message, JSONFormat(), CloudEvent))
    if data is None:
        data = event.get_data()
    if not is_named(event.get_type()):
        return _unwrapped(_object(data), headers)
    if event_type(event.get_type()) is None and not isinstance(data, dict):
        data = {}  # another type's data may be anything
    return _converted(event, attributes, _object(data))


def _unwrapped(data: dict[str, Any], headers: Mapping[str, str]) -> Converted:
    """Returns what Dapr put a CloudEvent of its own around: an event of the producer's, or another CloudEvent."""
    if "specversion" in data and is_named(data.get("type")):
        return _structured(data, headers)
    return _normalised(data, headers)


def _normalised(body: dict[str, Any], headers: Mapping[str, str]) -> Converted:
    """Converts the producer's own formats: an envelope around `data`, or the bare payload."""
    enveloped = _is_envelope(body)
    data = _object(body["data"]) if enveloped else body
    outer = body if enveloped else {}
    claims = headers.get("event_type"), outer.get("event_type")
    kind = next((claim for claim in claims if claim is not None and is_named(claim)), None)
    kind = _guess(data) if kind is None else kind
    if not isinstance(kind, str):
        raise Rejected(Reason.UNKNOWN_SHAPE, "no type in header or envelope, and the fields fit none")
    identity = headers.get("event_id") or outer.get("event_id")
    time = _time(headers.get("created_at") or outer.get("timestamp"))
    return Converted(
        identity if isinstance(identity, str) and identity else "-", kind, time, data, outer.get("event_type")
    )


def _is_envelope(body: dict[str, Any]) -> bool:
    data = body.get("data")
    holds = isinstance(data, dict) or (isinstance(data, str) and data.lstrip().startswith("{"))
    return holds and not body.keys().isdisjoint({"event_id", "timestamp", "source", "event_type"})


def _guess(data: dict[str, Any]) -> str | None:
    """Guesses the type from the fields: older envelopes name none."""
    if {"deleted_at", "soft_delete"} <= data.keys():
        return EventType.DELETED.value
    if {"username", "updated_at", "display_name"} <= data.keys():
        return EventType.PROFILE_UPDATED.value
    return None


def _usable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the attributes that the library has to judge: the required attributes, and the optional attributes that it can take.

    Null means unset. No one reads the optional attributes but the time, so that what is wrong with them costs no event.
    """
    required = {name: attributes[name] for name in _REQUIRED if name in attributes}
    extensions = {
        name: text
        for name, text in attributes.items()
        if name not in {*_REQUIRED, "time", "data"} and _EXTENSION.fullmatch(name) and isinstance(text, str) and text
    }
    time = _time(attributes.get("time"))
    return required | extensions | ({"time": time.isoformat()} if time else {})


def _time(value: object) -> datetime | None:
    """Returns the attribute `time`; None without a usable time, since the payload's own comes first anyway."""
    try:
        return parse_time(value)
    except ValueError:
        return None


def _fenced(parse: Callable[[], BaseCloudEvent]) -> BaseCloudEvent:
    """Translates the exceptions of the CloudEvents library, which raises four kinds on bad input."""
    try:
        return parse()
    except Exception as error:
        raise Rejected(Reason.INVALID_CLOUDEVENT, type(error).__name__) from None


def _converted(event: BaseCloudEvent, given: Mapping[str, Any], data: dict[str, Any]) -> Converted:
    """Returns what the library read; without a time if none was given, for which it puts the present time."""
    return Converted(event.get_id(), event.get_type(), event.get_time() if "time" in given else None, data)


def _object(data: object) -> dict[str, Any]:
    if isinstance(data, dict):
        return data
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if isinstance(data, bytes):
        return parse_object(data)
    raise Rejected(Reason.INVALID_CLOUDEVENT, "data is not an object")
