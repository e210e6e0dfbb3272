"""Parses the envelope of a bulk delivery into Kafka records, and builds the answer. Does not look at their content.

The envelope is that of a Dapr bulk subscription with rawPayload: each entry holds the record's value as base64, and
metadata with the record's headers.
"""

import base64
import binascii
import json
import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from function.telemetry.logs import log
from function.telemetry.metrics import CountRefusal, uncounted


@dataclass(frozen=True)
class KafkaRecord:
    """A Kafka record as daprd delivered it.

    `metadata` holds the record's headers and, with two underscores in front, daprd's own fields
    (`__key`, `__topic`, `__partition`, `__offset`, `__timestamp` in milliseconds). A producer's header of such a name
    replaces daprd's, unless the component excludes such headers: good for telling a person, never for order or
    identity.
    """

    value: bytes
    topic: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): text for name, text in self.metadata.items() if not name.startswith("__")}

    def dapr_metadata(self, name: str) -> str:
        return self.metadata.get(f"__{name}", "")


Entry = tuple[str, KafkaRecord | None]


def read_batch(body: str, refused: CountRefusal = uncounted) -> list[Entry]:
    """Returns the batch's records by entry id; None in place of an entry that is not base64 (rawPayload off).

    Returns an empty list if the body is not a bulk envelope. `refused` counts both.
    """
    try:
        envelope = json.loads(body)
        topic = str(envelope.get("topic", ""))
        entries = [entry for entry in envelope["entries"] if isinstance(entry["entryId"], str)]
        for entry in entries:
            entry["topic"] = topic
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log(logging.ERROR, "envelope_unreadable", detail=type(error).__name__, size=len(body))
        refused("unreadable_batch")
        return []
    return [(entry["entryId"], read_entry(entry, refused)) for entry in entries]


def read_entry(entry: dict[str, Any], refused: CountRefusal = uncounted) -> KafkaRecord | None:
    """Returns the Kafka record in an entry; None if the entry is not base64 (rawPayload off)."""
    metadata = entry.get("metadata") or {}
    try:
        value = base64.b64decode(entry.pop("event"), validate=True)  # a full batch is not held twice
        return KafkaRecord(value, entry["topic"], {str(name): str(text) for name, text in metadata.items()})
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        log(logging.ERROR, "entry_unreadable", detail="not base64: is rawPayload on?", topic=entry["topic"])
        refused("unreadable_entry")
        return None


def answer(entries: list[Entry], waiting: AbstractSet[str]) -> bytes:
    """Returns the answer to daprd: RETRY for the entries in `waiting`, SUCCESS for all others."""
    statuses = {entry_id: "RETRY" if entry_id in waiting else "SUCCESS" for entry_id, _ in entries}
    body = {"statuses": [{"entryId": entry_id, "status": status} for entry_id, status in statuses.items()]}
    return json.dumps(body).encode()
