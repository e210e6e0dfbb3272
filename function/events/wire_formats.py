"""Converts a Kafka record in any of the four wire formats to a CloudEvent. Pure; checks the format, not the payload.

The formats: a bare payload typed by Kafka headers, an envelope, an envelope (or payload) without a type, and CloudEvents
1.0, structured or binary. All later code sees CloudEvents only.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from function.outcomes import Reason, Rejected

DAPR_WRAPPED = "com.dapr.event.sent"  # the type Dapr gives an event whose publisher named none

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def cloud_event(value: bytes, headers: Mapping[str, str]) -> BaseCloudEvent:
    """Returns the record as a CloudEvent. Raises Rejected."""
    body = _object(value)
    if any(name.startswith("ce_") for name in headers):
        if not {"ce_id", "ce_specversion"} <= headers.keys():
            raise Rejected(Reason.INVALID_CLOUDEVENT, "ce_id and ce_specversion are required")
        attributes = {n: t.encode() for n, t in headers.items() if n.startswith("ce_") or n == "content-type"}
        event = _fenced(lambda: kafka.from_binary(kafka.KafkaMessage(attributes, None, b""), JSONFormat(), CloudEvent))
        return _event(event.get_attributes(), body, timed="ce_time" in headers)
    if "specversion" in body or headers.get("content-type", "").startswith("application/cloudevents+json"):
        if not {"id", "specversion"} <= body.keys():
            raise Rejected(Reason.INVALID_CLOUDEVENT, "id and specversion are required")
        event = _fenced(lambda: kafka.from_structured(kafka.KafkaMessage({}, None, value), JSONFormat(), CloudEvent))
        data = _data(event.get_data())
        if event.get_type() == DAPR_WRAPPED:
            return _normalised(data, headers)
        return _event(event.get_attributes(), data, timed="time" in body)
    return _normalised(body, headers)


def _normalised(body: dict[str, Any], headers: Mapping[str, str]) -> BaseCloudEvent:
    """Returns the CloudEvent of the producer's own formats: an envelope around `data`, or the bare payload."""
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
        with contextlib.suppress(ValueError):  # a fallback: the payload's own time comes first
            attributes["time"] = parse_time(time)
    return _event(attributes, data, timed="time" in attributes)


def _guess(data: dict[str, Any]) -> str | None:
    """Guesses the type from the fields: older envelopes name none."""
    if {"deleted_at", "soft_delete"} <= data.keys():
        return "identity.user.deleted"
    if {"username", "updated_at", "display_name"} <= data.keys():
        return "identity.user.profile_updated"
    return None


def _fenced(parse: Callable[[], BaseCloudEvent]) -> BaseCloudEvent:
    """Translates the exceptions of the CloudEvents library, which raises four kinds on bad input."""
    try:
        return parse()
    except Exception as error:
        raise Rejected(Reason.INVALID_CLOUDEVENT, type(error).__name__) from None


def _event(attributes: dict[str, Any], data: dict[str, Any], *, timed: bool) -> BaseCloudEvent:
    """Returns a CloudEvent with the parsed payload, without the time that the library adds if there was none."""
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
        body = _STRICT.decode(value.decode("utf-8"))
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


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


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
