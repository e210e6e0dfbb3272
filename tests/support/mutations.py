"""Mutates records quickly: some ten times as many a second as Hypothesis generates, but without shrinking what is found."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from function.events.types import TYPES

Record = tuple[bytes, dict[str, str]]

TYPE_TEXTS = [
    *TYPES, "identity.user.two_fa_enabled", "order.created", "UserDeleted", "user.deleted", "identity.user.deleted.v2",
    "identity.user.delet\u0435d", "deleted", "DeleteAccount", "x", "com.dapr.event.sent", "",
]  # fmt: skip
WRITTEN = [
    *["{}"] * 6, '"{}"', " {} ", "{}\0", "{}.v2", "{}Event", "{}\ufffd", "'{}'", "[{}]", "\\{}", "x.{}", "x{}",
]  # fmt: skip
CASES: list[Callable[[str], str]] = [str, str, str.upper, str.title]
HEADER_NAMES = [
    "event_type", "type", "eventtype", "ce_type", "ce_id", "ce_specversion", "ce_source", "ce_time", "content-type",
    "event_id", "created_at", "aggregate_type",
]  # fmt: skip
FIELDS = [
    "user_id", "deleted_at", "soft_delete", "username", "display_name", "updated_at", "data", "data_base64", "type", "id",
    "source", "specversion", "event_id", "event_type", "timestamp", "deletedAt", "softDelete", "is_deleted", "userId",
    "eventType", "action", "deleted",
]  # fmt: skip
FIXED: list[Any] = [None, True, False, 0, 1, "", "1.0", "2026-01-01T00:00:00Z", [], {}, {"soft_delete": False}]


@dataclass(frozen=True)
class Mutator:
    """Makes records out of `seeds`; `bytes_` are inserted anywhere. The same `dice` make the same records."""

    seeds: Sequence[tuple[bytes, Mapping[str, str]]]
    bytes_: Sequence[bytes]
    dice: random.Random

    def record(self) -> Record:
        value, given = self.dice.choice(self.seeds)
        headers = dict(given)
        if self.dice.random() < 0.6:
            value = self._rebuilt(value)
        if self.dice.random() < 0.5:
            value = self._damaged(value)
        for _ in range(self.dice.randint(0, 3)):
            headers[self.dice.choice(HEADER_NAMES)] = self.dice.choice(
                [self._type(), "1.0", "application/cloudevents+json"]
            )
        if headers and self.dice.random() < 0.3:
            headers.pop(self.dice.choice(list(headers)))
        return value, headers

    def _type(self) -> str:
        choice = self.dice.choice
        return choice(WRITTEN).format(choice(CASES)(choice(TYPE_TEXTS)))

    def _rebuilt(self, value: bytes) -> bytes:
        """Returns the value with some fields changed, in any object of it; it stays JSON."""
        try:
            body = json.loads(value)
        except (ValueError, RecursionError):
            body = {}
        for one in self.dice.choices(list(_objects(body)) or [{}], k=self.dice.randint(0, 4)):
            if one and self.dice.random() < 0.4:
                one.pop(self.dice.choice(list(one)))
            else:
                one[self.dice.choice(FIELDS)] = self.dice.choice(
                    [*FIXED, self._type(), value.decode("utf-8", "replace")]
                )
        text = json.dumps(body)
        return (json.dumps(text) if self.dice.random() < 0.1 else text).encode()

    def _damaged(self, value: bytes) -> bytes:
        """Returns the value with some bytes changed; what is inserted may come from another record."""
        body, choice = bytearray(value), self.dice.choice
        for _ in range(self.dice.randint(1, 4)):
            at = self.dice.randint(0, len(body))
            other = choice(self.seeds)[0][at : at + 20]
            body[at : at + choice([0, 1, 1, 2, 8, 40])] = choice([self.dice.randbytes(3), choice(self.bytes_), other])
        return bytes(body)


def _objects(body: object) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        yield body
    if isinstance(body, dict | list):
        for inner in list(body.values()) if isinstance(body, dict) else body:
            yield from _objects(inner)
