"""JSON log lines: an event name and allow-listed fields, one object a line on standard error.

A field that is not on the list is dropped here, whoever logged it, so that no name, address, token or body can
reach a log by a slip. Other libraries' lines keep only logger, level and exception type for the same reason.
"""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime

FIELDS = frozenset({
    "accounts", "attempts", "call", "detail", "event_id", "event_type", "offset", "outcome", "outcomes", "partition", "pending",
    "port", "ready", "reason", "seconds", "size", "status", "topic", "version",
})  # fmt: skip

_PLAIN = re.compile(r"[A-Za-z0-9._:/\-]{1,128}")
_logger = logging.getLogger("function")


def logs(level: int) -> bool:
    """Whether a line of this level appears: for lines whose fields take time to make."""
    return _logger.isEnabledFor(level)


def log(level: int, event: str, **fields: object) -> None:
    """Logs `event` with `fields`; what is not in FIELDS does not appear."""
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"fields": fields})


def log_failure(event: str, error: BaseException) -> None:
    """Logs an exception we did not foresee: its type and where it happened, not its text, which may hold anything."""
    _logger.error(event, exc_info=error)


def plain(value: str) -> str:
    """An identifier as the producer sent it, or `-` when it could hold more than an identifier."""
    return value if _PLAIN.fullmatch(value) else "-"


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name == _logger.name:
            line["event"] = record.msg
            fields = getattr(record, "fields", {})
            line |= {name: value for name, value in fields.items() if name in FIELDS}
        else:
            line |= {"event": "library", "logger": record.name}
        if record.exc_info and record.exc_info[1]:
            line |= _where(record.exc_info[1])
        return json.dumps(line, default=str)


def _where(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "error": type(error).__name__,
        "at": [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames],
    }


def configure(level: str) -> None:
    """Sends every logger of the process through the formatter; `level` is a name such as `INFO`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _logger.setLevel(level)
