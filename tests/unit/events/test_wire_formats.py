"""Decodes what the real daprd delivered: tests/captures/captures.json, made by `python -m tests.captures.capture`."""

import base64
import json
from typing import Any

import pytest

from function.dapr.bulk_envelope import read_entry
from function.events.decode import decode
from function.outcomes import Rejected
from tests.captures.capture import CAPTURES
from tests.captures.records import RECORDS, USER

DELIVERED: dict[str, dict[str, Any]] = json.loads(CAPTURES.read_text())


@pytest.mark.parametrize("name", RECORDS)
def test_a_delivered_record_is_decoded_as_it_should_be(name: str) -> None:
    wire, envelope = RECORDS[name], DELIVERED[name]
    record = read_entry(envelope["entries"][0] | {"topic": envelope["topic"]})
    assert record
    event = decode(record.value, record.headers)
    assert (event.reason.value if isinstance(event, Rejected) else type(event).__name__) == wire.expected
    assert getattr(event, "user_id", USER) == USER


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_arrives_byte_for_byte(name: str) -> None:
    """A tombstone is the exception: daprd makes four bytes of it."""
    value = RECORDS[name].value
    delivered = base64.b64decode(DELIVERED[name]["entries"][0]["event"])
    assert delivered == (b"null" if value is None else value)
