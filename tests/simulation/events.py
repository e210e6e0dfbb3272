"""Events of a scenario, and the records that carry them. Times are seconds of virtual time since the start of the run."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from dev.identity_events import CREATED, DELETED, PASSWORD_CHANGED, PROFILE_UPDATED, created_payload
from dev.identity_events import password_changed_payload as password_payload
from function.kafka.record import KafkaRecord
from tests.support.events import EPOCH, deleted_payload, delivered, moment, profile_payload

FACES = {"https://cdn.example/one.png": b"one", "https://cdn.example/two.png": b"two"}
BAD_AVATAR = "ftp://cdn.example/bad.png"


class Kind(StrEnum):
    """What an event says."""

    PROFILE = "profile"
    SOFT = "soft"
    HARD = "hard"
    CREATED = "created"
    PASSWORD = "password"
    BROKEN = "broken"  # a payload that can't be decoded
    OTHER = "other"  # a type that the function ignores


DELETIONS = (Kind.SOFT, Kind.HARD)


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the topic: when it is produced, and what it says as of `at` (never later than `when`)."""

    when: float
    user: int
    kind: Kind
    at: float
    name: str = ""
    avatar: str = ""

    @property
    def says(self) -> tuple[object, ...]:
        """What the event says: equal for two records of the same event."""
        return self.user, self.kind, self.at, self.name, self.avatar

    @property
    def id(self) -> str:
        """The event's id: that of its repetition and of its replay, too."""
        return f"event-{self.user}-{self.kind}-{self.at}"

    def record(self, partition: int, offset: int, topic: str = "") -> KafkaRecord:
        """Returns the record as daprd delivers it."""
        payload, kind = self._payload()
        produced = int((EPOCH + timedelta(seconds=self.when)).timestamp() * 1000)
        made = delivered(payload, kind, offset=offset, event_id=self.id)
        places = {"__partition": str(partition), "__timestamp": str(produced)}
        return KafkaRecord(made.value, topic or made.topic, dict(made.metadata) | places)

    def _payload(self) -> tuple[dict[str, Any], str]:
        user_id, at = uuid_of(self.user), self.at
        match self.kind:
            case Kind.PROFILE:
                return profile_payload(user_id, at, display_name=self.name, avatar_url=self.avatar), PROFILE_UPDATED
            case Kind.SOFT | Kind.HARD:
                return deleted_payload(user_id, at, soft=self.kind is Kind.SOFT), DELETED
            case Kind.CREATED:
                return created_payload(user_id, self.name, moment(at)), CREATED
            case Kind.PASSWORD:
                return password_payload(user_id, moment(at)), PASSWORD_CHANGED
            case Kind.BROKEN:
                return {"user_id": user_id}, DELETED
            case Kind.OTHER:
                return {"user_id": user_id}, "identity.user.followed"


def uuid_of(user: int) -> str:
    """Returns the user's id in the identity service."""
    return f"0b5e1f9c-7d43-4c52-9f0e-{user:012x}"
