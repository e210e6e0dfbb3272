"""Returns a dead letter's headers and body without personal data."""

import json
import re
from typing import Any

from function.dead_letters.letter import DeadLetter
from function.dead_letters.publish import IDS, PREFIX

# Body fields and headers whose values are not personal data.
_SHOWN = frozenset({
    "specversion", "type", "event_type", "schema_version", "source", "time", "timestamp", "created_at", "updated_at",
    "deleted_at", "changed_at", "enabled_at", "soft_delete", "invalidate_all_sessions", "is_verified", "event_id", "id",
    "aggregate_type", "content-type", "datacontenttype", "ce_id", "ce_type", "ce_time", "ce_specversion", "ce_source",
    "data",
})  # fmt: skip

# Matches an id, a type or a time. The producer can put any text into these fields, so other text is redacted.
_PLAIN = re.compile(r"[A-Za-z0-9._:/+;=\-]{0,128}")


def content(letter: DeadLetter, *, raw: bool) -> dict[str, Any]:
    """Returns headers and body. Unless `raw`, replaces every value that can be personal by its size or type."""
    headers = {name: text for name, text in letter.record.metadata.items() if raw or not name.startswith("__")}
    if not raw:
        headers = {name: _redact_header(name.lower(), text) for name, text in headers.items()}
    return {"letter": letter.place, "reason": letter.reason, "headers": headers, "body": _body(letter, raw=raw)}


def _redact_header(name: str, text: str) -> str:
    return text if name.startswith(PREFIX) and name != IDS else str(_redact(text, name))


def _body(letter: DeadLetter, *, raw: bool) -> Any:
    try:
        body = json.loads(letter.record.value)
    except (ValueError, RecursionError):
        return repr(letter.record.value) if raw else f"<{len(letter.record.value)} bytes, not JSON>"
    return body if raw else _redact(body)


def _redact(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {inner_name: _redact(inner, inner_name) for inner_name, inner in value.items()}
    if isinstance(value, list):
        return [_redact(inner) for inner in value]
    shown = name in _SHOWN and not (isinstance(value, str) and not _PLAIN.fullmatch(value))
    return value if shown or value is None or isinstance(value, bool) else _size(value)


def _size(value: Any) -> str:
    return f"<{len(value)} characters>" if isinstance(value, str) else f"<{type(value).__name__}>"
