"""What the sidecar offers, in memory: a state store with etags, the dead-letter topic, the secret store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from function.deadletters import DeadLetters, Delivered
from function.desired import Record, dump, load
from function.failures import Reason, Rejected, TryAgain
from function.state import Conflict, StateStore, Stored


class FakeStateStore(StateStore):
    """Records with etags, held as the bytes that the real store would hold.

    Switches:
        down: every call raises TryAgain.
        losing: how many of the next writes raise TryAgain, as when the function dies before its record is saved.
        rivals: what other writers write just before our next writes, one for each write.
    """

    def __init__(self) -> None:
        self.down = False
        self.losing = 0
        self.rivals: list[Mapping[str, Record]] = []
        self.reads = self.writes = 0
        self._values: dict[str, tuple[bytes, int]] = {}

    async def read(self, user_ids: Iterable[str]) -> dict[str, Stored]:
        self._up()
        self.reads += 1
        return {user_id: self._stored(user_id) for user_id in user_ids}

    async def write(self, records: Mapping[str, Stored]) -> None:
        self._up()
        if self.losing:
            self.losing -= 1
            raise TryAgain(Reason.STATE_UNAVAILABLE, "lost")
        self.writes += 1
        if self.rivals:
            self._put(self.rivals.pop(0))
        if any(stored.etag != self._stored(user_id).etag for user_id, stored in records.items()):
            raise Conflict
        self._put({user_id: stored.record for user_id, stored in records.items()})

    async def probe(self) -> None:
        self._up()

    def record(self, user_id: str) -> Record:
        return self._stored(user_id).record

    def bytes(self, user_id: str) -> bytes:
        return self._values[user_id][0]

    def _put(self, records: Mapping[str, Record]) -> None:
        for user_id, record in records.items():
            _, version = self._values.get(user_id, (b"", 0))
            self._values[user_id] = (dump(record), version + 1)

    def _stored(self, user_id: str) -> Stored:
        if user_id not in self._values:
            return Stored(Record())
        value, version = self._values[user_id]
        return Stored(load(value), str(version))

    def _up(self) -> None:
        if self.down:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "down")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it was handed over."""

    record: Delivered
    reason: Reason
    detail: str
    event_id: str


class FakeDeadLetters(DeadLetters):
    """Collects dead letters; raises TryAgain while `down`."""

    def __init__(self) -> None:
        self.down = False
        self.letters: list[Letter] = []

    async def publish(self, record: Delivered, rejected: Rejected, event_id: str) -> None:
        if self.down:
            raise TryAgain(Reason.PUBLISH_FAILED, "down")
        self.letters.append(Letter(record, rejected.reason, rejected.detail, event_id))

    @property
    def reasons(self) -> list[Reason]:
        return [letter.reason for letter in self.letters]


class FakeTokens:
    """A secret store whose secret may have changed: `now` is what it holds, the token in use is what was read last."""

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
