"""Bodies in every wire format, and their decoded form, for the tests of decoding."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from function.events.decode import decode
from function.events.types import Decoded, ProfileUpdated, UserDeleted
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


def decoded_headers(headers: Mapping[str, bytes]) -> dict[str, str]:
    """Returns a producer's headers as text; bytes that are not UTF-8 are replaced, as daprd replaces them."""
    return {name: text.decode("utf-8", "replace") for name, text in headers.items()}


def binary(kind: str, **more: str) -> dict[str, str]:
    """Returns the headers of a binary CloudEvent; `more` has attributes without their prefix."""
    attributes = {"specversion": "1.0", "id": "e-1", "source": "/nova", "type": kind} | more
    return {f"ce_{name}": text for name, text in attributes.items()}


def reason(decoded: Decoded) -> Reason:
    assert isinstance(decoded, Rejected), decoded
    return decoded.reason
