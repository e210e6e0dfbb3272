"""Wire formats: bare payload, envelope, structured and binary CloudEvent, and bytes that are no event; also what the real
daprd delivered (tests/captures/captures.json, made by `python -m tests.captures.capture`)."""

import base64
import json
from typing import Any

import pytest

from function.dapr.bulk_envelope import read_entry
from function.events.decode import decode, type_of, user_of
from function.events.types import ProfileUpdated, UserDeleted
from function.outcomes import Reason, Rejected
from tests.captures.capture import CAPTURES
from tests.captures.records import RECORDS, USER
from tests.support.decoding import (
    AT,
    DELETED,
    PROFILE,
    TYPED,
    binary,
    cloud,
    envelope,
    event_of,
    payload_of,
    read,
    reason,
)
from tests.support.events import ALICE, deleted_payload, moment, profile_payload


@pytest.mark.parametrize(("kind", "spelling"), TYPED)
def test_a_bare_payload_is_typed_by_its_header(kind: str, spelling: str) -> None:
    """The shape that is produced today."""
    assert read(payload_of(kind), event_type=spelling, event_id="e-1") == event_of(kind, "e-1")


@pytest.mark.parametrize(("kind", "spelling"), TYPED)
def test_an_envelope_is_typed_by_its_field(kind: str, spelling: str) -> None:
    """Older records and other producers."""
    assert read(envelope(payload_of(kind), event_type=spelling)) == event_of(kind, "e-1")


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
@pytest.mark.parametrize("typed", [{}, {"event_type": None}])
def test_an_envelope_without_a_type_is_typed_by_its_fields(kind: str, typed: dict[str, Any]) -> None:
    """The oldest records have no type anywhere."""
    assert read(envelope(payload_of(kind), **typed)) == event_of(kind, "e-1")


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_a_bare_payload_without_a_header_is_typed_by_its_fields(kind: str) -> None:
    """A header can get lost on the way through a mirror."""
    assert read(payload_of(kind)) == event_of(kind, "-")


def test_a_null_display_name_counts_as_the_key_for_the_guess() -> None:
    """The producer writes null for a person without a name."""
    decoded = read(profile_payload(display_name=None))
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.display_name == "ally"


@pytest.mark.parametrize(("kind", "spelling"), TYPED)
@pytest.mark.parametrize("content_type", [{}, {"content__type": "application/cloudevents+json; charset=utf-8"}])
def test_a_structured_cloudevent_is_one_object(kind: str, spelling: str, content_type: dict[str, str]) -> None:
    """What Dapr publishes and what a standards-minded producer sends."""
    assert read(cloud(payload_of(kind), spelling), **content_type) == event_of(kind, "e-1")


@pytest.mark.parametrize(("kind", "spelling"), TYPED)
def test_a_binary_cloudevent_is_typed_by_its_headers(kind: str, spelling: str) -> None:
    """The other binding of CloudEvents to Kafka."""
    headers = {"ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "/nova", "ce_type": spelling}
    assert read(payload_of(kind), **headers) == event_of(kind, "e-1")
    assert read(payload_of(kind), **headers, content__type="application/json") == event_of(kind, "e-1")


def test_a_cloudevents_data_may_be_base64() -> None:
    """`data_base64` is how CloudEvents carry bytes."""
    body = cloud(None)
    del body["data"]
    body["data_base64"] = base64.b64encode(json.dumps(profile_payload()).encode()).decode()
    assert read(body) == event_of(PROFILE, "e-1")


def test_a_cloudevents_data_may_be_json_in_a_string() -> None:
    """Dapr sends it so when the publisher named no JSON content type."""
    assert read(cloud(json.dumps(profile_payload()), datacontenttype="text/plain")) == event_of(PROFILE, "e-1")


@pytest.mark.parametrize("inside", [profile_payload(), envelope(profile_payload(), event_type=PROFILE)])
def test_daprs_wrapper_around_an_untyped_event_is_taken_off(inside: dict[str, Any]) -> None:
    """A publisher that sends plain JSON through Dapr gets the type com.dapr.event.sent."""
    decoded = read(cloud(inside, "com.dapr.event.sent"))
    assert isinstance(decoded, ProfileUpdated)
    assert (decoded.user_id, decoded.display_name, decoded.at) == (ALICE, "Alice Example", AT)


def test_daprs_wrapper_leaves_the_header_its_say() -> None:
    """The header comes first in every shape but a typed CloudEvent."""
    decoded = read(cloud(deleted_payload(), "com.dapr.event.sent"), event_type=DELETED)
    assert isinstance(decoded, UserDeleted)


def test_the_header_wins_over_the_envelope() -> None:
    """Today's producer is the authority on its own records."""
    decoded = read(envelope(deleted_payload(), event_type=PROFILE), event_type=DELETED)
    assert isinstance(decoded, UserDeleted)


def test_a_header_that_was_not_utf8_is_no_header() -> None:
    """daprd shows such bytes as U+FFFD."""
    decoded = read(envelope(deleted_payload(), event_type=DELETED), event_type="identity\ufffd")
    assert isinstance(decoded, UserDeleted)


def test_a_header_that_was_not_utf8_hides_neither_type_nor_user() -> None:
    """The tools choose letters by both."""
    for broken in ("ce_id", "event_type"):
        record = json.dumps(envelope(deleted_payload(), event_type=DELETED)).encode(), {broken: "\ufffd"}
        assert (type_of(*record), user_of(*record)) == (DELETED, ALICE)


def test_an_empty_header_is_no_header() -> None:
    """An empty type is none."""
    assert isinstance(read(deleted_payload(), event_type=""), UserDeleted)


@pytest.mark.parametrize(("soft", "erase"), [(True, False), (False, True)])
def test_a_hard_deletion_erases(soft: bool, erase: bool) -> None:
    """erase = not soft_delete."""
    decoded = read(deleted_payload(soft=soft), event_type=DELETED)
    assert isinstance(decoded, UserDeleted)
    assert decoded.erase is erase


def test_unknown_and_mistyped_unused_fields_do_not_matter() -> None:
    """The producer may add fields, and fields that are not read here may have any type."""
    decoded = read(profile_payload(bio=5, is_verified="yes", follower_count=None, new=[{}]), event_type=PROFILE)
    assert decoded == event_of(PROFILE, "-")
    gone = deleted_payload(deleted_by=7)
    assert read(gone, event_type=DELETED) == event_of(DELETED, "-")


def test_optional_fields_may_be_missing() -> None:
    """Only what the meaning needs is required."""
    decoded = read({"user_id": ALICE, "username": "ally", "updated_at": moment()}, event_type=PROFILE)
    assert decoded == ProfileUpdated("-", ALICE, AT, "ally", "")
    assert read({"user_id": ALICE, "soft_delete": True, "deleted_at": moment()}, event_type=DELETED) == event_of(
        DELETED, "-"
    )


DEEP = 100_000


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"\xff\xfe",
        b'{"user_id": "\xc3"}',
        b"[]",
        b"[1,2]",
        b"5",
        b'"text"',
        b"true",
        b"nul",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"data": {"a": 1, "a": 2}}',
        b"\xef\xbb\xbf{}",
        b"{" + b'"a":{' * DEEP,
        b"[" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"a": ' + b"9" * 5000 + b"}",
        '{"a": 1}'.encode("utf-16"),
    ],
    ids=lambda value: repr(value[:24]),
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"event_type": PROFILE},
        {"content-type": "application/cloudevents+json"},
        {"ce_id": "1", "ce_specversion": "1.0"},
    ],
)
def test_a_body_other_than_one_strict_json_object_is_not_json(value: bytes, headers: dict[str, str]) -> None:
    """Whatever the headers claim: the body is judged first."""
    assert reason(decode(value, headers)) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "body", [{}, {"a": 1}, {"user_id": ALICE}, {"event_id": "e", "data": {}}, {"event_type": DELETED}]
)
def test_an_object_that_fits_nothing_is_an_unknown_shape(body: dict[str, Any]) -> None:
    """Neither header, envelope nor fields tell the type."""
    assert reason(read(body)) is Reason.UNKNOWN_SHAPE


def test_an_envelopes_type_that_is_no_text_is_an_unknown_shape() -> None:
    """A wrong type is not repaired by a guess."""
    assert reason(read(envelope(deleted_payload(), event_type=5))) is Reason.UNKNOWN_SHAPE


@pytest.mark.parametrize(
    "broken",
    [
        {"id": None},
        {"id": ""},
        {"id": 5},
        {"source": None},
        {"source": ""},
        {"type": None},
        {"type": ""},
        {"type": ["a"]},
        {"specversion": "9.9"},
        {"specversion": 1},
        {"specversion": None},
        {"data": [1]},
        {"data": 5},
        {"data": None},
    ],
    ids=str,
)
def test_a_cloudevent_that_breaks_the_specification_is_refused(broken: dict[str, Any]) -> None:
    """Strict in what says it is a CloudEvent."""
    assert reason(read(cloud(profile_payload()) | broken)) is Reason.INVALID_CLOUDEVENT


UNREAD = [
    {name: wrong}
    for name in ("time", "subject", "datacontenttype", "dataschema", "data_base64")
    for wrong in (None, "", 5, ["x"], {"a": 1})
] + [{"time": "yesterday"}, {"Bad-Extension": "x"}, {"correlation_id": "x"}, {"trace": None}, {"": "x"}, {"data ": 1}]


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
@pytest.mark.parametrize("unread", UNREAD, ids=str)
def test_what_is_wrong_with_an_attribute_that_is_not_read_costs_no_event(kind: str, unread: dict[str, Any]) -> None:
    """Serialisers write null for what is unset, and names that the specification does not allow."""
    assert read(cloud(payload_of(kind), kind) | unread) == event_of(kind, "e-1")


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_empty_headers_and_odd_extensions_of_a_binary_cloudevent_are_left_out(kind: str) -> None:
    """As for a structured one."""
    unread = {"subject": "", "time": "", "dataschema": " ", "correlation_id": "x", "trace-id": "x", "": "x"}
    assert read(payload_of(kind), **binary(kind, **unread)) == event_of(kind, "e-1")
    assert read(payload_of(kind), **binary(kind, time="yesterday")) == event_of(kind, "e-1")


def test_a_null_in_data_base64_leaves_the_data_alone() -> None:
    """And null data leaves data_base64 alone."""
    assert read(cloud(profile_payload(), data_base64=None)) == event_of(PROFILE, "e-1")
    encoded = base64.b64encode(json.dumps(profile_payload()).encode()).decode()
    assert read(cloud(None, data_base64=encoded)) == event_of(PROFILE, "e-1")


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_the_headers_of_a_bare_payload_may_have_a_stray_extension(kind: str) -> None:
    """A tracer that adds `ce_traceid` does not make a CloudEvent of it."""
    assert read(payload_of(kind), event_type=kind, event_id="e-1", ce_traceid="x") == event_of(kind, "e-1")


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_json_may_be_encoded_twice(kind: str) -> None:
    """A producer that hands text to a JSON serialiser; once, since more is no accident."""
    text = json.dumps(payload_of(kind))
    assert read(text, event_type=kind, event_id="e-1") == event_of(kind, "e-1")
    assert read(envelope(payload_of(kind), data=text, event_type=kind)) == event_of(kind, "e-1")
    assert reason(read(json.dumps(text), event_type=kind)) is Reason.NOT_JSON


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_a_cloudevent_inside_daprs_wrapper_keeps_its_own_type(kind: str) -> None:
    """A publisher that names the content type application/json for a CloudEvent."""
    inside = cloud(payload_of(kind), kind)
    assert read(cloud(inside, "com.dapr.event.sent")) == event_of(kind, "e-1")
    assert read(payload_of(kind), **binary("com.dapr.event.sent"), event_type=kind, event_id="e-1") == event_of(
        kind, "e-1"
    )


@pytest.mark.parametrize("missing", ["id", "source", "type"])
def test_a_cloudevent_without_a_required_attribute_is_refused(missing: str) -> None:
    """The library would make an id up, and a duplicate would not be known as one."""
    body = cloud(profile_payload())
    del body[missing]
    assert reason(read(body)) is Reason.INVALID_CLOUDEVENT
    headers = {"ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "/nova", "ce_type": PROFILE}
    del headers[f"ce_{missing}"]
    assert reason(read(profile_payload(), **headers)) is Reason.INVALID_CLOUDEVENT


@pytest.mark.parametrize("encoded", ["%%%", "e30", "W10=", ""])
def test_a_cloudevent_with_bad_base64_is_refused(encoded: str) -> None:
    """The library decodes bad base64 to nothing."""
    body = cloud(None)
    del body["data"]
    body["data_base64"] = encoded
    assert reason(read(body)) in {Reason.INVALID_CLOUDEVENT, Reason.NOT_JSON}


DELIVERED: dict[str, dict[str, Any]] = json.loads(CAPTURES.read_text())


@pytest.mark.parametrize("name", RECORDS)
def test_a_delivered_record_is_decoded_as_expected(name: str) -> None:
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
