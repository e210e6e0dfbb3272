"""Builds records as the identity service writes them: payloads, and the four wire formats that carry them.

The demo, the benchmarks and the tests all take their records from here. Sends nothing.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.servers.kafka import TOPIC

PROFILE_UPDATED, DELETED = "identity.user.profile_updated", "identity.user.deleted"
CREATED, PASSWORD_CHANGED = "identity.user.created", "identity.user.password_changed"
START = datetime(2026, 1, 1, tzinfo=UTC)
Json = dict[str, Any]


@dataclass(frozen=True)
class ProducerRecord:
    """A record to produce, with the user's id as its key."""

    user_id: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    topic: str = TOPIC

    def on(self, topic: str) -> "ProducerRecord":
        """Returns the same record for another topic."""
        return replace(self, topic=topic)

    @property
    def event_id(self) -> str:
        """The id in the header; "" without that header."""
        return self.headers.get("event_id", b"").decode()


def new_user() -> str:
    return str(uuid.uuid4())


def encode(body: object) -> bytes:
    return json.dumps(body).encode()


# --- payloads; a test may replace any field


def profile_payload(
    user_id: str, name: str | None, at: str = START.isoformat(), *, avatar: str | None = None, **fields: Any
) -> Json:
    body = {"user_id": user_id, "username": "ada", "display_name": name, "bio": None, "avatar_url": avatar}
    return body | {"is_verified": False, "follower_count": 0, "updated_at": at} | fields


def deleted_payload(user_id: str, at: str = START.isoformat(), *, soft: bool = False, **fields: Any) -> Json:
    return {"user_id": user_id, "deleted_at": at, "soft_delete": soft, "deleted_by": None} | fields


def created_payload(user_id: str, username: str, at: str = START.isoformat()) -> Json:
    return {"user_id": user_id, "username": username, "created_at": at}


def password_changed_payload(user_id: str, at: str = START.isoformat()) -> Json:
    return {"user_id": user_id, "changed_at": at, "invalidate_all_sessions": True}


# --- wire formats


def headers(event_type: str, event_id: str, **more: str) -> dict[str, bytes]:
    """Returns the headers of a bare payload, which is what the producer sends today."""
    names = {"event_type": event_type, "event_id": event_id, "aggregate_type": "identity"} | more
    return {name: text.encode() for name, text in names.items()}


def envelope(payload: object, event_type: str = "", *, event_id: str, at: str = START.isoformat()) -> Json:
    """Wraps the payload in the producer's own envelope; an older one has no type."""
    outer = {"event_id": event_id, "timestamp": at, "schema_version": 1, "source": "identity", "correlation_id": None}
    return outer | ({"event_type": event_type} if event_type else {}) | {"data": payload}


def attributes(event_type: str, event_id: str) -> dict[str, str]:
    """Returns the attributes that a CloudEvent must have."""
    return {"specversion": "1.0", "id": event_id, "source": "/identity", "type": event_type}


def structured(payload: object, event_type: str, event_id: str, **more: object) -> Json:
    """Wraps the payload in a CloudEvent."""
    return attributes(event_type, event_id) | more | {"data": payload}


def binary_headers(event_type: str, event_id: str, **more: str) -> dict[str, bytes]:
    """Returns the headers of a CloudEvent in binary mode, whose value is the bare payload."""
    names = {f"ce_{name}": text for name, text in (attributes(event_type, event_id) | more).items()}
    return {name: text.encode() for name, text in (names | {"content-type": "application/json"}).items()}


# --- records as the producer sends them today: bare payload, typed by headers; `minute` counts from START


def typed(event_type: str, user_id: str, payload: object) -> ProducerRecord:
    return ProducerRecord(user_id, encode(payload), headers(event_type, new_user(), aggregate_id=user_id))


def profile(user_id: str, name: str | None, minute: int = 0, avatar: str | None = None) -> ProducerRecord:
    return typed(PROFILE_UPDATED, user_id, profile_payload(user_id, name, moment(minute), avatar=avatar))


def deleted(user_id: str, *, soft: bool = False) -> ProducerRecord:
    return typed(DELETED, user_id, deleted_payload(user_id, soft=soft))


def created(user_id: str, username: str = "ada") -> ProducerRecord:
    return typed(CREATED, user_id, created_payload(user_id, username))


def password_changed(user_id: str, minute: int = 0) -> ProducerRecord:
    return typed(PASSWORD_CHANGED, user_id, password_changed_payload(user_id, moment(minute)))


def moment(minute: int = 0) -> str:
    return (START + timedelta(minutes=minute)).isoformat()
