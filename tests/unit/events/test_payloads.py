"""Payloads: user ids, times, names and avatars, what is required, and what a rejection may say."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.events.decode import decode
from function.events.types import Ignored, ProfileUpdated, UserDeleted
from function.outcomes import Reason, Rejected
from tests.support.decoding import AT, DELETED, PROFILE, cloud, envelope, payload_of, read, reason
from tests.support.events import ALICE, deleted_payload, moment, profile_payload


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
def test_a_user_id_that_is_not_a_uuid_is_refused(kind: str, wrong: object) -> None:
    """Anything else could name another user's account."""
    assert reason(read(payload_of(kind, user_id=wrong), event_type=kind)) is Reason.INVALID_PAYLOAD


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
    """Synapse answers 500 for some of these, every time."""
    payload = profile_payload(display_name=None) | {field: bad}
    assert reason(read(payload, event_type=PROFILE)) is Reason.INVALID_DISPLAY_NAME


def test_an_unusable_username_does_not_matter_where_there_is_a_display_name() -> None:
    """Strict only with what is written."""
    decoded = read(profile_payload(username="a\0b"), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)


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
def test_the_detail_of_a_rejection_has_no_value_of_the_event(payload: object, kind: str) -> None:
    """Details go to logs and headers, where names and ids have no business."""
    decoded = read(payload, event_type=kind)
    rejected = decoded.avatar if isinstance(decoded, ProfileUpdated) else decoded
    assert isinstance(rejected, Rejected)
    assert rejected.detail
    assert SECRETIVE not in rejected.detail
    assert SECRETIVE not in str(rejected)


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
@example(b"{" * 100_000, {})
def test_arbitrary_bytes_never_raise(value: bytes, headers: dict[str, str]) -> None:
    """An exception here would block a partition."""
    assert isinstance(decode(value, headers), UserDeleted | ProfileUpdated | Ignored | Rejected)


@given(BODY, HEADERS)
def test_almost_right_objects_never_raise(body: dict[str, Any], headers: dict[str, str]) -> None:
    """Arbitrary bytes seldom get past the JSON: these get as far as the last check."""
    decoded = decode(json.dumps(body).encode(), headers)
    assert isinstance(decoded, UserDeleted | ProfileUpdated | Ignored | Rejected)
    if isinstance(decoded, UserDeleted | ProfileUpdated):
        assert decoded.at.tzinfo is UTC
