"""Fakes what the sidecar offers, in memory: a state store with ETags, the dead-letter and results topics, the secret store."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from function.accounts.user_state import UserState
from function.accounts.user_store import dump, load
from function.changes import Change
from function.dapr.state_store import Conflict, StateStore, Value
from function.dead_letters.publish import DeadLetters
from function.evidence.message import message
from function.evidence.topic import Topic
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, Rejected, TryAgain


class FakeStateStore(StateStore):
    """A state store with ETags that holds the same bytes as the real one.

    Switches:
        down: every call raises TryAgain.
        sparing: number of next writes that succeed before `losing` begins.
        losing: number of next writes that raise TryAgain, as if the function died before it saved the state.
        rivals: writes by other clients just before our next writes, one for each; {} for none.
    """

    def __init__(self) -> None:
        self.read_only = False
        self.down = False
        self.sparing = self.losing = 0
        self.rivals: list[Mapping[str, UserState]] = []
        self.reads = self.writes = self.conflicts = 0
        self._values: dict[str, tuple[bytes, int]] = {}

    async def read_values(self, wanted: Iterable[str]) -> dict[str, Value]:
        self._up()
        self.reads += 1
        return {key: self._value(key) for key in wanted}

    async def write_values(self, values: Mapping[str, Value]) -> None:
        self._up()
        if self.read_only:
            return
        if self.losing and self.sparing:
            self.sparing -= 1
        elif self.losing:
            self.losing -= 1
            raise TryAgain(Reason.STATE_UNAVAILABLE, "lost")
        self.writes += 1
        if self.rivals:
            self._put({user_id: dump(record) for user_id, record in self.rivals.pop(0).items()})
        if any(etag != self._value(key)[1] for key, (_, etag) in values.items()):
            self.conflicts += 1
            raise Conflict
        self._put({key: value for key, (value, _) in values.items()})

    async def probe(self) -> None:
        self._up()

    def record(self, user_id: str) -> UserState:
        value, _ = self._value(user_id)
        return load(value)[0] if value else UserState()

    def stored_bytes(self, user_id: str) -> bytes:
        return self._values[user_id][0]

    def _put(self, values: Mapping[str, bytes]) -> None:
        for key, value in values.items():
            _, version = self._values.get(key, (b"", 0))
            self._values[key] = (value, version + 1)

    def _value(self, key: str) -> Value:
        value, version = self._values.get(key, (b"", 0))
        return value, str(version or "")

    def _up(self) -> None:
        if self.down:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "down")


@dataclass(frozen=True, slots=True)
class Letter:
    """A published dead letter."""

    record: KafkaRecord
    reason: Reason
    detail: str
    event_id: str
    ids: str = ""


class FakeDeadLetters(DeadLetters):
    """Collects dead letters; raises TryAgain while `down`."""

    def __init__(self) -> None:
        self.down = False
        self.letters: list[Letter] = []

    async def publish(self, record: KafkaRecord, rejected: Rejected, event_id: str) -> None:
        if self.down:
            raise TryAgain(Reason.PUBLISH_FAILED, "down")
        self.letters.append(Letter(record, rejected.reason, rejected.detail, event_id, rejected.ids))

    @property
    def reasons(self) -> list[Reason]:
        return [letter.reason for letter in self.letters]


class FakeResults(Topic):
    """Collects the messages of the results topic.

    Switches:
        down: each publishing raises TryAgain.
        losing: number of next messages that Kafka takes and does not acknowledge.
    """

    def __init__(self) -> None:
        self.down = False
        self.losing = 0
        self.messages: list[dict[str, Any]] = []

    async def publish(self, user_id: str, change: Change) -> None:
        if self.down:
            raise TryAgain(Reason.PUBLISH_FAILED, "down")
        self.messages.append(json.loads(message(user_id, f"@nova-{user_id}:test.example", change)))
        if self.losing:
            self.losing -= 1
            raise TryAgain(Reason.PUBLISH_FAILED, "lost")

    @property
    def told(self) -> list[tuple[str | None, tuple[str, ...]]]:
        """The event ids, and what was done for each."""
        return [(one["data"]["event_id"], tuple(one["data"]["done"])) for one in self.messages]

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.messages]


class FakeTokens:
    """A secret store with a rotating secret: `now` is the current value; the token in use is the value read last."""

    def __init__(self, token: str) -> None:
        self.now = token
        self.reads = 0
        self._read = token

    async def token(self) -> str:
        return self._read

    async def renewed(self, refused: str) -> str:
        if self._read == refused:
            self.reads += 1
            self._read = self.now
        return self._read
