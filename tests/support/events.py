"""Records of the identity service as daprd hands them over."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dev import identity_events
from dev.identity_events import DELETED, PROFILE_UPDATED, encode
from dev.servers.kafka import TOPIC
from function.kafka.record import KafkaRecord

ALICE = "0b5e1f9c-7d43-4c52-9f0e-2a6d1c8b7e10"
BOB = "5f2b8c1a-3e64-4d7b-8a90-6c1d2e3f4a5b"
CAROL = "9c4d7e2f-1a5b-4f83-b6c7-d8e9f0a1b2c3"
EPOCH = datetime(2025, 11, 1, 12, tzinfo=UTC)


def moment(second: float = 0) -> str:
    return (EPOCH + timedelta(seconds=second)).isoformat()


def profile_payload(user_id: str = ALICE, second: float = 0, **fields: Any) -> dict[str, Any]:
    body = identity_events.profile_payload(user_id, "Alice Example", moment(second), username="ally", bio="words")
    return body | fields


def deleted_payload(user_id: str = ALICE, second: float = 0, *, soft: bool = True, **fields: Any) -> dict[str, Any]:
    return identity_events.deleted_payload(user_id, moment(second), soft=soft) | fields


def delivered(payload: object, kind: str = "", *, offset: int = 0, **headers: str) -> KafkaRecord:
    """Returns a bare payload typed by a header, which is what is produced today, as daprd hands it over."""
    user_id = payload.get("user_id", "") if isinstance(payload, dict) else ""
    value = payload if isinstance(payload, bytes) else encode(payload)
    kafka_fields = {"__key": str(user_id), "__topic": TOPIC, "__partition": "1", "__offset": str(offset)}
    typed = {"event_type": kind} if kind else {}
    return KafkaRecord(value, TOPIC, kafka_fields | typed | {"event_id": f"event-{offset}"} | headers)


def profile(user_id: str = ALICE, second: float = 0, *, offset: int = 0, **fields: Any) -> KafkaRecord:
    return delivered(profile_payload(user_id, second, **fields), PROFILE_UPDATED, offset=offset)


def deletion(
    user_id: str = ALICE, second: float = 0, *, soft: bool = True, offset: int = 0, **fields: Any
) -> KafkaRecord:
    return delivered(deleted_payload(user_id, second, soft=soft, **fields), DELETED, offset=offset)


def created(user_id: str = ALICE, second: float = 0, username: str = "ally") -> KafkaRecord:
    payload = {"user_id": user_id, "username": username, "created_at": moment(second), "email": "a@example.org"}
    return delivered(payload, "identity.user.created")


def password(user_id: str = ALICE, second: float = 0, *, ends: bool = True) -> KafkaRecord:
    payload = {"user_id": user_id, "changed_at": moment(second), "invalidate_all_sessions": ends}
    return delivered(payload, "identity.user.password_changed")
