"""Decoding: every shape that is on the topic, and every way in which a record can be wrong."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.events.decode import decode, type_of, user_of
from function.events.types import Decoded, Ignored, ProfileUpdated, UserDeleted
from function.outcomes import Reason, Rejected
from tests.support.events import ALICE, deleted_payload, moment, profile_payload

DELETED, PROFILE = "identity.user.deleted", "identity.user.profile_updated"
SPELLINGS = {DELETED: [DELETED, "UserDeletedEvent"], PROFILE: [PROFILE, "UserProfileUpdatedEvent"]}
TYPED = [(kind, spelling) for kind, spellings in SPELLINGS.items() for spelling in spellings]
AT = datetime(2025, 11, 1, 12, tzinfo=UTC)


def payload_of(kind: str, **fields: Any) -> dict[str, Any]:
    return deleted_payload(**fields) if kind == DELETED else profile_payload(**fields)


def event_of(kind: str, id_: str) -> Decoded:
    if kind == DELETED:
        return UserDeleted(id_, ALICE, AT, erase=False)
    return ProfileUpdated(id_, ALICE, AT, "Alice Example", "")


def envelope(payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    outer = {
        "event_id": "e-1",
        "timestamp": moment(),
        "schema_version": 1,
        "source": "identity-service",
        "correlation_id": None,
        "data": payload,
    }
    return outer | fields


def cloud(payload: object, kind: str = PROFILE, **fields: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "e-1", "source": "/nova", "type": kind, "data": payload} | fields


def read(body: object, **headers: str) -> Decoded:
    return decode(json.dumps(body).encode(), {name.replace("__", "-"): text for name, text in headers.items()})


def reason(decoded: Decoded) -> Reason:
    assert isinstance(decoded, Rejected), decoded
    return decoded.reason


# --- shapes


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


@pytest.mark.parametrize(
    "kind",
    ["identity.user.two_fa_enabled", "TwoFAEnabledEvent", "deleted", "Identity.User.Deleted"],
)
def test_other_types_are_ignored(kind: str) -> None:
    """Acknowledged and counted, whatever they hold."""
    assert read({"anything": 1}, event_type=kind, event_id="e-9") == Ignored("e-9")
    assert read(envelope({"user_id": 5}, event_type=kind)) == Ignored("e-1")
    assert read(cloud(profile_payload(), kind)) == Ignored("e-1")


def test_a_tombstone_is_ignored() -> None:
    """daprd hands a record without a value over as the bytes `null`."""
    assert decode(b"null", {"event_type": DELETED}) == Ignored("-")


@pytest.mark.parametrize(("soft", "erase"), [(True, False), (False, True)])
def test_a_hard_deletion_erases(soft: bool, erase: bool) -> None:
    """erase = not soft_delete."""
    decoded = read(deleted_payload(soft=soft), event_type=DELETED)
    assert isinstance(decoded, UserDeleted)
    assert decoded.erase is erase


def test_unknown_and_mistyped_unused_fields_do_not_matter() -> None:
    """The producer may add fields, and may get the ones wrong that nobody reads here."""
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


# --- bytes that are no event


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
def test_what_is_not_one_strict_json_object_is_not_json(value: bytes, headers: dict[str, str]) -> None:
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
        {"time": "yesterday"},
        {"time": 5},
        {"Bad-Extension": "x"},
        {"data": [1]},
        {"data": 5},
        {"data": None},
    ],
    ids=str,
)
def test_a_cloudevent_that_breaks_the_specification_is_refused(broken: dict[str, Any]) -> None:
    """Strict in what says it is a CloudEvent."""
    assert reason(read(cloud(profile_payload()) | broken)) is Reason.INVALID_CLOUDEVENT


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


# --- user ids


@pytest.mark.parametrize(
    "spelling",
    [
        ALICE.upper(),
        ALICE.replace("-", ""),
        "{" + ALICE + "}",
        "urn:uuid:" + ALICE,
        "URN:UUID:" + ALICE.upper(),
        "{" + ALICE.replace("-", "").upper() + "}",
    ],
)
@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_every_spelling_of_a_uuid_is_one_user(kind: str, spelling: str) -> None:
    """The Matrix id is lower case with dashes; another spelling would be another account."""
    decoded = read(payload_of(kind, user_id=spelling), event_type=kind)
    assert isinstance(decoded, UserDeleted | ProfileUpdated)
    assert decoded.user_id == ALICE


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "alice",
        ALICE[:-1],
        ALICE + "0",
        ALICE + "\n",
        " " + ALICE,
        "{" + ALICE,
        ALICE + "}",
        ALICE.replace("-", "_"),
        ALICE.replace("-", "", 1),
        ALICE.replace("0", "\u0660"),
        "g" + ALICE[1:],
        ALICE + ":evil.example",
        5,
        None,
        [ALICE],
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_what_is_no_uuid_is_refused(kind: str, wrong: object) -> None:
    """Anything else could name somebody else's account."""
    assert reason(read(payload_of(kind, user_id=wrong), event_type=kind)) is Reason.INVALID_PAYLOAD


# --- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-11-01T12:00:00Z", AT),
        ("2025-11-01t12:00:00z", AT),
        ("2025-11-01 12:00:00+00:00", AT),
        ("2025-11-01T14:30:00+02:30", AT),
        ("2025-11-01T12:00:00.123456789Z", AT.replace(microsecond=123456)),
        ("2025-11-01T12:00:00.999999999Z", AT.replace(microsecond=999999)),
        ("2025-11-01T12:00:00.5Z", AT.replace(microsecond=500000)),
        ("2025-11-01T12:00:00.1234567-00:00", AT.replace(microsecond=123456)),
    ],
)
def test_times_are_cut_to_microseconds_in_utc(text: str, time: datetime) -> None:
    """The producer writes up to nine digits and any offset."""
    for kind, field in ((DELETED, "deleted_at"), (PROFILE, "updated_at")):
        decoded = read(payload_of(kind, **{field: text}), event_type=kind)
        assert isinstance(decoded, UserDeleted | ProfileUpdated)
        assert (decoded.at, decoded.at.tzinfo) == (time, UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        "2025-11-01T12:00:00",
        "2025-11-01",
        "2025-13-01T12:00:00Z",
        "2025-11-01T25:00:00Z",
        "2025-11-01T12:00:00.1234567890Z",
        "2025-11-01T12:00:00+99:00",
        "0000-11-01T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "yesterday",
        "",
        1762000000,
        True,
        {},
    ],
    ids=repr,
)
def test_a_time_without_a_zone_or_sense_is_refused(wrong: object) -> None:
    """Order is decided by it, so it is never guessed."""
    assert reason(read(deleted_payload(deleted_at=wrong), event_type=DELETED)) is Reason.INVALID_PAYLOAD
    assert reason(read(profile_payload(updated_at=wrong), event_type=PROFILE)) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
@pytest.mark.parametrize("own", ["missing", "null"])
def test_without_a_time_of_its_own_the_envelopes_counts(kind: str, own: str) -> None:
    """Header, envelope and CloudEvent each have a time to fall back on."""
    payload = payload_of(kind)
    field = "deleted_at" if kind == DELETED else "updated_at"
    if own == "missing":
        del payload[field]
    else:
        payload[field] = None
    binary = {"ce_specversion": "1.0", "ce_id": "e", "ce_source": "/nova", "ce_type": kind, "ce_time": moment(5)}
    for decoded in (
        read(payload, event_type=kind, created_at=moment(5)),
        read(envelope(payload, event_type=kind, timestamp=moment(5))),
        read(cloud(payload, kind, time=moment(5))),
        read(payload, **binary),
    ):
        assert isinstance(decoded, UserDeleted | ProfileUpdated)
        assert decoded.at == AT.replace(second=5)


@pytest.mark.parametrize("kind", [DELETED, PROFILE])
def test_without_any_time_an_event_is_refused(kind: str) -> None:
    """Now is not when it happened: a replayed event would become the newest."""
    payload = payload_of(kind)
    del payload["deleted_at" if kind == DELETED else "updated_at"]
    binary = {"ce_specversion": "1.0", "ce_id": "e", "ce_source": "/nova", "ce_type": kind}
    for decoded in (
        read(payload, event_type=kind),
        read(payload, event_type=kind, created_at="2025-11-01T12:00:00"),
        read(envelope(payload, event_type=kind, timestamp=None)),
        read(cloud(payload, kind)),
        read(payload, **binary),
    ):
        assert reason(decoded) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cloudevents_time_outside_of_the_calendar_is_refused(time: str) -> None:
    """In UTC it is before year 1 or after 9999: Python can't hold it."""
    payload = profile_payload()
    del payload["updated_at"]
    binary = {"ce_specversion": "1.0", "ce_id": "e", "ce_source": "/nova", "ce_type": PROFILE, "ce_time": time}
    for decoded in (read(cloud(payload, time=time)), read(payload, **binary)):
        assert reason(decoded) in {Reason.INVALID_CLOUDEVENT, Reason.INVALID_PAYLOAD}


# --- required fields


@pytest.mark.parametrize("missing", ["user_id", "soft_delete"])
def test_a_deletion_without_a_required_field_is_refused(missing: str) -> None:
    """Which account, and erase or not, is not guessed."""
    payload = deleted_payload()
    del payload[missing]
    assert reason(read(payload, event_type=DELETED)) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize("wrong", ["false", 0, 1, None, "", []], ids=repr)
def test_soft_delete_is_a_boolean(wrong: object) -> None:
    """An erasure can't be taken back: "false" is not false."""
    assert reason(read(deleted_payload(soft_delete=wrong), event_type=DELETED)) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    "wrong", [{"user_id": ALICE, "updated_at": moment()}, profile_payload(username=None), profile_payload(username=5)]
)
def test_a_profile_has_a_username(wrong: dict[str, Any]) -> None:
    """It is the name of a person without one."""
    assert reason(read(wrong, event_type=PROFILE)) is Reason.INVALID_PAYLOAD


# --- names


@pytest.mark.parametrize(
    ("display_name", "name"),
    [
        ("Alice", "Alice"),
        ("  Alice \n", "Alice"),
        (None, "ally"),
        ("", "ally"),
        (" \t\u00a0", "ally"),
        ("é" * 256, "é" * 256),
        ("🦊" * 256, "🦊" * 256),
        (" " + "a" * 256 + " ", "a" * 256),
    ],
)
def test_a_blank_display_name_falls_back_to_the_username(display_name: str | None, name: str) -> None:
    """Without one the person would be shown as @nova-<uuid>."""
    decoded = read(profile_payload(display_name=display_name), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.display_name == name


@pytest.mark.parametrize("field", ["display_name", "username"])
@pytest.mark.parametrize("bad", ["a" * 257, "a\0b", "a\ud800b", "\udfff"], ids=ascii)
def test_a_name_that_synapse_cannot_store_is_refused(field: str, bad: str) -> None:
    """Synapse answers 500 for some of these, for ever."""
    payload = profile_payload(display_name=None) | {field: bad}
    assert reason(read(payload, event_type=PROFILE)) is Reason.INVALID_DISPLAY_NAME


def test_an_unusable_username_does_not_matter_where_there_is_a_display_name() -> None:
    """Strict only with what is written."""
    decoded = read(profile_payload(username="a\0b"), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)


# --- avatars


@pytest.mark.parametrize(
    ("address", "avatar"),
    [
        ("mxc://test.example/AbC-d_9", "mxc://test.example/AbC-d_9"),
        ("mxc://test.example:8448/a", "mxc://test.example:8448/a"),
        ("mxc://[2001:db8::1]/a", "mxc://[2001:db8::1]/a"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_avatar_is_an_mxc_address_or_none(address: str | None, avatar: str) -> None:
    """Empty and null both take it away."""
    decoded = read(profile_payload(avatar_url=address), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.avatar == avatar


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://cdn.example/a.png", Reason.AVATAR_INVALID),
        ("javascript:alert(1)", Reason.AVATAR_INVALID),
        ("mxc://", Reason.AVATAR_INVALID),
        ("mxc://test.example", Reason.AVATAR_INVALID),
        ("mxc://test.example/../a", Reason.AVATAR_INVALID),
        ("mxc://test.example/a\n", Reason.AVATAR_INVALID),
        ("mxc://test.example/" + "a" * 1000, Reason.AVATAR_INVALID),
        ("mxc://test.example/\0", Reason.AVATAR_INVALID),
        ("https://cdn.example/\0", Reason.AVATAR_INVALID),
        ("https://cdn.example/\ud800", Reason.AVATAR_INVALID),
        (" ", Reason.AVATAR_INVALID),
        (5, Reason.AVATAR_INVALID),
        (False, Reason.AVATAR_INVALID),
        ({"url": "mxc://a/b"}, Reason.AVATAR_INVALID),
    ],
    ids=repr,
)
def test_a_bad_avatar_never_holds_back_the_name(address: object, why: Reason) -> None:
    """The name is applied, and the event goes to the dead letters for its avatar."""
    decoded = read(profile_payload(avatar_url=address), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.display_name == "Alice Example"
    assert isinstance(decoded.avatar, Rejected)
    assert decoded.avatar.reason is why


# --- what a reason may say


SECRETIVE = "s3cr3t-value"


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (profile_payload(user_id=SECRETIVE), PROFILE),
        (profile_payload(updated_at=SECRETIVE), PROFILE),
        (profile_payload(username=[SECRETIVE]), PROFILE),
        (profile_payload(display_name={SECRETIVE: 1}), PROFILE),
        (profile_payload(display_name=SECRETIVE + "\0"), PROFILE),
        (profile_payload(display_name=SECRETIVE * 100), PROFILE),
        (profile_payload(avatar_url="http://" + SECRETIVE), PROFILE),
        (profile_payload(avatar_url=SECRETIVE), PROFILE),
        (deleted_payload(soft_delete=SECRETIVE), DELETED),
        (deleted_payload(deleted_at=SECRETIVE), DELETED),
        (cloud(SECRETIVE), ""),
        (cloud(profile_payload(), time=SECRETIVE), ""),
        (cloud(profile_payload(), specversion=SECRETIVE), ""),
        ({SECRETIVE: SECRETIVE}, ""),
        (SECRETIVE, ""),
    ],
    ids=lambda case: str(case)[:60],
)
def test_no_detail_holds_a_value(payload: object, kind: str) -> None:
    """Details go to logs and headers, where names and ids have no business."""
    decoded = read(payload, event_type=kind)
    rejected = decoded.avatar if isinstance(decoded, ProfileUpdated) else decoded
    assert isinstance(rejected, Rejected)
    assert rejected.detail
    assert SECRETIVE not in rejected.detail
    assert SECRETIVE not in str(rejected)


# --- total


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = [DELETED, PROFILE, "UserDeletedEvent", "identity.user.created", "com.dapr.event.sent"]
FIELD = st.sampled_from(
    [
        "user_id",
        "username",
        "display_name",
        "avatar_url",
        "updated_at",
        "deleted_at",
        "soft_delete",
        "data",
        "data_base64",
        "id",
        "source",
        "type",
        "time",
        "specversion",
        "datacontenttype",
        "event_type",
        "event_id",
        "timestamp",
    ]
)
VALUE = (
    st.sampled_from(
        [ALICE, moment(), "0001-01-01T00:00:00+14:00", "2025-11-01T12:00:00", "1.0", "mxc://a/b", True, *KINDS]
    )
    | JSON
)
BODY = st.dictionaries(FIELD, VALUE | st.dictionaries(FIELD, VALUE))
HEADER = st.sampled_from(
    [
        "event_type",
        "event_id",
        "created_at",
        "content-type",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_specversion",
    ]
)
HEADERS = st.dictionaries(
    HEADER | st.text(),
    st.sampled_from([*KINDS, "1.0", moment(), "0001-01-01T00:00:00+14:00", "application/cloudevents+json"]) | st.text(),
)


@given(st.binary(), HEADERS)
@example(b"{" * DEEP, {})
def test_arbitrary_bytes_never_raise(value: bytes, headers: dict[str, str]) -> None:
    """An exception here would hold up a partition for ever."""
    assert isinstance(decode(value, headers), UserDeleted | ProfileUpdated | Ignored | Rejected)


@given(BODY, HEADERS)
def test_almost_right_objects_never_raise(body: dict[str, Any], headers: dict[str, str]) -> None:
    """Arbitrary bytes seldom get past the JSON: these get as far as the last check."""
    decoded = decode(json.dumps(body).encode(), headers)
    assert isinstance(decoded, UserDeleted | ProfileUpdated | Ignored | Rejected)
    if isinstance(decoded, UserDeleted | ProfileUpdated):
        assert decoded.at.tzinfo is UTC
