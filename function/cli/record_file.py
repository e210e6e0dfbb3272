"""Reads Kafka records from a file: each a value alone, or in the JSON form in which `kcat -J` prints a record.

Judges no record: a value that is not JSON is a record too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from function.events.strict_json import parse_object
from function.events.times import parse_time
from function.kafka.record import KafkaRecord, record_from
from function.outcomes import Rejected

FORM = (
    '{"payload": ..., "headers": {"event_type": "..."}, "key": "...", "ts": 1767260000000}; payload is required, and '
    "headers can be a list of names and values, as kcat -J prints them"
)
_MEMBERS = frozenset({"payload", "headers", "key", "ts", "tstype", "topic", "partition", "offset", "broker"})
_OF_VALUES = frozenset({"user_id", "data", "specversion"})  # members of an event's own value
_BOM = b"\xef\xbb\xbf"


class Unreadable(ValueError):
    """A record in a form that is not understood; the text says what was expected, without a value of the record."""


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record of the file.

    Attributes:
        line: where it begins, counted from 1.
        record: as daprd would deliver it.
        whole: with key and headers, as far as it has them; not if the file has the value alone.
    """

    line: int
    record: KafkaRecord
    whole: bool


def texts(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yields the text of each record with its line: each line that is not empty is a record.

    A file whose first line opens an object that it does not close is one record, unless a later line is an object.
    """
    lines = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(stream, start=1))
    filled = ((number, line) for number, line in lines if line.strip())
    first = next(filled, None)
    if first is None:
        return
    if not _opens(first[1]):
        yield first
        yield from filled
        return
    rest = [first, *filled]
    if any(_is_object(line) for _, line in rest[1:]):
        yield from rest
    else:
        yield first[0], b"\n".join(line for _, line in rest)


def _opens(line: bytes) -> bool:
    line = line.strip().removeprefix(_BOM)
    return line[:1] in {b"{", b"["} and line[:1] + line[-1:] not in {b"{}", b"[]"}


def _is_object(line: bytes) -> bool:
    """Returns whether a line is an object that is not part of another: it is not indented."""
    return line[:1] + line.rstrip()[-1:] == b"{}"


def read_record(line: int, text: bytes) -> FoundRecord:
    """Returns the record in a text. Raises Unreadable."""
    text = text.strip()
    try:
        body = parse_object(text, "surrogateescape")
    except Rejected:
        return FoundRecord(line, KafkaRecord(text, ""), whole=False)
    if not {"payload", "headers"} & body.keys() or _OF_VALUES & body.keys():
        return FoundRecord(line, KafkaRecord(text, ""), whole=False)
    if "payload" not in body or not body.keys() <= _MEMBERS:
        raise Unreadable(f"expected {FORM}")
    record = record_from(
        _text(body.get("topic", "")), _number(body.get("partition", -1)), _number(body.get("offset", -1)),
        _milliseconds(body.get("ts")), _key(body.get("key")), _value(body["payload"]), _headers(body.get("headers")),
    )  # fmt: skip
    return FoundRecord(line, record, whole=True)


def _value(payload: object) -> bytes | None:
    if payload is None:
        return None
    return _bytes(payload) if isinstance(payload, str) else json.dumps(payload).encode()


def _key(key: object) -> bytes | None:
    if key is None:
        return None
    return _bytes(_text(key))


def _headers(headers: object) -> list[tuple[str, bytes | None]]:
    pairs: list[tuple[Any, Any]]
    if isinstance(headers, dict):
        pairs = list(headers.items())
    elif isinstance(headers, list) and len(headers) % 2 == 0:
        pairs = list(zip(headers[::2], headers[1::2], strict=True))
    elif headers is None:
        pairs = []
    else:
        raise Unreadable(f"headers: expected an object, or a list of names and values: {FORM}")
    return [(_text(name), None if text is None else _bytes(_text(text))) for name, text in pairs]


def _milliseconds(ts: object) -> int:
    """Reads kcat's milliseconds, or a time as events have it; 0 if there is none."""
    if ts is None:
        return 0
    if isinstance(ts, str):
        try:
            return int(parse_time(ts).timestamp() * 1000)
        except ValueError:
            raise Unreadable("ts: expected milliseconds, or a time such as 2026-01-31T03:00:00Z") from None
    return max(_number(ts), 0)


def _number(value: object) -> int:
    if type(value) is not int:
        raise Unreadable("ts, partition and offset: expected a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable("topic, key and headers: expected text")
    return value


def _bytes(text: str) -> bytes:
    """Returns the bytes that kcat wrote, also those that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
