"""Lists the records to capture: the bytes that a producer wrote, and the event that they decode to.

`python -m tests.captures.capture` sends them through a real Kafka and a real daprd and stores each delivered entry in
captures.json. kcat.jsonl is what `kcat -C -J` 1.7.1 printed of the same records, read from a real Kafka."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dev.identity_events import (
    DELETED,
    PROFILE_UPDATED,
    attributes,
    binary_headers,
    deleted_payload,
    encode,
    envelope,
    headers,
    profile_payload,
    structured,
)

USER = "123e4567-e89b-12d3-a456-426614174000"
EVENT = "0b9f4b1e-7a53-4a0e-9d0a-5f1f3f1c2d3e"
PROFILE = profile_payload(USER, "Ada", "2026-01-02T03:04:05.123456789Z")
GONE = deleted_payload(USER, "2026-01-02T03:04:05+00:00")


@dataclass(frozen=True)
class Wire:
    """A record; `expected` is the class name of the decoded event, or the reason of its rejection."""

    expected: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)


def _typed(kind: str, **more: bytes) -> dict[str, bytes]:
    return {**headers(kind, EVENT), **more}


def _envelope(kind: str, payload: object) -> bytes:
    return encode(envelope(payload, kind, event_id=EVENT, at="2026-01-02T03:04:05Z"))


def _name(name: str) -> bytes:
    return encode(PROFILE | {"display_name": name})


RECORDS: dict[str, Wire] = {
    "profile, typed by headers": Wire("ProfileUpdated", encode(PROFILE), _typed(PROFILE_UPDATED)),
    "profile, old spelling": Wire("ProfileUpdated", encode(PROFILE), _typed("UserProfileUpdatedEvent")),
    "deletion, typed by headers": Wire("UserDeleted", encode(GONE), _typed(DELETED)),
    "deletion, old spelling": Wire("UserDeleted", encode(GONE), _typed("UserDeletedEvent")),
    "profile, envelope": Wire("ProfileUpdated", _envelope(PROFILE_UPDATED, PROFILE)),
    "deletion, envelope": Wire("UserDeleted", _envelope("UserDeletedEvent", GONE)),
    "profile, envelope without type": Wire("ProfileUpdated", _envelope("", PROFILE)),
    "deletion, envelope without type": Wire("UserDeleted", _envelope("", GONE)),
    "deletion, bare": Wire("UserDeleted", encode(GONE)),
    "profile, structured CloudEvent": Wire("ProfileUpdated", encode(structured(PROFILE, PROFILE_UPDATED, EVENT))),
    "deletion, binary CloudEvent": Wire("UserDeleted", encode(GONE), binary_headers(DELETED, EVENT)),
    "another type": Wire("Ignored", encode({"user_id": USER}), _typed("identity.user.two_fa_enabled")),
    "another type, body broken": Wire("Ignored", b"\xff", _typed("identity.user.two_fa_enabled")),
    "tombstone": Wire("invalid_payload", None, _typed(DELETED)),
    "header type that is not UTF-8": Wire("UserDeleted", _envelope(DELETED, GONE), {"event_type": b"\xff\xfe"}),
    "binary header added": Wire("UserDeleted", encode(GONE), _typed(DELETED, trace=b"\x00\xff\x80")),
    "forged headers of daprd": Wire("UserDeleted", encode(GONE), _typed(DELETED, __key=b"x", __offset=b"-1")),
    "user id in capitals": Wire("UserDeleted", encode(GONE | {"user_id": USER.upper()}), _typed(DELETED)),
    "user id without dashes": Wire("UserDeleted", encode(GONE | {"user_id": USER.replace("-", "")}), _typed(DELETED)),
    "user id as URN": Wire("UserDeleted", encode(GONE | {"user_id": f"urn:uuid:{USER}"}), _typed(DELETED)),
    "empty": Wire("not_json", b"", _typed(DELETED)),
    "wrong UTF-8": Wire("not_json", b'{"user_id": "\xff"}', _typed(DELETED)),
    "byte order mark": Wire("not_json", b"\xef\xbb\xbf" + encode(GONE), _typed(DELETED)),
    "an array": Wire("not_json", encode([GONE]), _typed(DELETED)),
    "a scalar": Wire("not_json", b"42", _typed(DELETED)),
    "a string": Wire("not_json", b'"null"', _typed(DELETED)),
    "NaN": Wire("not_json", b'{"a": NaN}', _typed(DELETED)),
    "nesting bomb": Wire("not_json", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, _typed(DELETED)),
    "duplicate keys": Wire("not_json", b'{"soft_delete": true, "soft_delete": false}', _typed(DELETED)),
    "number beyond 2^53": Wire(
        "ProfileUpdated", encode(PROFILE | {"follower_count": 2**60 + 1}), _typed(PROFILE_UPDATED)
    ),
    "an object without a type": Wire("unknown_shape", b'{"hello": "world"}'),
    "lone surrogate": Wire("invalid_display_name", _name("\ud800"), _typed(PROFILE_UPDATED)),
    "NUL": Wire("invalid_display_name", _name("a\0b"), _typed(PROFILE_UPDATED)),
    "name of 257": Wire("invalid_display_name", _name("x" * 257), _typed(PROFILE_UPDATED)),
    "name of 256": Wire("ProfileUpdated", _name("x" * 256), _typed(PROFILE_UPDATED)),
    "no zone": Wire("UserDeleted", encode(GONE | {"deleted_at": "2026-01-02T03:04:05"}), _typed(DELETED)),
    "soft_delete is text": Wire("UserDeleted", encode(GONE | {"soft_delete": "false"}), _typed(DELETED)),
    "user id is none": Wire("invalid_payload", encode(GONE | {"user_id": "ada"}), _typed(DELETED)),
    "CloudEvent without id": Wire(
        "invalid_cloudevent", encode({"specversion": "1.0", "source": "/i", "type": DELETED, "data": GONE})
    ),
    "CloudEvent with bad base64": Wire("not_json", encode(attributes(DELETED, EVENT) | {"data_base64": "%%%"})),
}
