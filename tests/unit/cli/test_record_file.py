"""How `validate` finds the records of a file, and reads each: a value alone, or as kcat -J prints a record."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.cli.record_file import Unreadable, read_record, texts
from function.events.decode import decode
from tests import captures
from tests.captures.records import RECORDS

PRINTED = (Path(captures.__file__).parent / "kcat.jsonl").read_bytes().splitlines()
EVENT = b'{"user_id": "1"}'


def found(content: bytes) -> list[tuple[int, bytes]]:
    return list(texts(io.BytesIO(content)))


def read(**members: Any) -> Any:
    return read_record(1, json.dumps(members).encode()).record


def test_each_line_that_is_not_blank_is_a_record() -> None:
    assert found(EVENT + b"\r\n\n  \n" + EVENT + b"\n42\n") == [(1, EVENT), (4, EVENT), (5, b"42")]


def test_an_object_over_several_lines_is_one_record() -> None:
    [(line, text)] = found(b'\n{\n  "user_id": "1",\n  "data": [\n{"a": 1},\n  2]\n}\n')
    assert line == 2
    assert json.loads(text) == {"user_id": "1", "data": [{"a": 1}, 2]}


def test_a_first_line_that_is_cut_off_does_not_hide_the_others() -> None:
    assert found(b'{"user_id": "1\n' + EVENT + b"\n") == [(1, b'{"user_id": "1'), (2, EVENT)]


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n"])
def test_a_file_without_a_record_has_none(content: bytes) -> None:
    assert found(content) == []


def test_lines_are_handed_out_before_the_input_ends() -> None:
    """For `kcat -J | matrix-account-sync validate -`."""

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            line = EVENT + b"\n"
            buffer[: len(line)] = line
            return len(line)

    endless = texts(io.BufferedReader(Endless(), buffer_size=64))
    assert [next(endless) for _ in range(3)] == [(1, EVENT), (2, EVENT), (3, EVENT)]


@pytest.mark.parametrize(("name", "printed"), list(zip(RECORDS, PRINTED, strict=True)), ids=list(RECORDS))
def test_what_kcat_printed_is_read_as_the_record_that_was_produced(name: str, printed: bytes) -> None:
    wire = RECORDS[name]
    found = read_record(1, printed)
    assert found.whole
    assert found.record.headers["capture"] == name
    assert found.record.kafka_field("key") == "123e4567-e89b-12d3-a456-426614174000"
    assert found.record.value == (b"null" if wire.value is None else wire.value)
    decoded = decode(found.record.value, found.record.headers)
    assert str(getattr(decoded, "reason", type(decoded).__name__)) == wire.expected


def test_the_form_can_be_written_by_hand() -> None:
    record = read(payload={"user_id": "1"}, headers={"Event_Type": "t"}, key="k", ts="1970-01-01T00:00:01Z")
    assert json.loads(record.value) == {"user_id": "1"}
    assert record.headers == {"event_type": "t"}
    assert (record.kafka_field("key"), record.kafka_field("timestamp")) == ("k", "1000")


@pytest.mark.parametrize(
    "text", [EVENT, b"42", b"null", b"\xff", b"{", b'{"payload": 1, "user_id": "1"}', b'{"payload": NaN}']
)
def test_anything_else_is_a_value_alone_byte_for_byte(text: bytes) -> None:
    found = read_record(7, b" " + text + b"\t")
    assert (found.line, found.record.value, found.record.headers, found.whole) == (7, text, {}, False)


def test_a_record_without_a_value_is_a_tombstone() -> None:
    assert read(payload=None, headers=None).value == b"null"


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"headers": {}}, "payload is required"),
        ({"payload": 1, "value": "secret"}, "payload is required"),
        ({"payload": 1, "headers": ["secret"]}, "headers"),
        ({"payload": 1, "headers": "secret"}, "headers"),
        ({"payload": 1, "headers": {"secret": 5}}, "headers"),
        ({"payload": 1, "key": 5}, "key"),
        ({"payload": 1, "ts": "secret"}, "ts"),
        ({"payload": 1, "ts": 1.5}, "ts"),
        ({"payload": 1, "offset": True}, "offset"),
    ],
)
def test_a_record_in_another_form_is_refused_with_what_is_expected(members: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named) as refused:
        read(**members)
    assert "secret" not in str(refused.value)


MEMBERS = st.sampled_from(["payload", "headers", "key", "ts", "tstype", "topic", "partition", "offset", "other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.binary() | st.dictionaries(MEMBERS, JSON).map(lambda body: json.dumps(body).encode()))
def test_any_text_is_a_record_or_unreadable(text: bytes) -> None:
    with contextlib.suppress(Unreadable):
        found = read_record(1, text)
        assert found.line == 1
        assert found.record.value or found.whole or not text.strip()


@given(st.lists(st.sampled_from([b"{", b"}", b'{"a": 1}', b'  {"a": 1}', b"[", b"42", b"", b"\xff"])))
def test_every_line_that_is_not_blank_is_in_one_record(lines: list[bytes]) -> None:
    assert b"\n".join(text for _, text in found(b"\n".join(lines))) == b"\n".join(line for line in lines if line)
