"""Which type a record has: how tools spell it, which of several counts, and when a record is ignored at all."""

import json
from typing import Any

import pytest

from dev.identity_events import created_payload, password_changed_payload
from function.events.decode import decode, type_of, user_of
from function.events.doubts import doubt
from function.events.types import TYPES, Cause, EventType, Ignored, UserDeleted
from function.outcomes import Reason
from tests.support.decoding import (
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
from tests.support.events import ALICE, deleted_payload, profile_payload

OTHER = "identity.user.email_changed"

# How tools write the text of a header.
WRITTEN = [
    '"{}"', '"{}" ', "{} ", " {}", "{}\0", "{}\r\n", "\t{}", "\ufeff{}", '" {} "', '"{}\\u0000"', '"{}\0"', "{}\0\0",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spelling"), TYPED)
@pytest.mark.parametrize("written", WRITTEN, ids=ascii)
def test_header_types_are_read_as_tools_write_them(kind: str, spelling: str, written: str) -> None:
    """Spring and Kafka Connect write JSON, C programs a NUL, shell scripts a line's end."""
    text, event_id = written.format(spelling), written.format("e-1")
    assert read(payload_of(kind), event_type=text, event_id=event_id) == event_of(kind, "e-1")
    quoted = {name: written.format(value) for name, value in binary(spelling).items()}
    assert read(payload_of(kind), **quoted) == event_of(kind, "e-1")
    assert read(cloud(payload_of(kind), text)) == event_of(kind, "e-1")
    assert read(envelope(payload_of(kind), event_type=text)) == event_of(kind, "e-1")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("case", [str.upper, str.lower, str.title])
def test_the_case_of_a_type_does_not_matter(kind: str, case: Any) -> None:
    """`Identity.User.Deleted` is no other type."""
    payload = payload_of(DELETED) if TYPES[kind] is EventType.DELETED else profile_payload()
    payload |= created_payload(ALICE, "ally") | password_changed_payload(ALICE)
    value, headers = json.dumps(payload).encode(), {"event_type": case(kind)}
    if TYPES[kind] is not EventType.DELETED:
        del payload["updated_at"]
    assert isinstance(decode(value, headers), TYPES[kind].event)
    assert type_of(value, headers) == TYPES[kind]


@pytest.mark.parametrize("empty", ["", " ", '""', '" "', "\0", "com.dapr.event.sent"])
def test_an_empty_type_is_none(empty: str) -> None:
    """The next one counts: the envelope's, and last the shape."""
    assert read(deleted_payload(), event_type=empty) == event_of(DELETED, "-")
    assert read(envelope(deleted_payload(), event_type=DELETED), event_type=empty) == event_of(DELETED, "e-1")
    assert read(envelope(deleted_payload(), event_type=empty)) == event_of(DELETED, "e-1")


@pytest.mark.parametrize("left_over", ["UserDeleted", "UserUpdated", OTHER, PROFILE, "two_fa", "?", '"x"'])
def test_a_cloudevents_own_type_counts(left_over: str) -> None:
    """A header of an earlier producer may be left over on the record."""
    assert read(cloud(deleted_payload(), DELETED), event_type=left_over) == event_of(DELETED, "e-1")
    headers = binary(DELETED) | {"event_type": left_over}
    assert read(deleted_payload(), **headers) == event_of(DELETED, "e-1")
    assert type_of(json.dumps(deleted_payload()).encode(), headers) == DELETED
    assert type_of(json.dumps(cloud(deleted_payload(), DELETED)).encode(), {"event_type": left_over}) == DELETED


@pytest.mark.parametrize("says", [DELETED, "UserDeletedEvent", "UserDeleted", "user.deleted", "identity.user.erased"])
def test_a_profile_that_something_calls_a_deletion_is_refused(says: str) -> None:
    """A person decides which is right; an applied profile would hide the deletion."""
    for decoded in (
        read(cloud(profile_payload(), PROFILE), event_type=says),
        read(profile_payload(), **binary(PROFILE), event_type=says),
        read(envelope(profile_payload(), event_type=says), event_type=PROFILE),
        read(profile_payload(), event_type=PROFILE, eventtype=says),
    ):
        assert reason(decoded) is Reason.CONTRADICTORY_TYPES


def test_a_profile_with_the_fields_of_a_deletion_is_refused() -> None:
    """But a time of deletion that is null says that the user is not deleted."""
    assert reason(read(profile_payload() | deleted_payload(), event_type=PROFILE)) is Reason.CONTRADICTORY_TYPES
    alive = profile_payload(deleted_at=None, soft_delete=False, is_deleted=False)
    assert read(alive, event_type=PROFILE) == event_of(PROFILE, "-")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("identity.user.two_fa_enabled", Cause.UNUSED_TYPE),
        ("TwoFAEnabledEvent", Cause.UNUSED_TYPE),
        (OTHER, Cause.OTHER_TYPE),
        ("order-created", Cause.OTHER_TYPE),
        ("UserLoggedIn", Cause.OTHER_TYPE),
        ("https://example.org/events/user_locked", Cause.OTHER_TYPE),
        ("identity.user.role_removed", Cause.OTHER_TYPE),
    ],
)
def test_other_types_are_ignored(kind: str, cause: Cause) -> None:
    """Acknowledged and counted, whatever they hold."""
    assert read({"anything": 1}, event_type=kind, event_id="e-9") == Ignored("e-9", cause)
    assert read(envelope({"user_id": 5}, event_type=kind)) == Ignored("e-1", cause)
    assert read({"anything": 1}, **binary(kind)) == Ignored("e-1", cause)
    for data in (profile_payload(), None, [1], "text", "", 5, profile_payload(deleted_at=None, is_deleted=False)):
        assert read(cloud(data, kind)) == Ignored("e-1", cause)


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x08\x01\x12\x04ally", b"[1, 2]", b'{"a":1,"a":1}', b"[" * 10_000])
def test_the_value_of_another_type_may_be_anything(value: bytes) -> None:
    """For example a format that another consumer reads."""
    assert decode(value, {"event_type": OTHER, "event_id": "e-9"}) == Ignored("e-9", Cause.OTHER_TYPE)
    assert decode(value, binary(OTHER)) == Ignored("-", Cause.OTHER_TYPE)


UNCLEAR = [
    "identity.user.deleted.v2", "identity.user.deleted/2", "UserDeleted", "UserDeletedEventV2", "user.deleted", "deleted",
    "delete", "identity.user.soft_deleted", "identity.user.deletion_requested", "IdentityUserDeleted", "identity.user.erased",
    "identity.user.removed", "identity.account.deactivated", "ACCOUNT_CLOSED", "identity.user.purged", "user-deleted-event",
    "identity.user.profile_updated.v2", "UserProfileUpdated", "identity.user.password-changed", "UserCreated.v3",
    "?", "5", "null", "undefined", "event", "{}", "[]", '{"type": "x"}', "identity user locked", "identity.user.",
    ".user.locked", "идентичность.удалён", "identity.user.dеlеted", "ｉｄ.ｄｅｌ", "identity..\x01", "a.b" * 100, "'order.created'",
    '"order.created', "order.created\\", "$type.name",
]  # fmt: skip


@pytest.mark.parametrize("kind", UNCLEAR, ids=ascii)
def test_a_type_that_is_not_certainly_another_is_refused(kind: str) -> None:
    """It may be a deletion with a new or a garbled name: a person has to see it."""
    for decoded in (
        read({"anything": 1}, event_type=kind),
        read(envelope({"user_id": ALICE}, event_type=kind)),
        read(cloud({"user_id": ALICE}, kind)),
        read({"user_id": ALICE}, **binary(kind)),
    ):
        assert reason(decoded) is Reason.UNKNOWN_TYPE


def test_type_and_user_are_told_of_a_record_that_is_refused() -> None:
    """The tools choose letters by both."""
    cases: list[tuple[object, dict[str, str], str, str]] = [
        (cloud(deleted_payload(), "identity.user.deleted.v2"), {}, "identity.user.deleted.v2", ALICE),
        (deleted_payload(), {"event_type": '"UserDeleted"'}, "UserDeleted", ALICE),
        (deleted_payload(), {"event_type": " IDENTITY.USER.DELETED"}, DELETED, ALICE),
        (cloud(deleted_payload(), DELETED), {"event_type": "UserDeleted"}, DELETED, ALICE),
        (None, {"event_type": DELETED}, DELETED, ""),
        ([], {}, "unknown", ""),
    ]
    for body, headers, kind, user in cases:
        value = json.dumps(body).encode()
        assert (type_of(value, headers), user_of(value, headers)) == (kind, user)


SPEAKING: list[dict[str, Any]] = [
    deleted_payload(),
    {"user_id": ALICE, "soft_delete": True},
    {"user_id": ALICE, "soft_delete": False},
    {"user_id": ALICE, "soft_delete": None},
    {"userId": ALICE, "softDelete": False},
    {"user_id": ALICE, "deleted_at": "2026-01-01T00:00:00Z"},
    {"user_id": ALICE, "DeletedAt": 1762000000},
    {"user_id": ALICE, "deleted": True},
    {"user_id": ALICE, "is_deleted": 1},
    {"user_id": ALICE, "deleted_by": ALICE},
    {"user_id": ALICE, "hard_delete": True},
    {"user.id": ALICE, "data.soft_delete": False},
    {"user.id": ALICE, "data.deleted_at": "2026-01-01T00:00:00Z"},
    {"user_id": ALICE, "action": "delete"},
    {"user_id": ALICE, "event": "UserDeleted"},
    {"type": DELETED, "user_id": ALICE},
    {"payload": {"after": [deleted_payload()]}},
    {"message": json.dumps(deleted_payload())},
    {"message": json.dumps(json.dumps(deleted_payload()))},
    {"event_type": PROFILE, "body": profile_payload()},
    {"type": 5, "eventType": "UserDeleted"},
]


@pytest.mark.parametrize("payload", SPEAKING, ids=str)
def test_another_type_whose_value_speaks_of_a_deletion_is_refused(payload: dict[str, Any]) -> None:
    """The type may be wrong, but nothing else in the record may be a deletion."""
    for decoded in (
        read(payload, event_type=OTHER),
        read([payload], event_type=OTHER),
        read(envelope(payload, event_type=OTHER)),
        read(cloud(payload, OTHER)),
        read(cloud(json.dumps(payload), OTHER)),
        read(payload, **binary(OTHER)),
    ):
        assert reason(decoded) in {Reason.UNKNOWN_TYPE, Reason.NOT_JSON}


def test_broken_json_inside_of_json_is_looked_at_too() -> None:
    """The fuzzer's first find: a payload that is text, and cut."""
    assert reason(read(cloud('{"user_id": "1", "soft_delete": tr', OTHER))) is Reason.UNKNOWN_TYPE
    assert isinstance(read(cloud('{"user_id": "1", "locked": tr', OTHER)), Ignored)
    for text in ('P"user_id": "1", "soft_delete": true}', "<softDelete>false</softDelete>", "user=1&deleted_at=2026"):
        assert reason(read(cloud(text, OTHER))) is Reason.UNKNOWN_TYPE


def test_data_in_base64_is_looked_at_too() -> None:
    body = cloud(None, OTHER)
    body["data_base64"] = "eyJzb2Z0X2RlbGV0ZSI6IHRydWV9"  # {"soft_delete": true}
    assert reason(read(body)) is Reason.UNKNOWN_TYPE
    assert isinstance(read(body | {"data_base64": "e30="}), Ignored)
    for unreadable in ("%", "e30", "é", 5):
        assert isinstance(read(body | {"data_base64": unreadable}, event_type=OTHER), Ignored)


@pytest.mark.parametrize(
    "value", [b'{"soft_delete": tru', "{deleted_at}".encode("utf-16"), b"\xffUser.Deleted", b"\x02DELETE"]
)
def test_an_unreadable_value_that_mentions_a_deletion_is_refused(value: bytes) -> None:
    assert reason(decode(value, {"event_type": OTHER})) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "headers",
    [
        {"event_type": OTHER, "ce_type": "\ufffd"},
        {"event_type": OTHER, "type": DELETED},
        {"event_type": OTHER, "eventtype": "UserDeleted"},
        {"event_type": OTHER, "x-event-type": PROFILE},
        {"event_type": "\ufffd"} | binary(OTHER),
        {"event_type": DELETED} | binary(OTHER),
        {"event_type": '"UserDeletedEvent"'} | binary(OTHER),
    ],
    ids=str,
)
def test_another_type_that_a_header_contradicts_is_refused(headers: dict[str, str]) -> None:
    assert reason(decode(b"{}", headers)) is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize("envelope_type", [DELETED, PROFILE, "UserDeleted", "identity.user.deleted.v2"])
def test_another_type_that_the_envelope_contradicts_is_refused(envelope_type: str) -> None:
    body = envelope({"user_id": ALICE}, event_type=envelope_type)
    assert reason(read(body, event_type=OTHER)) is Reason.UNKNOWN_TYPE


def test_a_broken_cloudevent_of_a_deletion_is_not_hidden_by_a_header() -> None:
    """The reason is what is wrong with the CloudEvent, not that the header's type is unknown."""
    for broken in ({"id": None}, {"data": None}, {"specversion": "9"}, {"data": 5}):
        decoded = read(cloud(deleted_payload(), DELETED) | broken, event_type=OTHER)
        assert reason(decoded) is Reason.INVALID_CLOUDEVENT


@pytest.mark.parametrize(
    "headers", [{}, {"event_type": PROFILE}, {"event_type": OTHER}, {"content-type": "application/json"}]
)
def test_a_tombstone_is_ignored(headers: dict[str, str]) -> None:
    """daprd hands a record without a value over as the bytes `null`."""
    assert decode(b"null", headers | {"event_id": "e-9"}) == Ignored("e-9", Cause.TOMBSTONE)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"event_type": DELETED}, Reason.INVALID_PAYLOAD),
        ({"event_type": '"UserDeletedEvent" '}, Reason.INVALID_PAYLOAD),
        (binary(DELETED), Reason.INVALID_PAYLOAD),
        ({"type": DELETED}, Reason.INVALID_PAYLOAD),
        (binary(OTHER) | {"event_type": DELETED}, Reason.INVALID_PAYLOAD),
        ({"event_type": "UserDeleted"}, Reason.UNKNOWN_TYPE),
        ({"event_type": PROFILE, "type": "identity.user.deleted.v2"}, Reason.UNKNOWN_TYPE),
        ({"event_type": "\ufffd"}, Reason.UNKNOWN_TYPE),
        ({"event_type": "?"}, Reason.UNKNOWN_TYPE),
    ],
    ids=str,
)
def test_a_tombstone_that_a_header_calls_a_deletion_is_refused(headers: dict[str, str], why: Reason) -> None:
    """Compaction or an outbox took the payload away; whether to erase is for a person to say."""
    assert reason(decode(b"null", headers)) is why


@pytest.mark.parametrize("headers", [{"event_type": DELETED}, {"event_type": "\ufffd"}, binary(DELETED)])
def test_a_deletion_is_read_in_spite_of_what_is_unreadable_around_it(headers: dict[str, str]) -> None:
    noise = {"x-trace": "\ufffd", "correlation-id": "", "ce_x-y": "\ufffd", "created_at": "yesterday"}
    assert isinstance(decode(json.dumps(deleted_payload()).encode(), headers | noise), UserDeleted)


def test_no_doubt_says_any_text_of_the_record() -> None:
    """It goes to the log and to a header of the dead letter."""
    for kind in UNCLEAR:
        assert kind not in doubt(kind, b"", {}).split()
