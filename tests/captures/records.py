"""The records that are captured: what a producer wrote, and what it should decode to.

`python -m tests.captures.capture` sends them through a real Kafka and a real daprd and keeps each entry as it was
delivered in captures.json beside this file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

USER = "123e4567-e89b-12d3-a456-426614174000"
EVENT = "0b9f4b1e-7a53-4a0e-9d0a-5f1f3f1c2d3e"
UPDATED, DELETED = "identity.user.profile_updated", "identity.user.deleted"
PROFILE = {"user_id": USER, "username": "ada", "display_name": "Ada", "bio": None, "avatar_url": None,
           "is_verified": False, "follower_count": 0, "updated_at": "2026-01-02T03:04:05.123456789Z"}  # fmt: skip
GONE = {"user_id": USER, "deleted_at": "2026-01-02T03:04:05+00:00", "soft_delete": False, "deleted_by": None}
ENVELOPE = {"event_id": EVENT, "timestamp": "2026-01-02T03:04:05Z", "schema_version": 1, "source": "identity",
            "correlation_id": None}  # fmt: skip
CLOUD = {"specversion": "1.0", "id": EVENT, "source": "/identity"}


@dataclass(frozen=True)
class Wire:
    """One record; `expected` is the event's class name and id, or the reason why it is none."""

    expected: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _typed(kind: str, **more: bytes) -> dict[str, bytes]:
    return {"event_type": kind.encode(), "event_id": EVENT.encode(), "aggregate_type": b"identity", **more}


def _name(name: str) -> bytes:
    return _json(PROFILE | {"display_name": name})


def _ce(kind: str) -> dict[str, bytes]:
    return {f"ce_{name}": value.encode() for name, value in (CLOUD | {"type": kind}).items()} | {
        "content-type": b"application/json"
    }


RECORDS: dict[str, Wire] = {
    "profile, typed by headers": Wire("ProfileUpdated", _json(PROFILE), _typed(UPDATED)),
    "profile, old spelling": Wire("ProfileUpdated", _json(PROFILE), _typed("UserProfileUpdatedEvent")),
    "deletion, typed by headers": Wire("UserDeleted", _json(GONE), _typed(DELETED)),
    "deletion, old spelling": Wire("UserDeleted", _json(GONE), _typed("UserDeletedEvent")),
    "profile, envelope": Wire("ProfileUpdated", _json(ENVELOPE | {"event_type": UPDATED, "data": PROFILE})),
    "deletion, envelope": Wire("UserDeleted", _json(ENVELOPE | {"event_type": "UserDeletedEvent", "data": GONE})),
    "profile, envelope without type": Wire("ProfileUpdated", _json(ENVELOPE | {"data": PROFILE})),
    "deletion, envelope without type": Wire("UserDeleted", _json(ENVELOPE | {"data": GONE})),
    "deletion, bare": Wire("UserDeleted", _json(GONE)),
    "profile, structured CloudEvent": Wire("ProfileUpdated", _json(CLOUD | {"type": UPDATED, "data": PROFILE})),
    "deletion, binary CloudEvent": Wire("UserDeleted", _json(GONE), _ce(DELETED)),
    "another type": Wire("Ignored", _json({"user_id": USER}), _typed("identity.user.two_fa_enabled")),
    "another type, body broken": Wire("Ignored", b"\xff", _typed("identity.user.two_fa_enabled")),
    "tombstone": Wire("Ignored", None, _typed(DELETED)),
    "header type that is not UTF-8": Wire(
        "UserDeleted", _json(ENVELOPE | {"event_type": DELETED, "data": GONE}), {"event_type": b"\xff\xfe"}
    ),
    "binary header beside": Wire("UserDeleted", _json(GONE), _typed(DELETED, trace=b"\x00\xff\x80")),
    "forged headers of daprd": Wire("UserDeleted", _json(GONE), _typed(DELETED, __key=b"x", __offset=b"-1")),
    "user id in capitals": Wire("UserDeleted", _json(GONE | {"user_id": USER.upper()}), _typed(DELETED)),
    "user id without dashes": Wire("UserDeleted", _json(GONE | {"user_id": USER.replace("-", "")}), _typed(DELETED)),
    "user id as URN": Wire("UserDeleted", _json(GONE | {"user_id": f"urn:uuid:{USER}"}), _typed(DELETED)),
    "empty": Wire("not_json", b"", _typed(DELETED)),
    "wrong UTF-8": Wire("not_json", b'{"user_id": "\xff"}', _typed(DELETED)),
    "byte order mark": Wire("not_json", b"\xef\xbb\xbf" + _json(GONE), _typed(DELETED)),
    "an array": Wire("not_json", _json([GONE]), _typed(DELETED)),
    "a scalar": Wire("not_json", b"42", _typed(DELETED)),
    "a string": Wire("not_json", b'"null"', _typed(DELETED)),
    "NaN": Wire("not_json", b'{"a": NaN}', _typed(DELETED)),
    "nesting bomb": Wire("not_json", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, _typed(DELETED)),
    "duplicate keys": Wire("not_json", b'{"soft_delete": true, "soft_delete": false}', _typed(DELETED)),
    "number beyond 2^53": Wire("ProfileUpdated", _json(PROFILE | {"follower_count": 2**60 + 1}), _typed(UPDATED)),
    "an object without a type": Wire("unknown_shape", b'{"hello": "world"}'),
    "lone surrogate": Wire("invalid_display_name", _name("\ud800"), _typed(UPDATED)),
    "NUL": Wire("invalid_display_name", _name("a\0b"), _typed(UPDATED)),
    "name of 257": Wire("invalid_display_name", _name("x" * 257), _typed(UPDATED)),
    "name of 256": Wire("ProfileUpdated", _name("x" * 256), _typed(UPDATED)),
    "no zone": Wire("invalid_payload", _json(GONE | {"deleted_at": "2026-01-02T03:04:05"}), _typed(DELETED)),
    "soft_delete is text": Wire("invalid_payload", _json(GONE | {"soft_delete": "false"}), _typed(DELETED)),
    "user id is none": Wire("invalid_payload", _json(GONE | {"user_id": "ada"}), _typed(DELETED)),
    "CloudEvent without id": Wire(
        "invalid_cloudevent", _json({"specversion": "1.0", "source": "/i", "type": DELETED, "data": GONE})
    ),
    "CloudEvent with bad base64": Wire("not_json", _json(CLOUD | {"type": DELETED, "data_base64": "%%%"})),
}
