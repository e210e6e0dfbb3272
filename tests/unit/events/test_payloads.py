"""Payloads: user ids, times, names and avatars, what is required, and what a rejection may say."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dev.identity_events import created_payload, password_changed_payload
from function.events.decode import FUTURE_BOUND, decode
from function.events.types import Cause, Decoded, Ignored, ProfileUpdated, UserDeleted
from function.outcomes import Reason, Rejected
from tests.support.decoding import AT, DELETED, PROFILE, binary, cloud, envelope, payload_of, read, reason
from tests.support.deletion_oracle import looks_like_a_deletion
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
        ("2025-11-01T12:00:00+0000", AT),
        ("2025-11-01T14:30:00.5+0230", AT.replace(microsecond=500000)),
        ("2025-11-01 12:00:00+00", AT),
        ("2025-11-01 10:00:00-02", AT),
        ("2025-11-01T12:00Z", AT),
        ("2025-11-01T14:30+0230", AT),
        ("2025-11-01 12:00:00 UTC", AT),
        ("2025-11-01 12:00:00 +00:00", AT),
        (" 2025-11-01T12:00:00Z\n", AT),
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
        "2025-11-01T12:00",
        "2025-11-01T12Z",
        "2025-11-01T12:00:00+",
        "2025-11-01T12:00:00+0",
        "2025-11-01T12:00:00+000",
        "2025-11-01T12:00:00  Z",
        "2025-11-01T12:00:00 CET",
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


def test_without_any_time_a_profile_is_refused() -> None:
    """Now is not when it happened: a replayed event would become the newest."""
    payload = profile_payload()
    del payload["updated_at"]
    for decoded in (
        read(payload, event_type=PROFILE),
        read(payload, event_type=PROFILE, created_at="2025-11-01T12:00:00"),
        read(envelope(payload, event_type=PROFILE, timestamp=None)),
        read(cloud(payload, PROFILE)),
        read(cloud(payload, PROFILE, time="yesterday")),
        read(payload, **binary(PROFILE)),
    ):
        assert reason(decoded) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    "time", [None, "", "yesterday", "2025-11-01T12:00:00", 1762000000, [], "9999-12-31T23:59:59-14:00"]
)
def test_a_deletion_is_carried_out_whatever_its_time(time: object) -> None:
    """Nothing depends on it: a deletion counts before and after every other event."""
    timed = read(deleted_payload(deleted_at=time, soft=False), event_type=DELETED, created_at=moment(5))
    assert timed == UserDeleted("-", ALICE, AT.replace(second=5), erase=True)
    timeless = read(deleted_payload(deleted_at=time), event_type=DELETED)
    assert timeless == UserDeleted("-", ALICE, datetime(1970, 1, 1, tzinfo=UTC), erase=False)


LATEST = AT + FUTURE_BOUND


def decoded_by(payload: object, kind: str, **headers: str) -> Decoded:
    return decode(json.dumps(payload).encode(), {"event_type": kind, **headers}, latest=LATEST)


@pytest.mark.parametrize(
    ("kind", "field", "payload"),
    [
        (PROFILE, "updated_at", profile_payload()),
        ("UserCreatedEvent", "created_at", created_payload(ALICE, "ally")),
        ("PasswordChangedEvent", "changed_at", password_changed_payload(ALICE)),
    ],
)
def test_an_event_from_the_future_is_refused(kind: str, field: str, payload: dict[str, Any]) -> None:
    """Every later event of the user would be stale until then."""
    ahead = "2025-11-01T13:00:00.000001Z"
    rejected = decoded_by(payload | {field: ahead}, kind)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail) == (Reason.TIME_IN_FUTURE, field)
    del payload[field]
    assert reason(decoded_by(payload, kind, created_at=ahead)) is Reason.TIME_IN_FUTURE


def test_clocks_may_be_apart_by_the_bound() -> None:
    """And without a limit any time is taken."""
    decoded = decoded_by(profile_payload(updated_at="2025-11-01T13:00:00Z"), PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.at == LATEST
    distant = read(profile_payload(updated_at="2099-01-01T00:00:00Z"), event_type=PROFILE)
    assert isinstance(distant, ProfileUpdated)
    assert distant.at == datetime(2099, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("time", ["2099-01-01T00:00:00Z", "yesterday"])
def test_a_deletion_from_the_future_is_carried_out(time: str) -> None:
    """Its time is cut to the latest that is allowed."""
    assert decoded_by(deleted_payload(deleted_at=time), DELETED) == UserDeleted("-", ALICE, LATEST, erase=False)


def test_a_password_change_that_ends_no_session_is_ignored_whatever_its_time() -> None:
    """Nothing depends on it."""
    for time in ("2099-01-01T00:00:00Z", None):
        payload = {"user_id": ALICE, "changed_at": time, "invalidate_all_sessions": False}
        assert decoded_by(payload, "PasswordChangedEvent", event_id="e-1") == Ignored("e-1", Cause.NO_SESSIONS)


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


@pytest.mark.parametrize("wrong", [None, "", [], "perhaps", "yes", "1", 2, -1, 0.0, 1.0, {"a": True}], ids=repr)
def test_a_deletion_that_may_be_soft_or_hard_is_refused(wrong: object) -> None:
    """An erasure can't be taken back: a person decides."""
    assert reason(read(deleted_payload(soft_delete=wrong), event_type=DELETED)) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize(("text", "soft"), [("true", True), ("False", False), ("false", False), (1, True), (0, False)])
def test_soft_delete_is_read_as_databases_and_text_formats_write_it(text: object, soft: bool) -> None:
    """Each has one meaning only."""
    assert read(deleted_payload(soft_delete=text), event_type=DELETED) == UserDeleted("-", ALICE, AT, erase=not soft)


@pytest.mark.parametrize("username", [None, "", 5, "\u200b", "missing"])
@pytest.mark.parametrize("display_name", [None, "", " ", "\u3164"])
def test_a_profile_without_a_display_name_has_a_username(display_name: str | None, username: object) -> None:
    """It is the name of a person without a display name; an empty one is written as such."""
    payload = profile_payload(display_name=display_name, username=username)
    if username == "missing":
        del payload["username"]
    decoded = read(payload, event_type=PROFILE)
    if username in ("", "\u200b"):
        assert decoded == ProfileUpdated("-", ALICE, AT, "", "")
    else:
        assert reason(decoded) is Reason.INVALID_PAYLOAD


@pytest.mark.parametrize("username", [None, 5, "a\0b", "missing"])
def test_a_username_is_not_read_where_there_is_a_display_name(username: object) -> None:
    """Strict only with what is written."""
    payload = profile_payload(username=username)
    if username == "missing":
        del payload["username"]
    assert read(payload, event_type=PROFILE) == ProfileUpdated("-", ALICE, AT, "Alice Example", "")


INVISIBLE = [
    "\u200b", "\u200d\u200c", "\u2060", "\ufeff", "\u00ad", "\u3164", "\uffa0", "\u115f\u1160", "\u2800", "\u180e",
    "\u202e", "\u2066\u2069", "\u034f", "\ufe0f", "\U000e0020\U000e007f", "\U000e0100", "\u2065", "\ufff0", "\u0301",
    "\u20dd", "\u0903", "\U0001d159", "\u0001\u001f", " \u200b \u3164 ", "\u2028", "\u200b" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", INVISIBLE, ids=ascii)
def test_a_display_name_that_no_one_can_see_counts_as_empty(name: str) -> None:
    """The person would be shown as nothing, and could not be clicked on."""
    decoded = read(profile_payload(display_name=name), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.display_name == "ally"


@pytest.mark.parametrize(
    "name", ["é", "e\u0301", "\u200bA", "नि", "\u202eabc", "👩\u200d👩", "❤\ufe0f", "한", "\ue000", "\u0378", ".", "〇"]
)
def test_a_name_with_one_visible_character_is_kept_as_it_is(name: str) -> None:
    """Scripts and emoji need marks and joiners; an unassigned character may be newer than Python's tables."""
    decoded = read(profile_payload(display_name=name), event_type=PROFILE)
    assert isinstance(decoded, ProfileUpdated)
    assert decoded.display_name == name


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
        (profile_payload(display_name={SECRETIVE: 1}), PROFILE),
        (profile_payload(display_name=SECRETIVE + "\0"), PROFILE),
        (profile_payload(display_name=SECRETIVE * 100), PROFILE),
        (profile_payload(avatar_url="http://" + SECRETIVE), PROFILE),
        (profile_payload(avatar_url=SECRETIVE), PROFILE),
        (deleted_payload(soft_delete=SECRETIVE), DELETED),
        (deleted_payload(user_id=SECRETIVE), DELETED),
        (profile_payload(username=[SECRETIVE], display_name=None), PROFILE),
        (deleted_payload(), SECRETIVE),
        ({}, f"identity.user.deleted.{SECRETIVE}"),
        ({f"deleted_{SECRETIVE}": SECRETIVE, "soft_delete": SECRETIVE}, "order.created"),
        (envelope(profile_payload(), event_type=f"deleted {SECRETIVE}"), PROFILE),
        (cloud(SECRETIVE), ""),
        (cloud(profile_payload(updated_at=None), time=SECRETIVE), ""),
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

KINDS = [
    DELETED,
    PROFILE,
    "UserDeletedEvent",
    "identity.user.created",
    "com.dapr.event.sent",
    "order.created",
    "UserDeleted",
]

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


@given(BODY, HEADERS)
def test_what_a_person_would_call_a_deletion_is_never_ignored(body: dict[str, Any], headers: dict[str, str]) -> None:
    """The oracle reads text and shares no code with the decoder; `make fuzz` asks it for some minutes."""
    value = json.dumps(body).encode()
    decoded = decode(value, headers)
    assert not (isinstance(decoded, Ignored) and looks_like_a_deletion(value, headers))
