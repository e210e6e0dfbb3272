"""Writes JSON log lines to standard error: an event name and allow-listed fields, one object per line.

A field that is not in `FIELDS` is dropped here, so that no name, address, token or body can reach a log by mistake. Lines of
other libraries keep only logger, level and exception type for the same reason. docs/reference/logs.md is generated from
`EVENTS` and `FIELDS`.
"""

import json
import logging
import re
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

# Every field that a line can have, with its meaning. A value comes from a closed set or passes `plain`.
FIELDS = {
    "detail": "field names, statuses and error codes; never a name, an address or a token",
    "event_id": "the event's id, `-` if it has none",
    "event_type": "the class of the decoded event, `Ignored` or `Rejected`",
    "offset": "Kafka offset of the record",
    "operation": "the operation on Synapse, or the dead letter, that a dry run did not make",
    "outcome": "the event's outcome; of a removal `begun`, `waits`, `done` or `failed`",
    "outcomes": "number of events by outcome",
    "part": "what is removed of an erased user: `messages` or `media`",
    "partition": "Kafka partition of the record",
    "port": "the port that the process listens on",
    "reason": "why the event was dead-lettered or is retried; for a batch, the number of retries by reason",
    "size": "a number of records, deletions, rooms, messages, files or bytes, as the event's meaning says",
    "topic": "Kafka topic of the record",
    "version": "the version that runs; of daprd in `sidecar_unproved`",
}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One kind of log line: the value of `event`, its level, its fields, and what it tells."""

    name: str
    level: str
    fields: tuple[str, ...]
    means: str


_FAILURE = ("error", "at")  # written for an exception, not passed by the caller
EVENTS = (
    LogEvent("started", "info", ("version", "port"), "the process has started; it is not yet ready"),
    LogEvent("stopped", "info", (), "the process exits after SIGTERM"),
    LogEvent("sidecar_unproved", "warning", ("version", "detail"), "daprd has a version on which the tests did not run, or tells none; `detail` says what to do"),
    LogEvent("switched_off", "warning", ("detail",), "nothing is consumed: `KAFKA_ENABLED` or `MATRIX_ENABLED` is false"),
    LogEvent("ready", "info", (), "all probes pass again"),
    LogEvent("not_ready", "warning", ("reason", "detail"), "a dependency fails; logged again when the reason changes"),
    LogEvent(
        "event", "info for applied, warning for dead letters, else debug",
        ("outcome", "event_type", "event_id", "topic", "partition", "offset", "reason", "detail"), "the outcome of one event",
    ),
    LogEvent(
        "batch", "info, or debug if nothing changed", ("size", "outcomes", "reason"),
        "one batch of `size` records: events by outcome, and retries by reason",
    ),
    LogEvent("batch_retry", "warning", ("reason", "detail", "size"), "a whole batch of `size` records is answered RETRY"),
    LogEvent("dead_letter_retry", "warning", ("reason", "detail"), "a dead letter could not be published; its event is retried"),
    LogEvent("deletion_limit", "error", ("size",), "`size` deletions of one user exceeded the limit and were dead-lettered"),
    LogEvent("recheck_repaired", "warning", ("size",), "a recheck found a user's account changed, or still in rooms, and took `size` steps"),
    LogEvent("recheck_retry", "debug", ("reason", "detail"), "a user's recheck waits for Synapse or the state store, or could not be judged"),
    LogEvent("recheck_dropped", "error", ("size",), "a user still needed changes, or could not be judged, in the last of `size` rechecks"),
    LogEvent("recheck_unreadable", "error", ("size",), "`size` keys `recheck-*` of the state store can't be read; their users wait"),
    LogEvent(
        "removal", "info, warning if it waits, error if something is left", ("part", "outcome", "size", "detail"),
        "what an erased user left behind is removed: `size` rooms in which a redaction has begun, messages that it could not redact, "
        "or files that were deleted; `detail` has the redaction's status and id, or why it waits",
    ),
    LogEvent("lag_unknown", "warning", ("detail",), "Kafka does not tell the lag, or may not be asked; `detail` has the error's name. Logged again when it changes"),
    LogEvent("watchdog_off", "warning", ("detail",), "partitions that daprd stops reading are not noticed; `detail` says why"),
    LogEvent("token_not_renewed", "warning", ("reason", "detail"), "MAS gave the personal session no new token; the present one is valid for some time, and the next try is 30 s later"),
    LogEvent(
        "partition_rejoined", "error", ("topic", "partition", "size"),
        "daprd had stopped reading a partition with a lag of `size` records; not ready for some seconds, so that it joins the group again",
    ),
    LogEvent("open_letters_unknown", "warning", ("reason", "detail"), "the open dead letters can't be counted. Logged again when it changes"),
    LogEvent("dry_run", "info", ("operation", "topic"), "with `MATRIX_DRY_RUN=true`: a request, or a record for `topic`, that was not sent"),
    LogEvent(
        "caller_refused", "warning", ("detail",),
        "a request had no valid `dapr-api-token`: daprd's `APP_API_TOKEN` differs, or another client calls",
    ),
    LogEvent(
        "batch_refused", "error", ("detail", "size"),
        "a batch with a valid token is larger (`size` bytes) than Kafka's limits allow; daprd sends it again",
    ),
    LogEvent("envelope_unreadable", "error", ("detail", "size"), "a request of `size` bytes is not a bulk batch; daprd sends it again"),
    LogEvent("entry_unreadable", "error", ("detail", "topic"), "an entry is not base64 as `rawPayload` requires; it is retried"),
    LogEvent("user_failed", "error", _FAILURE, "a bug in processing one user's events: exception type and place"),
    LogEvent("batch_failed", "error", _FAILURE, "a bug in processing a batch"),
    LogEvent("probe_failed", "error", _FAILURE, "a bug in a readiness probe"),
    LogEvent("start_failed", "error", _FAILURE, "a bug at the start"),
    LogEvent("lag_failed", "error", _FAILURE, "a bug in asking for the lag or the open dead letters"),
    LogEvent("recheck_failed", "error", _FAILURE, "a bug in the rechecks"),
    LogEvent("library", "warning and above", ("logger",), "a line of a library, without its text"),
)  # fmt: skip

_PLAIN = re.compile(r"[A-Za-z0-9._:/\-]{1,128}")
_logger = logging.getLogger("function")


def logs(level: int) -> bool:
    """Returns whether lines of this level are logged; spares making the fields of a line that is not."""
    return _logger.isEnabledFor(level)


def log(level: int, event: str, **fields: object) -> None:
    """Logs `event` with `fields`; drops the fields that are not in FIELDS."""
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"fields": fields})


def log_failure(event: str, error: BaseException) -> None:
    """Logs an unexpected exception: its type and location, but not its text, which could hold anything."""
    _logger.error(event, exc_info=error)


def plain(value: str) -> str:
    """Returns the producer's identifier, or `-` if it does not look like an identifier."""
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
    """Formats the lines of every logger of the process; `level` is a name such as `INFO`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # What no line has, and each would look up.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _logger.setLevel(level)
