"""How far the dead letters have been dealt with, and which replay is at it: one record in the state store.

A replay writes it after each page it has published. So `dead-letters` knows what is still there without being a
member of the replay's consumer group, a replay that was killed goes on where it stopped, and of two replays at once
the second is refused. The etag guards it: a replay that lost its lease can't move the bookmark any more.
"""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from function.clock import Clock, utc_now
from function.dapr.bulk_envelope import KafkaRecord
from function.dapr.state_store import Conflict, StateStore
from function.outcomes import Reason, TryAgain

KEY = "dead-letters"
SCHEMA = 1
LEASE = timedelta(seconds=30)


class Busy(Exception):
    """Another replay is at work; `until` is when its lease would end if it were dead."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


@dataclass(frozen=True, slots=True)
class Place:
    """Everything in a partition before `offset` has been dealt with; the newest of it was written at `time`
    (milliseconds since 1970): a younger record with a smaller offset belongs to a topic that was made anew."""

    offset: int
    time: int


class ReplayCheckpoint:
    """The record as one replay, or one look, sees it.

    Args:
        state: the store.
        run: names this replay.
        lease: how long a replay that shows no sign of life keeps others out.
        clock: gives the time in UTC.
        poll: seconds between two looks at another's lease.
    """

    def __init__(
        self, state: StateStore, run: str, lease: timedelta = LEASE, *,
        clock: Clock = utc_now, poll: float = 1.0,
    ) -> None:  # fmt: skip
        self.lease, self._poll = lease, poll
        self._state, self._run, self._clock = state, run, clock
        self._places: dict[str, Place] = {}
        self._owner, self._until, self._etag = "", datetime.min.replace(tzinfo=UTC), ""
        self._turn = asyncio.Lock()

    async def read(self) -> None:
        """Raises TryAgain."""
        value, self._etag = (await self._state.read_values([KEY]))[KEY]
        if not value:
            return
        found = json.loads(value)
        if found.get("schema") != SCHEMA:
            raise TryAgain(Reason.STATE_UNAVAILABLE, f"the record {KEY} is of another version")
        self._places = {partition: Place(*place) for partition, place in found["places"].items()}
        self._owner, self._until = found["run"], datetime.fromisoformat(found["until"])

    def is_done(self, record: KafkaRecord) -> bool:
        """Whether the record has been dealt with."""
        place = self._places.get(record.dapr_metadata("partition"))
        return place is not None and int(record.dapr_metadata("offset")) < place.offset and _time(record) <= place.time

    async def acquire_lease(self) -> None:
        """Takes the lease; waits for one that is not renewed to run out. Raises Busy, TryAgain."""
        await self.read()
        first = self._until
        while self._owner and self._clock() < self._until:
            if self._until != first:
                raise Busy(self._until)  # it was renewed: somebody is alive
            await asyncio.sleep(self._poll)
            await self.read()
        await self._write(self._run)

    async def advance(self, record: KafkaRecord) -> None:
        """Everything up to `record` in its partition is dealt with. Raises Busy when the lease was lost, TryAgain."""
        partition = record.dapr_metadata("partition")
        before = self._places.get(partition)
        time = max(_time(record), before.time if before else 0)
        self._places[partition] = Place(int(record.dapr_metadata("offset")) + 1, time)
        await self.renew()

    async def renew(self) -> None:
        """Keeps the lease. Raises Busy, TryAgain."""
        await self._write(self._run)

    async def release(self) -> None:
        """Gives the lease back. Raises Busy, TryAgain."""
        await self._write("")

    async def _write(self, owner: str) -> None:
        async with self._turn:
            places = {partition: [place.offset, place.time] for partition, place in self._places.items()}
            until = self._clock() + self.lease
            body = {"schema": SCHEMA, "run": owner, "until": until.isoformat(), "places": places}
            try:
                await self._state.write_values({KEY: (json.dumps(body).encode(), self._etag)})
            except Conflict:
                raise Busy(until) from None
            written, self._etag = (await self._state.read_values([KEY]))[KEY]
            if json.loads(written) != body:
                raise Busy(until)
            self._owner, self._until = owner, until


def _time(record: KafkaRecord) -> int:
    return int(record.dapr_metadata("timestamp") or 0)
