"""Parses the envelope of a bulk delivery into Kafka records, and builds the answer. Does not look at their content.

The envelope is that of a Dapr bulk subscription with rawPayload: each entry holds the record's value as base64, and
metadata with the record's headers.
"""

import binascii
import contextlib
import json
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from function.dapr.json_members import members, members_at_once
from function.kafka.record import KafkaRecord
from function.telemetry.logs import log
from function.telemetry.metrics import CountRefusal, uncounted


class Body:
    """The bytes of a request, in the pieces in which they arrived. Iterating takes them away, so that memory is freed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = deque(chunks)
        self._size = sum(map(len, self._chunks))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while self._chunks:
            yield self._chunks.popleft()


SMALL_BYTES = 256 * 1024  # of an envelope that is parsed at once, in a few milliseconds: a hundred records of 1 KB

Entry = tuple[str, KafkaRecord | None]


def read_batch(body: Body, refused: CountRefusal = uncounted) -> list[Entry]:
    """Returns what `reading` returns, at once."""
    steps = reading(body, refused)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            entries: list[Entry] = ended.value
            return entries


def reading(body: Body, refused: CountRefusal = uncounted) -> Generator[None, None, list[Entry]]:
    """Reads a batch step by step, for `run_in_slices`. A step is one entry: some 20 ms for the largest record.

    Args:
        body: the envelope; it is empty afterwards.
        refused: counts a body, or an entry, that can't be read.

    Returns:
        The batch's records by entry id; None in place of an entry that is not base64 (rawPayload off). An empty list if the
        body is not a bulk envelope.
    """
    found, topic = list[dict[str, Any]](), ""
    try:
        for name, member in _members(body):
            if name == "topic":
                topic = str(member)
            elif name == "entries" and isinstance(member["entryId"], str):
                member["event"] = _base64(member.get("event"))
                found.append(member)
            yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log(logging.ERROR, "envelope_unreadable", detail=type(error).__name__, size=len(body))
        refused("unreadable_batch")
        return []
    return [(entry["entryId"], _record(entry, topic, refused)) for entry in found]


def _members(body: Body) -> Iterable[tuple[str, Any]]:
    if len(body) > SMALL_BYTES:
        return members(body, "entries")
    text = b"".join(body)
    return members_at_once(text, "entries") or members([text], "entries")


def read_entry(entry: dict[str, Any], refused: CountRefusal = uncounted) -> KafkaRecord | None:
    """Returns the Kafka record in an entry; None if the entry is not base64 (rawPayload off)."""
    return _record(entry | {"event": _base64(entry.get("event"))}, entry["topic"], refused)


def _base64(text: object) -> bytes | None:
    with contextlib.suppress(TypeError, ValueError):
        return binascii.a2b_base64(cast("str", text), strict_mode=True)
    return None


def _record(entry: Mapping[str, Any], topic: str, refused: CountRefusal) -> KafkaRecord | None:
    metadata = entry.get("metadata") or {}
    if entry["event"] is None or not isinstance(metadata, dict):
        log(logging.ERROR, "entry_unreadable", detail="not base64: is rawPayload on?", topic=topic)
        refused("unreadable_entry")
        return None
    return KafkaRecord(entry["event"], topic, {str(name): str(text) for name, text in metadata.items()})


def answer(entries: list[Entry], waiting: AbstractSet[str]) -> bytes:
    """Returns the answer to daprd: RETRY for the entries in `waiting`, SUCCESS for all others."""
    statuses = {entry_id: "RETRY" if entry_id in waiting else "SUCCESS" for entry_id, _ in entries}
    body = {"statuses": [{"entryId": entry_id, "status": status} for entry_id, status in statuses.items()]}
    return json.dumps(body).encode()
