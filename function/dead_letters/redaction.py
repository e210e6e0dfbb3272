"""Returns what a dead letter holds, without personal data unless it is asked for. Pure.

What is shown is decided by an allow-list of names and shapes: a producer can put a name, an address or a number into any
text, into the names of headers and fields, and into the key.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from function.dead_letters import publish
from function.dead_letters.letter import KNOWN_TYPES, UNKNOWN, DeadLetter
from function.events.payloads import PAYLOADS
from function.events.type_names import event_type
from function.kafka.record import KafkaRecord

_Shape = Callable[[str], bool]
MAX_DEPTH = 100  # of a body; a deeper one is shown as text, so that no producer ends the tool
_ID = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_NUMBER = re.compile(r"\d{1,20}", re.ASCII)
_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}([a-z.+]{1,5}\d{1,4})?", re.ASCII)
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_WORDS = frozenset({
    "identity", "user", "nova.identity", "true", "false", "application/json", "application/cloudevents+json",
    "application/json; charset=utf-8", "application/cloudevents+json; charset=utf-8", "application/octet-stream",
})  # fmt: skip
_EVENT_IDS = frozenset({"event_id", "id", "ce_id", publish.EVENT_ID})  # in headers, and on the first level of a body


def _one_of(text: str) -> bool:
    return text.lower() in _WORDS


def _known_type(text: str) -> bool:
    return event_type(text) is not None or text in KNOWN_TYPES


# Fields and headers whose value is shown if it has the shape; every other value is replaced by its size.
_SHOWN: Mapping[str, _Shape] = (
    dict.fromkeys(("type", "event_type", "ce_type"), _known_type)
    | dict.fromkeys(
        ("time", "timestamp", "created_at", "updated_at", "deleted_at", "changed_at", "enabled_at", "ce_time"),
        lambda text: bool(_TIME.fullmatch(text)),
    )
    | dict.fromkeys(
        ("specversion", "ce_specversion", "schema_version"), lambda text: bool(_VERSION.fullmatch(text))
    )
    | dict.fromkeys(
        ("aggregate_type", "content-type", "datacontenttype", "source", "ce_source", "rawpayload"), _one_of
    )
    | {"traceparent": lambda text: bool(_TRACE.fullmatch(text))}
)  # fmt: skip
_OF_FUNCTION: Mapping[str, _Shape] = {
    publish.REASON: lambda _: True,
    publish.DETAIL: lambda _: True,
    publish.TOPIC: lambda _: True,
    publish.TIME: lambda text: bool(_TIME.fullmatch(text)),
    publish.VERSION: lambda text: bool(_VERSION.fullmatch(text)),
} | dict.fromkeys(
    (publish.PARTITION, publish.OFFSET, publish.TIMESTAMP, publish.REPLAYS),
    lambda text: bool(_NUMBER.fullmatch(text)),
)
# Names that are shown although their values are not.
_NAMES = frozenset({
    *_SHOWN, *_OF_FUNCTION, *_EVENT_IDS, publish.IDS, "user_id", "username", "display_name", "bio", "avatar_url", "email",
    "is_verified", "follower_count", "deleted_by", "method", "data", "data_base64", "subject", "dataschema",
    "correlation_id", "correlation-id", "aggregate_id", "ce_subject", "ce_datacontenttype", "tracestate", "traceid",
    "pubsubname", "partitionkey", "partitionnumber",
    *(name for model in PAYLOADS.values() for name in model.model_fields),
})  # fmt: skip


def content(letter: DeadLetter, *, raw: bool) -> dict[str, Any]:
    """Returns key, headers and body. Unless `raw`, every value and name that can be personal is replaced by its size."""
    headers = {name.removeprefix("_") if name.startswith("___") else name: text
               for name, text in letter.record.metadata.items() if not name.startswith("__") or name.startswith("___")}  # fmt: skip
    key = letter.record.kafka_field("key")
    if raw:
        return {"key": key, "headers": headers, "body": _raw_body(letter.record.value)}
    shown = _unique([_header(letter, name, text) for name, text in headers.items()])
    return {"key": key and _size(key), "headers": shown, "body": _body(letter)}


def shown_event_id(letter: DeadLetter) -> str:
    """Returns the event's id if it is a UUID or ULID and is not also the id of a user; else its size."""
    text = letter.event_id
    if text == "-":
        return text
    return text if _ID.fullmatch(text) and not _names_user(letter.record, _bare(text)) else _size(text)


def shown_detail(letter: DeadLetter) -> str:
    """Returns the detail, which the function wrote; a later version may put into it what this one can't judge."""
    return letter.detail if letter.reason != UNKNOWN else _size(letter.detail)


def _names_user(record: KafkaRecord, bare: str) -> bool:
    """Returns whether the id stands anywhere but where an event's id does."""
    elsewhere = [text for name, text in record.headers.items() if name not in _EVENT_IDS]
    if any(bare in _bare(text) for text in (record.kafka_field("key"), *elsewhere)):
        return True
    value = _bare(record.value.decode("utf-8", "replace"))
    if not (count := value.count(bare)):
        return False
    body = _parsed(record.value)
    own = [body.get("event_id"), "specversion" in body and body.get("id")] if isinstance(body, dict) else []
    return count > sum(isinstance(one, str) and _bare(one) == bare for one in own)


def _bare(text: str) -> str:
    return text.replace("-", "").lower()


def _header(letter: DeadLetter, name: str, text: str) -> tuple[str, str]:
    lower = name.lower()
    if name.startswith("__"):  # by daprd, in a letter of its own
        known = name.removeprefix("__") in {"topic", "partition", "offset", "timestamp"} and bool(letter.daprd)
        return (name, text) if known else ("<header>", _size(text))
    shown = name if lower in _NAMES else f"<name of {len(name)} characters>"
    if lower in _EVENT_IDS:
        own = shown_event_id(letter)
        return shown, text if text in {own, "-"} else _size(text)
    if lower in _OF_FUNCTION and lower in letter.own:
        genuine = letter.reason != UNKNOWN and _OF_FUNCTION[lower](text)
        return shown, text if genuine else _size(text)
    return shown, text if lower in _SHOWN and _SHOWN[lower](text) else _size(text)


def _body(letter: DeadLetter) -> Any:
    body = _parsed(letter.record.value)
    if body is _NOT_JSON:
        return f"<{len(letter.record.value)} bytes, not JSON>"
    redacted = _redact(body)
    if isinstance(body, dict) and (own := shown_event_id(letter)) and not own.startswith("<"):
        redacted |= {name: own for name in ("event_id", "id") if body.get(name) == own}
    return redacted


def _redact(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return _unique(
            [(n if n in _NAMES else f"<name of {len(n)} characters>", _redact(v, n)) for n, v in value.items()]
        )
    if isinstance(value, list):
        return [_redact(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if name in _SHOWN and _SHOWN[name](value) else _size(value)
    return value if name == "schema_version" and 0 <= value < 1000 else "<number>"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the pairs as an object; names that were replaced by the same text get a number."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name} ({number})"
        found[free] = value
    return found


def _raw_body(value: bytes) -> Any:
    body = _parsed(value)
    return body if body is not _NOT_JSON else value.decode("utf-8", "backslashreplace")


_NOT_JSON = object()


def _parsed(value: bytes) -> Any:
    """Returns the body, or _NOT_JSON: also for what Python reads but could not print again as JSON."""
    try:
        body = json.loads(value, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return _NOT_JSON
    return _NOT_JSON if _too_deep(body, value) else body


def _too_deep(body: Any, value: bytes) -> bool:
    """Returns whether lists and objects are nested deeper than MAX_DEPTH. Goes through them only if they may be."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    level = [body]
    for _ in range(MAX_DEPTH + 1):
        parts = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [inner for part in parts for inner in part]
    return bool(level)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _size(text: str) -> str:
    return f"<{len(text)} characters>"
